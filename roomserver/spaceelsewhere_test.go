package roomserver

import (
	"context"
	"slices"
	"strings"
	"testing"

	"hearth/federationapi/remoteapi"
	"hearth/internal/bus"
	"hearth/roomserver/roomapi"
)

func TestSpacesElsewhere(t *testing.T) {
	n := newNetwork(t, "a.example", "b.example")
	a, b := n.servers["a.example"], n.servers["b.example"]
	n.handleSpaces("b.example")
	space := func(f *fixture, creator, name string) string {
		return f.create(roomapi.CreateRequest{Creator: creator, Preset: "public_chat", RoomVersion: "11", Name: name, CreationContent: []byte(`{"type":"m.space"}`)})
	}
	child := func(f *fixture, user, of, room, via string) {
		f.state(of, user, spaceChildType, room, `{"via":["`+via+`"]}`)
	}
	leaf, hidden := publicRoom(a, "11"), privateRoom(a, "11")
	inner := space(a, anna, "Inner")
	child(a, anna, inner, leaf, "a.example")
	outer := space(a, anna, "Outer")
	child(a, anna, outer, inner, "a.example")
	child(a, anna, outer, hidden, "a.example")
	own := space(b, ben, "Own")
	child(b, ben, own, outer, "a.example")
	child(b, ben, own, "!gone:gone.example", "gone.example")

	page := do(b, roomapi.Hierarchy, roomapi.HierarchyRequest{RoomID: own, UserID: ben})
	var got []string
	for _, r := range page.Rooms {
		got = append(got, r.RoomID)
	}
	if want := []string{own, outer, inner, leaf}; !slices.Equal(got, want) {
		t.Errorf("rooms %v, want %v", got, want)
	}
	if state := string(page.Rooms[1].ChildrenState); !strings.Contains(state, inner) || !strings.Contains(state, "origin_server_ts") {
		t.Errorf("children_state %s", state)
	}
	asked := len(n.asked)
	if again := do(b, roomapi.Hierarchy, roomapi.HierarchyRequest{RoomID: own, UserID: ben}); len(again.Rooms) != 4 {
		t.Errorf("%d rooms the second time", len(again.Rooms))
	}
	if more := n.asked[asked:]; len(more) > 0 {
		t.Errorf("asked again: %v", more)
	}
	// The root may be elsewhere, too.
	if page := do(b, roomapi.Hierarchy, roomapi.HierarchyRequest{RoomID: outer, UserID: ben}); len(page.Rooms) != 3 {
		t.Errorf("%d rooms below a space elsewhere", len(page.Rooms))
	}
	refused(b, roomapi.Hierarchy, roomapi.HierarchyRequest{RoomID: hidden, UserID: ben}, "M_FORBIDDEN")

	sum := do(b, roomapi.GetSummary, roomapi.SummaryRequest{RoomIDOrAlias: "#garden11:a.example", UserID: ben})
	if sum.RoomID != leaf || sum.Name != "Garden" || sum.Membership != "" {
		t.Errorf("summary %+v", sum)
	}
	refused(b, roomapi.GetSummary, roomapi.SummaryRequest{RoomIDOrAlias: leaf}, "M_NOT_FOUND")
	refused(b, roomapi.GetSummary, roomapi.SummaryRequest{RoomIDOrAlias: hidden, UserID: ben, Via: []string{"a.example"}}, "M_NOT_FOUND")
	inviteBen(a, hidden)
	if sum := do(b, roomapi.GetSummary, roomapi.SummaryRequest{RoomIDOrAlias: leaf, UserID: ben}); sum.RoomID != leaf {
		t.Errorf("summary %+v", sum)
	}
}

func TestEventAtElsewhere(t *testing.T) {
	n := newNetwork(t, "a.example", "b.example")
	a, b := n.servers["a.example"], n.servers["b.example"]
	room := publicRoom(a, "11")
	old := do(a, roomapi.Send, roomapi.SendRequest{RoomID: room, Sender: anna, Type: "m.room.message", Timestamp: 1_000_000, Content: []byte(`{"body":"old"}`)}).EventID
	do(b, roomapi.Join, roomapi.JoinRequest{RoomIDOrAlias: room, UserID: ben, Via: []string{"a.example"}})
	forge := int64(0)
	err := bus.Handle(b.bus, remoteapi.EventAt, func(ctx context.Context, req *remoteapi.EventAtRequest) (*remoteapi.EventAtResponse, error) {
		resp, err := roomapi.FederationEventAt.Do(ctx, a.bus, &roomapi.FederationEventAtRequest{Origin: "b.example", RoomID: req.RoomID, TS: req.TS, Backwards: req.Backwards})
		if err != nil {
			return nil, err
		}
		return &remoteapi.EventAtResponse{EventID: resp.EventID, TS: resp.TS + forge}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, back := range []bool{true, false} {
		ts := int64(999_990)
		if back {
			ts = 1_000_010
		}
		ask := roomapi.EventAtRequest{RoomID: room, UserID: ben, TS: ts, Backwards: back}
		if e := do(b, roomapi.EventAt, ask); e.EventID != old || e.OriginServerTS != 1_000_000 {
			t.Errorf("backwards %v: %+v", back, e)
		}
	}
	forge = 100 // on the wrong side
	refused(b, roomapi.EventAt, roomapi.EventAtRequest{RoomID: room, UserID: ben, TS: 1_000_010, Backwards: true}, "M_NOT_FOUND")
}
