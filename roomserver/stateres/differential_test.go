package stateres_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
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
	if s.v.StateResolution == 1 { // there it takes the unconflicted state
		all = slices.DeleteFunc(all, func(e gomatrixserverlib.PDU) bool {
			return s.split(sets).Unconflicted.Get(e.Type(), *e.StateKey()) != s.byID[e.EventID()].num
		})
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

// fork makes two branches from the last event. Outside the shared domain are:
// conflicts about the membership of somebody who acts, lifted bans and, from
// version 2, power events that depend on other events of the branches.
func (s *sim) fork(powerEvents int) []stateMap {
	var out []stateMap
	base := s.last()
	actors := s.users[:3] // joined, and their membership does not change here
	banned, targets := s.users[3:6], s.users[6:]
	for range 2 {
		head := base
		for range 6 {
			sender, target := actors[s.r.IntN(3)], targets[s.r.IntN(len(targets))]
			typ, key, content := "m.room.member", banned[s.r.IntN(3)], `{"membership":"ban"}`
			switch s.r.IntN(5) {
			case 0:
				typ, key, content = "m.room.topic", "", fmt.Sprintf(`{"topic":"%d"}`, len(s.list))
			case 1:
				typ, key, content = "m.room.name", "", fmt.Sprintf(`{"name":"%d"}`, len(s.list))
			case 2:
				key, content = target, `{"membership":"invite"}`
			case 3:
				typ, key, content = "m.room.power_levels", "", s.levels(head.after, sender, target)
			}
			power := typ == "m.room.power_levels" || strings.Contains(content, "ban")
			if power && powerEvents == 0 {
				continue
			}
			if e := s.try([]*simEvent{head}, head.after, sender, typ, key, content); e != nil {
				head = e
				if power {
					powerEvents--
				}
			}
		}
		out = append(out, head.after)
	}
	return out
}

func TestDifferential(t *testing.T) {
	for _, v := range pdu.Versions()[:11] {
		t.Run("v"+v.ID, func(t *testing.T) {
			most := 1
			if v.StateResolution == 1 { // it knows no power events
				most = 100
			}
			conflicts, rooms := 0, uint64(25)
			if testing.Short() {
				rooms = 6
			}
			for seed := range rooms {
				s := newSim(t, v, seed, 9)
				for i := range 4 {
					sets := s.fork(most * (i % 2))
					want := library(s, sets)
					if want == nil {
						continue
					}
					got := s.resolve(sets)
					if !maps.Equal(got, want) {
						t.Fatalf("states:\n%s\nand:\n%s\ngot:\n%s\nwant:\n%s", s.describe(sets[0]), s.describe(sets[1]), s.describe(got), s.describe(want))
					}
					if !maps.Equal(got, sets[0]) && !maps.Equal(got, sets[1]) {
						conflicts++
					}
				}
			}
			if conflicts < int(rooms) {
				t.Errorf("only %d conflicts", conflicts)
			}
		})
	}
}
