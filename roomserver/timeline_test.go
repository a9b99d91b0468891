package roomserver

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"hearth/roomserver/roomapi"
)

func TestPagesMeet(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		room := f.create(roomapi.CreateRequest{Creator: alice})
		var want []string
		for i := range 23 {
			want = append(want, f.send(room, alice, fmt.Sprint(i), fmt.Sprint(i)))
		}
		filter := roomapi.EventFilter{Types: []string{"m.room.mess*"}, NotSenders: []string{bob}}
		for _, limit := range []int{1, 4, 23, 100} {
			got := walk(f, roomapi.MessagesRequest{RoomID: room, UserID: alice, Limit: limit, Filter: filter})
			if !slices.Equal(got, want) {
				t.Errorf("forwards by %d: %d events", limit, len(got))
			}
			got = walk(f, roomapi.MessagesRequest{RoomID: room, UserID: alice, Limit: limit, Filter: filter, Backwards: true})
			slices.Reverse(got)
			if !slices.Equal(got, want) {
				t.Errorf("backwards by %d: %d events", limit, len(got))
			}
		}
		// From the middle, both ways: what stands between two events belongs to one side.
		c := do(f, roomapi.Context, roomapi.ContextRequest{RoomID: room, UserID: alice, EventID: want[10], Limit: 4})
		if c.Event.EventID != want[10] || len(c.Before) != 2 || c.Before[0].EventID != want[9] || len(c.After) != 2 || c.After[1].EventID != want[12] {
			t.Errorf("context: %d before, %d after", len(c.Before), len(c.After))
		}
		back := walk(f, roomapi.MessagesRequest{RoomID: room, UserID: alice, From: c.Start, Backwards: true, Limit: 5, Filter: filter})
		if len(back) != 8 || back[0] != want[7] {
			t.Errorf("before the context: %d events", len(back))
		}
		on := walk(f, roomapi.MessagesRequest{RoomID: room, UserID: alice, From: c.End, Limit: 5, Filter: filter})
		if len(on) != 10 || on[0] != want[13] {
			t.Errorf("after the context: %d events", len(on))
		}
	})
}

func walk(f *fixture, req roomapi.MessagesRequest) (ids []string) {
	f.t.Helper()
	for {
		page := do(f, roomapi.Messages, req)
		for _, e := range page.Events {
			ids = append(ids, e.EventID)
		}
		if page.End.IsZero() {
			return ids
		}
		req.From = page.End
	}
}

func TestInvisibleEventsDoNotEndThePage(t *testing.T) {
	f := newFixture(t, t.TempDir(), "", true)
	room := f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat", InitialState: []roomapi.StateEvent{
		{Type: visibilityType, Content: []byte(`{"history_visibility":"joined"}`)},
	}})
	f.join(room, bob)
	first := f.send(room, alice, "first", "first")
	f.leave(room, bob)
	for i := range 200 {
		f.send(room, alice, fmt.Sprint(i), "hidden")
	}
	f.join(room, bob)
	last := f.send(room, alice, "last", "last")
	got := walk(f, roomapi.MessagesRequest{
		RoomID: room, UserID: bob, Backwards: true, Limit: 2, Filter: roomapi.EventFilter{Types: []string{"m.room.message"}},
	})
	if !slices.Equal(got, []string{last, first}) {
		t.Errorf("bob sees %v, want the last and the first message", got)
	}
}

func TestRedactionLeavesNoTrace(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		room := f.create(roomapi.CreateRequest{Creator: alice})
		secret := f.state(room, alice, "m.room.topic", "", `{"topic":"SECRET"}`)
		f.state(room, alice, "m.room.topic", "", `{"topic":"harmless"}`)
		message := f.send(room, alice, "1", "SECRET")
		f.texts(room, alice) // fills the caches
		for _, id := range []string{secret, message} {
			do(f, roomapi.Redact, roomapi.RedactRequest{RoomID: room, Sender: alice, EventID: id, Reason: "why"})
		}
		for range 2 {
			page := do(f, roomapi.Messages, roomapi.MessagesRequest{RoomID: room, UserID: alice, Backwards: true, Limit: 100})
			because := 0
			for _, e := range page.Events {
				text := string(e.AppendJSON(nil, roomapi.Render{RoomID: room, UserID: alice, Now: f.s.now()}))
				if strings.Contains(text, "SECRET") {
					t.Errorf("still there: %s", text)
				}
				if strings.Contains(text, "redacted_because") {
					because++
				}
			}
			if because != 2 {
				t.Errorf("%d events say why they are redacted, want 2", because)
			}
			f.restart()
		}
	})
}

