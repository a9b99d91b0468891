// Package sliding tests simplified sliding sync as matrix-rust-sdk speaks it, against
// whole servers.
package sliding

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"hearth/test/harness"
)

const path = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"

type object = map[string]any

type answer struct {
	Pos   string `json:"pos"`
	Lists map[string]struct {
		Count int `json:"count"`
	} `json:"lists"`
	Rooms      map[string]room `json:"rooms"`
	Extensions struct {
		AccountData struct {
			Global []event `json:"global"`
		} `json:"account_data"`
		Receipts struct {
			Rooms map[string]event `json:"rooms"`
		} `json:"receipts"`
		Typing struct {
			Rooms map[string]event `json:"rooms"`
		} `json:"typing"`
		ToDevice *struct {
			NextBatch string  `json:"next_batch"`
			Events    []event `json:"events"`
		} `json:"to_device"`
		E2EE *struct {
			Counts map[string]int `json:"device_one_time_keys_count"`
		} `json:"e2ee"`
	} `json:"extensions"`
}

type room struct {
	Initial     bool    `json:"initial"`
	Name        string  `json:"name"`
	Membership  string  `json:"membership"`
	Timeline    []event `json:"timeline"`
	State       []event `json:"required_state"`
	InviteState []event `json:"invite_state"`
	Stripped    []event `json:"stripped_state"`
	BumpStamp   int64   `json:"bump_stamp"`
	Joined      int     `json:"joined_count"`
}

type event struct {
	ID       string         `json:"event_id"`
	Type     string         `json:"type"`
	StateKey *string        `json:"state_key"`
	Sender   string         `json:"sender"`
	Content  map[string]any `json:"content"`
}

// conn is one connection, as a client keeps it.
type conn struct {
	t    *testing.T
	c    *harness.Client
	pos  string
	body object
}

func (k *conn) raw(pos string, timeout time.Duration) (*answer, int, string) {
	k.t.Helper()
	var a answer
	url := fmt.Sprintf("%s?timeout=%d", path, timeout.Milliseconds())
	if pos != "" {
		url += "&pos=" + pos
	}
	status, problem := k.c.Do(http.MethodPost, url, k.body, &a)
	code := ""
	if problem != nil {
		code = problem.Code
	}
	return &a, status, code
}

// next is the next answer on the connection.
func (k *conn) next(timeout time.Duration) *answer {
	k.t.Helper()
	a, status, code := k.raw(k.pos, timeout)
	if status != 200 {
		k.t.Fatalf("sliding sync: %d %s", status, code)
	}
	k.pos = a.Pos
	return a
}

// until reads answers until one satisfies f.
func (k *conn) until(what string, f func(*answer) bool) *answer {
	k.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if a := k.next(time.Second); f(a) {
			return a
		}
	}
	k.t.Fatalf("waited in vain for %s", what)
	return nil
}

func roomList(limit int) object {
	return object{
		"conn_id": "room-list",
		"lists": object{"all_rooms": object{
			"ranges": [][]int{{0, 19}}, "timeline_limit": limit,
			"required_state": [][]string{{"m.room.name", ""}, {"m.room.encryption", ""}, {"m.room.member", "$LAZY"}, {"m.room.member", "$ME"}},
		}},
		"extensions": object{
			"to_device": object{"enabled": true}, "e2ee": object{"enabled": true}, "account_data": object{"enabled": true},
			"receipts": object{"enabled": true}, "typing": object{"enabled": true},
		},
	}
}

func TestRoomList(t *testing.T) {
	for name, wiring := range map[string]harness.Wiring{"one process": harness.OneProcess, "four processes": harness.FourProcesses} {
		t.Run(name, func(t *testing.T) {
			s := harness.Start(t, harness.Options{Wiring: wiring})
			alice, bob := s.Register(t, "alice"), s.Register(t, "bob")
			first, err := alice.CreateRoom(object{"name": "First", "preset": "public_chat"})
			must(t, err)
			second, err := alice.CreateRoom(object{"name": "Second"})
			must(t, err)
			k := &conn{t: t, c: alice, body: roomList(5)}
			firstWindow(t, k, first, second)
			messages(t, k, bob, first)
			invites(t, alice, bob, second)
			toDevice(t, alice, bob)
			kicked(t, alice, bob, first)
			positions(t, k, bob)
		})
	}
}

