// Draws what a client shows of its rooms and of the one that is open. Everything comes
// from the client library, anew each time.

/** Draws the page. */
export async function draw(app) {
    const { client, sdk, roomId } = app;
    const rooms = client.getRooms().toSorted((a, b) => (a.roomId < b.roomId ? -1 : 1));
    document.getElementById("rooms").replaceChildren(...rooms.map((room) => roomLine(room, sdk)));
    const room = client.getRoom(roomId);
    if (!room) return;
    document.getElementById("name").textContent = room.name;
    const events = room.getLiveTimeline().getEvents().filter(shown);
    document.getElementById("timeline").replaceChildren(...events.map((event) => message(app, room, event)));
    const typing = room.currentState.getMembers().filter((m) => m.typing).map((m) => m.name);
    document.getElementById("typing").textContent = typing.length ? `${typing.join(", ")} typing` : "";
}

const shown = (event) => ["m.room.message", "m.room.encrypted"].includes(event.getType()) && !event.isRelation("m.replace");

function element(name, text, data = {}) {
    const e = document.createElement(name);
    e.textContent = text;
    Object.assign(e.dataset, data);
    return e;
}

function roomLine(room, sdk) {
    const { Total, Highlight } = sdk.NotificationCountType;
    return element("li", room.name, {
        id: room.roomId,
        membership: room.getMyMembership(),
        unread: room.getRoomUnreadNotificationCount(Total),
        highlight: room.getRoomUnreadNotificationCount(Highlight),
        unreadThreads: room.getThreads().filter((t) => room.getThreadUnreadNotificationCount(t.id, Total) > 0).length,
    });
}

function message(app, room, event) {
    const content = event.getContent();
    const line = element("li", `${event.sender?.name}: `, { id: event.getId(), sender: event.getSender() });
    if (event.isRedacted()) line.append(element("em", "deleted"));
    else if (event.isDecryptionFailure()) line.append(element("em", "cannot be decrypted"));
    else line.append(element("span", content.body ?? ""));
    if (event.replacingEvent()) line.append(element("small", "edited"));
    if (event.replyEventId && !event.isThreadRoot) line.append(element("q", room.findEventById(event.replyEventId)?.getContent().body ?? "?"));
    for (const [key, events] of room.relations.getChildEventsForEvent(event.getId(), "m.annotation", "m.reaction")?.getSortedAnnotationsByKey() ?? []) {
        if (events.size) line.append(element("b", `${key} ${events.size}`));
    }
    const thread = event.getThread();
    if (event.isThreadRoot && thread) line.append(element("i", `${thread.length} in a thread`));
    const readers = room.getReceiptsForEvent(event).filter((r) => r.type === "m.read").map((r) => r.userId);
    if (readers.length) line.append(element("u", `read by ${readers.toSorted().join(", ")}`));
    if (content.msgtype === "m.image" && content.url) line.append(image(app, content.url, 96));
    return line;
}

/** An image of the content repository, which asks for the access token. */
function image(app, mxc, size) {
    const img = document.createElement("img");
    const key = `${mxc} ${size}`;
    if (!app.images.has(key)) {
        app.images.set(key, fetchImage(app.client, mxc, size));
    }
    app.images.get(key).then((url) => (img.src = url), (e) => (img.alt = String(e)));
    return img;
}

/** Fetches a thumbnail with the access token and returns a URL that <img> can show. */
export async function fetchImage(client, mxc, size) {
    const url = client.mxcUrlToHttp(mxc, size, size, "scale", false, true, true);
    const response = await fetch(url, { headers: { Authorization: `Bearer ${client.getAccessToken()}` } });
    if (!response.ok) throw new Error(`${url}: ${response.status}`);
    return URL.createObjectURL(await response.blob());
}