func TestRedactionNeedsPower(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for _, version := range []string{"1", "3", "11", "12"} {
			room := f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat", RoomVersion: version})
			f.join(room, bob)
			alices, bobs := f.send(room, alice, "a", "alice's"), f.send(room, bob, "b", "bob's")
			refused(f, roomapi.Redact, roomapi.RedactRequest{RoomID: room, Sender: bob, EventID: alices}, "M_FORBIDDEN")
			refused(f, roomapi.Redact, roomapi.RedactRequest{RoomID: room, Sender: bob, EventID: "$unknown"}, "M_NOT_FOUND")
			create, err := roomapi.GetStateEvent.Do(t.Context(), f.bus, &roomapi.StateEventRequest{RoomID: room, UserID: alice, Type: "m.room.create"})
			if err != nil {
				t.Fatal(err)
			}
			refused(f, roomapi.Redact, roomapi.RedactRequest{RoomID: room, Sender: alice, EventID: create.EventID}, "M_FORBIDDEN")
			other := f.create(roomapi.CreateRequest{Creator: alice, RoomVersion: version})
			refused(f, roomapi.Redact, roomapi.RedactRequest{RoomID: other, Sender: alice, EventID: alices}, "M_NOT_FOUND")
			do(f, roomapi.Redact, roomapi.RedactRequest{RoomID: room, Sender: bob, EventID: bobs})
			do(f, roomapi.Redact, roomapi.RedactRequest{RoomID: room, Sender: alice, EventID: alices})
		}
	})
}

func TestWindows(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		window := func(req roomapi.WindowRequest) *roomapi.Window {
			t.Helper()
			w, err := roomapi.ReadWindow(t.Context(), f.bus, &req)
			if err != nil {
				t.Fatal(err)
			}
			return w
		}
		room := f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat"})
		f.join(room, bob)
		f.join(room, carol)
		start := window(roomapi.WindowRequest{RoomID: room, UserID: bob, Limit: 1, Lazy: true})
		if got := members(start.State); !slices.Equal(got, []string{alice, bob}) || start.Joined != 3 {
			t.Errorf("lazy start: members %v, joined %d", got, start.Joined)
		}
		if !slices.Equal(start.Heroes, []string{alice, carol}) {
			t.Errorf("heroes %v", start.Heroes)
		}
		// Nothing new.
		same := window(roomapi.WindowRequest{RoomID: room, UserID: bob, Limit: 5, From: start.Pos})
		if len(same.Timeline) != 0 || len(same.State) != 0 || same.Limited {
			t.Errorf("nothing new: %d timeline, %d state, limited %v", len(same.Timeline), len(same.State), same.Limited)
		}
		// A gap: the state that changed in it comes as state, once.
		f.state(room, alice, "m.room.topic", "", `{"topic":"one"}`)
		topic := f.state(room, alice, "m.room.topic", "", `{"topic":"two"}`)
		f.leave(room, carol)
		for i := range 4 {
			f.send(room, alice, fmt.Sprint(i), "x")
		}
		gap := window(roomapi.WindowRequest{RoomID: room, UserID: bob, Limit: 2, From: start.Pos})
		if len(gap.Timeline) != 2 || !gap.Limited || len(gap.State) != 2 || gap.Joined != 2 {
			t.Errorf("gap: %d timeline, %d state, limited %v, joined %d", len(gap.Timeline), len(gap.State), gap.Limited, gap.Joined)
		}
		if !slices.ContainsFunc(gap.State, func(e *roomapi.Event) bool { return e.EventID == topic }) {
			t.Error("the new topic is missing in the gap's state")
		}
		page := do(f, roomapi.Messages, roomapi.MessagesRequest{RoomID: room, UserID: bob, From: gap.PrevBatch, Backwards: true, Limit: 2})
		if len(page.Events) != 2 || page.Events[0].Pos != gap.Timeline[0].Pos-1 {
			t.Errorf("prev_batch does not lead to the event before the timeline")
		}
		// The state after the timeline holds what the timeline changed.
		after := f.state(room, alice, "m.room.topic", "", `{"topic":"three"}`)
		w := window(roomapi.WindowRequest{RoomID: room, UserID: bob, Limit: 10, From: gap.Pos, StateAfter: true})
		if len(w.State) != 1 || w.State[0].EventID != after || len(w.Timeline) != 1 {
			t.Errorf("state after: %d state, %d timeline", len(w.State), len(w.Timeline))
		}
		// A user who left sees up to their leave.
		gone := window(roomapi.WindowRequest{RoomID: room, UserID: carol, Limit: 10, From: start.Pos})
		if n := len(gone.Timeline); gone.Membership != "leave" || n == 0 || gone.Timeline[n-1].Membership != "leave" {
			t.Errorf("after leaving: membership %q, %d events", gone.Membership, n)
		}
	})
}

