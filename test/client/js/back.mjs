// Clients stop and come back; people come and go.

import { join, timelineLimit } from "./person.mjs";
import { EventType } from "matrix-js-sdk";
import { check, same, until, within } from "./report.mjs";
import { alice, bob, both, event, membership, repeated, room, said, say, shows, url } from "./world.mjs";

const strangers = ["carol", "dave", "erin", "frank", "grace", "heidi", "ivan"];
const carol = () => `@carol:${alice.client.getDomain()}`;

export const back = {
    async "a client goes on where it stopped"() {
        await until("bob to have it all", () => bob.received(room).some((e) => e.event_id === said.at(-1)[1]));
        await bob.stop();
        const token = bob.saved.sync.nextBatch;
        const [syncs, events] = [bob.syncs.length, bob.events.length];
        const missed = [];
        for (let i = 0; i < timelineLimit - 3; i++) missed.push(await say(alice, `while bob was away ${i}`));
        await bob.start();
        same("the first token", bob.syncs[syncs].since, token);
        await shows(bob, said.map(([, , body]) => body).slice(-30));
        same("what came", bob.received(room, syncs).map((e) => e.event_id), missed);
        const live = bob.events.slice(events).map((e) => e.getId());
        same("what came as new, once", live.filter((id) => missed.includes(id)), missed);
        await say(bob, "I am back");
        await shows(alice, said.map(([, , body]) => body).slice(-10));
    },

    async "a gap is marked and can be filled"() {
        await bob.stop();
        const syncs = bob.syncs.length;
        for (let i = 0; i < 3 * timelineLimit; i++) await say(alice, `in the gap ${i}`);
        await bob.start();
        const { timeline } = bob.syncs[syncs].body.rooms.join[room];
        check("the answer is not limited", timeline.limited);
        check(`${timeline.events.length} of ${3 * timelineLimit} events came`, timeline.events.length > 0 && timeline.events.length < 3 * timelineLimit);
        check("there is no prev_batch", timeline.prev_batch);
        const want = said.slice(-3 * timelineLimit - 2).map(([, , body]) => body);
        for (let page = 0; bob.bodies(room).length < want.length; page++) {
            check("ten pages do not fill the gap", page < 10);
            await within("a page", bob.client.scrollback(bob.room(room), 10));
        }
        await shows(bob, want);
    },

    async "others join who never speak"() {
        const people = await Promise.all(strangers.map((name) => join(url, name)));
        for (const p of people) {
            const headers = { "Authorization": `Bearer ${p.account.access_token}`, "Content-Type": "application/json" };
            await alice.client.invite(room, p.userId);
            const joined = await fetch(`${url}/_matrix/client/v3/join/${encodeURIComponent(room)}`, { method: "POST", headers, body: "{}" });
            same(`the join of ${p.userId}`, joined.status, 200);
        }
        await membership(alice, people.at(-1).userId, "join");
    },

    async "200 messages back, each once"() {
        for (let i = 0; i < 210; i++) await say(alice, `history ${i}`);
        await bob.stop();
        bob.forget(); // a new client on a new machine
        const syncs = bob.syncs.length;
        await bob.start();
        const first = bob.syncs[syncs];
        same("the token of a new client", first.since, null);
        check("the first answer is not limited", first.body.rooms.join[room].timeline.limited);
        const created = () => bob.timeline(room)[0].getType() === EventType.RoomCreate;
        for (let page = 0; !created(); page++) {
            check(`${page} pages do not reach the room's creation`, page < 30);
            await within("a page", bob.client.scrollback(bob.room(room), 30));
        }
        same("the messages", bob.bodies(room), said.map(([, , body]) => body));
        same("their events", bob.timeline(room).filter((e) => e.getType() === "m.room.message" && !e.isRedacted()).map((e) => e.getId()),
            said.map(([, id]) => id));
        same("what is there twice", repeated(bob.timeline(room).map((e) => e.getId())), []);
    },

    async "members are loaded when they are needed"() {
        const initial = bob.syncs.findLast((s) => s.since === null).body.rooms.join[room];
        const state = initial.state ?? initial["org.matrix.msc4222.state_after"] ?? initial.state_after;
        const members = state.events.filter((e) => e.type === "m.room.member").map((e) => e.state_key);
        const everybody = strangers.length + 2;
        check(`all of ${members} came at once`, members.length < everybody);
        check(`alice, who spoke, is not among ${members}`, members.includes(alice.userId));
        same("how many there are", bob.room(room).getJoinedMemberCount(), everybody);
        await within("the members", bob.room(room).loadMembersIfNeeded());
        same("the members", bob.room(room).getJoinedMembers().map((m) => m.userId).sort(),
            [...both().map((p) => p.userId), ...strangers.map((n) => `@${n}:${alice.client.getDomain()}`)].sort());
    },

    async "someone leaves"() {
        const login = await alice.client.loginRequest({
            type: "m.login.password", identifier: { type: "m.id.user", user: "carol" }, password: "the password of carol",
        });
        const headers = { "Authorization": `Bearer ${login.access_token}`, "Content-Type": "application/json" };
        const left = await fetch(`${url}/_matrix/client/v3/rooms/${encodeURIComponent(room)}/leave`, { method: "POST", headers, body: "{}" });
        same("the answer", left.status, 200);
        for (const p of both()) await membership(p, carol(), "leave");
    },

    async "someone is kicked"() {
        await alice.client.kick(room, bob.userId, "too much tea");
        await until("bob to see that he is out", () => bob.room(room).getMyMembership() === "leave", () => bob.room(room).getMyMembership());
        const member = bob.room(room).getMember(bob.userId).events.member;
        same("who and why", [member.getSender(), member.getContent().reason], [alice.userId, "too much tea"]);
        await membership(alice, bob.userId, "leave");
        const refused = await bob.say(room, "let me in").then(() => undefined, (e) => e);
        same("sending from outside", refused?.errcode, "M_FORBIDDEN");
        bob.errors = bob.errors.filter((e) => !e.includes("M_FORBIDDEN"));
        const after = await alice.say(room, "without bob");
        await event(alice, after);
        check("bob got what he may not see", !bob.received(room).some((e) => e.event_id === after));
    },

    async "bob comes back"() {
        await alice.client.invite(room, bob.userId);
        await until("bob to see the invitation", () => bob.room(room).getMyMembership() === "invite", () => bob.room(room).getMyMembership());
        await bob.client.joinRoom(room);
        await membership(alice, bob.userId, "join");
        const id = await alice.say(room, "welcome");
        await event(bob, id);
    },

    async "nothing came twice and nothing failed"() {
        same("what alice got twice", repeated(alice.received(room).map((e) => e.event_id)), []);
        for (const p of both()) {
            same(`${p.userId}'s errors`, p.errors, []);
            const failed = p.answers.filter((a) => a.status >= 500);
            same(`the failures of ${p.userId}'s requests`, failed, []);
        }
    },

    async "a logged-out client is told so"() {
        await Promise.all(both().map((p) => p.stop()));
        await bob.client.logout();
        const status = async (p) => {
            const headers = { Authorization: `Bearer ${p.account.access_token}` };
            return (await fetch(`${url}/_matrix/client/v3/account/whoami`, { headers })).status;
        };
        await until("bob's token to end", async () => (await status(bob)) === 401);
        same("alice's token", await status(alice), 200);
    },
};
