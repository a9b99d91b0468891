package roomserver

import (
	"encoding/json"
	"strings"
	"testing"

	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// content returns the content of a state event; "" if the room has no such state.
func (f *fixture) content(room, user, typ, key string) string {
	f.t.Helper()
	e, err := roomapi.GetStateEvent.Do(f.t.Context(), f.bus, &roomapi.StateEventRequest{RoomID: room, UserID: user, Type: typ, StateKey: key})
	if err != nil {
		return ""
	}
	return string(e.Content())
}

func TestPresets(t *testing.T) {
	f := newFixture(t, t.TempDir(), "", true)
	for _, c := range []struct {
		preset, version         string
		public                  bool
		joinRule, guest, invite string
		bobsPower               string // of the invited bob, in users
	}{
		{"private_chat", "11", false, "invite", "can_join", "0", ""},
		{"trusted_private_chat", "11", false, "invite", "can_join", "0", "100"},
		{"public_chat", "11", false, "public", "forbidden", "50", ""},
		{"", "11", true, "public", "forbidden", "50", ""},
		{"", "11", false, "invite", "can_join", "0", ""},
		{"private_chat", "12", false, "invite", "can_join", "0", ""},
		{"trusted_private_chat", "12", false, "invite", "can_join", "0", "creator"},
	} {
		t.Run(c.preset+" v"+c.version, func(t *testing.T) {
			room := f.create(roomapi.CreateRequest{
				Creator: alice, Preset: c.preset, Public: c.public, RoomVersion: c.version, Invite: []roomapi.Invitee{{UserID: bob}},
			})
			if got := f.content(room, alice, "m.room.join_rules", ""); got != `{"join_rule":"`+c.joinRule+`"}` {
				t.Errorf("join rules %s", got)
			}
			if got := f.content(room, alice, "m.room.guest_access", ""); got != `{"guest_access":"`+c.guest+`"}` {
				t.Errorf("guest access %s", got)
			}
			if got := f.content(room, alice, "m.room.history_visibility", ""); got != `{"history_visibility":"shared"}` {
				t.Errorf("history visibility %s", got)
			}
			levels := []byte(f.content(room, alice, "m.room.power_levels", ""))
			if got, _ := pdu.Get(levels, "invite"); string(got) != c.invite {
				t.Errorf("invite level %s, want %s", got, c.invite)
			}
			checkCreators(t, f, room, c.version, levels, c.bobsPower)
		})
	}
}

func checkCreators(t *testing.T, f *fixture, room, version string, levels []byte, bobsPower string) {
	t.Helper()
	create := []byte(f.content(room, alice, "m.room.create", ""))
	if got, _ := pdu.GetString(create, "room_version"); got != version {
		t.Errorf("room version %q", got)
	}
	users, _ := pdu.Get(levels, "users")
	if version == "12" {
		if string(users) != "{}" {
			t.Errorf("creators of version 12 must not stand in users: %s", users)
		}
		additional, _ := pdu.Get(create, "additional_creators")
		if got := strings.Contains(string(additional), bob); got != (bobsPower == "creator") {
			t.Errorf("additional creators %s", additional)
		}
		return
	}
	if got, _ := pdu.Get(users, alice); string(got) != "100" {
		t.Errorf("the creator has power %s", got)
	}
	if got, _ := pdu.Get(users, bob); string(got) != bobsPower {
		t.Errorf("the invitee has power %q, want %q", got, bobsPower)
	}
}

func TestCreatePrecedence(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		room := f.create(roomapi.CreateRequest{
			Creator: alice, Preset: "public_chat", Name: "From name", Topic: "From topic", AliasLocalpart: "here",
			Profile: roomapi.Profile{DisplayName: "Alice \"A\""},
			InitialState: []roomapi.StateEvent{
				{Type: "m.room.name", Content: []byte(`{"name":"From initial state"}`)},
				{Type: "m.room.join_rules", Content: []byte(`{"join_rule":"knock"}`)},
				{Type: "org.example", StateKey: "k", Content: []byte(`{ "b":1, "a":2 }`)},
			},
			CreationContent:    []byte(`{"m.federate":false,"type":"m.space","room_version":"1"}`),
			PowerLevelOverride: []byte(`{"events_default":5}`),
		})
		for _, want := range []struct{ typ, key, content string }{
			{"m.room.name", "", `{"name":"From name"}`},
			{"m.room.join_rules", "", `{"join_rule":"knock"}`},
			{"m.room.topic", "", `{"m.topic":{"m.text":[{"body":"From topic","mimetype":"text/plain"}]},"topic":"From topic"}`},
			{"org.example", "k", `{"a":2,"b":1}`},
			{"m.room.canonical_alias", "", `{"alias":"#here:test.example"}`},
			{"m.room.create", "", `{"m.federate":false,"room_version":"12","type":"m.space"}`},
			{memberType, alice, `{"displayname":"Alice \"A\"","membership":"join"}`},
		} {
			if got := f.content(room, alice, want.typ, want.key); got != want.content {
				t.Errorf("%s %q is %s, want %s", want.typ, want.key, got, want.content)
			}
		}
		if got, _ := pdu.Get([]byte(f.content(room, alice, "m.room.power_levels", "")), "events_default"); string(got) != "5" {
			t.Errorf("events_default %s", got)
		}
	})
}

