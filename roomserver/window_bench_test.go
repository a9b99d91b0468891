package roomserver

import (
	"context"
	"fmt"
	"testing"

	"hearth/roomserver/roomapi"
)

// BenchmarkWindow reads the windows of an initial sync with members loaded lazily, of an
// account of 300 rooms of 50 members: one after the other, with everything in memory and
// right after a start.
func BenchmarkWindow(b *testing.B) {
	const rooms, members = 300, 50
	f := newFixture(b, b.TempDir(), "", true)
	ids := make([]string, rooms)
	for i := range ids {
		ids[i] = f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat", Name: fmt.Sprint("Room ", i)})
		for j := range members - 2 {
			f.join(ids[i], fmt.Sprintf("@user%d:test.example", j))
		}
		f.join(ids[i], bob)
		for j := range 10 {
			f.send(ids[i], fmt.Sprintf("@user%d:test.example", j%5), "", "hello")
		}
	}
	read := func(b *testing.B) {
		for _, id := range ids {
			req := &roomapi.WindowRequest{RoomID: id, UserID: bob, Limit: 10, Lazy: true}
			if err := f.s.streamWindow(context.Background(), req, func([]byte) error { return nil }); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("warm", func(b *testing.B) {
		b.ReportAllocs()
		read(b)
		for b.Loop() {
			read(b)
		}
	})
	b.Run("cold", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			b.StopTimer()
			f.restart()
			b.StartTimer()
			read(b)
		}
	})
}
