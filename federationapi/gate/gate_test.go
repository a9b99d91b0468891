package gate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hearth/internal/merr"
)

func newGate() *Gate {
	return New(Options{
		Classes: map[string]Class{"a": {Each: 2, Queue: 3, All: 4}, "b": {Each: 1, Queue: 0, All: 100}},
		Rate:    10, Burst: 20, Now: time.Now,
	})
}

func isLimit(err error) bool { return errors.Is(err, merr.LimitExceeded(0)) }

func TestEachServerHasItsOwnLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, ctx := newGate(), t.Context()
		var leaves []func()
		for range 2 {
			leave, err := g.Enter(ctx, "a", "bad.example")
			if err != nil {
				t.Fatal(err)
			}
			leaves = append(leaves, leave)
		}
		results := make(chan error, 3)
		for range 3 {
			go func() {
				leave, err := g.Enter(ctx, "a", "bad.example")
				if err == nil {
					leave()
				}
				results <- err
			}()
		}
		synctest.Wait()
		if _, err := g.Enter(ctx, "a", "bad.example"); !isLimit(err) {
			t.Errorf("the sixth: %v", err)
		}
		if leave, err := g.Enter(ctx, "b", "bad.example"); err != nil {
			t.Errorf("work of another class: %v", err)
		} else {
			leave()
		}
		leave, err := g.Enter(ctx, "a", "good.example")
		if err != nil {
			t.Fatal(err)
		}
		leave()
		for _, leave := range leaves {
			leave()
		}
		for range 3 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		if len(g.inside) != 0 {
			t.Errorf("%d servers are still inside", len(g.inside))
		}
	})
}

func TestWaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		var leaves []func()
		for i := range 4 {
			leave, err := g.Enter(t.Context(), "a", fmt.Sprint(i/2, ".example"))
			if err != nil {
				t.Fatal(err)
			}
			leaves = append(leaves, leave)
		}
		start := time.Now()
		if _, err := g.Enter(t.Context(), "a", "late.example"); !isLimit(err) || time.Since(start) != maxWait {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for _, server := range []string{"late.example", "0.example"} {
			if _, err := g.Enter(ctx, "a", server); err == nil || isLimit(err) {
				t.Errorf("%s: %v", server, err)
			}
		}
		for _, leave := range leaves {
			leave()
		}
		if len(g.inside) != 0 {
			t.Errorf("%d servers are still inside", len(g.inside))
		}
		for i := range 4 { // nothing was lost
			if _, err := g.Enter(t.Context(), "a", fmt.Sprint(i/2, ".example")); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		enter := func(server string) (time.Duration, error) {
			start := time.Now()
			leave, err := g.Enter(t.Context(), "a", server)
			if err == nil {
				leave()
			}
			return time.Since(start), err
		}
		for i := range 20 {
			if took, err := enter("bad.example"); err != nil || took != 0 {
				t.Fatalf("%d: %v after %v", i, err, took)
			}
		}
		for range 20 {
			if took, err := enter("bad.example"); err != nil || took != 100*time.Millisecond {
				t.Fatalf("%v after %v", err, took)
			}
		}
		if took, err := enter("good.example"); err != nil || took != 0 {
			t.Errorf("%v after %v", err, took)
		}
		var limited, late int
		var mu sync.Mutex
		var group sync.WaitGroup
		g.o.Classes["a"] = Class{Each: 1000, All: 1000}
		for range 100 {
			group.Go(func() {
				took, err := enter("bad.example")
				mu.Lock()
				defer mu.Unlock()
				if isLimit(err) {
					limited++
				} else if took > maxWait/4 {
					late++
				}
			})
		}
		group.Wait()
		if limited != 50 || late != 0 {
			t.Errorf("%d of 100 were refused, %d waited for too long", limited, late)
		}
		time.Sleep(time.Hour)
		if took, err := enter("bad.example"); err != nil || took != 0 {
			t.Errorf("%v after %v", err, took)
		}
	})
}
