package roomserver

import (
	"slices"
	"testing"

	"hearth/roomserver/roomapi"
)

// TestHistoriesFollow compares what is remembered of a room's histories with what the
// store has, after each of the changes that can make them grow.
func TestHistoriesFollow(t *testing.T) {
	f := newFixture(t, t.TempDir(), "", true)
	room := f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat"})
	setting := func(value string) {
		do(f, roomapi.Send, roomapi.SendRequest{
			RoomID: room, Sender: alice, Type: visibilityType, StateKey: new(string), Content: []byte(`{"history_visibility":"` + value + `"}`),
		})
	}
	for i, step := range []func(){
		func() { f.join(room, bob) },
		func() { f.send(room, bob, "", "hello") },
		func() { f.leave(room, bob) },
		func() { setting("joined") },
		func() { f.join(room, bob) },
		func() { f.send(room, alice, "", "hello") },
		func() { setting(worldReadable) },
		f.restart,
		func() { f.leave(room, bob) },
	} {
		step()
		for range 2 { // the second time it is remembered
			r, _, done, err := f.s.view(t.Context(), room)
			if err != nil {
				t.Fatal(err)
			}
			for _, h := range [][4]string{
				{memberType, bob, "membership", "leave"}, {memberType, alice, "membership", "leave"},
				{visibilityType, "", "history_visibility", shared},
			} {
				got, err := f.s.history(t.Context(), r, h[0], h[1], h[2], h[3])
				if err != nil {
					t.Fatal(err)
				}
				k, ok, err := f.s.stateKey(t.Context(), h[0], h[1])
				if err != nil || !ok {
					t.Fatal(ok, err)
				}
				want, err := f.s.readHistory(t.Context(), r, k, h[2], h[3])
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(got, want) {
					t.Errorf("step %d: the history of %s %q is %v, want %v", i, h[0], h[1], got, want)
				}
				if kept, ok := f.s.histories.Get(historyKey{r.nid, k}); !ok || kept.stamp != r.stamp.Load() {
					t.Errorf("step %d: the history of %s %q is not remembered", i, h[0], h[1])
				}
			}
			done()
		}
	}
}
