package spec

import (
	"net/http"
	"net/url"
	"time"
)

// roomSteps make rooms and talk in them.
var roomSteps = []step{
	{"create", func(w *world) {
		v := w.do(w.alice, "createRoom", request{body: object{
			"name": "Room", "topic": "Of the scenario", "preset": "public_chat", "room_alias_name": "room", "visibility": "public",
			"initial_state": []object{{"type": "m.room.history_visibility", "state_key": "", "content": object{"history_visibility": "world_readable"}}},
		}})
		w.room = v.text("room_id")
		w.space = w.do(w.alice, "createRoom", request{body: object{
			"name": "Space", "preset": "public_chat", "creation_content": object{"type": "m.space"},
		}}).text("room_id")
		w.do(w.alice, "setRoomStateWithKey", request{
			path: in("roomId", w.space, "eventType", "m.space.child", "stateKey", w.room), body: object{"via": []string{"localhost"}},
		})
		if w.room == "" || w.space == "" {
			w.Fatal("there is no room")
		}
	}},
	{"aliases", func(w *world) {
		w.must(w.do(nil, "getRoomIdByAlias", request{path: in("roomAlias", "#room:localhost")}), w.room, "room_id")
		other := in("roomAlias", "#other:localhost")
		w.do(w.alice, "setRoomAlias", request{path: other, body: object{"room_id": w.room}})
		w.refused(w.alice, "setRoomAlias", request{path: other, body: object{"room_id": w.room}}, http.StatusConflict, "M_UNKNOWN")
		if v := w.do(w.alice, "getLocalAliases", request{path: in("roomId", w.room)}); len(v.list("aliases")) != 2 {
			w.Errorf("the aliases are %v", v.any)
		}
		w.do(w.alice, "deleteRoomAlias", request{path: other})
		w.refused(nil, "getRoomIdByAlias", request{path: other}, http.StatusNotFound, "M_NOT_FOUND")
	}},
	{"directory", func(w *world) {
		here := in("roomId", w.room)
		w.do(w.alice, "setRoomVisibilityOnDirectory", request{path: here, body: object{"visibility": "public"}})
		w.must(w.do(nil, "getRoomVisibilityOnDirectory", request{path: here}), "public", "visibility")
		w.must(w.do(nil, "getPublicRooms", request{}), w.room, "chunk", "0", "room_id")
		w.must(w.do(w.bob, "queryPublicRooms", request{body: object{"filter": object{"generic_search_term": "scenario"}}}), w.room, "chunk", "0", "room_id")
		w.must(w.do(w.bob, "getRoomSummary", request{path: in("roomIdOrAlias", "#room:localhost")}), w.room, "room_id")
		w.some(w.do(w.bob, "getSpaceHierarchy", request{path: in("roomId", w.space)}), "rooms", "0", "children_state")
	}},
	{"join", func(w *world) {
		w.must(w.do(w.bob, "joinRoom", request{path: in("roomIdOrAlias", "#room:localhost")}), w.room, "room_id")
		w.must(w.do(w.carol, "joinRoomById", request{path: in("roomId", w.room)}), w.room, "room_id")
		w.do(w.bob, "joinRoomById", request{path: in("roomId", w.space)})
		w.some(w.do(w.bob, "getJoinedRooms", request{}), "joined_rooms")
	}},
	{"talk", func(w *world) {
		w.event = w.say(w.alice, "1", object{"msgtype": "m.text", "body": "Hello, world"})
		w.say(w.bob, "2", object{"msgtype": "m.text", "body": "Hello, " + w.alice.id, "m.mentions": object{"user_ids": []string{w.alice.id}},
			"m.relates_to": object{"m.in_reply_to": object{"event_id": w.event}}})
		w.say(w.bob, "3", object{"msgtype": "m.text", "body": "in a thread", "m.relates_to": object{
			"rel_type": "m.thread", "event_id": w.event, "is_falling_back": true, "m.in_reply_to": object{"event_id": w.event}}})
		w.edit = w.say(w.alice, "4", object{"msgtype": "m.text", "body": "* Hello, World", "m.new_content": object{"msgtype": "m.text", "body": "Hello, World"},
			"m.relates_to": object{"rel_type": "m.replace", "event_id": w.event}})
		w.do(w.bob, "sendMessage", request{path: in("roomId", w.room, "eventType", "m.reaction", "txnId", "5"),
			body: object{"m.relates_to": object{"rel_type": "m.annotation", "event_id": w.event, "key": "👍"}}})
		mistake := w.say(w.bob, "6", object{"msgtype": "m.text", "body": "a mistake"})
		w.do(w.bob, "redactEvent", request{path: in("roomId", w.room, "eventId", mistake, "txnId", "7"), body: object{"reason": "a mistake"}})
		v := w.do(w.alice, "getOneRoomEvent", request{path: in("roomId", w.room, "eventId", mistake)})
		w.must(v, "m.room.redaction", "unsigned", "redacted_because", "type")
	}},
	{"state", func(w *world) {
		name := in("roomId", w.room, "eventType", "m.room.name", "stateKey", "")
		w.do(w.alice, "setRoomStateWithKey", request{path: name, body: object{"name": "Our room"}})
		w.must(w.do(w.bob, "getRoomStateWithKey", request{path: name}), "Our room", "name")
		if v := w.do(w.bob, "getRoomState", request{path: in("roomId", w.room)}); len(v.list()) < 8 {
			w.Errorf("the state is %v", v.any)
		}
		if v := w.do(w.bob, "getMembersByRoom", request{path: in("roomId", w.room)}); len(v.list("chunk")) != 3 {
			w.Errorf("the members are %v", v.any)
		}
		w.must(w.do(w.bob, "getJoinedMembersByRoom", request{path: in("roomId", w.room)}), "Alice", "joined", w.alice.id, "display_name")
		w.refused(w.bob, "setRoomStateWithKey", request{path: name, body: object{"name": "Mine"}}, http.StatusForbidden, "M_FORBIDDEN")
	}},
	{"membership", func(w *world) {
		private := w.do(w.alice, "createRoom", request{body: object{"preset": "private_chat"}}).text("room_id")
		here, bob := in("roomId", private), object{"user_id": w.bob.id, "reason": "because"}
		w.refused(w.bob, "joinRoomById", request{path: here}, http.StatusForbidden, "M_FORBIDDEN")
		w.do(w.alice, "inviteUser", request{path: here, body: bob})
		w.sync(w.bob, nil) // an invitation in it
		w.do(w.bob, "joinRoomById", request{path: here})
		w.do(w.alice, "kick", request{path: here, body: bob})
		w.do(w.alice, "ban", request{path: here, body: bob})
		w.do(w.alice, "unban", request{path: here, body: bob})
		w.do(w.bob, "forgetRoom", request{path: here})
		w.do(w.alice, "leaveRoom", request{path: here, body: object{"reason": "done"}})
		w.sync(w.alice, url.Values{"filter": {`{"room":{"include_leave":true}}`}})
		w.refused(w.alice, "inviteBy3PID", request{path: in("roomId", w.room), body: object{
			"address": "carol@example.org", "medium": "email", "id_server": "id.example.org", "id_access_token": "t"}}, http.StatusForbidden, "M_FORBIDDEN")
	}},
	{"knock", func(w *world) {
		closed := w.do(w.alice, "createRoom", request{body: object{"initial_state": []object{
			{"type": "m.room.join_rules", "state_key": "", "content": object{"join_rule": "knock"}}}}}).text("room_id")
		w.must(w.do(w.carol, "knockRoom", request{path: in("roomIdOrAlias", closed), body: object{"reason": "please"}}), closed, "room_id")
		w.sync(w.carol, nil)
	}},
	{"upgrade", func(w *world) {
		old := w.do(w.alice, "createRoom", request{body: object{"room_version": "10", "name": "Old"}}).text("room_id")
		v := w.do(w.alice, "upgradeRoom", request{path: in("roomId", old), body: object{"new_version": "12"}})
		if v.text("replacement_room") == "" {
			w.Errorf("there is no room")
		}
	}},
	{"mutual rooms", func(w *world) {
		w.some(w.do(w.alice, "getMutualRooms", request{query: url.Values{"user_id": {w.bob.id}}}), "joined")
	}},
	{"user directory", func(w *world) {
		found := request{body: object{"search_term": "bob"}}
		w.eventually("bob is in the directory", func() bool {
			return !w.built("searchUserDirectory") || w.do(w.alice, "searchUserDirectory", found).text("results", "0", "user_id") == w.bob.id
		})
	}},
	{"report", func(w *world) {
		w.do(w.bob, "reportRoom", request{path: in("roomId", w.room), body: object{"reason": "spam"}})
		w.do(w.bob, "reportEvent", request{path: in("roomId", w.room, "eventId", w.event), body: object{"reason": "spam"}})
		w.do(w.bob, "reportUser", request{path: in("userId", w.alice.id), body: object{"reason": "spam"}})
	}},
}

// say sends a message to the room.
func (w *world) say(p *person, txn string, content object) string {
	w.Helper()
	return w.do(p, "sendMessage", request{
		path: in("roomId", w.room, "eventType", "m.room.message", "txnId", txn), body: content}).text("event_id")
}

// sync syncs at once.
func (w *world) sync(p *person, query url.Values) value {
	w.Helper()
	return w.do(p, "sync", request{query: query})
}

// patience is how long the scenario waits for what the server does by and by.
const patience = 10 * time.Second

// eventually waits for something.
func (w *world) eventually(what string, is func() bool) {
	w.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(20 * time.Millisecond) {
		if w.Failed() {
			return
		}
		if time.Now().After(end) {
			w.Errorf("not within %v: %s", patience, what)
			return
		}
	}
}
