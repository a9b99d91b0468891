package state_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"

	"hearth/roomserver/state"
)

// memory is a Loader that counts.
type memory struct {
	snaps map[int64]*state.Snapshot
	loads int // calls
	read  int // snapshots returned
}

func newMemory(list ...*state.Snapshot) *memory {
	m := &memory{snaps: map[int64]*state.Snapshot{}}
	for _, s := range list {
		m.snaps[s.ID] = s
	}
	return m
}

func (m *memory) Load(_ context.Context, ids []int64) ([]*state.Snapshot, error) {
	m.loads++
	out := make([]*state.Snapshot, len(ids))
	for i, id := range ids {
		m.read++
		out[i] = m.snaps[id]
	}
	return out, nil
}

type plain map[state.Key]int64

func (p plain) apply(changes []state.Entry) plain {
	next := maps.Clone(p)
	for _, e := range changes {
		if e.Event == 0 {
			delete(next, e.Key)
		} else {
			next[e.Key] = e.Event
		}
	}
	return next
}

func entries(p plain) []state.Entry {
	var out []state.Entry
	for k, e := range p {
		out = append(out, state.Entry{Key: k, Event: e})
	}
	slices.SortFunc(out, func(a, b state.Entry) int { return a.Key.Compare(b.Key) })
	return out
}

func diffOf(a, b plain) []state.Entry {
	out := plain{}
	for k, e := range b {
		if a[k] != e {
			out[k] = e
		}
	}
	for k := range a {
		if _, ok := b[k]; !ok {
			out[k] = 0
		}
	}
	return entries(out)
}

// randomChanges returns changes in random order, with repeats and no-ops.
func randomChanges(r *rand.Rand, p plain, keys, event int) []state.Entry {
	var out []state.Entry
	for range 1 + r.IntN(4) {
		k := state.Key{Type: int64(r.IntN(4)) - 1, StateKey: int64(r.IntN(keys)) - int64(keys)/3}
		switch r.IntN(6) {
		case 0:
			out = append(out, state.Entry{Key: k}) // removed, maybe without being there
		case 1:
			out = append(out, state.Entry{Key: k, Event: p[k]}) // no change
		case 2:
			out = append(out, state.Entry{Key: k, Event: int64(r.IntN(5)) - 7}) // an old event again
		default:
			out = append(out, state.Entry{Key: k, Event: int64(event)})
		}
	}
	return out
}

// Random chains that fork anywhere, compared with plain maps in everything that
// can be read.
func TestChainProperties(t *testing.T) {
	ctx := context.Background()
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 1))
		keys := []int{3, 40, 1000}[seed%3]
		first := plain{}
		for range keys {
			first[state.Key{Type: int64(r.IntN(4)) - 1, StateKey: int64(r.IntN(keys)) - int64(keys)/3}] = 1 + int64(r.IntN(9))
		}
		list := entries(first)
		r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		snaps := []*state.Snapshot{state.Root(1, list)}
		plains := []plain{first}
		mem := newMemory(snaps...)
		for id := int64(2); id < 300; id++ {
			from := len(snaps) - 1
			if r.IntN(10) == 0 {
				from = r.IntN(len(snaps)) // fork
			}
			changes := randomChanges(r, plains[from], keys, int(id)*10)
			next, err := state.Append(ctx, mem, snaps[from], id, changes)
			if err != nil {
				t.Fatal(err)
			}
			want := plains[from].apply(changes)
			if maps.Equal(want, plains[from]) {
				if next != snaps[from] {
					t.Fatal("nothing changed, but there is a new snapshot")
				}
				continue
			}
			checkShape(t, next, snaps[from], len(want))
			mem.snaps[id] = next
			snaps, plains = append(snaps, next), append(plains, want)
		}
		for i, s := range snaps {
			checkReads(t, mem, s, plains[i])
		}
		for range 600 {
			i, j := r.IntN(len(snaps)), r.IntN(len(snaps))
			got, err := state.Diff(ctx, mem, snaps[i], snaps[j])
			if err != nil {
				t.Fatal(err)
			}
			if want := diffOf(plains[i], plains[j]); !slices.Equal(got, want) {
				t.Fatalf("diff %d → %d: %v, want %v", i, j, got, want)
			}
			checkConflicts(t, mem, snaps, plains, []int{i, j, r.IntN(len(snaps)), r.IntN(len(snaps))}[:2+r.IntN(3)])
		}
	}
}