func firstWindow(t *testing.T, k *conn, first, second string) {
	a := k.next(0)
	if a.Lists["all_rooms"].Count != 2 || len(a.Rooms) != 2 {
		t.Fatalf("first window: %+v", a)
	}
	for id, name := range map[string]string{first: "First", second: "Second"} {
		r := a.Rooms[id]
		if !r.Initial || r.Name != name || len(r.Timeline) != 5 || r.Joined != 1 || r.BumpStamp == 0 {
			t.Errorf("room %s: %+v", name, r)
		}
	}
	if a.Rooms[second].BumpStamp <= a.Rooms[first].BumpStamp {
		t.Error("the newer room does not stand before the older")
	}
	if a.Extensions.E2EE == nil || a.Extensions.ToDevice == nil {
		t.Errorf("extensions: %+v", a.Extensions)
	}
	if a := k.next(0); len(a.Rooms) != 0 {
		t.Errorf("nothing is new, but told: %+v", a.Rooms)
	}
}

// messages of another user arrive once and in order, with the member event of their
// sender; receipts and typing move.
func messages(t *testing.T, k *conn, bob *harness.Client, id string) {
	must(t, bob.Join(id))
	var sent []string
	for i := range 3 {
		event, err := bob.SendText(id, fmt.Sprint("txn", i), fmt.Sprint("message ", i))
		must(t, err)
		sent = append(sent, event)
	}
	var got []string
	member := false
	k.until("three messages", func(a *answer) bool {
		for _, e := range a.Rooms[id].Timeline {
			if e.Type == "m.room.message" {
				got = append(got, e.ID)
			}
			member = member || e.Type == "m.room.member" && e.Sender == bob.UserID
		}
		for _, e := range a.Rooms[id].State {
			member = member || e.Type == "m.room.member" && *e.StateKey == bob.UserID
		}
		return len(got) >= 3
	})
	if fmt.Sprint(got) != fmt.Sprint(sent) || !member {
		t.Errorf("got %v, sent %v, bob's member event %v", got, sent, member)
	}
	must(t, bob.Receipt(id, sent[2]))
	k.until("bob's receipt", func(a *answer) bool { return a.Extensions.Receipts.Rooms[id].Content[sent[2]] != nil })
	status, problem := bob.Do(http.MethodPut, harness.Path("rooms", id, "typing", bob.UserID), object{"typing": true, "timeout": 5000}, nil)
	if status != 200 {
		t.Fatal(problem)
	}
	k.until("bob's typing", func(a *answer) bool {
		return fmt.Sprint(a.Extensions.Typing.Rooms[id].Content["user_ids"]) == "["+bob.UserID+"]"
	})
}

func invites(t *testing.T, alice, bob *harness.Client, id string) {
	k := &conn{t: t, c: bob, body: roomList(1)}
	k.next(0)
	must(t, alice.Invite(id, bob.UserID))
	a := k.until("the invite", func(a *answer) bool {
		return len(a.Rooms[id].InviteState)+len(a.Rooms[id].Stripped) > 0
	})
	if r := a.Rooms[id]; len(r.Timeline) != 0 || len(r.State) != 0 {
		t.Errorf("an invited user sees %+v", r)
	}
}

