package roomserver

import (
	"maps"
	"strings"
	"testing"

	"hearth/roomserver/roomapi"
)

const (
	anna = "@anna:a.example"
	ben  = "@ben:b.example"
	bea  = "@bea:b.example"
)

func publicRoom(f *fixture, version string) string {
	f.t.Helper()
	return f.create(roomapi.CreateRequest{Creator: anna, Preset: "public_chat", RoomVersion: version, Name: "Garden", AliasLocalpart: "garden" + version})
}

func TestJoinElsewhere(t *testing.T) {
	for _, version := range []string{"1", "6", "10", "11", "12"} {
		t.Run("v"+version, func(t *testing.T) {
			n := newNetwork(t, "a.example", "b.example")
			a, b := n.servers["a.example"], n.servers["b.example"]
			room := publicRoom(a, version)
			before := n.stateOf("a.example", room, anna)
			got := do(b, roomapi.Join, roomapi.JoinRequest{RoomIDOrAlias: "#garden" + version + ":a.example", UserID: ben, Profile: roomapi.Profile{DisplayName: "Ben"}})
			if got.RoomID != room || got.EventID == "" {
				t.Fatalf("%+v", got)
			}
			for server, user := range map[string]string{"a.example": anna, "b.example": ben} {
				state := n.stateOf(server, room, user)
				if state["m.room.member|"+ben] != got.EventID {
					t.Errorf("%s has no join: %v", server, state)
				}
				delete(state, "m.room.member|"+ben)
				if !maps.Equal(state, before) {
					t.Errorf("%s: state %v, want %v", server, state, before)
				}
			}
			w, err := roomapi.ReadWindow(t.Context(), b.bus, &roomapi.WindowRequest{RoomID: room, UserID: ben, Limit: 10})
			if err != nil {
				t.Fatal(err)
			}
			if len(w.Timeline) != 1 || w.Timeline[0].EventID != got.EventID || !w.Limited || w.PrevBatch.IsZero() || len(w.State) != len(before) || w.Joined != 2 {
				t.Errorf("window %+v with %d events and %d of state, want %d", w.WindowInfo, len(w.Timeline), len(w.State), len(before))
			}
			id := do(b, roomapi.Send, roomapi.SendRequest{RoomID: room, Sender: ben, Type: "m.room.message", Content: []byte(`{"body":"hi","msgtype":"m.text"}`)}).EventID
			n.deliver()
			if e := do(a, roomapi.GetEvent, roomapi.EventRequest{RoomID: room, UserID: anna, EventID: id}); e.Sender != ben {
				t.Errorf("%+v", e)
			}
		})
	}
}

// privateRoom is a room of anna's that only invited users can join.
func privateRoom(f *fixture, version string) string {
	f.t.Helper()
	return f.create(roomapi.CreateRequest{Creator: anna, Preset: "private_chat", RoomVersion: version, Name: "Shed"})
}

func inviteBen(f *fixture, room string) string {
	f.t.Helper()
	return do(f, roomapi.Invite, roomapi.MembershipRequest{RoomID: room, Sender: anna, Target: ben, Profile: roomapi.Profile{DisplayName: "Ben"}}).EventID
}

