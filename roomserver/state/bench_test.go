package state_test

import (
	"context"
	"math/rand/v2"
	"runtime"
	"testing"

	"hearth/roomserver/state"
)

const (
	benchMembers = 10_000
	benchChanges = 10_000
	memberType   = 7
)

// bigRoom returns the state of a room whose members joined in random order, and
// member changes of the same users.
func bigRoom() (first []state.Entry, changes []state.Entry) {
	r := rand.New(rand.NewPCG(1, 1))
	for i, user := range r.Perm(benchMembers) {
		first = append(first, state.Entry{Key: state.Key{Type: memberType, StateKey: 100 + int64(user)}, Event: int64(i) + 1})
	}
	for i := range benchChanges {
		key := state.Key{Type: memberType, StateKey: 100 + int64(r.IntN(benchMembers))}
		changes = append(changes, state.Entry{Key: key, Event: int64(benchMembers + i + 1)})
	}
	return first, changes
}

// chain appends all changes one by one.
func chain(tb testing.TB) (*memory, []*state.Snapshot) {
	first, changes := bigRoom()
	mem := newMemory(state.Root(1, first))
	snaps := []*state.Snapshot{mem.snaps[1]}
	for i, c := range changes {
		next, err := state.Append(context.Background(), mem, snaps[len(snaps)-1], int64(i)+2, []state.Entry{c})
		if err != nil {
			tb.Fatal(err)
		}
		mem.snaps[next.ID] = next
		snaps = append(snaps, next)
	}
	return mem, snaps
}

// BenchmarkAppend reports the time of one change and what it stores.
func BenchmarkAppend(b *testing.B) {
	var stored, largest, ids int
	for b.Loop() {
		_, snaps := chain(b)
		stored, largest, ids = 0, 0, 0
		for i, s := range snaps {
			stored += len(s.Delta)
			ids += len(s.Chain)
			if i > 0 {
				largest = max(largest, len(s.Delta))
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchChanges, "ns/change")
	b.ReportMetric(float64(stored), "stored-bytes")
	b.ReportMetric(float64(stored)/benchChanges, "stored-bytes/change")
	b.ReportMetric(float64(largest), "largest-bytes")
	b.ReportMetric(float64(ids)/benchChanges, "chain-ids/change")
}

func BenchmarkResolve(b *testing.B) {
	mem, snaps := chain(b)
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i = (i + 4099) % len(snaps)
		if v, err := state.Resolve(context.Background(), mem, snaps[i]); err != nil || v.Len() != benchMembers {
			b.Fatal(v.Len(), err)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	mem, snaps := chain(b)
	i := 0
	for b.Loop() {
		i = (i + 4099) % len(snaps)
		key := state.Key{Type: memberType, StateKey: 100 + int64(i%benchMembers)}
		if e, err := state.Get(context.Background(), mem, snaps[i], key); err != nil || e == 0 {
			b.Fatal(e, err)
		}
	}
}

func BenchmarkDiff(b *testing.B) {
	mem, snaps := chain(b)
	for _, c := range []struct {
		name  string
		apart int
	}{{"neighbours", 1}, {"1000apart", 1000}, {"ends", benchChanges}} {
		b.Run(c.name, func(b *testing.B) {
			i := 0
			for b.Loop() {
				i = (i + 4099) % (len(snaps) - c.apart)
				if list, err := state.Diff(context.Background(), mem, snaps[i], snaps[i+c.apart]); err != nil || len(list) == 0 {
					b.Fatal(len(list), err)
				}
			}
		})
	}
}

// BenchmarkView applies changes one by one and keeps all views.
func BenchmarkView(b *testing.B) {
	first, changes := bigRoom()
	base := state.NewView(first)
	var perView float64
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		views := []state.View{base}
		for _, c := range changes {
			views = append(views, views[len(views)-1].With(c))
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		perView = float64(after.HeapAlloc-before.HeapAlloc) / float64(len(views))
		runtime.KeepAlive(views)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchChanges, "ns/change")
	b.ReportMetric(perView, "heap-bytes/view-kept")
}

func BenchmarkViewGet(b *testing.B) {
	first, changes := bigRoom()
	v := state.NewView(first).With(changes[:100]...)
	i := 0
	for b.Loop() {
		i = (i + 4099) % benchMembers
		if v.Get(state.Key{Type: memberType, StateKey: 100 + int64(i)}) == 0 {
			b.Fatal("absent")
		}
	}
}
