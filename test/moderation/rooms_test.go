package moderation

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"hearth/test/harness"
)

const synapseV1, synapseV2 = "/_synapse/admin/v1", "/_synapse/admin/v2"

// asking is a client whose answers must have a status.
type asking struct {
	t *testing.T
	c *harness.Client
}

func (a asking) do(method, path string, body any, want int) object {
	a.t.Helper()
	var out object
	status, err := a.c.Do(method, path, body, &out)
	if status != want {
		a.t.Fatalf("%s %s: %d %v, want %d", method, path, status, err, want)
	}
	return out
}

func (a asking) get(path string, want int) object {
	a.t.Helper()
	return a.do(http.MethodGet, path, nil, want)
}

// await asks until a job is over.
func (a asking) await(path string) object {
	a.t.Helper()
	for range 300 {
		out := a.get(path, 200)
		switch out["status"] {
		case "complete", "failed", "cancelled":
			return out
		}
		time.Sleep(100 * time.Millisecond)
	}
	a.t.Fatalf("%s: the job does not end", path)
	return nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestRooms: the list of rooms, what is in a room, and what administrators change.
func TestRooms(t *testing.T) {
	both(t, func(t *testing.T, s *harness.Server) {
		admin := registerAdmin(t, s, "boss")
		boss := asking{t, onAdmin(s, admin)}
		bob, eve := s.Register(t, "bob"), s.Register(t, "eve")
		first, err := bob.CreateRoom(object{"preset": "public_chat", "visibility": "public", "name": "Alpha", "topic": "what about", "room_alias_name": "alpha"})
		must(t, err)
		second, err := bob.CreateRoom(object{"preset": "private_chat", "name": "beta", "creation_content": object{"m.federate": false}})
		must(t, err)
		must(t, eve.Join(first))
		event, err := eve.SendText(first, "t", "a text")
		must(t, err)

		list := boss.get(synapseV1+"/rooms", 200)
		rooms := list["rooms"].([]any)
		if list["total_rooms"] != 2.0 || len(rooms) != 2 || list["offset"] != 0.0 || list["next_batch"] != nil {
			t.Fatalf("the list: %v", list)
		}
		one := rooms[0].(object)
		wanted := object{
			"room_id": first, "name": "Alpha", "canonical_alias": "#alpha:localhost", "joined_members": 2.0, "joined_local_members": 2.0,
			"creator": bob.UserID, "encryption": nil, "federatable": true, "public": true, "join_rules": "public",
			"history_visibility": "shared", "room_type": nil,
		}
		for key, want := range wanted {
			if one[key] != want {
				t.Errorf("%s is %v, want %v", key, one[key], want)
			}
		}
		state := boss.get(synapseV1+"/rooms/"+first+"/state", 200)["state"].([]any)
		if one["state_events"] != float64(len(state)) {
			t.Errorf("%v state events, the state has %d", one["state_events"], len(state))
		}
		if other := rooms[1].(object); other["federatable"] != false || other["public"] != false {
			t.Errorf("the other room: %v", other)
		}
		ids := func(query string) string {
			var out []string
			for _, r := range boss.get(synapseV1+"/rooms?"+query, 200)["rooms"].([]any) {
				out = append(out, r.(object)["name"].(string))
			}
			return strings.Join(out, " ")
		}
		for query, want := range map[string]string{
			"order_by=name&dir=b": "beta Alpha", "order_by=joined_members": "Alpha beta", "order_by=joined_members&dir=b": "beta Alpha",
			"search_term=ALPH": "Alpha", "search_term=" + second: "beta", "search_term=nothing": "", "limit=1": "Alpha", "limit=1&from=1": "beta",
			"public_rooms=true": "Alpha", "public_rooms=false": "beta", "empty_rooms=true": "", "order_by=state_events": "Alpha beta",
		} {
			if got := ids(query); got != want {
				t.Errorf("%s: %q, want %q", query, got, want)
			}
		}
		if page := boss.get(synapseV1+"/rooms?limit=1", 200); page["next_batch"] != 1.0 {
			t.Errorf("a page: %v", page)
		}
		boss.get(synapseV1+"/rooms?order_by=colour", 400)
		boss.get(synapseV1+"/rooms?dir=up", 400)
		boss.get(synapseV1+"/rooms/!nowhere:localhost", 404)

		// What changes is in the list at once.
		if _, err := bob.Do(http.MethodPut, harness.Path("rooms", first, "state", "m.room.name", ""), object{"name": "Gamma"}, nil); err != nil {
			t.Fatal(err)
		}
		detail := boss.get(synapseV1+"/rooms/"+first, 200)
		if detail["name"] != "Gamma" || detail["topic"] != "what about" || detail["joined_local_devices"] != 2.0 || detail["forgotten"] != false {
			t.Errorf("details: %v", detail)
		}
		if members := boss.get(synapseV1+"/rooms/"+first+"/members", 200); members["total"] != 2.0 {
			t.Errorf("members: %v", members)
		}

		// Reading: the administrator is in none of the rooms.
		page := boss.get(synapseV1+"/rooms/"+first+"/messages?dir=b&limit=5", 200)
		if chunk := page["chunk"].([]any); len(chunk) != 5 || chunk[1].(object)["event_id"] != event {
			t.Errorf("messages: %v", page)
		}
		around := boss.get(synapseV1+"/rooms/"+first+"/context/"+event+"?limit=1", 200)
		if around["event"].(object)["event_id"] != event {
			t.Errorf("context: %v", around)
		}
		boss.get(synapseV1+"/rooms/"+first+"/context/$nothing", 404)
		if got := boss.get(synapseV1+"/fetch_event/"+event, 200)["event"].(object); got["sender"] != eve.UserID {
			t.Errorf("an event: %v", got)
		}
		boss.get(synapseV1+"/fetch_event/$nothing", 404)
		if got := boss.get(synapseV1+"/rooms/"+first+"/timestamp_to_event?dir=f&ts=0", 200); got["event_id"] == nil {
			t.Errorf("by time: %v", got)
		}
		if got := boss.get(synapseV1+"/rooms/"+second+"/hierarchy", 200); len(got["rooms"].([]any)) != 1 {
			t.Errorf("hierarchy: %v", got)
		}

		// Power and entry.
		boss.do(http.MethodPost, synapseV1+"/join/"+second, object{"user_id": eve.UserID}, 200)
		if got := boss.get(synapseV1+"/rooms/"+second+"/members", 200); got["total"] != 2.0 {
			t.Errorf("after the join: %v", got)
		}
		boss.do(http.MethodPost, synapseV1+"/join/"+second, object{"user_id": "@x:elsewhere"}, 400)
		boss.do(http.MethodPost, synapseV1+"/rooms/"+second+"/make_room_admin", object{"user_id": admin.UserID}, 200)
		if err := admin.Join(second); err != nil {
			t.Errorf("who was made admin was not invited: %v", err)
		}
		status, err2 := admin.Do(http.MethodPut, harness.Path("rooms", second, "state", "m.room.name", ""), object{"name": "Delta"}, nil)
		if status != 200 {
			t.Errorf("who was made admin has no power: %v", err2)
		}
		if got := boss.get(synapseV1+"/rooms/"+second+"/forward_extremities", 200); got["count"] != 1.0 {
			t.Errorf("forward extremities: %v", got)
		}
		if got := boss.do(http.MethodDelete, synapseV1+"/rooms/"+second+"/forward_extremities", nil, 200); got["deleted"] != 0.0 {
			t.Errorf("forward extremities: %v", got)
		}

		// Blocking: nobody of ours enters, invites or writes; leaving goes on.
		if got := boss.do(http.MethodPut, synapseV1+"/rooms/"+first+"/block", object{"block": true}, 200); got["block"] != true {
			t.Errorf("block: %v", got)
		}
		if got := boss.get(synapseV1+"/rooms/"+first+"/block", 200); got["block"] != true || got["user_id"] != admin.UserID {
			t.Errorf("block: %v", got)
		}
		code := func(c *harness.Client, method, path string, body any) string {
			status, errcode := do2(c, method, path, body)
			return fmt.Sprint(status, " ", errcode)
		}
		for _, x := range []struct {
			who          *harness.Client
			method, path string
			body         any
		}{
			{admin, http.MethodPost, harness.Path("join", first), object{}},
			{bob, http.MethodPost, harness.Path("rooms", first, "invite"), object{"user_id": admin.UserID}},
			{bob, http.MethodPut, harness.Path("rooms", first, "send", "m.room.message", "b"), object{"msgtype": "m.text", "body": "x"}},
			{bob, http.MethodPut, harness.Path("rooms", first, "state", "m.room.name", ""), object{"name": "x"}},
		} {
			if got := code(x.who, x.method, x.path, x.body); got != "403 M_FORBIDDEN" {
				t.Errorf("%s %s in a blocked room: %s", x.method, x.path, got)
			}
		}
		if got := code(eve, http.MethodPost, harness.Path("rooms", first, "leave"), object{}); got != "200 " {
			t.Errorf("leaving a blocked room: %s", got)
		}
		boss.do(http.MethodPut, synapseV1+"/rooms/"+first+"/block", object{"block": false}, 200)
		must(t, eve.Join(first))
		boss.do(http.MethodPut, synapseV1+"/rooms/!never:seen/block", object{"block": true}, 200)
		if got := code(bob, http.MethodPost, harness.Path("join", "!never:seen"), object{}); got != "403 M_FORBIDDEN" {
			t.Errorf("joining a blocked room that nobody knows: %s", got)
		}
	})
}

func do2(c *harness.Client, method, path string, body any) (int, string) {
	status, err := c.Do(method, path, body, nil)
	if err == nil {
		return status, ""
	}
	return status, err.Code
}

// TestDeleteRoom: rooms are shut down and deleted, at once and by a job; their users are told and
// brought to another room; sync goes on.
func TestDeleteRoom(t *testing.T) {
	both(t, func(t *testing.T, s *harness.Server) {
		boss := asking{t, onAdmin(s, registerAdmin(t, s, "boss"))}
		bob, eve := s.Register(t, "bob"), s.Register(t, "eve")
		make := func(name string) string {
			room, err := bob.CreateRoom(object{"preset": "public_chat", "name": name, "room_alias_name": name})
			must(t, err)
			must(t, eve.Join(room))
			for i := range 20 {
				_, err := eve.SendText(room, fmt.Sprint(name, i), "a text that goes away")
				must(t, err)
			}
			return room
		}
		kept := make("kept")
		gone := make("gone")
		before, err := eve.Sync("", 0)
		must(t, err)
		answer := boss.do(http.MethodDelete, synapseV1+"/rooms/"+gone, object{
			"new_room_user_id": bob.UserID, "room_name": "Notice", "message": "It is gone", "block": true,
		}, 200)
		if len(answer["kicked_users"].([]any)) != 2 || fmt.Sprint(answer["local_aliases"]) != "[#gone:localhost]" || answer["new_room_id"] == nil {
			t.Errorf("deleted: %v", answer)
		}
		notice := answer["new_room_id"].(string)
		boss.get(synapseV1+"/rooms/"+gone, 404)
		if got := boss.get(synapseV1+"/rooms/"+gone+"/block", 200); got["block"] != true {
			t.Errorf("after: %v", got)
		}
		after, err := eve.Sync(before.NextBatch, 0)
		must(t, err)
		if _, ok := after.Rooms.Join[notice]; !ok {
			t.Errorf("the user was not brought to the other room")
		}
		if _, ok := after.Rooms.Join[gone]; ok {
			t.Errorf("the user is still in the deleted room")
		}
		fresh, err := eve.Sync("", 0)
		must(t, err)
		if _, ok := fresh.Rooms.Join[kept]; !ok {
			t.Errorf("another room is gone as well")
		}
		var found object
		if _, err := eve.Do(http.MethodPost, harness.Path("search"), object{"search_categories": object{"room_events": object{"search_term": "goes"}}}, &found); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(fmt.Sprint(found), gone) {
			t.Error("the search finds what is in a deleted room")
		}

		// The same by a job, which a restart does not stop.
		job := boss.do(http.MethodDelete, synapseV2+"/rooms/"+kept, object{"purge": true}, 200)
		for _, p := range s.Processes() {
			if p.Name != "nats" {
				p.Kill()
				p.Restart()
			}
		}
		done := boss.await(synapseV2 + "/rooms/delete_status/" + job["delete_id"].(string))
		if done["status"] != "complete" || done["shutdown_room"].(object)["new_room_id"] != nil {
			t.Errorf("the job: %v", done)
		}
		if got := boss.get(synapseV2+"/rooms/"+kept+"/delete_status", 200); len(got["results"].([]any)) != 1 {
			t.Errorf("jobs of the room: %v", got)
		}
		boss.get(synapseV2+"/rooms/delete_status/nothing", 404)
		boss.get(synapseV1+"/rooms/"+kept, 404)
		boss.do(http.MethodDelete, synapseV2+"/rooms/!nowhere:localhost", object{}, 404)
		if got := boss.get(synapseV1+"/rooms?search_term=kept", 200); got["total_rooms"] != 0.0 {
			t.Errorf("the list: %v", got)
		}
	})
}

// TestRedactUser: what a user has sent is redacted in all rooms.
func TestRedactUser(t *testing.T) {
	both(t, func(t *testing.T, s *harness.Server) {
		boss := asking{t, onAdmin(s, registerAdmin(t, s, "boss"))}
		bob, eve := s.Register(t, "bob"), s.Register(t, "eve")
		var rooms, events []string
		for i := range 2 {
			room, err := bob.CreateRoom(object{"preset": "public_chat"})
			must(t, err)
			must(t, eve.Join(room))
			for j := range 3 {
				id, err := eve.SendText(room, fmt.Sprint(i, j), "spam")
				must(t, err)
				rooms, events = append(rooms, room), append(events, id)
			}
		}
		job := boss.do(http.MethodPost, synapseV1+"/user/"+eve.UserID+"/redact", object{"rooms": []string{}, "reason": "spam"}, 200)
		done := boss.await(synapseV1 + "/user/redact_status/" + job["redact_id"].(string))
		if done["status"] != "complete" || len(done["failed_redactions"].(object)) != 0 {
			t.Errorf("the job: %v", done)
		}
		for i, id := range events {
			var e struct{ Content object }
			if _, err := bob.Do(http.MethodGet, harness.Path("rooms", rooms[i], "event", id), nil, &e); err != nil || len(e.Content) != 0 {
				t.Errorf("an event that is not redacted: %v %v", e, err)
			}
		}
		boss.do(http.MethodPost, synapseV1+"/user/"+eve.UserID+"/redact", object{}, 400)
		boss.do(http.MethodPost, synapseV1+"/user/"+eve.UserID+"/redact", object{"rooms": []string{}, "limit": 0}, 400)
		boss.get(synapseV1+"/user/redact_status/nothing", 404)
		if got := boss.get(synapseV1+"/scheduled_tasks", 200); len(got["scheduled_tasks"].([]any)) != 1 {
			t.Errorf("tasks: %v", got)
		}
		boss.do(http.MethodDelete, "/_hearth/admin/v1/jobs/nothing", nil, 404)
	})
}
