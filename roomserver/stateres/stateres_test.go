package stateres_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"

	"hearth/internal/pdu"
	"hearth/roomserver/stateres"
)

// Random rooms with forks: the result equals the naive reading of the text, and
// does not depend on the order of the states or of their events.
func TestAgainstNaive(t *testing.T) {
	rooms, steps := 6, 70
	if testing.Short() {
		rooms = 2
	}
	for _, v := range pdu.Versions() {
		t.Run("v"+v.ID, func(t *testing.T) {
			changed := 0
			for seed := range rooms {
				s := newSim(t, v, uint64(seed), 9)
				reference := func(sets []stateMap) stateMap {
					if v.StateResolution == 1 {
						return naiveV1(s, sets)
					}
					return (&naive{s: s, v21: v.StateResolution == 21}).resolve(sets)
				}
				compare := func(sets []stateMap) stateMap {
					want, got := reference(sets), s.resolve(sets)
					if !maps.Equal(got, want) {
						for i, m := range sets {
							t.Logf("state %d:\n%s", i, s.describe(m))
						}
						t.Fatalf("room %d:\n%s\nwant\n%s", seed, s.describe(got), s.describe(want))
					}
					if !slices.ContainsFunc(sets, func(m stateMap) bool { return maps.Equal(m, got) }) {
						changed++
					}
					return got
				}
				for range steps {
					s.step(4, compare)
				}
				for range 20 {
					var sets []stateMap
					for range 2 + s.r.IntN(3) {
						sets = append(sets, s.list[s.r.IntN(len(s.list))].after)
					}
					want := compare(sets)
					s.r.Shuffle(len(sets), func(i, j int) { sets[i], sets[j] = sets[j], sets[i] })
					if got := s.resolve(append(sets, sets[0])); !maps.Equal(got, want) {
						t.Fatalf("room %d: another order, another state", seed)
					}
				}
			}
			if changed == 0 {
				t.Error("no resolution made a new state")
			}
			t.Logf("%d resolutions made a new state", changed)
		})
	}
}

type brokenSource struct {
	*sim
	nodes func([]stateres.Node) []stateres.Node
	err   error
}

func (b brokenSource) Nodes(ctx context.Context, ids []int64) ([]stateres.Node, error) {
	out, err := b.sim.Nodes(ctx, ids)
	return b.nodes(out), errors.Join(err, b.err)
}

func TestBrokenSource(t *testing.T) {
	v, _ := pdu.Version("10")
	s := newSim(t, v, 1, 9)
	base := s.last()
	a := s.try([]*simEvent{base}, base.after, s.users[1], "m.room.topic", "", `{"topic":"a"}`)
	b := s.try([]*simEvent{base}, base.after, s.users[2], "m.room.topic", "", `{"topic":"b"}`)
	in := s.split([]stateMap{a.after, b.after})
	boom := errors.New("boom")
	same := func(n []stateres.Node) []stateres.Node { return n }
	for _, c := range []struct {
		name  string
		nodes func([]stateres.Node) []stateres.Node
		err   error
		want  error
	}{
		{"error", same, boom, boom},
		{"short answer", func(n []stateres.Node) []stateres.Node { return n[1:] }, nil, stateres.ErrDamaged},
		{"no order", func(n []stateres.Node) []stateres.Node {
			for i := range n {
				n[i].Gen = 5
			}
			return n
		}, nil, stateres.ErrDamaged},
	} {
		if _, err := stateres.Resolve(context.Background(), brokenSource{s, c.nodes, c.err}, in); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	in.Conflicted = make([][]int64, stateres.MaxSets+1)
	if _, err := stateres.Resolve(context.Background(), s, in); !errors.Is(err, stateres.ErrTooManySets) {
		t.Errorf("too many states: %v", err)
	}
}
