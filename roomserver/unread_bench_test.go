package roomserver

import (
	"fmt"
	"testing"

	"hearth/roomserver/roomapi"
)

// BenchmarkUnread reads what it takes to count in one room.
func BenchmarkUnread(b *testing.B) {
	for _, n := range []int{0, 20, 1000} {
		b.Run(fmt.Sprint(n, " events"), func(b *testing.B) {
			f := newFixture(b, b.TempDir(), "", true)
			room := f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat"})
			f.join(room, bob)
			for range n {
				f.send(room, alice, "", "hello")
			}
			b.ReportAllocs()
			for b.Loop() {
				if u, _ := f.unreadOf(room, bob, roomapi.MaxUnread); len(u.Events) < min(n, 900) {
					b.Fatal(len(u.Events))
				}
			}
		})
	}
}
