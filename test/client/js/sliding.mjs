// A person whose client speaks simplified sliding sync: the engine of matrix-js-sdk for
// it. The server is at HEARTH_URL; registration is open.

import "./node.mjs";
import { createClient, NotificationCountType } from "matrix-js-sdk";
import { SlidingSync, SlidingSyncEvent } from "matrix-js-sdk/lib/sliding-sync.js";
import { join } from "./person.mjs";
import { check, run, same, until, within } from "./report.mjs";
import { url } from "./world.mjs";

const window = 10, rooms = 25;
const list = "all_rooms";
const state = [["m.room.name", ""], ["m.room.topic", ""], ["m.room.encryption", ""], ["m.room.member", "$LAZY"], ["m.room.member", "$ME"]];

let alice, bob, sliding;
const ids = []; // of the rooms, the first made first
const told = []; // what the engine told of rooms: [id, data]
const lists = []; // the counts of the list

const room = (id) => alice.client.getRoom(id);
const bodies = (id) => room(id).getLiveTimeline().getEvents().filter((e) => e.getType() === "m.room.message").map((e) => e.getContent().body);
const known = () => alice.client.getRooms().filter((r) => r.getMyMembership() === "join").length;

/** Starts the client of alice as an application does when it is opened. */
async function open() {
    alice.client = createClient({
        baseUrl: url, userId: alice.userId, deviceId: alice.account.device_id, accessToken: alice.account.access_token,
        timelineSupport: true,
    });
    const first = { ranges: [[0, window - 1]], timeline_limit: 1, required_state: state, filters: {} };
    sliding = new SlidingSync(url, new Map([[list, first]]), { timeline_limit: 20, required_state: [["*", "*"]] }, alice.client, 10_000);
    sliding.on(SlidingSyncEvent.RoomData, (id, data) => { told.push([id, data]); });
    sliding.on(SlidingSyncEvent.Lifecycle, (_, answer) => { if (answer?.lists?.[list]) lists.push(answer.lists[list].count); });
    await alice.client.startClient({ slidingSync: sliding });
}

