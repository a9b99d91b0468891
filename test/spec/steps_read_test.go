package spec

import (
	"fmt"
	"net/http"
	"net/url"
)

// readSteps read what roomSteps have written, and tell that it was read.
var readSteps = []step{
	{"sync", func(w *world) {
		filter := w.do(w.alice, "defineFilter", request{path: in("userId", w.alice.id), body: object{"room": object{"timeline": object{"limit": 5}}}}).text("filter_id")
		w.must(w.do(w.alice, "getFilter", request{path: in("userId", w.alice.id, "filterId", filter)}), 5, "room", "timeline", "limit")
		v := w.sync(w.alice, url.Values{"filter": {filter}})
		w.some(v, "rooms", "join", w.room, "timeline", "events")
		w.some(w.sync(w.alice, nil), "rooms", "join", w.room, "state", "events")
		w.sync(w.alice, url.Values{"use_state_after": {"true"}, "full_state": {"true"}})
		w.since = v.text("next_batch")
	}},
	{"typing and receipts", func(w *world) {
		w.do(w.bob, "setTyping", request{path: in("roomId", w.room, "userId", w.bob.id), body: object{"typing": true, "timeout": 30000}})
		w.do(w.bob, "postReceipt", request{path: in("roomId", w.room, "eventId", w.event, "receiptType", "m.read"), body: object{"thread_id": "main"}})
		w.do(w.bob, "setReadMarker", request{path: in("roomId", w.room), body: object{"m.fully_read": w.event, "m.read.private": w.event}})
		w.eventually("typing and the receipt are in the sync", func() bool {
			v := w.sync(w.alice, url.Values{"since": {w.since}})
			return len(v.list("rooms", "join", w.room, "ephemeral", "events")) == 2
		})
		w.some(w.sync(w.bob, nil), "rooms", "join", w.room, "account_data", "events")
		w.refused(w.bob, "postReceipt", request{path: in("roomId", w.room, "eventId", w.event, "receiptType", "m.read"), body: object{"thread_id": 5}},
			http.StatusBadRequest, "M_INVALID_PARAM")
	}},
	{"history", func(w *world) {
		here := in("roomId", w.room, "eventId", w.event)
		w.some(w.do(w.alice, "getRoomEvents", request{path: here, query: url.Values{"dir": {"b"}, "limit": {"50"}}}), "chunk")
		w.some(w.do(w.alice, "getRoomEvents", request{path: here, query: url.Values{"dir": {"f"}, "filter": {`{"lazy_load_members":true}`}}}), "chunk")
		v := w.do(w.alice, "getEventContext", request{path: here})
		w.must(v, w.event, "event", "event_id")
		w.some(v, "events_after")
		v = w.do(w.alice, "getEventByTimestamp", request{path: here, query: url.Values{"ts": {"0"}, "dir": {"f"}}})
		if v.text("event_id") == "" {
			w.Errorf("there is no first event")
		}
	}},
	{"relations", func(w *world) {
		here := in("roomId", w.room, "eventId", w.event, "relType", "m.thread", "eventType", "m.room.message")
		w.some(w.do(w.alice, "getRelatingEvents", request{path: here}), "chunk")
		w.some(w.do(w.alice, "getRelatingEventsWithRelType", request{path: here}), "chunk")
		w.some(w.do(w.alice, "getRelatingEventsWithRelTypeAndEventType", request{path: here, query: url.Values{"recurse": {"true"}}}), "chunk")
		w.must(w.do(w.alice, "getThreadRoots", request{path: here}), w.event, "chunk", "0", "event_id")
		v := w.do(w.alice, "getOneRoomEvent", request{path: here})
		w.must(v, w.edit, "unsigned", "m.relations", "m.replace", "event_id")
		w.must(v, 1, "unsigned", "m.relations", "m.thread", "count")
	}},
	{"search", func(w *world) {
		body := object{"search_categories": object{"room_events": object{"search_term": "hello", "order_by": "recent",
			"event_context": object{"before_limit": 1, "after_limit": 1, "include_profile": true}, "include_state": true,
			"groupings": object{"group_by": []object{{"key": "room_id"}, {"key": "sender"}}}}}}
		w.eventually("the message is found", func() bool {
			return !w.built("search") || len(w.do(w.alice, "search", request{body: body}).list("search_categories", "room_events", "results")) > 0
		})
	}},
	{"the old sync", func(w *world) {
		w.do(w.alice, "initialSync", request{query: url.Values{"limit": {"3"}}})
		w.must(w.do(w.alice, "roomInitialSync", request{path: in("roomId", w.room)}), w.room, "room_id")
		w.must(w.do(w.alice, "getOneEvent", request{path: in("eventId", w.event)}), w.event, "event_id")
		w.do(w.alice, "getEvents", request{query: url.Values{"from": {w.since}, "timeout": {"0"}}})
		w.do(w.carol, "peekEvents", request{query: url.Values{"room_id": {w.room}, "timeout": {"0"}}})
	}},
	{"room account data and tags", func(w *world) {
		here := in("userId", w.alice.id, "roomId", w.room, "type", "org.example.data", "tag", "m.favourite")
		w.do(w.alice, "setAccountDataPerRoom", request{path: here, body: object{"b": 2}})
		w.must(w.do(w.alice, "getAccountDataPerRoom", request{path: here}), 2, "b")
		w.do(w.alice, "setRoomTag", request{path: here, body: object{"order": 0.5}})
		if v := w.do(w.alice, "getRoomTags", request{path: here}); v.answer.status != 0 && fmt.Sprint(v.at("tags", "m.favourite", "order")) != "0.5" {
			w.Errorf("the tags are %v", v.any)
		}
		w.sync(w.alice, nil)
		w.do(w.alice, "deleteRoomTag", request{path: here})
	}},
}