func TestInviteElsewhere(t *testing.T) {
	for _, version := range []string{"1", "10", "12"} {
		t.Run("v"+version, func(t *testing.T) {
			n := newNetwork(t, "a.example", "b.example")
			a, b := n.servers["a.example"], n.servers["b.example"]
			room := privateRoom(a, version)
			refused(b, roomapi.Join, roomapi.JoinRequest{RoomIDOrAlias: room, UserID: ben, Via: []string{"a.example"}}, "M_FORBIDDEN")
			refused(a, roomapi.Invite, roomapi.MembershipRequest{RoomID: room, Sender: anna, Target: "@nobody:b.example"}, "M_NOT_FOUND")
			refused(a, roomapi.Invite, roomapi.MembershipRequest{RoomID: room, Sender: anna, Target: "@shy:b.example"}, "M_INVITE_BLOCKED")
			do(a, roomapi.Invite, roomapi.MembershipRequest{RoomID: room, Sender: anna, Target: "@deaf:b.example"})
			if ma, mb := n.membership("a.example", room, "@deaf:b.example"), n.membership("b.example", room, "@deaf:b.example"); ma != "invite" || mb != "" {
				t.Errorf("an invite that is not to be seen: %q here, %q there", ma, mb)
			}
			id := inviteBen(a, room)
			if again := inviteBen(a, room); again != id {
				t.Errorf("a second invite is %s", again)
			}
			if ma, mb := n.membership("a.example", room, ben), n.membership("b.example", room, ben); ma != "invite" || mb != "invite" {
				t.Fatalf("%q here, %q there", ma, mb)
			}
			stripped := string(do(b, roomapi.InviteState, roomapi.InviteStateRequest{RoomID: room, UserID: ben}).Events)
			for _, part := range []string{`"type":"m.room.create"`, `"name":"Shed"`, `"state_key":"@ben:b.example"`, `"state_key":"@anna:a.example"`} {
				if !strings.Contains(stripped, part) {
					t.Errorf("invite state lacks %s: %s", part, stripped)
				}
			}
			if strings.Contains(stripped, "hashes") {
				t.Errorf("invite state holds whole events: %s", stripped)
			}
			if e := do(b, roomapi.GetEvent, roomapi.EventRequest{RoomID: room, UserID: ben, EventID: id}); e.Membership != "invite" {
				t.Errorf("the invite is %+v", e)
			}
			refused(b, roomapi.GetEvent, roomapi.EventRequest{RoomID: room, UserID: bea, EventID: id}, "M_NOT_FOUND")
			got := do(b, roomapi.Join, roomapi.JoinRequest{RoomIDOrAlias: room, UserID: ben})
			n.deliver()
			if n.membership("a.example", room, ben) != "join" || n.membership("b.example", room, ben) != "join" {
				t.Error("the invited user has not joined")
			}
			if state := n.stateOf("b.example", room, ben); state["m.room.member|"+ben] != got.EventID {
				t.Error("the join is not in the state")
			}
			refused(b, roomapi.InviteState, roomapi.InviteStateRequest{RoomID: room, UserID: ben}, "M_NOT_FOUND")
		})
	}
}

// entriesOf reads a server's log of a kind.
func entriesOf(f *fixture, kind roomapi.Kind) (list []roomapi.Entry) {
	f.t.Helper()
	for after := int64(0); ; {
		entries, head, err := f.s.readLog(f.t.Context(), after, 100)
		if err != nil {
			f.t.Fatal(err)
		}
		for _, e := range entries {
			if after = e.Pos; e.Entry.Kind == kind {
				list = append(list, *e.Entry)
			}
		}
		if after >= head {
			return list
		}
	}
}

func TestRejectedInvite(t *testing.T) {
	for _, reachable := range []bool{true, false} {
		n := newNetwork(t, "a.example", "b.example")
		a, b := n.servers["a.example"], n.servers["b.example"]
		room := privateRoom(a, "11")
		inviteBen(a, room)
		n.down["a.example"] = !reachable
		left := do(b, roomapi.Leave, roomapi.MembershipRequest{RoomID: room, Sender: ben, Target: ben})
		if again := do(b, roomapi.Leave, roomapi.MembershipRequest{RoomID: room, Sender: ben, Target: ben}); again.EventID != left.EventID {
			t.Errorf("left twice: %s and %s", left.EventID, again.EventID)
		}
		want := map[bool]string{true: "leave", false: "invite"}[reachable]
		if ma, mb := n.membership("a.example", room, ben), n.membership("b.example", room, ben); ma != want || mb != "leave" {
			t.Errorf("reachable %v: %q there, %q here", reachable, ma, mb)
		}
		log := entriesOf(b, roomapi.KindOutside)
		if len(log) != 1 || log[0].Event.Membership != "leave" || log[0].UserID != ben || log[0].RoomID != room || log[0].Event.Pos == 0 {
			t.Errorf("log %+v", log)
		}
		do(b, roomapi.Forget, roomapi.ForgetRequest{RoomID: room, UserID: ben})
		if got := n.membership("b.example", room, ben); got != "" {
			t.Errorf("forgotten room is shown as %q", got)
		}
		n.down["a.example"] = false
		if again := inviteBen(a, room); again == "" || reachable != (n.membership("b.example", room, ben) == "invite") {
			t.Errorf("reachable %v: the next invite gave %s and %q", reachable, again, n.membership("b.example", room, ben))
		}
	}
}

