// A bridge to a network that is in this process: people of the network are ghosts on
// the Matrix side, places are rooms. What arrives is written to a file, line by line,
// before it is answered; what the network's people shall do comes through HTTP.
import fs from "node:fs";
import http from "node:http";
import { AppService, AppServiceRegistration } from "matrix-appservice";
import { Bridge, Logger } from "matrix-appservice-bridge";

const env = (name) => {
    const value = process.env[name];
    if (!value) throw new Error(`${name} is not set`);
    return value;
};
const domain = env("BRIDGE_DOMAIN");
const record = fs.openSync(env("BRIDGE_RECORD"), "a");

function write(line) {
    fs.writeSync(record, JSON.stringify(line) + "\n");
    fs.fsyncSync(record);
}

// Recorder notes each transaction before the library sees it.
class Recorder extends AppService {
    onTransaction(req, res) {
        if (!this.isInvalidToken(req, { status: () => {}, send: () => {} })) {
            write({ txn: req.params.txnId, events: req.body.events.map((e) => e.event_id), body: JSON.stringify(req.body) });
        }
        return super.onTransaction(req, res);
    }
}

Logger.configure({ console: "off" });
const registration = AppServiceRegistration.fromObject(JSON.parse(env("BRIDGE_REGISTRATION")));
const ghost = (name) => `@_net_${name}:${domain}`;
const places = new Map(); // alias localpart → room

const bridge = new Bridge({
    homeserverUrl: env("BRIDGE_HOMESERVER"),
    domain,
    registration,
    disableStores: true,
    suppressEcho: true,
    controller: {
        async onUserQuery(user) {
            write({ userQuery: user.getId() });
            return user.localpart.endsWith("_nobody") ? null : { name: user.localpart };
        },
        async onAliasQuery(alias, localpart) {
            write({ aliasQuery: alias });
            return { creationOpts: { room_alias_name: localpart, preset: "public_chat", power_level_content_override: { invite: 0 } } };
        },
        async onAliasQueried(alias, roomId) {
            places.set(alias, roomId);
            for (const name of ["anna", "ben"]) await bridge.getIntentFromLocalpart(`_net_${name}`).join(roomId);
        },
        async onEvent(request) {
            const event = request.getData();
            if (event.type === "m.room.message") write({ heard: event.content.body, sender: event.sender });
            if (event.type === "m.room.member" && event.content.membership === "invite") {
                await bridge.getIntent(event.state_key).join(event.room_id);
            }
        },
        async onEphemeralEvent(request) {
            write({ ephemeral: request.getData() });
        },
        thirdPartyLookup: {
            protocols: ["net"],
            getProtocol: async () => ({
                user_fields: ["name"], location_fields: ["place"], icon: "mxc://example.org/net", field_types: {},
                instances: [{ desc: "The network", network_id: "net", fields: {} }],
            }),
            getLocation: async (protocol, fields) => [
                { alias: `#_net_${fields.place}:${domain}`, protocol, fields: { place: fields.place } },
            ],
            getUser: async (protocol, fields) => [{ userid: ghost(fields.name), protocol, fields: { name: fields.name } }],
        },
    },
});

// commands are what the test can ask for.
const commands = {
    say: ({ name, room, text }) => bridge.getIntentFromLocalpart(`_net_${name}`).sendText(room, text),
    ping: () => bridge.getBot().getClient().doRequest(
        "POST", `/_matrix/client/v1/appservice/${registration.getId()}/ping`, undefined, { transaction_id: "of the test" }),
    selfPing: async ({ room }) => ({ took: await bridge.pingAppserviceRoute(room, 10_000) }),
    whoami: ({ name }) => bridge.getIntent(ghost(name)).matrixClient.getWhoAmI(),
    publish: ({ room }) => bridge.getBot().getClient().doRequest(
        "PUT", `/_matrix/client/v3/directory/list/appservice/net/${encodeURIComponent(room)}`, undefined, { visibility: "public" }),
};

const service = new Recorder({ homeserverToken: registration.getHomeserverToken() });
service.expressApp.post("/_matrix/app/v1/ping", (req, res) => {
    if (req.headers.authorization !== `Bearer ${registration.getHomeserverToken()}`) return res.status(403).send({ errcode: "M_FORBIDDEN" });
    write({ pinged: req.body.transaction_id });
    res.send({});
});
await bridge.run(Number(env("BRIDGE_PORT")), service, "127.0.0.1");
http.createServer(async (req, res) => {
    let body = "";
    for await (const chunk of req) body += chunk;
    try {
        const result = await commands[req.url.slice(1)](JSON.parse(body));
        res.end(JSON.stringify(result ?? {}));
    } catch (e) {
        res.statusCode = 500;
        res.end(JSON.stringify({ error: String(e?.body?.errcode ?? e?.message ?? e) }));
    }
}).listen(Number(env("BRIDGE_CONTROL")), "127.0.0.1", () => write({ ready: process.pid }));
