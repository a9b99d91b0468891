package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"hearth/internal/store"
	"hearth/internal/store/storetest"
)

// put returns an op that stores name at a position that Stage gave.
func put(first int64, names ...string) func(tx *store.Tx) error {
	return func(tx *store.Tx) error {
		for i, name := range names {
			if err := tx.Exec("INSERT INTO item (pos, name) VALUES ($1, $2)", first+int64(i), name); err != nil {
				return err
			}
		}
		return nil
	}
}

func stage(t testing.TB, db *store.DB, r *results, i int, names ...string) int64 {
	t.Helper()
	first, err := db.Stage(db.Generation(), len(names), func(first int64) store.Op {
		return r.op(i, put(first, names...))
	})
	if err != nil {
		t.Fatal(err)
	}
	return first
}

func TestStagedPositionsAreInOrder(t *testing.T) {
	storetest.Each(t, chained, func(t *testing.T, open func() *store.DB) {
		db := open()
		release := hold(t, db)
		r := newResults()
		if first := stage(t, db, r, 0, "a"); first != 1 {
			t.Errorf("first position %d", first)
		}
		if first := stage(t, db, r, 1, "b", "c", "d"); first != 2 {
			t.Errorf("second position %d", first)
		}
		stage(t, db, r, 2) // none
		if first := stage(t, db, r, 3, "e"); first != 5 {
			t.Errorf("third position %d", first)
		}
		if db.Head() != 0 {
			t.Errorf("head %d before the commit", db.Head())
		}
		release()
		r.wg.Wait()
		if got := names(t, db); !slices.Equal(got, []string{"a", "b", "c", "d", "e"}) {
			t.Errorf("stored %q", got)
		}
	})
}

func TestChainedFailureFailsAllThatFollows(t *testing.T) {
	// The failure is a refusal before anything is written or a conflict.
	bad := map[string]func(tx *store.Tx) error{
		"refused":  func(*store.Tx) error { return errRefused },
		"conflict": put(1000, "a"),
		"panic":    func(*store.Tx) error { panic("op panics") },
	}
	for name, run := range bad {
		t.Run(name, func(t *testing.T) {
			storetest.Each(t, chained, func(t *testing.T, open func() *store.DB) {
				db := open()
				r := newResults()
				stage(t, db, r, 0, "a")
				r.wg.Wait()
				release := hold(t, db)
				gen := db.Generation()
				stage(t, db, r, 1, "b")
				if _, err := db.Stage(gen, 1, func(int64) store.Op { return r.op(2, run) }); err != nil {
					t.Fatal(err)
				}
				for i := 3; i < 700; i++ { // more than one batch
					stage(t, db, r, i, fmt.Sprint(i))
				}
				release()
				r.wg.Wait()
				if r.errs[2] == nil || errors.Is(r.errs[2], store.ErrStale) {
					t.Errorf("the failed op: %v", r.errs[2])
				}
				for _, i := range []int{1, 3, 400, 600, 699} {
					if !errors.Is(r.errs[i], store.ErrStale) {
						t.Errorf("op %d: %v", i, r.errs[i])
					}
				}
				if !slices.IsSorted(r.order) {
					t.Error("answers out of order")
				}
				if _, err := db.Stage(gen, 1, nil); !errors.Is(err, store.ErrStale) {
					t.Errorf("stage with the old generation: %v", err)
				}
				if first := stage(t, db, r, 1000, "z"); first != 2 {
					t.Errorf("positions go on with %d", first)
				}
				r.wg.Wait()
				if got := names(t, db); !slices.Equal(got, []string{"a", "z"}) {
					t.Errorf("stored %q", got)
				}
			})
		})
	}
}

func TestSubmittedOpOfChainFailsAloneIfItWroteNothing(t *testing.T) {
	storetest.Each(t, chained, func(t *testing.T, open func() *store.DB) {
		db := open()
		release := hold(t, db)
		gen := db.Generation()
		r := newResults()
		stage(t, db, r, 0, "a")
		r.submit(t, db, 1, func(tx *store.Tx) error { return errRefused })
		stage(t, db, r, 2, "b")
		release()
		r.wg.Wait()
		if !errors.Is(r.errs[1], errRefused) || r.errs[0] != nil || r.errs[2] != nil || db.Generation() != gen {
			t.Errorf("answers %v, generation %d → %d", r.errs, gen, db.Generation())
		}
		if got := names(t, db); len(got) != 2 {
			t.Errorf("stored %q", got)
		}
	})
}

func TestNextIsNotForChains(t *testing.T) {
	storetest.Each(t, chained, func(t *testing.T, open func() *store.DB) {
		db := open()
		if err := db.Write(context.Background(), add("a")); err == nil {
			t.Error("Next gave a position out")
		}
		if got := names(t, db); len(got) != 0 {
			t.Errorf("stored %q", got)
		}
	})
}

func TestStageIsOnlyForChains(t *testing.T) {
	storetest.Each(t, independent, func(t *testing.T, open func() *store.DB) {
		if _, err := open().Stage(0, 1, nil); err == nil {
			t.Error("Stage worked with the policy Independent")
		}
	})
}

// TestStagersSurviveFailures has callers that stage on each other's ops while some ops
// fail: what was answered with nil is stored at its position, and nothing else is.
func TestStagersSurviveFailures(t *testing.T) {
	storetest.Each(t, chained, func(t *testing.T, open func() *store.DB) {
		db := open()
		var mu sync.Mutex
		acknowledged := map[int64]string{}
		var stagers, answers sync.WaitGroup
		for s := range 8 {
			stagers.Go(func() {
				random := rand.New(rand.NewPCG(uint64(s), 1))
				for i := range 150 {
					name := fmt.Sprintf("%d-%d", s, i)
					answers.Add(1)
					answered := make(chan struct{})
					bad := random.IntN(20) == 0
					_, err := db.Stage(db.Generation(), 1, func(pos int64) store.Op {
						run := put(pos, name)
						if bad {
							run = put(pos, name, name) // a conflict with itself
						}
						return store.Op{Run: run, Done: func(err error) {
							defer answers.Done()
							defer close(answered)
							if err != nil {
								return
							}
							if db.Head() < pos {
								t.Errorf("answer to %d with head %d", pos, db.Head())
							}
							mu.Lock()
							defer mu.Unlock()
							acknowledged[pos] = name
						}}
					})
					if err != nil {
						answers.Done()
						if !errors.Is(err, store.ErrStale) {
							t.Error(err)
						}
					} else if random.IntN(3) > 0 {
						<-answered
					}
				}
			})
		}
		stagers.Wait()
		answers.Wait()
		got := names(t, db)
		if len(got) != len(acknowledged) || len(got) == 0 {
			t.Errorf("%d stored, %d acknowledged", len(got), len(acknowledged))
		}
		for pos, name := range acknowledged {
			if got[pos-1] != name {
				t.Errorf("position %d holds %q, not %q", pos, got[pos-1], name)
			}
		}
		if db.Generation() == 0 {
			t.Error("nothing failed: the test shows nothing")
		}
	})
}
