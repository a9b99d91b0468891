package state_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"hearth/roomserver/state"
)

// Views that branch anywhere, compared with plain maps; none ever changes.
func TestViewProperties(t *testing.T) {
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 2))
		keys := []int{3, 40, 1000}[seed%3]
		views, plains := []state.View{{}}, []plain{{}}
		for i := range 400 {
			from := len(views) - 1
			if r.IntN(10) == 0 {
				from = r.IntN(len(views))
			}
			changes := randomChanges(r, plains[from], keys, i*10+1)
			given := slices.Clone(changes)
			views = append(views, views[from].With(changes...))
			plains = append(plains, plains[from].apply(changes))
			if !slices.Equal(given, changes) {
				t.Fatal("With changed its argument")
			}
		}
		for i, v := range views {
			want := entries(plains[i])
			if v.Len() != len(want) || !slices.Equal(v.Entries(), want) {
				t.Fatalf("view %d differs", i)
			}
			for _, e := range want {
				if v.Get(e.Key) != e.Event {
					t.Fatalf("view %d: %v is %d", i, e.Key, v.Get(e.Key))
				}
			}
			if v.Get(state.Key{Type: 77}) != 0 {
				t.Fatal("an absent key has an event")
			}
			for typ := int64(-2); typ < 5; typ++ {
				got := slices.Collect(v.OfType(typ))
				of := slices.DeleteFunc(slices.Clone(want), func(e state.Entry) bool { return e.Type != typ })
				if !slices.Equal(got, of) {
					t.Fatalf("view %d, type %d: %v, want %v", i, typ, got, of)
				}
			}
			j := r.IntN(len(views))
			if got, want := v.Diff(views[j]), diffOf(plains[i], plains[j]); !slices.Equal(got, want) {
				t.Fatalf("diff %d → %d: %v, want %v", i, j, got, want)
			}
			if fresh := state.NewView(want); len(fresh.Diff(v)) != 0 || fresh.Len() != v.Len() {
				t.Fatalf("view %d is not the view of its entries", i)
			}
		}
	}
}

func TestViewStopsEarly(t *testing.T) {
	v := state.NewView([]state.Entry{{Key: state.Key{Type: 2}, Event: 2}, {Key: state.Key{Type: 1}, Event: 1}, {Key: state.Key{Type: 3}}})
	n := 0
	for e := range v.All() {
		n++
		if e.Event == 1 {
			break
		}
	}
	if n != 1 || v.Len() != 2 {
		t.Errorf("%d seen of %d", n, v.Len())
	}
	if v.With().Len() != 2 {
		t.Error("no change changes")
	}
}
