package roomserver

import (
	"encoding/json"
	"slices"
	"testing"

	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
)

// stateIDs asks for the state before an event as another server does.
func (f *fixture) stateIDs(origin, room, event string) []string {
	f.t.Helper()
	body, err := streamed(f, roomapi.FederationState, roomapi.FederationStateRequest{Origin: origin, RoomID: room, EventID: event, IDs: true})
	if err != nil {
		f.t.Fatal(err)
	}
	var ids struct {
		State []string `json:"pdu_ids"`
	}
	if err := json.Unmarshal([]byte(body), &ids); err != nil {
		f.t.Fatal(err)
	}
	return ids.State
}

// TestWalksOverForks: both branches are found, and each event has the state of its own branch.
func TestWalksOverForks(t *testing.T) {
	eachVersion(t, func(t *testing.T, version string) {
		f := newFixture(t, t.TempDir(), "", true)
		room, p, dora := f.shared(version)
		const away = "away.example"
		base := f.send(room, alice, "1", "base")
		f.newest(p)
		fork := p.heads
		left := f.state(room, alice, "m.room.name", "", `{"name":"left"}`)
		right := p.build(dora, "m.room.message", nil, map[string]any{"msgtype": "m.text", "body": "right"}, after(fork...))
		f.receive(p, right)
		merge := f.send(room, alice, "2", "merge")

		got := idsOf(walked(f, roomapi.FederationBackfill, roomapi.FederationBackfillRequest{Origin: away, RoomID: room, From: []string{merge}, Limit: 4}))
		if len(got) != 4 || got[0] != merge || got[3] != base || !slices.Contains(got, left) || !slices.Contains(got, right.EventID) {
			t.Errorf("backfill: %v, want %v", got, []string{merge, left, right.EventID, base})
		}
		got = idsOf(walked(f, roomapi.FederationMissing, roomapi.FederationMissingRequest{
			Origin: away, RoomID: room, Earliest: []string{base}, Latest: []string{merge}, Limit: 10,
		}))
		if len(got) != 2 || !slices.Contains(got, left) || !slices.Contains(got, right.EventID) {
			t.Errorf("missing: %v", got)
		}
		got = idsOf(walked(f, roomapi.FederationMissing, roomapi.FederationMissingRequest{
			Origin: away, RoomID: room, Earliest: []string{right.EventID}, Latest: []string{merge}, Limit: 1,
		}))
		if !slices.Equal(got, []string{left}) {
			t.Errorf("missing beside what is known: %v", got)
		}
		if slices.Contains(f.stateIDs(away, room, right.EventID), left) || slices.Contains(f.stateIDs(away, room, left), left) {
			t.Error("a branch has the state of the other")
		}
		if !slices.Contains(f.stateIDs(away, room, merge), left) {
			t.Error("the state where the branches meet lacks one")
		}
	})
}

// TestWhatWasRefusedIsNotSpread: rejected events are walked over, soft-failed ones are found only
// by who names them.
func TestWhatWasRefusedIsNotSpread(t *testing.T) {
	eachVersion(t, func(t *testing.T, version string) {
		f := newFixture(t, t.TempDir(), "", true)
		room, p, dora := f.shared(version)
		const away = "away.example"
		f.receive(p, p.member(p.user("finn"), p.user("finn"), "join"))
		hello := p.message(dora, "hello")
		f.receive(p, hello)
		rejected := p.build(dora, "m.room.name", ptr(""), map[string]any{"name": "mine"})
		f.receive(p, rejected)
		next := p.build(dora, "m.room.message", nil, map[string]any{"msgtype": "m.text", "body": "next"}, after(rejected))
		f.receive(p, next)
		p.take(next)
		back := func(from string) []string {
			t.Helper()
			return idsOf(walked(f, roomapi.FederationBackfill, roomapi.FederationBackfillRequest{Origin: away, RoomID: room, From: []string{from}, Limit: 100}))
		}
		got := back(next.EventID)
		if slices.Contains(got, rejected.EventID) || !slices.Contains(got, hello.EventID) || got[0] != next.EventID {
			t.Errorf("over a rejected event: %v", got)
		}
		if got := back(rejected.EventID); slices.Contains(got, rejected.EventID) || !slices.Contains(got, hello.EventID) {
			t.Errorf("from a rejected event: %v", got)
		}
		if e := do(f, roomapi.FederationEvent, roomapi.FederationEventRequest{Origin: away, EventID: rejected.EventID}); e.EventID != rejected.EventID {
			t.Errorf("%s", e.EventID)
		}
		if slices.Contains(f.stateIDs(away, room, next.EventID), rejected.EventID) {
			t.Error("a rejected event is state")
		}

		before := p.heads
		do(f, roomapi.Kick, roomapi.MembershipRequest{RoomID: room, Sender: alice, Target: dora})
		soft := p.build(dora, "m.room.message", nil, map[string]any{"msgtype": "m.text", "body": "soft"}, after(before...))
		f.receive(p, soft)
		if e := f.event(room, soft.EventID); e == nil || !e.hidden() {
			t.Fatalf("%s is not soft-failed", soft.EventID)
		}
		last := f.send(room, alice, "1", "last")
		if slices.Contains(back(last), soft.EventID) {
			t.Error("a soft-failed event is spread")
		}
		if got := back(soft.EventID); len(got) == 0 || got[0] != soft.EventID {
			t.Errorf("who asks for a soft-failed event gets %v", got)
		}
		_, err := roomapi.FederationEventAt.Do(t.Context(), f.bus, &roomapi.FederationEventAtRequest{Origin: away, RoomID: room, TS: soft.OriginServerTS, Backwards: true})
		if err != nil && merr.From(err).Code != "M_NOT_FOUND" {
			t.Error(err)
		}
	})
}