func TestInviteIsRescinded(t *testing.T) {
	n := newNetwork(t, "a.example", "b.example")
	a, b := n.servers["a.example"], n.servers["b.example"]
	room := privateRoom(a, "11")
	inviteBen(a, room)
	do(a, roomapi.Kick, roomapi.MembershipRequest{RoomID: room, Sender: anna, Target: ben})
	n.deliver()
	if got := n.membership("b.example", room, ben); got != "leave" {
		t.Errorf("membership %q after the invite was taken back", got)
	}
	refused(b, roomapi.InviteState, roomapi.InviteStateRequest{RoomID: room, UserID: ben}, "M_NOT_FOUND")
}

func TestKnockElsewhere(t *testing.T) {
	n := newNetwork(t, "a.example", "b.example")
	a, b := n.servers["a.example"], n.servers["b.example"]
	room := privateRoom(a, "10")
	refused(b, roomapi.Knock, roomapi.JoinRequest{RoomIDOrAlias: room, UserID: ben, Via: []string{"a.example"}}, "M_FORBIDDEN")
	a.state(room, anna, "m.room.join_rules", "", `{"join_rule":"knock"}`)
	do(b, roomapi.Knock, roomapi.JoinRequest{RoomIDOrAlias: room, UserID: ben, Via: []string{"a.example"}, Reason: "please"})
	if ma, mb := n.membership("a.example", room, ben), n.membership("b.example", room, ben); ma != "knock" || mb != "knock" {
		t.Fatalf("%q there, %q here", ma, mb)
	}
	if state := string(do(b, roomapi.InviteState, roomapi.InviteStateRequest{RoomID: room, UserID: ben}).Events); !strings.Contains(state, `"name":"Shed"`) || !strings.Contains(state, "please") {
		t.Errorf("knock state %s", state)
	}
	inviteBen(a, room)
	if got := n.membership("b.example", room, ben); got != "invite" {
		t.Errorf("%q after the knock was accepted", got)
	}
	do(b, roomapi.Join, roomapi.JoinRequest{RoomIDOrAlias: room, UserID: ben})
	// bea takes her knock back; by now her server is in the room.
	do(b, roomapi.Knock, roomapi.JoinRequest{RoomIDOrAlias: room, UserID: bea})
	do(b, roomapi.Leave, roomapi.MembershipRequest{RoomID: room, Sender: bea, Target: bea})
	n.deliver()
	if got := n.membership("a.example", room, bea); got != "leave" {
		t.Errorf("%q after the knock was withdrawn", got)
	}
}

func TestLeaveAndJoinAgain(t *testing.T) {
	n := newNetwork(t, "a.example", "b.example")
	a, b := n.servers["a.example"], n.servers["b.example"]
	room := publicRoom(a, "11")
	join := func() string {
		return do(b, roomapi.Join, roomapi.JoinRequest{RoomIDOrAlias: room, UserID: ben, Via: []string{"a.example"}}).EventID
	}
	join()
	do(b, roomapi.Leave, roomapi.MembershipRequest{RoomID: room, Sender: ben, Target: ben})
	n.deliver()
	if got := n.membership("a.example", room, ben); got != "leave" {
		t.Fatalf("membership %q", got)
	}
	a.state(room, anna, "m.room.topic", "", `{"topic":"while he was away"}`)
	n.deliver()
	second := join()
	state := n.stateOf("b.example", room, ben)
	if !maps.Equal(state, n.stateOf("a.example", room, anna)) || state["m.room.member|"+ben] != second {
		t.Errorf("states differ after the second join")
	}
	w, err := roomapi.ReadWindow(t.Context(), b.bus, &roomapi.WindowRequest{RoomID: room, UserID: ben, Limit: 20})
	if err != nil {
		t.Fatal(err)
	}
	topic := false
	for _, e := range w.State {
		topic = topic || e.Type == "m.room.topic"
	}
	if len(w.Timeline) != 1 || !w.Limited || !topic {
		t.Errorf("%d events, limited %v, topic %v", len(w.Timeline), w.Limited, topic)
	}
	b.s.rooms = newRooms() // the room is read anew
	if got := n.stateOf("b.example", room, ben); !maps.Equal(got, state) {
		t.Error("the state read from the store is another one")
	}
	if w2, err := roomapi.ReadWindow(t.Context(), b.bus, &roomapi.WindowRequest{RoomID: room, UserID: ben, Limit: 20}); err != nil || len(w2.State) != len(w.State) || w2.Joined != w.Joined || !w2.Limited {
		t.Errorf("window read from the store: %v", err)
	}
	resets := 0
	for _, e := range entriesOf(b, roomapi.KindEvent) {
		if e.Reset {
			resets++
		}
	}
	if resets != 2 {
		t.Errorf("%d entries tell that the state was replaced, want 2", resets)
	}
}