func TestCreateRefuses(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.create(roomapi.CreateRequest{Creator: alice, AliasLocalpart: "taken"})
		for name, c := range map[string]struct {
			req  roomapi.CreateRequest
			code string
		}{
			"unknown version": {roomapi.CreateRequest{RoomVersion: "99"}, "M_UNSUPPORTED_ROOM_VERSION"},
			"unknown preset":  {roomapi.CreateRequest{Preset: "cosy"}, "M_INVALID_PARAM"},
			"alias taken":     {roomapi.CreateRequest{AliasLocalpart: "taken"}, "M_ROOM_IN_USE"},
			"alias with NUL":  {roomapi.CreateRequest{AliasLocalpart: "a\x00"}, "M_INVALID_PARAM"},
			"bad invitee":     {roomapi.CreateRequest{Invite: []roomapi.Invitee{{UserID: "bob"}}}, "M_INVALID_PARAM"},
			"create event in initial state": {roomapi.CreateRequest{
				InitialState: []roomapi.StateEvent{{Type: "m.room.create", Content: []byte(`{}`)}},
			}, "M_INVALID_ROOM_STATE"},
			"creator in the power levels of version 12": {roomapi.CreateRequest{
				PowerLevelOverride: []byte(`{"users":{"` + alice + `":100}}`),
			}, "M_INVALID_ROOM_STATE"},
			"power level that is no number": {roomapi.CreateRequest{PowerLevelOverride: []byte(`{"ban":"50"}`)}, "M_INVALID_ROOM_STATE"},
			"NUL in a state key": {roomapi.CreateRequest{
				InitialState: []roomapi.StateEvent{{Type: "x", StateKey: "\x00", Content: []byte(`{}`)}},
			}, "M_BAD_JSON"},
		} {
			t.Run(name, func(t *testing.T) {
				c.req.Creator = alice
				_, err := roomapi.Create.Do(t.Context(), f.bus, &c.req)
				if err == nil || !strings.Contains(err.Error(), c.code) {
					t.Errorf("got %v, want %s", err, c.code)
				}
			})
		}
		if got := do(f, roomapi.Memberships, roomapi.MembershipsRequest{UserID: alice}); len(got.Rooms) != 1 {
			t.Errorf("refused rooms are there: %+v", got.Rooms)
		}
		f.create(roomapi.CreateRequest{Creator: alice}) // the server still works
	})
}

func TestRoomsOfOneMomentDiffer(t *testing.T) {
	f := newFixture(t, t.TempDir(), "", true)
	seen := map[string]bool{}
	for range 20 {
		seen[f.create(roomapi.CreateRequest{Creator: alice})] = true
	}
	if len(seen) != 20 {
		t.Errorf("%d different rooms, want 20", len(seen))
	}
}

func TestRestrictedJoin(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		space := f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat"})
		rule, _ := json.Marshal(map[string]any{
			"join_rule": "restricted", "allow": []any{map[string]string{"type": "m.room_membership", "room_id": space}},
		})
		for _, version := range []string{"8", "9", "10", "11", "12"} {
			room := f.create(roomapi.CreateRequest{
				Creator: alice, RoomVersion: version, InitialState: []roomapi.StateEvent{{Type: "m.room.join_rules", Content: rule}},
			})
			refused(f, roomapi.Join, roomapi.JoinRequest{RoomIDOrAlias: room, UserID: carol}, "M_FORBIDDEN")
			key := carol
			refused(f, roomapi.Send, roomapi.SendRequest{
				RoomID: room, Sender: carol, Type: memberType, StateKey: &key,
				Content: []byte(`{"membership":"join","join_authorised_via_users_server":"` + alice + `"}`),
			}, "M_FORBIDDEN")
			if version == "8" {
				f.join(space, bob)
			}
			f.join(room, bob)
			if got := f.content(room, bob, memberType, bob); !strings.Contains(got, `"join_authorised_via_users_server":"`+alice+`"`) {
				t.Errorf("v%s: member event %s", version, got)
			}
		}
	})
}
