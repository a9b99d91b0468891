package stateres_test

import (
	"maps"
	"testing"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"

	"hearth/internal/pdu"
	"hearth/roomserver/auth"
)

// library resolves with gomatrixserverlib; nil if it does not answer.
func library(s *sim, sets []stateMap) (out stateMap) {
	s.t.Helper()
	defer func() {
		if recover() != nil {
			out = nil
		}
	}()
	impl, err := gomatrixserverlib.GetRoomVersion(gomatrixserverlib.RoomVersion(s.v.ID))
	if err != nil {
		s.t.Fatal(err)
	}
	all := make([]gomatrixserverlib.PDU, len(s.list))
	for i, e := range s.list {
		if all[i], err = impl.NewEventFromTrustedJSON(e.ev.JSON, false); err != nil {
			s.t.Fatal(err)
		}
	}
	lists := make([][]gomatrixserverlib.PDU, len(sets))
	for i, m := range sets {
		for _, num := range m {
			lists[i] = append(lists[i], all[num-1])
		}
	}
	resolved, err := gomatrixserverlib.ResolveConflictsNew(gomatrixserverlib.RoomVersion(s.v.ID), lists, all,
		func(_ spec.RoomID, id spec.SenderID) (*spec.UserID, error) { return spec.NewUserID(string(id), true) },
		func(string) bool { return false })
	if err != nil {
		s.t.Fatal(err)
	}
	out = stateMap{}
	for _, e := range resolved {
		out[auth.StateKey{Type: e.Type(), StateKey: *e.StateKey()}] = s.byID[e.EventID()].num
	}
	return out
}

func TestDifferential(t *testing.T) {
	for _, v := range pdu.Versions()[:11] {
		t.Run("v"+v.ID, func(t *testing.T) {
			same, all := 0, 0
			for seed := range 12 {
				s := newSim(t, v, uint64(seed), 9)
				for range 60 {
					s.step(4, s.resolve)
				}
				for range 20 {
					var sets []stateMap
					for range 2 {
						sets = append(sets, s.list[s.r.IntN(len(s.list))].after)
					}
					got, want := s.resolve(sets), library(s, sets)
					all++
					if maps.Equal(got, want) {
						same++
					}
				}
			}
			t.Logf("%d of %d", same, all)
		})
	}
}