// members lists the state keys of member events, sorted.
func members(events []*roomapi.Event) (ids []string) {
	for _, e := range events {
		if e.Type == memberType {
			ids = append(ids, *e.StateKey)
		}
	}
	slices.Sort(ids)
	return ids
}

// TestWindowHasNoHoles: state that a new member may not see stands before the
// timeline, and so is part of the state.
func TestWindowHasNoHoles(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		room := f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat"})
		f.send(room, alice, "1", "visible")
		f.state(room, alice, visibilityType, "", `{"history_visibility":"joined"}`)
		topic := f.state(room, alice, "m.room.topic", "", `{"topic":"hidden as an event"}`)
		f.join(room, bob)
		w, err := roomapi.ReadWindow(t.Context(), f.bus, &roomapi.WindowRequest{RoomID: room, UserID: bob, Limit: 50})
		if err != nil {
			t.Fatal(err)
		}
		if len(w.Timeline) != 1 || w.Timeline[0].Membership != "join" || !w.Limited {
			t.Errorf("%d events in the timeline, limited %v", len(w.Timeline), w.Limited)
		}
		if !slices.ContainsFunc(w.State, func(e *roomapi.Event) bool { return e.EventID == topic }) {
			t.Error("the topic is neither in the timeline nor in the state")
		}
		page := do(f, roomapi.Messages, roomapi.MessagesRequest{RoomID: room, UserID: bob, From: w.PrevBatch, Backwards: true, Limit: 50})
		if n := len(page.Events); n < 8 || page.Events[0].Type != visibilityType {
			t.Errorf("%d events before the window", n)
		}
	})
}

func TestOwnMemberEventsAreSeen(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		room := f.create(roomapi.CreateRequest{Creator: alice})
		do(f, roomapi.Invite, roomapi.MembershipRequest{RoomID: room, Sender: alice, Target: bob})
		f.leave(room, bob) // rejects the invite
		w, err := roomapi.ReadWindow(t.Context(), f.bus, &roomapi.WindowRequest{RoomID: room, UserID: bob, Limit: 50})
		if err != nil || len(w.Timeline) == 0 || w.Timeline[len(w.Timeline)-1].Membership != "leave" {
			t.Errorf("a rejected invite shows %+v, %v", w, err)
		}
		do(f, roomapi.Ban, roomapi.MembershipRequest{RoomID: room, Sender: alice, Target: bob})
		w, err = roomapi.ReadWindow(t.Context(), f.bus, &roomapi.WindowRequest{RoomID: room, UserID: bob, Limit: 50})
		if err != nil || len(w.Timeline) == 0 || w.Timeline[len(w.Timeline)-1].Membership != "ban" {
			t.Errorf("a ban shows %+v, %v", w, err)
		}
		for _, e := range w.Timeline {
			if e.Type != memberType || *e.StateKey != bob {
				t.Errorf("bob, who never joined, sees %s", e.JSON)
			}
		}
	})
}

func TestForgottenRoomsAreListedOnDemand(t *testing.T) {
	f := newFixture(t, t.TempDir(), "", true)
	room := f.create(roomapi.CreateRequest{Creator: alice})
	f.leave(room, alice)
	do(f, roomapi.Forget, roomapi.ForgetRequest{RoomID: room, UserID: alice})
	got := do(f, roomapi.Memberships, roomapi.MembershipsRequest{UserID: alice, Memberships: []string{"join", "leave"}})
	if len(got.Rooms) != 1 || !got.Rooms[0].Forgotten {
		t.Errorf("got %+v", got.Rooms)
	}
}