const steps = {
    async "log in"() {
        alice = await join(url, "alice");
        bob = await join(url, "bob");
        bob.client = createClient({ baseUrl: url, userId: bob.userId, deviceId: bob.account.device_id, accessToken: bob.account.access_token });
        const { versions, unstable_features: features } = await bob.client.getVersions();
        check("the server says that it has sliding sync", versions.length > 0 && features["org.matrix.simplified_msc3575"]);
    },
    async "the list begins with the latest rooms"() {
        for (let i = 0; i < rooms; i++) {
            const { room_id } = await bob.client.createRoom({ preset: "private_chat", name: `Room ${i}`, invite: [alice.userId] });
            ids.push(room_id);
            const join = await fetch(`${url}/_matrix/client/v3/join/${encodeURIComponent(room_id)}`, {
                method: "POST", headers: { Authorization: `Bearer ${alice.account.access_token}` }, body: "{}",
            });
            check("alice joins", join.ok);
            await bob.client.sendTextMessage(room_id, `first in ${i}`);
        }
        await open();
        await until("the first window", () => known() === window, known);
        same("the length of the list", lists[0], rooms);
        for (const id of ids.slice(-window)) {
            same("name", room(id).name, `Room ${ids.indexOf(id)}`);
            same("last message", bodies(id), [`first in ${ids.indexOf(id)}`]);
        }
        const stamps = ids.slice(-window).map((id) => told.find(([other]) => other === id)[1].bump_stamp);
        same("the order by bump stamps", stamps, [...stamps].sort((a, b) => a - b));
    },
    async "the list grows"() {
        sliding.setListRanges(list, [[0, rooms - 1]]);
        await until("all rooms", () => known() === rooms, known);
    },
    async "open a room"() {
        const id = ids[0];
        for (let i = 0; i < 5; i++) await bob.client.sendTextMessage(id, `more ${i}`);
        await bob.client.sendStateEvent(id, "m.room.topic", { topic: "What we talk about" }, "");
        sliding.modifyRoomSubscriptions(new Set([id]));
        await until("the history of the room", () => bodies(id).length === 6, () => bodies(id));
        same("messages", bodies(id), ["first in 0", ...[0, 1, 2, 3, 4].map((i) => `more ${i}`)]);
        const topic = () => room(id).currentState.getStateEvents("m.room.topic", "")?.getContent().topic;
        await until("the topic", () => topic() === "What we talk about", topic);
        const levels = () => room(id).currentState.getStateEvents("m.room.power_levels", "");
        await until("the whole state", () => levels(), levels);
    },
    async "receive"() {
        const id = ids[0];
        await bob.client.sendTyping(id, true, 20_000);
        const typing = () => room(id).getMember(bob.userId)?.typing;
        await until("bob typing", typing, typing);
        const { event_id } = await bob.client.sendTextMessage(id, "Hello Alice");
        await until("the message", () => room(id).findEventById(event_id), () => bodies(id));
        same("shown once", bodies(id).filter((b) => b === "Hello Alice").length, 1);
        // A room that is not open comes to the front of the list.
        const other = ids[3];
        told.length = 0;
        await bob.client.sendTextMessage(other, "And here");
        await until("the message in another room", () => bodies(other).at(-1) === "And here", () => bodies(other));
        same("what was told", told.map(([id]) => id), [other]);
    },
    async "send"() {
        const id = ids[0];
        const { event_id } = await within("alice to send", alice.client.sendTextMessage(id, "Hello Bob"));
        await until("the event of the server", () => room(id).findEventById(event_id) && !room(id).hasPendingEvent(event_id));
        same("shown once", bodies(id).filter((b) => b === "Hello Bob").length, 1);
    },
    async "mark read"() {
        const id = ids[3];
        const unread = () => room(id).getUnreadNotificationCount(NotificationCountType.Total);
        await until("unread messages", () => unread() > 0, unread);
        await alice.client.sendReadReceipt(room(id).getLiveTimeline().getEvents().at(-1));
        await until("no unread messages", () => unread() === 0, unread);
        const mine = () => room(id).getEventReadUpTo(alice.userId, true);
        same("the receipt", mine(), room(id).getLiveTimeline().getEvents().at(-1).getId());
        await bob.client.sendReadReceipt((await bob.client.fetchRoomEvent(ids[0], room(ids[0]).getLiveTimeline().getEvents().at(-1).getId()).then((e) => {
            const mapper = bob.client.getEventMapper();
            return mapper(e);
        })));
        const theirs = () => room(ids[0]).getEventReadUpTo(bob.userId, true);
        await until("the receipt of bob", () => theirs() === room(ids[0]).getLiveTimeline().getEvents().at(-1).getId(), theirs);
    },
    async "invites and departures"() {
        const { room_id } = await bob.client.createRoom({ preset: "private_chat", name: "Surprise", invite: [alice.userId], is_direct: true });
        await until("the invite", () => room(room_id)?.getMyMembership() === "invite", () => room(room_id)?.getMyMembership());
        await alice.client.joinRoom(room_id);
        await until("the room", () => room(room_id)?.getMyMembership() === "join" && room(room_id).name === "Surprise", () => room(room_id)?.getMyMembership());
        await bob.client.kick(room_id, alice.userId, "enough");
        await until("the departure", () => room(room_id)?.getMyMembership() === "leave", () => room(room_id)?.getMyMembership());
    },
    async "open the application again"() {
        alice.client.stopClient();
        await bob.client.sendTextMessage(ids[7], "While you were away");
        told.length = 0;
        await open();
        await until("the room with news", () => room(ids[7]) && bodies(ids[7]).at(-1) === "While you were away", () => told.map(([id]) => id));
        alice.client.stopClient();
    },
};

process.exit((await run(steps)) ? 0 : 1);
