// Ways into rooms.

import { line } from "./person.mjs";
import { world as w } from "./world.mjs";

const membership = (app, [room, user]) => app.client.getRoom(room)?.getMember(user)?.membership;

export const rooms = {
    async "an invitation is shown and accepted"() {
        const room = await w.alice.run(async (app) => (await app.client.createRoom({ name: "Parlour", preset: "private_chat" })).room_id);
        await w.alice.run((app, [room, bob]) => app.client.invite(room, bob), [room, w.bob.userId]);
        await w.bob.roomShows(room, { membership: "invite" });
        await w.bob.sees("#rooms li", "Parlour");
        await w.bob.run((app, room) => app.client.joinRoom(room), room);
        await w.bob.roomShows(room, { membership: "join" });
    },

    async "a knock is shown and answered"() {
        const room = await w.alice.run(async (app) => (await app.client.createRoom({
            name: "Study", initial_state: [{ type: "m.room.join_rules", state_key: "", content: { join_rule: "knock" } }],
        })).room_id);
        await w.bob.run((app, room) => app.client.knockRoom(room, { reason: "May I?" }), room);
        await w.bob.roomShows(room, { membership: "knock" });
        await w.alice.until("the knock", `(app, a) => (${membership})(app, a) === "knock"`, [room, w.bob.userId]);
        await w.alice.run((app, [room, bob]) => app.client.invite(room, bob), [room, w.bob.userId]);
        await w.bob.roomShows(room, { membership: "invite" });
        await w.bob.run((app, room) => app.client.joinRoom(room), room);
        await w.alice.until("bob to be in", `(app, a) => (${membership})(app, a) === "join"`, [room, w.bob.userId]);
    },

    async "a search finds messages and people"() {
        const said = await w.alice.say(w.room, "a perfectly ordinary rutabaga");
        await w.bob.until("the message to be found", async (app, event) => {
            const found = await app.client.searchRoomEvents({ term: "rutabaga" });
            return found.results.length === 1 && found.results[0].context.getEvent().getId() === event;
        }, said);
        await w.bob.until("alice in the directory", async (app, alice) =>
            (await app.client.searchUserDirectory({ term: "alice" })).results.some((r) => r.user_id === alice), w.alice.userId);
    },

    async "a reload comes back to where it was"() {
        await w.bob.page.reload();
        await w.bob.until("the page to load", () => Boolean(window.app));
        await w.bob.run((app) => app.start());
        await w.bob.show(w.room);
        // Of a long absence a sync tells the end; the rest is asked for.
        await w.bob.run((app, room) => app.client.scrollback(app.client.getRoom(room), 60), w.room);
        await w.bob.run((app, room) => app.show(room), w.room);
        await w.bob.sees(line(w.hello), "Good morning, Bob", "edited", "👍 2", "in a thread");
        const next = await w.alice.say(w.room, "after the reload");
        await w.bob.sees(line(next), "after the reload");
    },
};
