// Images, through the content repository that asks for the token.

import { line } from "./person.mjs";
import { same } from "./report.mjs";
import { world as w } from "./world.mjs";

/** Draws a picture in the page and uploads it. */
const upload = async (app, size) => {
    const canvas = new OffscreenCanvas(size, size);
    const context = canvas.getContext("2d");
    for (let i = 0; i < size; i++) {
        context.fillStyle = `hsl(${(360 * i) / size} 80% 50%)`;
        context.fillRect(i, 0, 1, size);
    }
    const blob = await canvas.convertToBlob({ type: "image/png" });
    return (await app.client.uploadContent(blob, { name: "rainbow.png", type: "image/png" })).content_uri;
};

export const media = {
    async "an image is sent, and its thumbnail shown"() {
        const uri = await w.alice.run(upload, 640);
        const event = await w.alice.send(w.room, { msgtype: "m.image", body: "rainbow.png", url: uri, info: { mimetype: "image/png", w: 640, h: 640 } });
        const size = await w.bob.until("the thumbnail", (_, line) => document.querySelector(`${line} img`)?.naturalWidth, line(event));
        if (size > 320) throw new Error(`the thumbnail is ${size} pixels wide`);
        const whole = await w.bob.run(async (app, uri) => {
            const response = await fetch(app.client.mxcUrlToHttp(uri, undefined, undefined, undefined, false, true, true), {
                headers: { Authorization: `Bearer ${app.client.getAccessToken()}` },
            });
            const bitmap = await createImageBitmap(await response.blob());
            return [response.status, response.headers.get("content-type"), bitmap.width];
        }, uri);
        same("the image", whole, [200, "image/png", 640]);
        const without = await w.bob.run(async (app, uri) =>
            (await fetch(app.client.mxcUrlToHttp(uri, 96, 96, "scale", false, true, true), { cache: "no-store" })).status, uri);
        same("without a token", without, 401);
    },

    async "an avatar is set, and seen by the other"() {
        const uri = await w.alice.run(upload, 128);
        await w.alice.run((app, uri) => app.client.setAvatarUrl(uri), uri);
        await w.bob.until("the avatar", (app, [room, alice, uri]) => app.client.getRoom(room).getMember(alice).getMxcAvatarUrl() === uri, [w.room, w.alice.userId, uri]);
    },
};
