// Two people meet and talk.

import { join } from "./person.mjs";
import { EventType, MsgType, RoomMemberEvent } from "matrix-js-sdk";
import { check, same, until, within } from "./report.mjs";
import { alice, bob, both, enter, event, meet, membership, repeated, room, said, say, shows, url } from "./world.mjs";

export const talk = {
    async "the server says what it can"() {
        const { versions } = await (await fetch(`${url}/_matrix/client/versions`)).json();
        check(`versions ${versions} have no v1.x`, versions.some((v) => /^v1\.\d+$/.test(v)));
    },

    async "two people register, log in and sync"() {
        meet(...(await Promise.all([join(url, "alice"), join(url, "bob")])));
        await Promise.all(both().map((p) => p.start()));
        for (const p of both()) {
            const me = await p.client.whoami();
            same("whoami", [me.user_id, me.device_id], [p.account.user_id, p.account.device_id]);
        }
    },

    async "an invitation arrives through /sync"() {
        const made = await alice.client.createRoom({ preset: "private_chat", name: "Tea", topic: "Leaves" });
        enter(made.room_id);
        await until("alice to see her room", () => alice.room(room).name === "Tea" && alice.room(room).getMyMembership() === "join");
        await alice.client.invite(room, bob.userId);
        await until("bob to see the invitation", () => bob.client.getRoom(room)?.getMyMembership() === "invite");
        same("the name for bob", bob.room(room).name, "Tea");
        same("who invites", bob.room(room).getMember(bob.userId).events.member.getSender(), alice.userId);
        await membership(alice, bob.userId, "invite");
    },

    async "bob joins"() {
        await within("bob to join", bob.client.joinRoom(room));
        await until("bob to be in", () => bob.room(room).getMyMembership() === "join" && bob.timeline(room).length > 0);
        await membership(alice, bob.userId, "join");
        await membership(bob, alice.userId, "join");
        same("the topic for bob", bob.room(room).currentState.getStateEvents("m.room.topic", "")?.getContent().topic, "Leaves");
    },

    async "messages arrive in order, once"() {
        for (let i = 0; i < 10; i++) {
            await event(bob, await say(alice, `alice ${i}`));
            await event(alice, await say(bob, `bob ${i}`));
        }
        const [ids, bodies] = [said.map(([, id]) => id), said.map(([, , body]) => body)];
        for (const p of both()) {
            await shows(p, bodies);
            same(`how many messages ${p.userId} has`, p.bodies(room).length, bodies.length);
            await until(`${p.userId} to get them all`, () => p.received(room).some((e) => e.event_id === ids.at(-1)));
            same(`what ${p.userId} got`, p.received(room).filter((e) => e.type === "m.room.message").map((e) => e.event_id), ids);
        }
    },

    async "messages sent at once are in one order for both"() {
        const bodies = Array.from({ length: 20 }, (_, i) => `at once ${i}`);
        const ids = await Promise.all(bodies.map((body, i) => both()[i % 2].say(room, body)));
        for (const p of both()) {
            await until(`${p.userId} to see all`, () => ids.every((id) => p.room(room).findEventById(id)));
        }
        const order = (p) => p.timeline(room).map((e) => e.getId()).filter((id) => ids.includes(id));
        await until("alice's last echo", () => alice.timeline(room).every((e) => e.status === null));
        await until("bob's last echo", () => bob.timeline(room).every((e) => e.status === null));
        const server = (p) => p.received(room).map((e) => e.event_id).filter((id) => ids.includes(id));
        same("the order for alice and bob", server(alice), server(bob));
        same("what bob's client shows", order(bob).toSorted(), [...ids].sort());
        for (const id of server(bob)) {
            const i = ids.indexOf(id);
            said.push([both()[i % 2].userId, id, bodies[i]]);
        }
    },

    async "a local echo becomes the event"() {
        const before = bob.echoes.length;
        const id = await say(bob, "an echo");
        await event(alice, id);
        await until("bob's echo to be replaced", () => bob.echoes.slice(before).some(([, after]) => after === id), () => bob.echoes.slice(before));
        await until("bob to get his event", () => bob.received(room).some((e) => e.event_id === id));
        for (const p of both()) {
            const ids = p.timeline(room).map((e) => e.getId());
            same(`what ${p.userId} sees twice`, repeated(ids), []);
            same(`what ${p.userId} still has as an echo`, ids.filter((i) => i.startsWith("~")), []);
        }
        for (const p of both()) {
            for (const e of p.received(room).filter((e) => e.type === "m.room.message")) {
                same(`whether ${p.userId} gets a transaction id with ${e.content.body}`, typeof e.unsigned?.transaction_id,
                    e.sender === p.userId ? "string" : "undefined");
            }
        }
    },

    async "a reply points at what it answers"() {
        const question = await say(alice, "Milk?");
        const { event_id } = await bob.client.sendMessage(room, {
            "msgtype": MsgType.Text,
            "body": "Please",
            "m.relates_to": { "m.in_reply_to": { event_id: question } },
        });
        said.push([bob.userId, event_id, "Please"]);
        same("what is answered", (await event(alice, event_id)).replyEventId, question);
    },

    async "a redaction empties a message"() {
        const id = await alice.say(room, "a slip of the tongue");
        await event(bob, id);
        const { event_id } = await alice.client.redactEvent(room, id, undefined, { reason: "typo" });
        for (const p of both()) {
            const gone = await event(p, id);
            await until(`${p.userId} to see the redaction`, () => gone.isRedacted(), () => gone.getContent());
            same("what is left", gone.getContent(), {});
            same("the redaction", gone.getUnsigned().redacted_because?.event_id, event_id);
        }
        const fetched = await bob.client.fetchRoomEvent(room, id);
        same("what the server has", fetched.content, {});
    },

    async "a new name and topic are seen"() {
        await alice.client.setRoomName(room, "Coffee");
        await alice.client.setRoomTopic(room, "Beans");
        const topic = () => bob.room(room).currentState.getStateEvents("m.room.topic", "").getContent().topic;
        await until("bob to see the name", () => bob.room(room).name === "Coffee", () => bob.room(room).name);
        await until("bob to see the topic", () => topic() === "Beans", topic);
        const name = bob.room(room).currentState.getStateEvents("m.room.name", "");
        same("the name before", name.getPrevContent().name, "Tea");
    },

    async "typing is seen and ends"() {
        const typing = () => bob.room(room).getMember(alice.userId).typing;
        const seen = [];
        bob.client.on(RoomMemberEvent.Typing, (_, member) => seen.push([member.userId, member.typing]));
        await alice.client.sendTyping(room, true, 30_000);
        await until("bob to see alice type", typing, () => seen);
        await alice.client.sendTyping(room, false, 0);
        await until("bob to see alice stop", () => !typing(), () => seen);
        same("what bob saw", seen, [[alice.userId, true], [alice.userId, false]]);
    },

    async "read receipts move forward"() {
        const upTo = () => alice.room(room).getEventReadUpTo(bob.userId);
        for (const body of ["read me", "and me"]) {
            const id = await say(alice, body);
            await bob.client.sendReadReceipt(await event(bob, id));
            await until(`alice to see bob read ${body}`, () => upTo() === id, upTo);
        }
        const marked = said.at(-1)[1];
        await bob.client.setRoomReadMarkers(room, marked, await event(bob, marked));
        const fully = () => bob.room(room).getAccountData(EventType.FullyRead)?.getContent().event_id;
        await until("bob to see his read marker", () => fully() === marked, fully);
    },

    async "a new display name is seen"() {
        await alice.client.setDisplayName("Alice Liddell");
        const name = () => bob.room(room).getMember(alice.userId).rawDisplayName;
        await until("bob to see the name", () => name() === "Alice Liddell", name);
        same("the profile", (await bob.client.getProfileInfo(alice.userId)).displayname, "Alice Liddell");
    },
};
