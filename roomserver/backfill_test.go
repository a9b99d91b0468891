package roomserver

import (
	"fmt"
	"slices"
	"testing"

	"hearth/internal/testkit/postgres"
	"hearth/roomserver/roomapi"
)

// TestHistoryOverAGap pages back over events that another server has to give.
func TestHistoryOverAGap(t *testing.T) {
	for _, version := range []string{"2", "10", "12"} {
		t.Run("v"+version, func(t *testing.T) { testHistoryOverAGap(t, newFixture(t, t.TempDir(), "", true), version) })
	}
	t.Run("PostgreSQL", func(t *testing.T) { testHistoryOverAGap(t, newFixture(t, t.TempDir(), postgres.URL(t), false), "11") })
}

func testHistoryOverAGap(t *testing.T, f *fixture, version string) {
	room, p, dora := f.shared(version)
	remote := f.answers(p)
	remote.deny = map[string]bool{"missing": true, "backfill": true}
	emil := p.user("emil")
	f.send(room, alice, "1", "before")
	f.newest(p)
	want := []string{"before"}
	message := func(user, body string) string {
		want = append(want, body)
		return p.message(user, body).EventID
	}
	message(dora, "first in the gap")
	p.member(emil, emil, "join")
	regret := message(emil, "second in the gap")
	want[len(want)-1] = "" // it is redacted
	p.send(emil, redactionType, nil, map[string]any{}, redacting(regret))
	for i := range 130 {
		message(dora, fmt.Sprint("more ", i))
	}
	last := p.message(emil, "after the gap")
	want = append(want, "after the gap")
	f.receive(p, last)
	eventually(t, "the event after the gap", func() bool { return f.settled(room, last.EventID) })
	w, err := roomapi.ReadWindow(t.Context(), f.bus, &roomapi.WindowRequest{RoomID: room, UserID: alice, Limit: 10})
	if err != nil || !w.Limited || len(w.Timeline) != 1 {
		t.Errorf("%d events, limited %v, %v", len(w.Timeline), w.Limited, err)
	}
	if got := f.texts(room, alice); !slices.Equal(got, []string{"before", "after the gap"}) {
		t.Errorf("without an answer: %q", got)
	}
	before := f.currentState(room, alice)
	remote.deny = map[string]bool{}
	if got := f.texts(room, alice); !slices.Equal(got, want) {
		t.Errorf("v%s: with an answer: %d messages, want %d: %q", version, len(got), len(want), got)
	}
	asked := remote.asked["backfill"]
	f.restart()
	if got := f.texts(room, alice); !slices.Equal(got, want) {
		t.Errorf("after a restart: %d messages, want %d", len(got), len(want))
	}
	if remote.asked["backfill"] != asked {
		t.Error("what was filled is asked for again")
	}
	if got := f.currentState(room, alice); !slices.Equal(got, before) {
		t.Error("the past changed the present")
	}
	f.send(room, alice, "2", "goes on")
}
