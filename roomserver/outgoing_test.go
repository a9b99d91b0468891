package roomserver

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// sent finds the entries of the log that go to other servers, by event id.
func (f *fixture) sent() map[string]int64 {
	f.t.Helper()
	out := map[string]int64{}
	entries, _, err := f.s.readLog(f.t.Context(), 0, 10_000)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, e := range entries {
		if e.Entry.Federate && e.Entry.Event != nil {
			out[e.Entry.Event.EventID] = e.Pos
		}
	}
	return out
}

// goes returns where an event goes, and checks that it is itself.
func (f *fixture) goes(id string) []string {
	f.t.Helper()
	pos, ok := f.sent()[id]
	if !ok {
		return nil
	}
	resp := do(f, roomapi.Outgoing, roomapi.OutgoingRequest{Positions: []int64{pos}})
	if len(resp.Events) != 1 || resp.Events[0].Pos != pos || resp.Events[0].PDU.EventID != id || pdu.Kind(resp.Events[0].PDU.JSON) != '{' {
		f.t.Fatalf("%+v", resp.Events)
	}
	return resp.Events[0].Hosts
}

func TestOutgoingGoesToWhoWasThere(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		room, p, dora := f.shared("10")
		other := newPeer(t, "other.example", "10")
		other.room, other.ts = room, p.ts
		for _, e := range f.live(room) {
			other.take(e)
		}
		before := f.send(room, alice, "", "before the other joins")
		f.newest(other)
		erik := other.user("erik")
		f.receive(other, other.member(erik, erik, "join"))
		both := f.send(room, alice, "", "both are there")
		kick := do(f, roomapi.Kick, roomapi.MembershipRequest{RoomID: room, Sender: alice, Target: dora}).EventID
		after := f.send(room, alice, "", "after dora")
		check := func() {
			t.Helper()
			for id, want := range map[string][]string{
				before: {"away.example"}, both: {"away.example", "other.example"}, kick: {"away.example", "other.example"}, after: {"other.example"},
			} {
				if got := f.goes(id); !slices.Equal(got, want) {
					t.Errorf("%s goes to %v, want %v", f.event(room, id).ev.Content, got, want)
				}
			}
		}
		check()
		f.restart()
		check()
		// All at once, and positions that are nothing.
		positions := []int64{1 << 40, 0, -3}
		for id, pos := range f.sent() {
			if id != "" {
				positions = append(positions, pos)
			}
		}
		resp := do(f, roomapi.Outgoing, roomapi.OutgoingRequest{Positions: positions})
		if len(resp.Events) < 4 || !slices.IsSortedFunc(resp.Events, func(a, b roomapi.OutgoingEvent) int { return int(a.Pos - b.Pos) }) {
			t.Errorf("%d events", len(resp.Events))
		}
		refused(f, roomapi.Outgoing, roomapi.OutgoingRequest{Positions: make([]int64, maxOutgoing+1)}, "M_INVALID_PARAM")
	})
}

func TestOutgoingIsOnlyWhatGoesOut(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		alone := f.create(roomapi.CreateRequest{Creator: alice, RoomVersion: "10", Preset: "public_chat"})
		id := f.send(alone, alice, "", "nobody else is here")
		room, p, dora := f.shared("10")
		theirs := p.message(dora, "theirs")
		f.receive(p, theirs)
		sent := f.sent()
		if _, ok := sent[id]; ok {
			t.Error("an event of a room without other servers goes out")
		}
		if _, ok := sent[theirs.EventID]; ok {
			t.Error("an event of another server goes out")
		}
		var all []int64
		for pos := range f.s.store.DB.Head() {
			all = append(all, pos+1)
		}
		for part := range slices.Chunk(all, maxOutgoing) {
			for _, e := range do(f, roomapi.Outgoing, roomapi.OutgoingRequest{Positions: part}).Events {
				if e.RoomID != room || sent[e.PDU.EventID] != e.Pos {
					t.Errorf("%s of %s goes to %v", e.PDU.EventID, e.RoomID, e.Hosts)
				}
			}
		}
	})
}

