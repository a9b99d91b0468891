package roomserver

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"testing"

	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

func TestInviteToARoomThatWasLeft(t *testing.T) {
	n := newNetwork(t, "a.example", "b.example")
	a, b := n.servers["a.example"], n.servers["b.example"]
	room := privateRoom(a, "11")
	inviteBen(a, room)
	do(b, roomapi.Join, roomapi.JoinRequest{RoomIDOrAlias: room, UserID: ben})
	do(b, roomapi.Leave, roomapi.MembershipRequest{RoomID: room, Sender: ben, Target: ben})
	n.deliver()
	inviteBen(a, room)
	if got := n.membership("b.example", room, ben); got != "invite" {
		t.Fatalf("membership %q", got)
	}
	do(b, roomapi.Leave, roomapi.MembershipRequest{RoomID: room, Sender: ben, Target: ben})
	if ma, mb := n.membership("a.example", room, ben), n.membership("b.example", room, ben); ma != "leave" || mb != "leave" {
		t.Errorf("%q there, %q here after the second invite was rejected", ma, mb)
	}
	inviteBen(a, room)
	do(b, roomapi.Join, roomapi.JoinRequest{RoomIDOrAlias: room, UserID: ben})
	if ma, mb := n.membership("a.example", room, ben), n.membership("b.example", room, ben); ma != "join" || mb != "join" {
		t.Errorf("%q there, %q here", ma, mb)
	}
}

func TestInviteToARoomThatTheServerIsIn(t *testing.T) {
	n := newNetwork(t, "a.example", "b.example")
	a, b := n.servers["a.example"], n.servers["b.example"]
	room := publicRoom(a, "11")
	do(b, roomapi.Join, roomapi.JoinRequest{RoomIDOrAlias: room, UserID: ben, Via: []string{"a.example"}})
	do(a, roomapi.Invite, roomapi.MembershipRequest{RoomID: room, Sender: anna, Target: bea})
	n.deliver()
	if got := n.membership("b.example", room, bea); got != "invite" {
		t.Errorf("membership %q", got)
	}
	if log := entriesOf(b, roomapi.KindOutside); len(log) != 0 {
		t.Errorf("%d entries say that it came from outside", len(log))
	}
	do(a, roomapi.Ban, roomapi.MembershipRequest{RoomID: room, Sender: anna, Target: bea})
	n.deliver()
	refused(a, roomapi.Invite, roomapi.MembershipRequest{RoomID: room, Sender: anna, Target: bea}, "M_FORBIDDEN")
	refused(b, roomapi.Invite, roomapi.MembershipRequest{RoomID: room, Sender: ben, Target: anna}, "M_FORBIDDEN")
}

func TestOutsideSurvivesARestart(t *testing.T) {
	n := newNetwork(t, "a.example", "b.example")
	a, b := n.servers["a.example"], n.servers["b.example"]
	room := privateRoom(a, "12")
	id := inviteBen(a, room)
	live := entriesOf(b, roomapi.KindOutside)
	b.s.rooms, b.s.names = newRooms(), newNames(b.s.store, b.s.names.next)
	again := entriesOf(b, roomapi.KindOutside)
	if len(live) != 1 || len(again) != 1 || again[0].Event.EventID != id || again[0].UserID != ben || string(again[0].Event.JSON) != string(live[0].Event.JSON) {
		t.Errorf("%+v, then %+v", live, again)
	}
	m := do(b, roomapi.Memberships, roomapi.MembershipsRequest{UserID: ben}).Rooms
	if len(m) != 1 || m[0].EventID != id || m[0].Pos != again[0].Event.Pos || m[0].Sender != anna || m[0].Membership != "invite" {
		t.Errorf("memberships %+v", m)
	}
	// What is asked of such a room is answered as if it were unknown.
	refused(b, roomapi.Messages, roomapi.MessagesRequest{RoomID: room, UserID: ben}, "M_FORBIDDEN")
	refused(b, roomapi.GetStateEvent, roomapi.StateEventRequest{RoomID: room, UserID: ben, Type: "m.room.create"}, "M_FORBIDDEN")
	refused(b, roomapi.Send, roomapi.SendRequest{RoomID: room, Sender: ben, Type: "m.room.message", Content: []byte(`{}`)}, "M_FORBIDDEN")
	refused(b, roomapi.Kick, roomapi.MembershipRequest{RoomID: room, Sender: ben, Target: anna}, "M_FORBIDDEN")
	if _, err := roomapi.ReadWindow(t.Context(), b.bus, &roomapi.WindowRequest{RoomID: room, UserID: ben, Limit: 5}); err == nil {
		t.Error("a window is shown")
	}
}

