package roomserver

import (
	"fmt"
	"sync"
	"testing"

	"hearth/internal/pdu"
	"hearth/roomserver/auth"
	"hearth/roomserver/roomapi"
)

// BenchmarkReceive brings PDUs of one server, 50 in a request, into one room, over 50 rooms
// with eight requests at a time, and into a room whose servers send at the same time, so that
// it always has several forward extremities.
func BenchmarkReceive(b *testing.B) {
	for name, rooms := range map[string]int{"one room": 1, "50 rooms": 50} {
		b.Run(name, func(b *testing.B) {
			f := newFixture(b, b.TempDir(), "", true)
			batches := make([][]*pdu.Event, 0, b.N/maxReceived+1)
			origin := make([]*peer, rooms)
			doras := make([]string, rooms)
			for i := range origin {
				_, origin[i], doras[i] = f.shared("10")
			}
			for n := 0; n < b.N; {
				i := len(batches) % rooms
				var batch []*pdu.Event
				for range maxReceived {
					batch = append(batch, origin[i].message(doras[i], fmt.Sprint("a message of a usual length, as people write it all day long ", n)))
					n++
				}
				batches = append(batches, batch)
			}
			b.ResetTimer()
			var wg sync.WaitGroup
			for w := range min(8, rooms) {
				wg.Go(func() {
					for i := w; i < len(batches); i += min(8, rooms) {
						p := origin[i%rooms]
						resp, err := roomapi.Receive.Do(b.Context(), f.bus, &roomapi.ReceiveRequest{Origin: p.key.ServerName, RoomID: p.room, PDUs: pdus(batches[i]...)})
						if err != nil || len(resp.Errors) > 0 {
							b.Error(err, resp)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "PDUs/s")
		})
	}
	b.Run("forks", func(b *testing.B) {
		f := newFixture(b, b.TempDir(), "", true)
		room, p, dora := f.shared("10")
		emil := p.user("emil")
		f.receive(p, p.member(emil, emil, "join"))
		f.state(room, alice, "m.room.power_levels", "", levelsFor(p.v, map[string]int{alice: 100, dora: 50, emil: 50}))
		f.newest(p)
		left, right := p.heads, p.heads
		var events []*pdu.Event
		for i := range b.N {
			key := fmt.Sprint(i % 7)
			ev := p.build(dora, "m.test", &key, map[string]any{"n": i}, after(left...))
			left = []*pdu.Event{ev}
			other := p.build(emil, "m.test", &key, map[string]any{"n": -i}, after(right...))
			right = []*pdu.Event{other}
			events = append(events, ev, other)
		}
		b.ResetTimer()
		f.receive(p, events[:b.N]...)
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "PDUs/s")
	})
}

// BenchmarkReceiveForks brings power levels from both sides of a fork of a room with 10,000
// members: each needs state resolution, with the whole room as the unconflicted state.
func BenchmarkReceiveForks(b *testing.B) {
	f := newFixture(b, b.TempDir(), "", true)
	room, p, dora := f.shared("10")
	atOnce(b, 10_000, func(i int) error {
		_, err := roomapi.Join.Do(b.Context(), f.bus, &roomapi.JoinRequest{RoomIDOrAlias: room, UserID: fmt.Sprintf("@u%d:test.example", i)})
		return err
	})
	emil := p.user("emil")
	f.newest(p)
	f.receive(p, p.member(emil, emil, "join"))
	f.state(room, alice, "m.room.power_levels", "", levelsFor(p.v, map[string]int{alice: 100, dora: 100, emil: 100}))
	f.newest(p)
	left, right := p.heads, p.heads
	base := p.state[auth.StateKey{Type: "m.room.power_levels"}]
	sides := []*pdu.Event{base, base}
	n := 0
	side := func(user string, heads []*pdu.Event, i int) *pdu.Event {
		n++
		p.state[auth.StateKey{Type: "m.room.power_levels"}] = sides[i]
		sides[i] = p.build(user, "m.room.power_levels", ptr(""), map[string]any{"users": map[string]int{alice: 100, dora: 100, emil: 100}, "ban": n % 90}, after(heads...))
		return sides[i]
	}
	var events []*pdu.Event
	for range b.N/2 + 1 {
		left = []*pdu.Event{side(dora, left, 0)}
		right = []*pdu.Event{side(emil, right, 1)}
		events = append(events, left[0], right[0])
	}
	b.ResetTimer()
	f.receive(p, events[:b.N]...)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "PDUs/s")
}
