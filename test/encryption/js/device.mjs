// A device at matrix-js-sdk with its encryption in WebAssembly and its stores in memory.
// A test tells it what to do: one JSON object a line on standard input,
//   {"id": 1, "do": "send", "args": {…}}
// is answered by {"id": 1, "result": …} or {"id": 1, "error": "…"}.

import { createInterface } from "node:readline";

Promise.withResolvers ??= function () { // Node 20 has not got it
    let resolve, reject;
    const promise = new this((a, b) => { resolve = a; reject = b; });
    return { promise, resolve, reject };
};
for (const level of ["debug", "log", "info", "warn"]) console[level] = () => {}; // standard output is for answers

const sdk = await import("matrix-js-sdk");
const { CryptoEvent, decodeRecoveryKey, VerificationPhase, VerificationRequestEvent, VerifierEvent } =
    await import("matrix-js-sdk/lib/crypto-api/index.js");

const silent = () => {};
const logger = { trace: silent, debug: silent, info: silent, warn: silent, error: silent, getChild: () => logger };

let client, password, recovery, verification, sas;
const storageKeys = new Map();
const events = new Map(); // by id

/** Signs in with the password, which the server may ask for again. */
const authenticate = (send) => send({
    type: "m.login.password", password, identifier: { type: "m.id.user", user: client.getUserId() },
});

const commands = {
    async login({ url, user, password: word }) {
        password = word;
        const session = await sdk.createClient({ baseUrl: url, logger }).loginRequest({
            type: "m.login.password", identifier: { type: "m.id.user", user }, password, initial_device_display_name: "matrix-js-sdk",
        });
        client = sdk.createClient({
            baseUrl: url, userId: session.user_id, accessToken: session.access_token, deviceId: session.device_id, logger,
            cryptoCallbacks: {
                getSecretStorageKey: async ({ keys }) => {
                    const id = Object.keys(keys)[0];
                    const key = storageKeys.get(id) ?? (recovery && decodeRecoveryKey(recovery));
                    return key ? [id, key] : null;
                },
                cacheSecretStorageKey: (id, _info, key) => storageKeys.set(id, key),
            },
            verificationMethods: ["m.sas.v1"],
        });
        await client.initRustCrypto({ useIndexedDB: false });
        client.on(CryptoEvent.VerificationRequestReceived, (request) => { verify(request); request.accept(); });
        client.on(sdk.ClientEvent.Event, (event) => { if (event.getId()) events.set(event.getId(), event); });
        await client.startClient({ initialSyncLimit: 200, pollTimeout: 10_000 });
        await new Promise((resolve) => client.on(sdk.ClientEvent.Sync, (state) => state === "SYNCING" && resolve()));
        return { user: session.user_id, device: session.device_id, token: session.access_token };
    },

    /** The ids of the devices that messages to a user are encrypted for. */
    async devices({ user }) {
        return [...((await client.getCrypto().getUserDeviceInfo([user])).get(user)?.keys() ?? [])];
    },

    async ready({ room, members }) {
        return client.getRoom(room)?.getJoinedMemberCount() === members && await client.getCrypto().isEncryptionEnabledInRoom(room);
    },

    async send({ room, body }) {
        return (await client.sendTextMessage(room, body)).event_id;
    },

    /** What the device shows of the encrypted events of a room, by event id. */
    async read({ room }) {
        const shown = {};
        for (const [id, event] of events) {
            if (event.getRoomId() !== room || event.getWireType() !== "m.room.encrypted") continue;
            const session = event.getWireContent().session_id;
            shown[id] = event.isDecryptionFailure() || !event.getClearContent()
                ? { session, error: event.decryptionFailureReason ?? "NOT_DECRYPTED" } : { session, body: event.getContent().body };
        }
        return shown;
    },

    /** Makes cross-signing keys, a secret storage and a backup, and returns the recovery key. */
    async protect() {
        const crypto = client.getCrypto();
        await crypto.bootstrapCrossSigning({ authUploadDeviceSigningKeys: authenticate });
        const key = await crypto.createRecoveryKeyFromPassphrase();
        await crypto.bootstrapSecretStorage({ createSecretStorageKey: async () => key, setupNewKeyBackup: true });
        return key.encodedPrivateKey;
    },

    /** Signs the device with the keys of the secret storage, and reads the backup. */
    async restore({ recovery: key }) {
        recovery = key;
        const crypto = client.getCrypto();
        await crypto.userHasCrossSigningKeys(undefined, true); // downloads them
        await crypto.bootstrapCrossSigning({});
        await crypto.loadSessionBackupPrivateKeyFromSecretStorage();
        return (await crypto.restoreKeyBackup()).imported;
    },

    async backedUp() {
        return (await client.http.authedRequest("GET", "/room_keys/version")).count;
    },

    /** Asks a device of the same user to verify this one. */
    async verify({ user, device }) {
        verify(await client.getCrypto().requestDeviceVerification(user, device));
    },
    async sas() {
        return sas?.sas.decimal?.join(" ") ?? null;
    },
    async confirm() {
        await sas.confirm();
    },
    async verified() {
        return verification?.phase === VerificationPhase.Done;
    },

    /** Whether the owner of a device has signed it. */
    async signed({ user, device }) {
        return Boolean((await client.getCrypto().getDeviceVerificationStatus(user, device))?.signedByOwner);
    },

    /** Does not wait any longer to ask a server again that did not answer. */
    async wake() {
        client.retryImmediately();
    },
};

/** Follows a verification; the one who asked for it starts the comparison. */
function verify(request) {
    [verification, sas] = [request, undefined];
    let verifier;
    const look = async () => {
        if (request.phase === VerificationPhase.Ready && request.initiatedByMe) await request.startVerification("m.sas.v1");
        if (request.verifier && request.verifier !== verifier) {
            verifier = request.verifier;
            verifier.on(VerifierEvent.ShowSas, (callbacks) => (sas = callbacks));
            verifier.verify().catch(silent);
        }
    };
    request.on(VerificationRequestEvent.Change, () => look().catch(silent));
    look().catch(silent);
}

for await (const line of createInterface({ input: process.stdin })) {
    const { id, do: name, args } = JSON.parse(line);
    const answer = (body) => process.stdout.write(JSON.stringify({ id, ...body }) + "\n");
    commands[name](args ?? {}).then((result) => answer({ result: result ?? null }), (e) => answer({ error: String(e?.stack ?? e) }));
}
process.exit(0);
