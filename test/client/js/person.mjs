// A person at a client: matrix-js-sdk, with an eye on what goes over the wire.

import "./node.mjs";
import { ClientEvent, createClient, MemoryStore, RoomEvent, SyncAccumulator, SyncState } from "matrix-js-sdk";
import { patience, until, within } from "./report.mjs";

/** How many events of a room a /sync shows at most. */
export const timelineLimit = 8;

/** A store that survives its client, as a browser's does. */
class Store extends MemoryStore {
    constructor(saved) {
        super();
        this.saved = saved;
        this.accumulator = new SyncAccumulator({ maxTimelineEntries: 50 });
        if (saved.sync) this.accumulator.accumulate(asResponse(saved.sync), true);
    }
    isNewlyCreated() {
        return Promise.resolve(!this.saved.sync);
    }
    setSyncData(data) {
        this.accumulator.accumulate(structuredClone(data));
        this.saved.sync = structuredClone(this.accumulator.getJSON(true));
        return Promise.resolve();
    }
    getSavedSync() {
        return Promise.resolve(this.saved.sync ? structuredClone(this.accumulator.getJSON()) : null);
    }
    getSavedSyncToken() {
        return Promise.resolve(this.saved.sync?.nextBatch ?? null);
    }
}

const asResponse = ({ nextBatch, roomsData, accountData }) => ({
    next_batch: nextBatch,
    rooms: structuredClone(roomsData),
    account_data: { events: structuredClone(accountData) },
});

const silent = () => {};

/** What the client library says goes nowhere, except its errors, which are kept. */
function logger(errors) {
    const error = (...words) => errors.push(words.map((w) => String(w?.stack ?? w)).join(" "));
    return { trace: silent, debug: silent, info: silent, warn: silent, error, getChild: () => logger(errors) };
}

export class Person {
    /** @param account - what register or login answered */
    constructor(url, account) {
        this.url = url;
        this.account = account;
        this.userId = account.user_id;
        this.saved = {}; // what outlives a client
        this.answers = []; // every request that was answered: {method, path, status, body}
        this.syncs = []; // every /sync that was answered: {since, body}
        this.errors = []; // what the client library called an error
        this.echoes = []; // [transaction id or event id before, event id after]
        this.events = []; // live events as the client showed them, by id, in order
    }

    /** Starts a client, from scratch or from what an earlier one stored. */
    async start() {
        this.client = createClient({
            baseUrl: this.url,
            userId: this.userId,
            accessToken: this.account.access_token,
            deviceId: this.account.device_id,
            store: new Store(this.saved),
            fetchFn: this.fetch.bind(this),
            localTimeoutMs: patience,
            logger: logger(this.errors),
        });
        this.client.on(ClientEvent.SyncUnexpectedError, (e) => this.errors.push(String(e?.stack ?? e)));
        this.client.on(RoomEvent.LocalEchoUpdated, (event, _room, before) => {
            if (before && before !== event.getId()) this.echoes.push([before, event.getId()]);
        });
        this.client.on(RoomEvent.Timeline, (event, _room, toStart, removed, data) => {
            if (data.liveEvent && !toStart && !removed) this.events.push(event);
        });
        await this.client.startClient({ initialSyncLimit: timelineLimit, lazyLoadMembers: true, pollTimeout: 10_000 });
        await until(`${this.userId} to sync`, () => this.client.getSyncState() === SyncState.Syncing, () => this.trouble());
    }

    /** What explains that something does not happen. */
    trouble() {
        const refused = this.answers.filter((a) => a.status >= 400).map((a) => `${a.method} ${a.path}: ${a.status} ${a.body}`);
        return { state: this.client.getSyncState(), refused: refused.slice(-5), errors: this.errors.slice(-5) };
    }

    /** Stops the client as a closed tab does. */
    async stop() {
        const stopped = new Promise((resolve) => {
            this.client.on(ClientEvent.Sync, (state) => state === SyncState.Stopped && resolve());
        });
        this.client.stopClient();
        await within(`${this.userId} to stop`, stopped);
    }

    /** Forgets what was stored. */
    forget() {
        this.saved = {};
    }

    async fetch(resource, options) {
        const url = new URL(resource);
        const response = await fetch(resource, options);
        const text = await response.clone().text();
        const answer = { method: options?.method ?? "GET", path: url.pathname, status: response.status, body: text };
        this.answers.push(answer);
        if (url.pathname.endsWith("/sync") && response.ok) {
            this.syncs.push({ since: url.searchParams.get("since"), filter: url.searchParams.get("filter"), body: JSON.parse(text) });
        }
        return response;
    }

    room(roomId) {
        const room = this.client.getRoom(roomId);
        if (!room) throw new Error(`${this.userId} has no room ${roomId}`);
        return room;
    }

    /** The events of the live timeline, oldest first. */
    timeline(roomId) {
        return this.room(roomId).getLiveTimeline().getEvents();
    }

    /** The bodies of the messages of the live timeline, oldest first. */
    bodies(roomId) {
        return this.timeline(roomId)
            .filter((e) => e.getType() === "m.room.message" && !e.isRedacted())
            .map((e) => e.getContent().body);
    }

    /** The events of a room as they came in the timelines of all /sync answers. */
    received(roomId, from = 0) {
        return this.syncs.slice(from).flatMap((s) => s.body.rooms?.join?.[roomId]?.timeline?.events ?? []);
    }

    /** Sends a text and returns the event's id. */
    async say(roomId, body) {
        const { event_id } = await within(`${this.userId} to send ${body}`, this.client.sendTextMessage(roomId, body));
        return event_id;
    }
}

/** Makes an account and logs in to it. */
export async function join(url, name) {
    const password = `the password of ${name}`;
    const client = createClient({ baseUrl: url, localTimeoutMs: patience, logger: logger([]) });
    const auth = { type: "m.login.dummy" };
    await client.registerRequest({ username: name, password, auth, inhibit_login: true });
    const account = await client.loginRequest({
        type: "m.login.password",
        identifier: { type: "m.id.user", user: name },
        password,
        initial_device_display_name: `${name}'s test`,
    });
    return new Person(url, account);
}