func checkShape(t *testing.T, next, prev *state.Snapshot, n int) {
	t.Helper()
	if next.Seq != prev.Seq+1 || next.Prev != prev.ID || next.N != n {
		t.Fatalf("seq %d after %d, prev %d, n %d of %d", next.Seq, prev.Seq, next.Prev, next.N, n)
	}
	if next.Parent != next.Chain[0] || len(next.Chain) != bits.OnesCount(uint(next.Seq)) {
		t.Fatalf("seq %d has a chain of %d", next.Seq, len(next.Chain))
	}
}

func checkReads(t *testing.T, mem *memory, s *state.Snapshot, want plain) {
	t.Helper()
	ctx := context.Background()
	mem.loads, mem.read = 0, 0
	view, err := state.Resolve(ctx, mem, s)
	if err != nil {
		t.Fatal(err)
	}
	if mem.loads > 1 || mem.read > bits.Len(uint(s.Seq)) {
		t.Fatalf("seq %d: %d loads of %d snapshots", s.Seq, mem.loads, mem.read)
	}
	if got := view.Entries(); !slices.Equal(got, entries(want)) || view.Len() != len(want) {
		t.Fatalf("seq %d: state differs", s.Seq)
	}
	keys := []state.Key{{Type: 99}, {Type: -99}, {Type: 1, StateKey: math.MaxInt64}, {Type: 1, StateKey: math.MinInt64}}
	for k := range want {
		keys = append(keys, k)
	}
	keys = append(keys, keys[0], keys[len(keys)-1])
	got, err := state.GetMany(ctx, mem, s, keys)
	if err != nil {
		t.Fatal(err)
	}
	for i, k := range keys {
		if got[i] != want[k] {
			t.Fatalf("seq %d: %v is %d, want %d", s.Seq, k, got[i], want[k])
		}
	}
	one, err := state.Get(ctx, mem, s, keys[len(keys)-1])
	if err != nil || one != want[keys[len(keys)-1]] {
		t.Fatalf("seq %d: get %d, %v", s.Seq, one, err)
	}
}

func checkConflicts(t *testing.T, mem *memory, snaps []*state.Snapshot, plains []plain, heads []int) {
	t.Helper()
	var list []*state.Snapshot
	want := map[state.Key]string{}
	for _, h := range heads {
		list = append(list, snaps[h])
		for k := range plains[h] {
			events := make([]int64, len(heads))
			same := true
			for i, h := range heads {
				events[i] = plains[h][k]
				same = same && events[i] == events[0]
			}
			if !same {
				want[k] = fmt.Sprint(events)
			}
		}
	}
	got, _, err := state.Conflicts(context.Background(), mem, list)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Fatalf("heads %v: %d conflicts, want %d", heads, len(got), len(want))
	}
	for i, c := range got {
		if want[c.Key] != fmt.Sprint(c.Events) || i > 0 && got[i-1].Key.Compare(c.Key) >= 0 {
			t.Fatalf("heads %v: %v is %v, want %s", heads, c.Key, c.Events, want[c.Key])
		}
	}
}