func TestThirdPartyInvite(t *testing.T) {
	n := newNetwork(t, "a.example", "b.example")
	a, b := n.servers["a.example"], n.servers["b.example"]
	room := privateRoom(a, "11")
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key := base64.RawStdEncoding.EncodeToString(public)
	a.state(room, anna, "m.room.third_party_invite", "tok", `{"display_name":"b...","key_validity_url":"https://id.example/v","public_key":"`+key+`"}`)
	exchange := func(mxid, token, origin string, signer ed25519.PrivateKey) roomapi.AcceptExchangeRequest {
		raw, err := json.Marshal(map[string]string{"mxid": mxid, "token": token})
		if err != nil {
			t.Fatal(err)
		}
		signed, err := pdu.SignJSON(raw, pdu.Signer{ServerName: "id.example", KeyID: "ed25519:0", Key: signer})
		if err != nil {
			t.Fatal(err)
		}
		event, err := json.Marshal(map[string]any{
			"type": "m.room.member", "room_id": room, "sender": anna, "state_key": mxid,
			"content": map[string]any{"membership": "invite", "third_party_invite": map[string]any{"display_name": "x", "signed": json.RawMessage(signed)}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return roomapi.AcceptExchangeRequest{Origin: origin, RoomID: room, Event: event}
	}
	_, other, _ := ed25519.GenerateKey(nil)
	refused(a, roomapi.AcceptExchange, exchange(ben, "tok", "b.example", other), "M_FORBIDDEN")
	refused(a, roomapi.AcceptExchange, exchange(ben, "unknown", "b.example", private), "M_FORBIDDEN")
	refused(b, roomapi.AcceptExchange, exchange(ben, "tok", "b.example", private), "M_FORBIDDEN") // not anna's server
	if got := n.membership("b.example", room, ben); got != "" {
		t.Fatalf("membership %q", got)
	}
	do(a, roomapi.AcceptExchange, exchange(ben, "tok", "b.example", private))
	do(a, roomapi.AcceptExchange, exchange(ben, "tok", "b.example", private)) // asked again
	if ma, mb := n.membership("a.example", room, ben), n.membership("b.example", room, ben); ma != "invite" || mb != "invite" {
		t.Fatalf("%q there, %q here", ma, mb)
	}
	e := do(a, roomapi.GetStateEvent, roomapi.StateEventRequest{RoomID: room, UserID: anna, Type: memberType, StateKey: ben})
	third, _ := pdu.Get(e.Content(), "third_party_invite")
	if name, _ := pdu.GetString(third, "display_name"); name != "b..." {
		t.Errorf("display_name %q", name)
	}
	do(b, roomapi.Join, roomapi.JoinRequest{RoomIDOrAlias: room, UserID: ben})
}

func TestInvitesOfANewRoom(t *testing.T) {
	n := newNetwork(t, "a.example", "b.example")
	a := n.servers["a.example"]
	room := a.create(roomapi.CreateRequest{
		Creator: anna, Preset: "private_chat", IsDirect: true,
		Invite: []roomapi.Invitee{{UserID: ben}, {UserID: "@cleo:a.example"}, {UserID: "@far:gone.example"}, {UserID: bea, Profile: roomapi.Profile{DisplayName: "Bea"}}},
	})
	for user, server := range map[string]string{ben: "b.example", bea: "b.example", "@cleo:a.example": "a.example"} {
		if got := n.membership(server, room, user); got != "invite" {
			t.Errorf("%s: %q", user, got)
		}
	}
	e := do(a, roomapi.GetStateEvent, roomapi.StateEventRequest{RoomID: room, UserID: anna, Type: memberType, StateKey: bea})
	if got := string(e.Content()); got != `{"displayname":"Bea","is_direct":true,"membership":"invite"}` {
		t.Errorf("content %s", got)
	}
	// Through the state endpoint, too.
	key := "@bill:b.example"
	do(a, roomapi.Send, roomapi.SendRequest{RoomID: room, Sender: anna, Type: memberType, StateKey: &key, Content: []byte(`{"membership":"invite"}`)})
	if got := n.membership("b.example", room, key); got != "invite" {
		t.Errorf("%q", got)
	}
}
