package v3

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hearth/clientapi/userapi"
	"hearth/syncapi/internal/model"
	"hearth/syncapi/viewapi"
)

// presenceIn lists the senders of presence in an answer with what they show.
func presenceIn(t *testing.T, body []byte) (list []string, next string) {
	t.Helper()
	var r struct {
		NextBatch string `json:"next_batch"`
		Presence  struct {
			Events []struct {
				Type, Sender string
				Content      json.RawMessage
			} `json:"events"`
		} `json:"presence"`
	}
	if err := json.Unmarshal(body, &r); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	for _, e := range r.Presence.Events {
		if e.Type != typePresence {
			t.Errorf("type %s", e.Type)
		}
		var c struct {
			Presence string `json:"presence"`
		}
		_ = json.Unmarshal(e.Content, &c)
		list = append(list, e.Sender+" "+c.Presence)
	}
	slices.Sort(list)
	return list, r.NextBatch
}

// shows tells the engine of a change; the serial counts seconds of model time.
func (h *harness) shows(serial int64, user, presence string) {
	h.engine.ApplyPresence(&userapi.Presence{
		Serial: 1000 + serial, Epoch: 1000, UserID: user, Presence: presence,
		LastActiveTS: model.Start + 10_000_000 - 5000, CurrentlyActive: presence == userapi.Online, StatusMsg: "<x>",
	})
}

func (h *harness) presence(user, since string, more ...func(*viewapi.SyncRequest)) (list []string, next string) {
	h.t.Helper()
	req := viewapi.SyncRequest{UserID: user, Since: since}
	for _, change := range more {
		change(&req)
	}
	body, err := h.raw(req)
	if err != nil {
		h.t.Fatal(err)
	}
	return presenceIn(h.t.(*testing.T), body)
}

func (h *harness) is(what string, got []string, want ...string) {
	h.t.Helper()
	if !slices.Equal(got, want) {
		h.t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestPresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		defer h.stop()
		h.owners.Create(roomA, alice, "shared")
		h.owners.Member(roomA, bob, bob, "join")
		h.owners.Create(roomB, carol, "shared")
		_, start := h.presence(alice, "")

		// Bob has no view yet: his rooms are read before anybody hears of him.
		h.shows(1, bob, "online")
		h.shows(1, carol, "online")
		synctest.Wait()
		body, err := h.raw(viewapi.SyncRequest{UserID: alice, Since: start})
		if err != nil || !strings.Contains(string(body), `"presence":{"events":[{"type":"m.presence","sender":"@bob:h","content":{"presence":"online","last_active_ago":5000,"status_msg":"<x>","currently_active":true}}]}`) {
			t.Errorf("%s %v", body, err)
		}
		_, next := presenceIn(t, body)
		list, _ := h.presence(alice, next)
		h.is("told once", list)
		list, _ = h.presence(alice, "")
		h.is("initial", list, "@bob:h online")
		list, _ = h.presence(carol, "")
		h.is("herself", list, "@carol:h online")
		list, _ = h.presence(alice, start, func(r *viewapi.SyncRequest) { r.Filter = []byte(`{"presence":{"not_types":["m.presence"]}}`) })
		h.is("filtered by type", list)
		list, _ = h.presence(alice, start, func(r *viewapi.SyncRequest) { r.Filter = []byte(`{"presence":{"not_senders":["@bob:h"]}}`) })
		h.is("filtered by sender", list)

		// A long-poll wakes up; who shares no room sleeps on.
		poll := h.start(t.Context(), viewapi.SyncRequest{UserID: alice, Since: next})
		_, quiet := h.presence(carol, "")
		asleep := h.start(t.Context(), viewapi.SyncRequest{UserID: carol, Since: quiet})
		time.Sleep(time.Second)
		h.shows(2, bob, "unavailable")
		if !poll.ended() || poll.took != time.Second {
			t.Fatalf("after %v: %s", poll.took, poll.body)
		}
		list, next = presenceIn(t, poll.body)
		h.is("woken", list, "@bob:h unavailable")
		if asleep.ended() {
			t.Errorf("%s", asleep.body)
		}
		h.shows(2, bob, "online") // an old one
		h.shows(1, bob, "online")
		list, _ = h.presence(alice, next)
		h.is("old", list)
		h.shows(3, bob, "offline")
		list, next = h.presence(alice, next)
		h.is("offline", list, "@bob:h offline")
		list, _ = h.presence(alice, "")
		h.is("initial, offline", list)

		// Carol comes in, and everybody hears of her; she hears of those who are there.
		h.shows(4, bob, "online")
		_, next = h.presence(alice, next)
		h.owners.Member(roomA, carol, carol, "join")
		list, next = h.presence(alice, next)
		h.is("newcomer", list, "@carol:h online")
		list, _ = h.presence(carol, quiet)
		h.is("to the newcomer", list, "@bob:h online", "@carol:h online")
		h.owners.Member(roomA, carol, carol, "leave")
		h.shows(5, carol, "unavailable")
		list, next = h.presence(alice, next)
		h.is("gone", list)

		h.owners.SetAccountData(alice, "", "m.ignored_user_list", `{"ignored_users":{"@bob:h":{}}}`)
		h.shows(6, bob, "unavailable")
		list, _ = h.presence(alice, next)
		h.is("ignored", list)
	})
}

