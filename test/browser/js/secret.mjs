// Encryption: the keys are in the pages' IndexedDB.

import { line, Person } from "./person.mjs";
import { same } from "./report.mjs";
import { page, url, world as w } from "./world.mjs";

export const secret = {
    async "encrypted messages go both ways"() {
        w.secret = await w.alice.run(async (app, bob) => (await app.client.createRoom({
            name: "Cellar", preset: "trusted_private_chat", invite: [bob],
            initial_state: [{ type: "m.room.encryption", state_key: "", content: { algorithm: "m.megolm.v1.aes-sha2" } }],
        })).room_id, w.bob.userId);
        await w.bob.roomShows(w.secret, { membership: "invite" });
        await w.bob.run((app, room) => app.client.joinRoom(room), w.secret);
        for (const p of [w.alice, w.bob]) {
            await p.show(w.secret);
            await p.until("the room to be encrypted, with both in it", async (app, room) =>
                (await app.client.getCrypto().isEncryptionEnabledInRoom(room)) && app.client.getRoom(room).getJoinedMemberCount() === 2, w.secret);
        }
        w.whisper = await w.alice.say(w.secret, "a whisper");
        await w.bob.sees(line(w.whisper), "a whisper");
        const answer = await w.bob.say(w.secret, "whispered back");
        await w.alice.sees(line(answer), "whispered back");
        for (const [p, event] of [[w.bob, w.whisper], [w.alice, answer]]) {
            same(`what the server has for ${p.name}`, await p.run(async (app, [room, event]) =>
                (await app.client.fetchRoomEvent(room, event)).type, [w.secret, event]), "m.room.encrypted");
        }
    },

    async "a reload keeps the keys"() {
        const device = await w.bob.run(async (app) => (await app.client.getCrypto().getOwnDeviceKeys()).ed25519);
        await w.bob.page.reload();
        await w.bob.until("the page to load", () => Boolean(window.app));
        await w.bob.run((app) => app.start());
        await w.bob.show(w.secret);
        same("the device's key", await w.bob.run(async (app) => (await app.client.getCrypto().getOwnDeviceKeys()).ed25519), device);
        await w.bob.sees(line(w.whisper), "a whisper");
        const next = await w.alice.say(w.secret, "still there?");
        await w.bob.sees(line(next), "still there?");
        const answer = await w.bob.say(w.secret, "still here");
        await w.alice.sees(line(answer), "still here");
    },

    async "cross-signing is set up, and seen by the other"() {
        await w.alice.run((app) => app.client.getCrypto().bootstrapCrossSigning({
            authUploadDeviceSigningKeys: (send) => send({
                type: "m.login.password", password: app.password, identifier: { type: "m.id.user", user: app.client.getUserId() },
            }),
        }));
        await w.bob.until("alice's device to be signed by her", async (app, alice) => {
            const devices = await app.client.getCrypto().getUserDeviceInfo([alice], true);
            const statuses = await Promise.all([...devices.get(alice).keys()].map((id) => app.client.getCrypto().getDeviceVerificationStatus(alice, id)));
            return statuses.length > 0 && statuses.every((s) => s?.signedByOwner);
        }, w.alice.userId);
    },

    async "a new device gets the old messages from the backup"() {
        const recovery = await w.alice.run(async (app) => {
            const crypto = app.client.getCrypto();
            const key = await crypto.createRecoveryKeyFromPassphrase();
            await crypto.bootstrapSecretStorage({ createSecretStorageKey: async () => key, setupNewKeyBackup: true });
            return key.encodedPrivateKey;
        });
        // The client waits up to 10 s before it sends keys.
        await w.alice.until("the keys to be backed up", async (app) =>
            (await app.client.http.authedRequest("GET", "/room_keys/version")).count > 0);
        const second = await Person.open("alice-again", page);
        try {
            await second.run((app, [url, name]) => app.login(url, name, `the password of ${name}`), [url, "alice"]);
            await second.run((app) => app.start());
            await second.show(w.secret);
            await second.sees(`${line(w.whisper)} em`, "cannot be decrypted");
            await second.run(async (app, recovery) => {
                app.recovery = recovery;
                const crypto = app.client.getCrypto();
                await crypto.userHasCrossSigningKeys(undefined, true); // downloads them
                await crypto.bootstrapCrossSigning({});
                await crypto.loadSessionBackupPrivateKeyFromSecretStorage();
                await crypto.restoreKeyBackup();
            }, recovery);
            await second.sees(line(w.whisper), "a whisper");
            const next = await w.bob.say(w.secret, "welcome, new device");
            await second.sees(line(next), "welcome, new device");
        } finally {
            await second.close();
        }
    },
};
