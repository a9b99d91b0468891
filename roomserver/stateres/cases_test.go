package stateres_test

import (
	"context"
	"fmt"
	"maps"
	"testing"

	"hearth/internal/pdu"
	"hearth/roomserver/auth"
	"hearth/roomserver/stateres"
)

// branch adds events to a copy of a branch, which must be allowed there.
func (s *sim) branch(from *simEvent, events ...[4]string) *simEvent {
	s.t.Helper()
	for _, e := range events {
		next := s.try([]*simEvent{from}, from.after, e[0], e[1], e[2], e[3])
		if next == nil {
			s.t.Fatalf("not allowed: %v", e)
		}
		from = next
	}
	return from
}

func (s *sim) content(m stateMap, eventType, stateKey string) string {
	num := m[auth.StateKey{Type: eventType, StateKey: stateKey}]
	if num == 0 {
		return ""
	}
	return string(s.get(num).ev.Content)
}

// From version 2 those with power win over what others did at the same time.
func TestPowerWins(t *testing.T) {
	for _, v := range pdu.Versions()[1:] {
		s := newSim(t, v, 5, 9)
		admin, mod, user := s.users[0], s.users[1], s.users[3]
		base := s.branch(s.last(), [4]string{admin, "m.room.topic", "", `{"topic":"old"}`})
		demoted := fmt.Sprintf(`{"users":{%q:100},"state_default":0}`, admin)
		if v.PrivilegedCreators {
			demoted = `{"users":{},"state_default":0}`
		}

		banned := s.branch(base, [4]string{admin, "m.room.member", user, `{"membership":"ban"}`})
		evading := s.branch(base, [4]string{user, "m.room.topic", "", `{"topic":"new"}`}, [4]string{user, "m.room.member", user, `{"membership":"join","displayname":"x"}`})
		got := s.resolve([]stateMap{banned.after, evading.after})
		if a, b := s.content(got, "m.room.member", user), s.content(got, "m.room.topic", ""); a != `{"membership":"ban"}` || b != `{"topic":"old"}` {
			t.Errorf("v%s: a ban is evaded: %s, %s", v.ID, a, b)
		}

		without := s.branch(base, [4]string{admin, "m.room.power_levels", "", demoted})
		revolt := s.branch(base, [4]string{mod, "m.room.member", user, `{"membership":"ban"}`})
		got = s.resolve([]stateMap{revolt.after, without.after})
		if a := s.content(got, "m.room.member", user); a != `{"membership":"join"}` {
			t.Errorf("v%s: a demoted moderator bans: %s", v.ID, a)
		}
		if a := s.content(got, "m.room.power_levels", ""); a != s.content(without.after, "m.room.power_levels", "") {
			t.Errorf("v%s: the demotion is lost: %s", v.ID, a)
		}
	}
}

// Without conflicts nothing changes, and with one that is settled only it does.
func TestTrivial(t *testing.T) {
	for _, v := range pdu.Versions() {
		s := newSim(t, v, 3, 9)
		m := s.last().after
		for _, sets := range [][]stateMap{{m}, {m, m}, {m, m, m}} {
			if got := s.resolve(sets); !maps.Equal(got, m) {
				t.Errorf("v%s: %d equal states resolve to another", v.ID, len(sets))
			}
		}
		if got, err := stateres.Resolve(context.Background(), s, s.split([]stateMap{m, m})); err != nil || len(got) != 0 {
			t.Errorf("v%s: %v, %v", v.ID, got, err)
		}
		next := s.branch(s.last(), [4]string{s.users[1], "m.room.topic", "", `{"topic":"x"}`})
		if got := s.resolve([]stateMap{m, next.after}); !maps.Equal(got, next.after) {
			t.Errorf("v%s: a first topic is lost", v.ID)
		}
	}
}

// What the state does not have comes from an event's auth events, except those that
// were rejected.
func TestRejectedAuthEvent(t *testing.T) {
	for _, v := range pdu.Versions()[1:] {
		s := newSim(t, v, 4, 9)
		admin, stranger := s.users[0], s.users[8]
		base := s.branch(s.last(), [4]string{admin, "m.room.join_rules", "", `{"join_rule":"invite"}`})
		invite := s.branch(base, [4]string{admin, "m.room.member", stranger, `{"membership":"invite"}`})
		// Both joins name the invite, so it is not in conflict; no state has it.
		one := s.branch(invite, [4]string{stranger, "m.room.member", stranger, `{"membership":"join","n":1}`})
		two := s.branch(invite, [4]string{stranger, "m.room.member", stranger, `{"membership":"join","n":2}`})
		for _, rejected := range []bool{false, true} {
			invite.rejected = rejected
			got := s.content(s.resolve([]stateMap{one.after, two.after}), "m.room.member", stranger)
			if (got == "") != rejected {
				t.Errorf("v%s: invite rejected: %v, member %s", v.ID, rejected, got)
			}
		}
	}
}

// bigFork returns two states of a room with many members of whom some changed on
// both branches: their profile, or by bans.
func bigFork(tb testing.TB, v *pdu.RoomVersion, members, conflicts int, bans bool) (*sim, []stateMap) {
	s := newSim(tb, v, 1, members)
	for _, u := range s.users[1+len(s.users)*2/3:] {
		s.must(u, "m.room.member", u, `{"membership":"join"}`)
	}
	base := s.last()
	var out []stateMap
	for branch := range 2 {
		m := maps.Clone(base.after)
		for i := range conflicts / 2 {
			user := s.users[3+i]
			sender, content := user, fmt.Sprintf(`{"membership":"join","n":%d}`, branch)
			if bans {
				sender, content = s.users[branch], `{"membership":"ban"}`
			}
			e := s.add([]*simEvent{base}, m, "m.room.member", sender, user, content)
			e.after = nil
			m[auth.StateKey{Type: "m.room.member", StateKey: user}] = e.num
		}
		out = append(out, m)
	}
	return s, out
}

func BenchmarkResolve(b *testing.B) {
	for _, id := range []string{"10", "12"} {
		v, _ := pdu.Version(id)
		for _, conflicts := range []int{10, 100, 1000} {
			for _, bans := range []bool{false, true} {
				name := map[bool]string{true: "bans", false: "profiles"}[bans]
				b.Run(fmt.Sprintf("v%s/%d/%s", id, conflicts, name), func(b *testing.B) {
					s, sets := bigFork(b, v, 10_000, conflicts, bans)
					in := s.split(sets)
					for b.Loop() {
						s.nodes, s.bodies, s.calls = 0, 0, 0
						got, err := stateres.Resolve(context.Background(), s, in)
						if err != nil || len(got) != conflicts/2 {
							b.Fatal(len(got), err)
						}
					}
					b.ReportMetric(float64(s.nodes), "nodes")
					b.ReportMetric(float64(s.bodies), "bodies")
					b.ReportMetric(float64(s.calls), "calls")
				})
			}
		}
	}
}