// TestPresenceEpoch: the owner began anew; what it had said is no longer so.
func TestPresenceEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		defer h.stop()
		h.owners.Create(roomA, alice, "shared")
		h.owners.Member(roomA, bob, bob, "join")
		h.owners.Member(roomA, carol, carol, "join")
		_, _ = h.presence(bob, "")
		_, _ = h.presence(carol, "")
		h.shows(1, bob, "online")
		h.shows(2, carol, "online")
		_, next := h.presence(alice, "")
		h.engine.ApplyPresence(&userapi.Presence{Epoch: 5000})
		list, _ := h.presence(alice, next)
		h.is("the owner began", list, "@bob:h offline", "@carol:h offline")
		h.engine.ApplyPresence(&userapi.Presence{Serial: 5001, Epoch: 5000, UserID: carol, Presence: "unavailable"})
		list, next = h.presence(alice, next)
		h.is("new epoch", list, "@bob:h offline", "@carol:h unavailable")
		h.shows(9, bob, "online") // from the owner of before
		list, _ = h.presence(alice, next)
		h.is("old epoch", list)
	})
}

// TestSeededPresence: after a restart it is told of those whose rooms are known, and of
// the others as soon as they are.
func TestSeededPresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		defer h.stop()
		h.owners.Create(roomA, alice, "shared")
		h.owners.Member(roomA, bob, bob, "join")
		h.engine.SeedPresence(1000, []userapi.Presence{{Serial: 1001, Epoch: 1000, UserID: bob, Presence: "online"}})
		_, next := h.presence(alice, "")
		poll := h.start(t.Context(), viewapi.SyncRequest{UserID: alice, Since: next})
		_, _ = h.presence(bob, "")
		if !poll.ended() {
			t.Fatal("nobody was woken")
		}
		list, _ := presenceIn(t, poll.body)
		h.is("seeded", list, "@bob:h online")
	})
}

func TestPresenceIsBounded(t *testing.T) {
	h := newHarness(t)
	h.owners.Create(roomA, alice, "shared")
	var users []userapi.Presence
	for i := range 60_000 {
		users = append(users, userapi.Presence{Serial: int64(1001 + i), Epoch: 1000, UserID: fmt.Sprintf("@u%d:h", i), Presence: "online"})
	}
	h.engine.SeedPresence(1000, users)
	if list, _ := h.presence(alice, ""); len(list) != 0 {
		t.Errorf("%d strangers", len(list))
	}
}
