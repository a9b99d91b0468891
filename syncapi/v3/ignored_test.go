package v3

import (
	"slices"
	"testing"

	"hearth/syncapi/viewapi"
)

// What an ignored user sends is left out, state is not ("Ignoring Users").
func TestIgnoredUsers(t *testing.T) {
	for name, replay := range map[string]int64{"from memory": 1000, "from the owner": 0} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			o := h.owners
			o.Create(roomA, alice, "shared")
			o.Member(roomA, bob, bob, "join")
			before := h.sync(viewapi.SyncRequest{UserID: alice}).NextBatch
			o.SetAccountData(alice, "", "m.ignored_user_list", `{"ignored_users":{"@bob:h":{}}}`)
			o.Message(roomA, bob, "noise")
			topic := o.SetState(roomA, bob, "m.room.topic", "", `{"topic":"x"}`)
			mine := o.Message(roomA, alice, "signal")
			o.Receipt(roomA, bob, "m.read", mine, "")
			h.restart(replay)
			o.Typing(roomA, bob, alice)
			r := h.sync(viewapi.SyncRequest{UserID: alice, Since: before})
			room := r.Rooms.Join[roomA]
			if got := ids(room.Timeline.Events); !slices.Equal(got, []string{topic, mine}) {
				t.Errorf("timeline: %v", got)
			}
			for _, e := range room.Ephemeral.Events {
				if e.Type != "m.typing" || string(e.Content) != `{"user_ids":["@alice:h"]}` {
					t.Errorf("%s: %s", e.Type, e.Content)
				}
			}
			o.SetAccountData(alice, "", "m.ignored_user_list", `{"ignored_users":{}}`)
			again := o.Message(roomA, bob, "heard again")
			room = h.sync(viewapi.SyncRequest{UserID: alice, Since: r.NextBatch}).Rooms.Join[roomA]
			if got := ids(room.Timeline.Events); !slices.Equal(got, []string{again}) {
				t.Errorf("after the end of ignoring: %v", got)
			}
			all := h.sync(viewapi.SyncRequest{UserID: alice}).Rooms.Join[roomA]
			if len(all.Timeline.Events) != 8 {
				t.Errorf("a new sync has %v", ids(all.Timeline.Events))
			}
		})
	}
}

// Invites by ignored users, and all invites of who blocks them, are not shown.
func TestHiddenInvites(t *testing.T) {
	for name, data := range map[string][2]string{
		"ignored": {"m.ignored_user_list", `{"ignored_users":{"@bob:h":{}}}`},
		"blocked": {"m.invite_permission_config", `{"default_action":"block"}`},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			o := h.owners
			o.Create(roomA, bob, "shared")
			o.Member(roomA, alice, alice, "join")
			o.Create(roomB, bob, "shared")
			start := h.sync(viewapi.SyncRequest{UserID: alice}).NextBatch
			o.SetAccountData(alice, "", data[0], data[1])
			gone := o.Member(roomA, alice, alice, "leave")
			o.Member(roomA, bob, alice, "invite")
			o.Member(roomB, bob, alice, "invite")
			r := h.sync(viewapi.SyncRequest{UserID: alice, Since: start})
			if len(r.Rooms.Invite) != 0 {
				t.Errorf("invites: %v", r.Rooms.Invite)
			}
			left := r.Rooms.Leave[roomA]
			if len(r.Rooms.Leave) != 1 || left.Timeline == nil || !slices.Equal(ids(left.Timeline.Events), []string{gone}) {
				t.Errorf("left: %+v", r.Rooms.Leave)
			}
			if r = h.sync(viewapi.SyncRequest{UserID: alice}); len(r.Rooms.Invite) != 0 {
				t.Errorf("invites of a new sync: %v", r.Rooms.Invite)
			}
			o.SetAccountData(alice, "", data[0], `{}`)
			if r = h.sync(viewapi.SyncRequest{UserID: alice}); len(r.Rooms.Invite) != 2 {
				t.Errorf("invites after the setting was taken back: %v", r.Rooms.Invite)
			}
		})
	}
}