// A large answer is cut after some events, and what is missing can be asked for.
func TestOutgoingFitsIntoAMessage(t *testing.T) {
	f := newFixture(t, t.TempDir(), "", false)
	room, _, _ := f.shared("10")
	var want []string
	for i := range 30 {
		want = append(want, f.send(room, alice, "", fmt.Sprint(i)+strings.Repeat("x", 50_000)))
	}
	sent := f.sent()
	var positions []int64
	for _, id := range want {
		positions = append(positions, sent[id])
	}
	var got []string
	for len(positions) > 0 {
		resp := do(f, roomapi.Outgoing, roomapi.OutgoingRequest{Positions: positions})
		if len(resp.Events) == 0 {
			t.Fatal("nothing comes")
		}
		for _, e := range resp.Events {
			got = append(got, e.PDU.EventID)
		}
		positions = positions[len(resp.Events):]
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestHostsOfRoomsAndUsers(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		room, _, dora := f.shared("10")
		second, _, _ := f.shared("12")
		f.create(roomapi.CreateRequest{Creator: alice, RoomVersion: "10", Preset: "public_chat"})
		rooms := []string{room, second}
		slices.Sort(rooms)
		if got := do(f, roomapi.Hosts, roomapi.HostsRequest{RoomID: room}).Servers; !slices.Equal(got, []string{"away.example"}) {
			t.Errorf("hosts: %v", got)
		}
		refused(f, roomapi.Hosts, roomapi.HostsRequest{RoomID: "!unknown:x"}, "M_NOT_FOUND")
		id := f.send(second, alice, "", "newest")
		first := do(f, roomapi.HostOf, roomapi.HostOfRequest{Server: "away.example", Limit: 1})
		rest := do(f, roomapi.HostOf, roomapi.HostOfRequest{Server: "away.example", After: rooms[0]})
		if len(first.Rooms) != 1 || !first.More || first.Rooms[0].RoomID != rooms[0] || len(rest.Rooms) != 1 || rest.More || rest.Rooms[0].RoomID != rooms[1] {
			t.Errorf("%+v %+v", first, rest)
		}
		for _, r := range append(first.Rooms, rest.Rooms...) {
			if r.RoomID == second && r.Pos != f.sent()[id] {
				t.Errorf("the newest event of %s is at %d, want %d", second, r.Pos, f.sent()[id])
			}
		}
		if got := do(f, roomapi.Extremities, roomapi.HostsRequest{RoomID: second}).PDUs; len(got) != 1 || got[0].EventID != id {
			t.Errorf("%+v", got)
		}
		if got := do(f, roomapi.ServersOf, roomapi.ServersOfRequest{UserID: alice}).Servers; !slices.Equal(got, []string{"away.example"}) {
			t.Errorf("servers of alice: %v", got)
		}
		for _, r := range rooms {
			do(f, roomapi.Kick, roomapi.MembershipRequest{RoomID: r, Sender: alice, Target: dora})
		}
		if got := do(f, roomapi.HostOf, roomapi.HostOfRequest{Server: "away.example"}); len(got.Rooms) != 0 {
			t.Errorf("%+v", got)
		}
		if got := do(f, roomapi.ServersOf, roomapi.ServersOfRequest{UserID: alice}).Servers; len(got) != 0 {
			t.Errorf("servers of alice: %v", got)
		}
		for _, user := range []string{bob, "@nobody:nowhere.example"} {
			if got := do(f, roomapi.ServersOf, roomapi.ServersOfRequest{UserID: user}).Servers; len(got) != 0 {
				t.Errorf("servers of %s: %v", user, got)
			}
		}
		if got := do(f, roomapi.HostOf, roomapi.HostOfRequest{Server: "nowhere.example"}); len(got.Rooms) != 0 {
			t.Errorf("%+v", got)
		}
	})
}

// Rooms that we have left are none that we share.
func TestHostOfEndsWhenWeLeave(t *testing.T) {
	f := newFixture(t, t.TempDir(), "", true)
	room, _, _ := f.shared("10")
	f.leave(room, alice)
	if got := do(f, roomapi.HostOf, roomapi.HostOfRequest{Server: "away.example"}); len(got.Rooms) != 0 {
		t.Errorf("%+v", got)
	}
	var leave string
	for id := range f.sent() {
		if e := f.event(room, id); e != nil && membershipIn(e.ev) == "leave" {
			leave = id
		}
	}
	if got := f.goes(leave); !slices.Equal(got, []string{"away.example"}) {
		t.Errorf("the leave goes to %v", got)
	}
}

func BenchmarkOutgoing(b *testing.B) {
	f := newFixture(b, b.TempDir(), "", true)
	room, _, _ := f.shared("10")
	var positions []int64
	for i := range maxOutgoing {
		f.send(room, alice, "", fmt.Sprint(i))
	}
	for _, pos := range f.sent() {
		positions = append(positions, pos)
	}
	positions = positions[:maxOutgoing]
	req := &roomapi.OutgoingRequest{Positions: positions}
	for b.Loop() {
		if _, err := roomapi.Outgoing.Do(b.Context(), f.bus, req); err != nil {
			b.Fatal(err)
		}
	}
}
