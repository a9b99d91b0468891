package core

import (
	"fmt"
	"testing"

	"hearth/clientapi/userapi"
)

// BenchmarkPresenceOfNobody is what presence costs a sync in which nobody's has changed,
// among 50,000 users who are online.
func BenchmarkPresenceOfNobody(b *testing.B) {
	e := New(Options{Limits: DefaultLimits()})
	defer e.Close()
	users := make([]userapi.Presence, maxPresences)
	for i := range users {
		users[i] = userapi.Presence{Serial: int64(i + 1), Epoch: 1, UserID: fmt.Sprintf("@u%d:h", i), Presence: userapi.Online}
	}
	e.SeedPresence(1, users)
	place := e.presences.place
	b.ReportAllocs()
	for b.Loop() {
		if got := e.Presences(nil, place, false, nil); got != nil {
			b.Fatal(got)
		}
	}
}
