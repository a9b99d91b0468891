// The client: matrix-js-sdk with its stores in IndexedDB, and a view of one room.
// The driver calls window.app and looks at what view.mjs shows.

import * as sdk from "matrix-js-sdk";
import { decodeRecoveryKey } from "matrix-js-sdk/lib/crypto-api/index.js";
import { draw } from "./view.mjs";

const saved = "hearth-account";
const problems = []; // what the client library called an error

// What a step needs of it is in the errors of a failed step.
const keep = (...words) => problems.push(words.map((w) => String(w?.stack ?? w)).join(" ").slice(0, 500));
const silent = () => {};
const logger = { trace: silent, debug: silent, info: silent, warn: silent, error: keep, getChild: () => logger };

/** Makes an account and keeps it for this page and the ones after it. */
async function register(url, name, password) {
    const client = sdk.createClient({ baseUrl: url, logger });
    return remember(url, password, await client.registerRequest({
        username: name,
        password,
        auth: { type: "m.login.dummy" },
        initial_device_display_name: "A browser",
    }));
}

/** Opens a session of an account on a device of its own, and keeps it. */
async function login(url, name, password) {
    const client = sdk.createClient({ baseUrl: url, logger });
    return remember(url, password, await client.loginRequest({
        type: "m.login.password",
        identifier: { type: "m.id.user", user: name },
        password,
    }));
}

function remember(url, password, answer) {
    localStorage.setItem(saved, JSON.stringify({
        baseUrl: url,
        userId: answer.user_id,
        deviceId: answer.device_id,
        accessToken: answer.access_token,
        password,
    }));
    return answer.user_id;
}

/** Starts the client of the kept account, with what its stores have. */
async function start() {
    const { password, ...account } = JSON.parse(localStorage.getItem(saved));
    const store = new sdk.IndexedDBStore({ indexedDB, localStorage, dbName: "hearth" });
    const client = sdk.createClient({
        ...account,
        store,
        logger,
        fetchFn,
        timelineSupport: true,
        cryptoCallbacks: { getSecretStorageKey, cacheSecretStorageKey },
    });
    Object.assign(app, { client, password });
    await store.startup();
    await client.initRustCrypto();
    for (const event of [
        sdk.ClientEvent.Room, sdk.ClientEvent.Sync, sdk.ClientEvent.Event, sdk.RoomEvent.Timeline, sdk.RoomEvent.Receipt,
        sdk.RoomEvent.LocalEchoUpdated, sdk.RoomEvent.Redaction, sdk.RoomEvent.Name, sdk.RoomMemberEvent.Typing,
        sdk.RoomMemberEvent.Name, sdk.RoomMemberEvent.Membership, sdk.MatrixEventEvent.Decrypted, sdk.RoomEvent.UnreadNotifications,
        sdk.ThreadEvent.New, sdk.ThreadEvent.Update, sdk.MatrixEventEvent.Replaced, sdk.UserEvent.AvatarUrl,
    ]) {
        client.on(event, redraw);
    }
    await client.startClient({ threadSupport: true, initialSyncLimit: 20, lazyLoadMembers: true, pollTimeout: 10_000 });
}

/** Finds the key of the secret storage: the one that was just made, or the one that was typed in. */
async function getSecretStorageKey({ keys }) {
    const id = Object.keys(keys)[0];
    const key = made.get(id) ?? (app.recovery && decodeRecoveryKey(app.recovery));
    return key ? [id, key] : null;
}

const made = new Map();
const cacheSecretStorageKey = (id, _info, key) => made.set(id, key);

/** Shows a room. */
function show(roomId) {
    app.roomId = roomId;
    redraw();
}

let due;
function redraw() {
    due ??= setTimeout(() => {
        due = undefined;
        draw(app).catch(keep);
    }, 10);
}

/** What explains that something does not happen. */
const trouble = () => ({
    sync: app.client?.getSyncState(),
    waiting: [...open].map((r) => `${r.name} since ${Math.round(performance.now() - r.start)} ms`),
    problems: problems.slice(-4),
    text: document.body.innerText.slice(0, 600),
});

const open = new Set(); // requests that are not answered
async function fetchFn(resource, options) {
    const request = { name: `${options?.method ?? "GET"} ${new URL(resource).pathname}`, start: performance.now() };
    open.add(request);
    try {
        return await fetch(resource, options);
    } finally {
        open.delete(request);
    }
}

const app = { sdk, register, login, start, show, trouble, images: new Map() };
window.app = app;