// toDevice: messages to the device come in order, again until the client says that it
// has them, and then no more.
func toDevice(t *testing.T, alice, bob *harness.Client) {
	k := &conn{t: t, c: bob, body: object{
		"conn_id": "encryption", "extensions": object{"to_device": object{"enabled": true}, "e2ee": object{"enabled": true}},
	}}
	first := k.next(0)
	if first.Extensions.ToDevice == nil || first.Extensions.E2EE == nil || len(first.Extensions.E2EE.Counts) == 0 {
		t.Fatalf("extensions: %+v", first.Extensions)
	}
	for i := range 3 {
		body := object{"messages": object{bob.UserID: object{bob.DeviceID: object{"n": i}}}}
		status, problem := alice.Do(http.MethodPut, harness.Path("sendToDevice", "org.example.test", fmt.Sprint("to", i)), body, nil)
		if status != 200 {
			t.Fatal(problem)
		}
	}
	since := ""
	var got []any
	for range 2 { // not acknowledged the first time
		got = nil
		a := k.until("three messages", func(a *answer) bool {
			if a.Extensions.ToDevice != nil {
				got = got[:0]
				for _, e := range a.Extensions.ToDevice.Events {
					got = append(got, e.Content["n"])
				}
			}
			return len(got) == 3
		})
		since = a.Extensions.ToDevice.NextBatch
	}
	if fmt.Sprint(got) != "[0 1 2]" {
		t.Errorf("messages %v", got)
	}
	k.body["extensions"] = object{"to_device": object{"enabled": true, "since": since}}
	if a := k.next(200 * time.Millisecond); a.Extensions.ToDevice != nil && len(a.Extensions.ToDevice.Events) > 0 {
		t.Errorf("acknowledged messages come again: %+v", a.Extensions.ToDevice)
	}
	k.body["extensions"] = object{"to_device": object{"enabled": true}}
	if a := k.next(200 * time.Millisecond); a.Extensions.ToDevice != nil && len(a.Extensions.ToDevice.Events) > 0 {
		t.Errorf("acknowledged messages are still there: %+v", a.Extensions.ToDevice)
	}
}

// kicked in the middle of a connection, a user hears of the kick and nothing after it,
// not even with a subscription.
func kicked(t *testing.T, alice, bob *harness.Client, id string) {
	k := &conn{t: t, c: bob, body: roomList(1)}
	k.body["room_subscriptions"] = object{id: object{"timeline_limit": 20, "required_state": [][]string{{"*", "*"}}}}
	k.next(0)
	status, problem := alice.Do(http.MethodPost, harness.Path("rooms", id, "kick"), object{"user_id": bob.UserID}, nil)
	if status != 200 {
		t.Fatal(problem)
	}
	_, err := alice.SendText(id, "after", "SECRET")
	must(t, err)
	for range 4 {
		a := k.next(300 * time.Millisecond)
		for _, e := range a.Rooms[id].Timeline {
			if e.Type == "m.room.message" && e.Content["body"] == "SECRET" {
				t.Error("a kicked user sees what was said after the kick")
			}
		}
	}
	fresh := &conn{t: t, c: bob, body: k.body}
	for _, e := range fresh.next(0).Rooms[id].Timeline {
		if e.Content["body"] == "SECRET" {
			t.Error("a new connection of a kicked user sees what was said after the kick")
		}
	}
}

// positions: a lost answer is given again, and a position of somebody else or of
// nobody is refused.
func positions(t *testing.T, k *conn, bob *harness.Client) {
	before := k.pos
	room, err := k.c.CreateRoom(object{"name": "Third"})
	must(t, err)
	for range 2 {
		a, status, code := k.raw(before, time.Second)
		for end := time.Now().Add(20 * time.Second); status == 200 && !a.Rooms[room].Initial && time.Now().Before(end); {
			a, status, code = k.raw(before, time.Second) // the room may be news a moment later than its creation
		}
		if status != 200 || !a.Rooms[room].Initial {
			t.Errorf("the answer after a position is %d %s, %+v", status, code, a.Rooms)
		}
	}
	for name, c := range map[string]*conn{
		"nobody's":        {t: t, c: k.c, body: k.body, pos: "p1.2.3.s1_1_1_1"},
		"no position":     {t: t, c: k.c, body: k.body, pos: "17"},
		"somebody else's": {t: t, c: bob, body: k.body, pos: k.pos},
	} {
		if _, status, code := c.raw(c.pos, 0); status != 400 || code != "M_UNKNOWN_POS" {
			t.Errorf("%s: %d %s", name, status, code)
		}
	}
	if _, status, _ := (&conn{t: t, c: k.c, body: object{"lists": 5}}).raw("", 0); status != 400 {
		t.Errorf("a malformed request: %d", status)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