func TestConflictsCountsAgreement(t *testing.T) {
	ctx := context.Background()
	root := state.Root(1, []state.Entry{{Key: state.Key{Type: 1}, Event: 1}, {Key: state.Key{Type: 2}, Event: 2}})
	mem := newMemory(root)
	a, err1 := state.Append(ctx, mem, root, 2, []state.Entry{{Key: state.Key{Type: 1}, Event: 5}, {Key: state.Key{Type: 3}, Event: 6}})
	b, err2 := state.Append(ctx, mem, root, 3, []state.Entry{{Key: state.Key{Type: 1}, Event: 5}, {Key: state.Key{Type: 3}, Event: 7}})
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	got, agreed, err := state.Conflicts(ctx, mem, []*state.Snapshot{a, b, root})
	if err != nil || len(got) != 2 || agreed != 0 {
		t.Errorf("%v, %d agreed, %v", got, agreed, err)
	}
	got, agreed, err = state.Conflicts(ctx, mem, []*state.Snapshot{a, b})
	if err != nil || len(got) != 1 || got[0].Key.Type != 3 || agreed != 1 {
		t.Errorf("%v, %d agreed, %v", got, agreed, err)
	}
	if got, agreed, err = state.Conflicts(ctx, mem, []*state.Snapshot{a}); got != nil || agreed != 0 || err != nil {
		t.Errorf("one head: %v, %d, %v", got, agreed, err)
	}
}

// States that share no ancestor can be compared, too.
func TestDiffOfStrangers(t *testing.T) {
	a := state.Root(1, []state.Entry{{Key: state.Key{Type: 1}, Event: 1}, {Key: state.Key{Type: 2}, Event: 2}})
	b := state.Root(2, []state.Entry{{Key: state.Key{Type: 2}, Event: 2}, {Key: state.Key{Type: 3}, Event: 3}, {Key: state.Key{Type: 4}}})
	got, err := state.Diff(context.Background(), nil, a, b)
	want := []state.Entry{{Key: state.Key{Type: 1}}, {Key: state.Key{Type: 3}, Event: 3}}
	if err != nil || !slices.Equal(got, want) || b.N != 2 {
		t.Errorf("%v, %v", got, err)
	}
}

type failing struct{ err error }

func (f failing) Load(context.Context, []int64) ([]*state.Snapshot, error) { return nil, f.err }

type short struct{ list []*state.Snapshot }

func (s short) Load(context.Context, []int64) ([]*state.Snapshot, error) { return s.list, nil }

func TestLoaderFaults(t *testing.T) {
	ctx := context.Background()
	root := state.Root(1, []state.Entry{{Key: state.Key{Type: 1}, Event: 1}})
	one, err := state.Append(ctx, nil, root, 2, []state.Entry{{Key: state.Key{Type: 1}, Event: 2}})
	if err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	for _, c := range []struct {
		name   string
		loader state.Loader
		want   error
	}{
		{"error", failing{boom}, boom},
		{"nothing", short{}, state.ErrMissing},
		{"nil", short{[]*state.Snapshot{nil}}, state.ErrMissing},
		{"another", short{[]*state.Snapshot{one}}, state.ErrMissing},
		{"damaged", short{[]*state.Snapshot{{ID: 1, N: 1, Delta: []byte{1, 2, 3}}}}, state.ErrDamaged},
	} {
		_, err1 := state.Resolve(ctx, c.loader, one)
		_, err2 := state.Get(ctx, c.loader, one, state.Key{Type: 9})
		_, err3 := state.Append(ctx, c.loader, one, 3, []state.Entry{{Key: state.Key{Type: 9}, Event: 3}})
		for i, err := range []error{err1, err2, err3} {
			if !errors.Is(err, c.want) {
				t.Errorf("%s, call %d: %v", c.name, i, err)
			}
		}
	}
	wrong := *one
	wrong.N = 7
	if _, err := state.Resolve(ctx, newMemory(root), &wrong); !errors.Is(err, state.ErrDamaged) {
		t.Errorf("wrong count: %v", err)
	}
	wrong = *one
	wrong.Seq = 63
	if _, err := state.Append(ctx, newMemory(root), &wrong, 9, []state.Entry{{Key: state.Key{Type: 9}, Event: 3}}); !errors.Is(err, state.ErrDamaged) {
		t.Errorf("short chain: %v", err)
	}
}
