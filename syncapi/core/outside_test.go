package core

import (
	"testing"

	"hearth/internal/bus"
	"hearth/roomserver/roomapi"
	"hearth/syncapi/internal/model"
)

// outside is the log entry of an invite to alice by a user of another server, or of its end.
func outside(pos int64, membership string) bus.Positioned[roomapi.Entry] {
	user := alice
	ev := &roomapi.Event{EventID: "$" + membership, Type: "m.room.member", Sender: "@x:other", StateKey: &user, Membership: membership, Pos: pos}
	return bus.Positioned[roomapi.Entry]{Pos: pos, Entry: &roomapi.Entry{Kind: roomapi.KindOutside, RoomID: "!far:other", UserID: alice, Event: ev}}
}

func TestMembershipsFromOutside(t *testing.T) {
	e, _ := setup(t, DefaultLimits(), func(o *model.Owners) { o.Create("!a:h", alice, "shared") })
	u := acquire(t, e, alice)
	start, _ := e.Cursors()
	bell := u.Bell.Listen()
	defer bell.Close()
	apply(e, outside(start+1, "invite"))
	select {
	case <-bell.C():
	default:
		t.Error("nobody was woken")
	}
	c := changes(e, u, start)["!far:other"]
	if c.Membership != Invite || c.MemberPos != start+1 || c.By != "@x:other" {
		t.Errorf("after the invite: %+v", c)
	}
	if c := changes(e, u, start+1); len(c) != 0 {
		t.Errorf("told again: %+v", c)
	}
	apply(e, outside(start+2, "leave"))
	if c := changes(e, u, start+1)["!far:other"]; c.Membership != Leave || c.MemberPos != start+2 {
		t.Errorf("after the end: %+v", c)
	}
}
