// What moves on the other side without a reload.

import { line } from "./person.mjs";
import { same } from "./report.mjs";
import { world as w } from "./world.mjs";

const typing = (app, [room, is]) => app.client.sendTyping(room, is, 30_000);
const read = (app, [room, event]) => app.client.sendReadReceipt(app.client.getRoom(room).findEventById(event));

export const live = {
    async "typing is shown and ends"() {
        await w.alice.run(typing, [w.room, true]);
        await w.bob.sees("#typing", "alice typing");
        await w.alice.run(typing, [w.room, false]);
        await w.bob.until("the typing to end", () => document.getElementById("typing").textContent === "");
    },

    async "a read receipt is shown, and moves"() {
        for (const body of ["read me", "and me"]) {
            const event = await w.alice.say(w.room, body);
            await w.bob.sees(line(event), body);
            await w.bob.run(read, [w.room, event]);
            await w.alice.sees(`${line(event)} u`, w.bob.userId);
        }
        await w.alice.until("one receipt of bob", (_, bob) =>
            [...document.querySelectorAll("#timeline u")].filter((e) => e.textContent.includes(bob)).length === 1, w.bob.userId);
    },

    async "unread counts rise and fall, mentions among them"() {
        await w.bob.roomShows(w.room, { unread: 0, highlight: 0 });
        await w.alice.say(w.room, "count me");
        await w.bob.roomShows(w.room, { unread: 1, highlight: 0 });
        const last = await w.alice.send(w.room, { "msgtype": "m.text", "body": "bob!", "m.mentions": { user_ids: [w.bob.userId] } });
        await w.bob.roomShows(w.room, { unread: 2, highlight: 1 });
        await w.bob.sees(line(last), "bob!");
        await w.bob.run(read, [w.room, last]);
        await w.bob.roomShows(w.room, { unread: 0, highlight: 0 });
    },

    async "a thread has a count of its own"() {
        const event = await w.alice.send(w.room, { msgtype: "m.text", body: "unread in the thread" }, w.hello);
        await w.bob.roomShows(w.room, { unreadThreads: 1 });
        await w.bob.until("the message in the thread", (app, [room, event]) => app.client.getRoom(room).findEventById(event), [w.room, event]);
        await w.bob.run(read, [w.room, event]);
        await w.bob.roomShows(w.room, { unreadThreads: 0 });
    },

    async "a new name is shown"() {
        await w.alice.run((app) => app.client.setDisplayName("Alice Liddell"));
        await w.bob.until("the new name", (app, [room, alice]) => app.client.getRoom(room).getMember(alice).rawDisplayName === "Alice Liddell", [w.room, w.alice.userId]);
        const after = await w.alice.say(w.room, "who am I?");
        await w.bob.sees(line(after), "Alice Liddell:");
        same("the profile", (await w.bob.run((app, alice) => app.client.getProfileInfo(alice), w.alice.userId)).displayname, "Alice Liddell");
    },
};
