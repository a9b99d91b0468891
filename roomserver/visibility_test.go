package roomserver

import (
	"fmt"
	"slices"
	"testing"

	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// TestHistoryVisibility sends a message in each phase of a user's life in a room
// and says which ones the user sees at the end ("Room history visibility").
func TestHistoryVisibility(t *testing.T) {
	for _, c := range []struct {
		setting string
		stays   bool // whether the user is joined at the end
		want    []string
	}{
		{"world_readable", true, []string{"before", "invited", "joined", "away", "back"}},
		{"shared", true, []string{"before", "invited", "joined", "away", "back"}},
		{"invited", true, []string{"invited", "joined", "back"}},
		{"joined", true, []string{"joined", "back"}},
		{"world_readable", false, []string{"before", "invited", "joined", "away", "back", "gone"}},
		{"shared", false, []string{"before", "invited", "joined", "away", "back"}},
		{"invited", false, []string{"invited", "joined", "back"}},
		{"joined", false, []string{"joined", "back"}},
	} {
		t.Run(fmt.Sprintf("%s, stays %v", c.setting, c.stays), func(t *testing.T) {
			f := newFixture(t, t.TempDir(), "", true)
			room := f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat", InitialState: []roomapi.StateEvent{
				{Type: visibilityType, Content: []byte(`{"history_visibility":"` + c.setting + `"}`)},
			}})
			invite := func() {
				do(f, roomapi.Invite, roomapi.MembershipRequest{RoomID: room, Sender: alice, Target: bob})
			}
			f.send(room, alice, "1", "before")
			invite()
			f.send(room, alice, "2", "invited")
			f.join(room, bob)
			f.send(room, alice, "3", "joined")
			f.leave(room, bob)
			f.send(room, alice, "4", "away")
			f.join(room, bob)
			f.send(room, alice, "5", "back")
			if !c.stays {
				f.leave(room, bob)
				f.send(room, alice, "6", "gone")
			}
			if got := f.texts(room, bob); !slices.Equal(got, c.want) {
				t.Errorf("bob sees %q, want %q", got, c.want)
			}
		})
	}
}

func TestSettingCountsFromItsPlaceInTheTimeline(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		room := f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat"})
		f.send(room, alice, "1", "shared")
		f.state(room, alice, visibilityType, "", `{"history_visibility":"joined"}`)
		f.send(room, alice, "2", "joined")
		f.join(room, bob)
		f.send(room, alice, "3", "present")
		if got, want := f.texts(room, bob), []string{"shared", "present"}; !slices.Equal(got, want) {
			t.Errorf("bob sees %q, want %q", got, want)
		}
	})
}

func TestStrangersSeeNothing(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		room := f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat"})
		event := f.send(room, alice, "1", "secret")
		refused(f, roomapi.Messages, roomapi.MessagesRequest{RoomID: room, UserID: carol, Backwards: true}, "M_FORBIDDEN")
		refused(f, roomapi.Messages, roomapi.MessagesRequest{RoomID: "!unknown:test.example", UserID: carol}, "M_FORBIDDEN")
		refused(f, roomapi.GetEvent, roomapi.EventRequest{RoomID: room, UserID: carol, EventID: event}, "M_NOT_FOUND")
		refused(f, roomapi.Context, roomapi.ContextRequest{RoomID: room, UserID: carol, EventID: event}, "M_NOT_FOUND")
		refused(f, roomapi.GetStateEvent, roomapi.StateEventRequest{RoomID: room, UserID: carol, Type: "m.room.create"}, "M_FORBIDDEN")
		for _, req := range []roomapi.StateRequest{{RoomID: room, UserID: carol}, {RoomID: room, UserID: carol, MembersOnly: true}} {
			err := roomapi.ReadEvents(t.Context(), f.bus, &req, func(*roomapi.Event) error { return nil })
			if err == nil {
				t.Errorf("state streamed to a stranger: %+v", req)
			}
		}
		if _, err := roomapi.ReadWindow(t.Context(), f.bus, &roomapi.WindowRequest{RoomID: room, UserID: carol, Limit: 5}); err == nil {
			t.Error("window streamed to a stranger")
		}
	})
}

func TestForgottenRoomIsClosed(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		room := f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat"})
		f.join(room, bob)
		refused(f, roomapi.Forget, roomapi.ForgetRequest{RoomID: room, UserID: bob}, "M_UNKNOWN")
		f.leave(room, bob)
		for range 2 {
			do(f, roomapi.Forget, roomapi.ForgetRequest{RoomID: room, UserID: bob})
		}
		refused(f, roomapi.Messages, roomapi.MessagesRequest{RoomID: room, UserID: bob, Backwards: true}, "M_FORBIDDEN")
		if got := do(f, roomapi.Memberships, roomapi.MembershipsRequest{UserID: bob}); len(got.Rooms) != 0 {
			t.Errorf("a forgotten room is listed: %+v", got.Rooms)
		}
		f.join(room, bob)
		if got := do(f, roomapi.Memberships, roomapi.MembershipsRequest{UserID: bob}); len(got.Rooms) != 1 {
			t.Errorf("after joining again: %+v", got.Rooms)
		}
	})
}

// A window shows no state to who was invited only, and none from after the departure
// to who left.
func TestWindowStateEndsWithTheDeparture(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		room := f.create(roomapi.CreateRequest{Creator: alice, Preset: "private_chat"})
		invite := func() {
			do(f, roomapi.Invite, roomapi.MembershipRequest{RoomID: room, Sender: alice, Target: bob})
		}
		topics := func(req roomapi.WindowRequest) (topic string, n int) {
			req.RoomID, req.UserID, req.Limit = room, bob, 20
			w, err := roomapi.ReadWindow(t.Context(), f.bus, &req)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range append(w.State, w.Timeline...) {
				if e.Type == "m.room.topic" {
					topic, _ = pdu.GetString(e.Content(), "topic")
				}
			}
			return topic, len(w.State)
		}
		invite()
		f.state(room, alice, "m.room.topic", "", `{"topic":"one"}`)
		f.leave(room, bob)
		for _, after := range []bool{false, true} {
			if topic, n := topics(roomapi.WindowRequest{StateAfter: after}); topic != "" || n != 0 {
				t.Errorf("invited only: %d events of state, topic %q", n, topic)
			}
		}
		invite()
		f.join(room, bob)
		f.state(room, alice, "m.room.topic", "", `{"topic":"two"}`)
		f.leave(room, bob)
		f.state(room, alice, "m.room.topic", "", `{"topic":"three"}`)
		invite()
		f.leave(room, bob)
		for _, req := range []roomapi.WindowRequest{{}, {StateAfter: true}, {Lazy: true, StateAfter: true}} {
			if topic, n := topics(req); topic != "two" || n == 0 {
				t.Errorf("%+v: %d events of state, topic %q", req, n, topic)
			}
		}
	})
}
