package roomserver

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"hearth/internal/pdu"
	"hearth/roomserver/auth"
	"hearth/roomserver/storage"
)

// strange locks a room that is not stored, as one is that is about to be imported.
func (f *fixture) strange(p *peer) *lockedRoom {
	f.t.Helper()
	lr := f.s.newRoom(p.v)
	f.t.Cleanup(func() { f.s.rooms.release(lr.room) })
	lr.id = p.room
	return lr
}

func TestOutliersAreChecked(t *testing.T) {
	for _, version := range []string{"1", "6", "12"} {
		t.Run("v"+version, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				p := newPeer(t, "away.example", version)
				p.create(p.user("carl"))
				good := p.member(p.user("dora"), p.user("dora"), "join")
				banned := p.member(p.user("carl"), p.user("eve"), "ban")
				bad := p.member(p.user("eve"), p.user("eve"), "join") // names the ban as an auth event
				worse := p.build(p.user("eve"), "m.room.topic", ptr(""), map[string]any{"topic": "x"})
				unknown := p.build(p.user("dora"), "m.room.topic", ptr(""), map[string]any{"topic": "y"}, authBy(p.build(p.user("dora"), memberType, ptr(p.user("dora")), map[string]any{"membership": "join"})))
				list := []*pdu.Event{unknown, worse}
				for _, ev := range p.known {
					list = append(list, ev)
				}
				lr := f.strange(p)
				got, err := f.s.storeOutliers(t.Context(), lr, list)
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range []struct {
					ev    *pdu.Event
					flags int64
				}{{good, storage.FlagOutlier}, {banned, storage.FlagOutlier}, {bad, storage.FlagOutlier | storage.FlagRejected}, {worse, storage.FlagOutlier | storage.FlagRejected}} {
					e := got[c.ev.EventID]
					if e == nil || e.flags != c.flags || e.nid >= 0 || !e.hidden() {
						t.Errorf("%s of %s: %+v, want flags %d", c.ev.Type, c.ev.Sender, e, c.flags)
					}
				}
				if got[unknown.EventID] != nil {
					t.Error("an event with an unknown auth event was stored")
				}
				again, err := f.s.storeOutliers(t.Context(), lr, list)
				if err != nil || len(again) != len(got) {
					t.Fatal(len(again), err)
				}
				for id, e := range got {
					if again[id].nid != e.nid || again[id].gen != e.gen {
						t.Errorf("%s is %d, then %d", id, e.nid, again[id].nid)
					}
				}
			})
		})
	}
}

func TestOutliersOfAnotherRoomWithTheSameIDs(t *testing.T) {
	f := newFixture(t, t.TempDir(), "", true)
	p, q := newPeer(t, "away.example", "1"), newPeer(t, "away.example", "1")
	p.create(p.user("carl"))
	q.create(q.user("carl"))
	if _, err := f.s.storeOutliers(t.Context(), f.strange(p), []*pdu.Event{p.heads[0]}); err != nil {
		t.Fatal(err)
	}
	first := p.state[auth.StateKey{Type: "m.room.create"}]
	lr := f.strange(p)
	if _, err := f.s.storeOutliers(t.Context(), lr, []*pdu.Event{first}); err != nil {
		t.Fatal(err)
	}
	second := f.s.newRoom(q.v)
	second.id = "!other:away.example"
	clash := *first
	clash.RoomID = second.id
	got, err := f.s.storeOutliers(t.Context(), second, []*pdu.Event{&clash})
	if err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestHosts(t *testing.T) {
	h := newHosts("own.example", map[string]int64{"own.example": 1, "b.example": 2})
	if !slices.Equal(h.list(), []string{"b.example"}) || h.count() != 1 || !h.local() {
		t.Fatal(h.list())
	}
	want := map[string]int64{"own.example": 1, "b.example": 2}
	for i := range 2000 {
		name := fmt.Sprintf("s%d.example", i*i%97)
		delta := int64(1)
		if i%3 == 0 && want[name] > 0 {
			delta = -1
		}
		before := h.joined(name)
		next := h.with(name, delta)
		if h.joined(name) != before {
			t.Fatal("a value has changed")
		}
		h = next
		want[name] += delta
	}
	var names []string
	for name, n := range want {
		if h.joined(name) != n || h.has(name) != (n > 0) {
			t.Fatalf("%s: %d, want %d", name, h.joined(name), n)
		}
		if n > 0 && name != "own.example" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if !slices.Equal(h.list(), names) {
		t.Fatalf("%d hosts, want %d", len(h.list()), len(names))
	}
	if gone := newHosts("own.example", nil).with("c.example", 1).with("c.example", -1); gone.count() != 0 || gone.has("c.example") {
		t.Error("the last member has left, but the server is there")
	}
}

// BenchmarkOutliers stores the state of a room with 10,000 members.
func BenchmarkOutliers(b *testing.B) {
	f := newFixture(b, b.TempDir(), "", true)
	p := newPeer(b, "away.example", "10")
	p.create(p.user("carl"))
	for i := range 10_000 {
		p.member(p.user(fmt.Sprint("u", i)), p.user(fmt.Sprint("u", i)), "join")
	}
	list := make([]*pdu.Event, 0, len(p.known))
	for _, ev := range p.known {
		list = append(list, ev)
	}
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		f.stop()
		f.dir = b.TempDir()
		f.start()
		lr := f.strange(p)
		begin := time.Now()
		got, err := f.s.storeOutliers(context.Background(), lr, list)
		if err != nil || len(got) != len(list) {
			b.Fatal(len(got), err)
		}
		b.ReportMetric(float64(time.Since(begin).Milliseconds()), "ms/room")
	}
}