func TestRestrictedJoinElsewhere(t *testing.T) {
	n := newNetwork(t, "a.example", "b.example", "c.example")
	a, b := n.servers["a.example"], n.servers["b.example"]
	club := publicRoom(a, "10")
	room := privateRoom(a, "10")
	a.state(room, anna, "m.room.join_rules", "", `{"join_rule":"restricted","allow":[{"type":"m.room_membership","room_id":"`+club+`"}]}`)
	refused(b, roomapi.Join, roomapi.JoinRequest{RoomIDOrAlias: room, UserID: ben, Via: []string{"a.example"}}, "M_FORBIDDEN")
	do(b, roomapi.Join, roomapi.JoinRequest{RoomIDOrAlias: club, UserID: ben, Via: []string{"a.example"}})
	do(b, roomapi.Join, roomapi.JoinRequest{RoomIDOrAlias: room, UserID: ben, Via: []string{"a.example"}})
	e := do(b, roomapi.GetStateEvent, roomapi.StateEventRequest{RoomID: room, UserID: ben, Type: memberType, StateKey: ben})
	if !strings.Contains(string(e.JSON), `"join_authorised_via_users_server":"@anna:a.example"`) {
		t.Errorf("%s", e.JSON)
	}
	// b.example is in the room now, but nobody there may invite.
	a.state(room, anna, "m.room.power_levels", "", `{"users":{"@anna:a.example":100},"invite":50}`)
	do(b, roomapi.Join, roomapi.JoinRequest{RoomIDOrAlias: club, UserID: bea})
	n.deliver()
	do(b, roomapi.Join, roomapi.JoinRequest{RoomIDOrAlias: room, UserID: bea})
	n.deliver()
	if ma, mb := n.membership("a.example", room, bea), n.membership("b.example", room, bea); ma != "join" || mb != "join" {
		t.Errorf("%q there, %q here", ma, mb)
	}
	// c.example asks b.example, which cannot let anybody in, then a.example.
	carl := "@carl:c.example"
	c := n.servers["c.example"]
	do(c, roomapi.Join, roomapi.JoinRequest{RoomIDOrAlias: club, UserID: carl, Via: []string{"a.example"}})
	n.deliver()
	do(c, roomapi.Join, roomapi.JoinRequest{RoomIDOrAlias: room, UserID: carl, Via: []string{"b.example", "a.example"}})
	if got := n.membership("a.example", room, carl); got != "join" {
		t.Errorf("membership %q", got)
	}
}

func TestKickedAndBannedElsewhere(t *testing.T) {
	n := newNetwork(t, "a.example", "b.example")
	a, b := n.servers["a.example"], n.servers["b.example"]
	room := publicRoom(a, "11")
	join := roomapi.JoinRequest{RoomIDOrAlias: room, UserID: ben, Via: []string{"a.example"}}
	do(b, roomapi.Join, join)
	do(a, roomapi.Kick, roomapi.MembershipRequest{RoomID: room, Sender: anna, Target: ben})
	n.deliver()
	if got := n.membership("b.example", room, ben); got != "leave" {
		t.Errorf("%q after the kick", got)
	}
	do(b, roomapi.Join, join)
	do(a, roomapi.Ban, roomapi.MembershipRequest{RoomID: room, Sender: anna, Target: ben})
	n.deliver()
	if got := n.membership("b.example", room, ben); got != "ban" {
		t.Errorf("%q after the ban", got)
	}
	refused(b, roomapi.Join, join, "M_FORBIDDEN")
	a.state(room, anna, "m.room.server_acl", "", `{"allow":["*"],"deny":["b.example"]}`)
	do(a, roomapi.Unban, roomapi.MembershipRequest{RoomID: room, Sender: anna, Target: ben})
	refused(b, roomapi.Join, join, "M_FORBIDDEN")
}
