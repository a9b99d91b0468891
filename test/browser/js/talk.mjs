// Two people meet and talk.

import { line, Person } from "./person.mjs";
import { same } from "./report.mjs";
import { page, url, world as w } from "./world.mjs";

export const talk = {
    async "two people register, and their clients start"() {
        [w.alice, w.bob] = await Promise.all(["alice", "bob"].map((name) => Person.open(name, page)));
        for (const p of [w.alice, w.bob]) {
            p.userId = await p.run((app, [url, name]) => app.register(url, name, `the password of ${name}`), [url, p.name]);
        }
        await Promise.all([w.alice, w.bob].map((p) => p.run((app) => app.start())));
        for (const p of [w.alice, w.bob]) await p.until("the first sync", (app) => app.client.getSyncState() === "SYNCING");
    },

    async "a room and a space are created and joined"() {
        w.room = await w.alice.run(async (app) => (await app.client.createRoom({
            name: "Tea", topic: "Leaves", preset: "public_chat", room_alias_name: "tea", visibility: "public",
        })).room_id);
        w.space = await w.alice.run(async (app, room) => {
            const { room_id } = await app.client.createRoom({ name: "House", preset: "public_chat", creation_content: { type: "m.space" } });
            await app.client.sendStateEvent(room_id, "m.space.child", { via: ["localhost"], suggested: true }, room);
            return room_id;
        }, w.room);
        await w.alice.show(w.room);
        await w.bob.run((app, space) => app.client.joinRoom(space), w.space);
        const children = await w.bob.run(async (app, space) => (await app.client.getRoomHierarchy(space)).rooms.map((r) => [r.room_id, r.name]), w.space);
        same("the space", children, [[w.space, "House"], [w.room, "Tea"]]);
        await w.bob.run((app) => app.client.joinRoom("#tea:localhost"));
        await w.bob.show(w.room);
        await w.bob.sees("#name", "Tea");
        await w.bob.until("the space to be one", (app, space) => app.client.getRoom(space)?.isSpaceRoom(), w.space);
        await w.alice.until("bob to be in", (app, [room, bob]) => app.client.getRoom(room).getMember(bob)?.membership === "join", [w.room, w.bob.userId]);
    },

    async "messages go both ways"() {
        const hello = await w.alice.say(w.room, "Hello, Bob");
        await w.bob.sees(line(hello), "Hello, Bob");
        const answer = await w.bob.say(w.room, "Hello, Alice");
        await w.alice.sees(line(answer), "Hello, Alice");
        w.hello = hello;
    },

    async "a reply shows what it answers"() {
        const reply = await w.bob.send(w.room, { "msgtype": "m.text", "body": "Indeed", "m.relates_to": { "m.in_reply_to": { event_id: w.hello } } });
        await w.alice.sees(`${line(reply)} q`, "Hello, Bob");
    },

    async "a reaction is counted"() {
        const react = (app, [room, event]) => app.client.sendEvent(room, "m.reaction", { "m.relates_to": { rel_type: "m.annotation", event_id: event, key: "👍" } });
        await w.bob.run(react, [w.room, w.hello]);
        await w.alice.sees(`${line(w.hello)} b`, "👍 1");
        await w.alice.run(react, [w.room, w.hello]);
        await w.bob.sees(`${line(w.hello)} b`, "👍 2");
    },

    async "an edit replaces the text"() {
        await w.alice.send(w.room, {
            "msgtype": "m.text", "body": "* Good morning, Bob", "m.new_content": { msgtype: "m.text", body: "Good morning, Bob" },
            "m.relates_to": { rel_type: "m.replace", event_id: w.hello },
        });
        await w.bob.sees(line(w.hello), "Good morning, Bob", "edited");
    },

    async "a redaction empties a message"() {
        const slip = await w.alice.say(w.room, "a slip of the tongue");
        await w.bob.sees(line(slip), "a slip");
        await w.alice.run((app, [room, event]) => app.client.redactEvent(room, event, undefined, { reason: "typo" }), [w.room, slip]);
        for (const p of [w.alice, w.bob]) await p.sees(`${line(slip)} em`, "deleted");
    },

    async "a thread grows on the other side"() {
        const inThread = (body) => ({ msgtype: "m.text", body });
        // If a sync has the first message of a thread before the answer to the request,
        // this does not return with matrix-js-sdk 43.
        await w.bob.send(w.room, inThread("one"), w.hello);
        await w.alice.sees(`${line(w.hello)} i`, "1 in a thread");
        await w.alice.send(w.room, inThread("two"), w.hello);
        await w.bob.sees(`${line(w.hello)} i`, "2 in a thread");
        const threads = await w.bob.run(async (app, room) => {
            await app.client.getRoom(room).fetchRoomThreads();
            return app.client.getRoom(room).getThreads().map((t) => t.id);
        }, w.room);
        same("the threads", threads, [w.hello]);
    },
};
