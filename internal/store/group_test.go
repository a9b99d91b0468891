package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth/internal/merr"
	"hearth/internal/store"
	"hearth/internal/store/storetest"
)

// hold makes the writer wait in an op of its own until release is called, so that
// what is submitted meanwhile is one batch.
func hold(t testing.TB, db *store.DB) (release func()) {
	t.Helper()
	entered, leave := make(chan struct{}), make(chan struct{})
	var once sync.Once
	err := db.Submit(store.Op{Run: func(tx *store.Tx) error {
		once.Do(func() { close(entered) })
		<-leave
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	<-entered
	return func() { close(leave) }
}

// results collects what Done was called with, in order.
type results struct {
	mu    sync.Mutex
	order []int
	errs  map[int]error
	wg    sync.WaitGroup
}

func newResults() *results { return &results{errs: map[int]error{}} }

// op returns an op that reports under number i.
func (r *results) op(i int, run func(tx *store.Tx) error) store.Op {
	r.wg.Add(1)
	return store.Op{Run: run, Done: func(err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if _, twice := r.errs[i]; twice {
			panic(fmt.Sprintf("Done of %d twice", i))
		}
		r.order, r.errs[i] = append(r.order, i), err
		r.wg.Done()
	}}
}

func (r *results) submit(t testing.TB, db *store.DB, i int, run func(tx *store.Tx) error) {
	t.Helper()
	if err := db.Submit(r.op(i, run)); err != nil {
		t.Fatal(err)
	}
}

func TestOpsThatQueueUpShareOneCommit(t *testing.T) {
	storetest.Each(t, independent, func(t *testing.T, open func() *store.DB) {
		db := open()
		release := hold(t, db)
		before := db.Stats()
		r := newResults()
		const n = 200
		for i := range n {
			r.submit(t, db, i, add(fmt.Sprint("item ", i)))
		}
		release()
		r.wg.Wait()
		for i, got := range r.order {
			if got != i || r.errs[i] != nil {
				t.Fatalf("answer %d is that of op %d: %v", i, got, r.errs[got])
			}
		}
		if commits := db.Stats().Commits - before.Commits; commits != 1 {
			t.Errorf("%d ops took %d commits", n, commits)
		}
		for i, name := range names(t, db) {
			if want := fmt.Sprint("item ", i); name != want {
				t.Fatalf("position %d holds %q, want %q", i+1, name, want)
			}
		}
	})
}

func TestReadingOpsNeedNoCommit(t *testing.T) {
	storetest.Each(t, independent, func(t *testing.T, open func() *store.DB) {
		db := open()
		write(t, db, add("one"))
		before := db.Stats()
		write(t, db, func(tx *store.Tx) error {
			var n int
			return tx.Row("SELECT count(*) FROM item").Scan(&n)
		})
		if commits := db.Stats().Commits - before.Commits; commits != 0 {
			t.Errorf("reading took %d commits", commits)
		}
	})
}

func TestDoneSeesHeadAndData(t *testing.T) {
	storetest.Each(t, independent, func(t *testing.T, open func() *store.DB) {
		db := open()
		for i := range 5 {
			seen := make(chan int64, 1)
			err := db.Submit(store.Op{Run: add(fmt.Sprint(i)), Done: func(error) { seen <- db.Head() }})
			if err != nil {
				t.Fatal(err)
			}
			if head := <-seen; head != int64(i+1) {
				t.Fatalf("Done of op %d saw head %d", i+1, head)
			}
			if got := names(t, db); len(got) != i+1 {
				t.Fatalf("after Done of op %d: %q", i+1, got)
			}
		}
	})
}

func TestLargeBatchIsCut(t *testing.T) {
	storetest.Each(t, independent, func(t *testing.T, open func() *store.DB) {
		db := open()
		release := hold(t, db)
		before := db.Stats()
		r := newResults()
		body := make([]byte, 1<<20)
		for i := range 12 {
			r.submit(t, db, i, func(tx *store.Tx) error {
				return tx.Exec("INSERT INTO item (pos, name, body) VALUES ($1, $2, $3)", tx.Next(), fmt.Sprint(i), body)
			})
		}
		release()
		r.wg.Wait()
		if commits := db.Stats().Commits - before.Commits; commits < 2 || commits > 4 {
			t.Errorf("12 MiB took %d commits", commits)
		}
		if got := names(t, db); len(got) != 12 {
			t.Errorf("stored %q", got)
		}
	})
}

var errRefused = errors.New("refused")

// TestIndependentOpsFailAlone mixes ops that succeed and that fail in every way, in
// random batches, and checks that exactly the failed ones are missing.
func TestIndependentOpsFailAlone(t *testing.T) {
	storetest.Each(t, independent, func(t *testing.T, open func() *store.DB) {
		db := open()
		write(t, db, add("taken"))
		want := []string{"taken"}
		random := rand.New(rand.NewPCG(1, 2))
		for round := range 30 {
			release := hold(t, db)
			r := newResults()
			kinds := map[int]int{}
			for i := range 1 + random.IntN(60) {
				name := fmt.Sprintf("%d/%d", round, i)
				kinds[i] = random.IntN(4 + 12*random.IntN(4)) // rounds of op with many and few failures
				r.submit(t, db, i, failing(kinds[i], name))
				if kinds[i] > 5 {
					want = append(want, name)
				}
			}
			release()
			r.wg.Wait()
			if !slices.IsSorted(r.order) {
				t.Fatalf("answers came in the order %v", r.order)
			}
			for i, err := range r.errs {
				checkFailure(t, kinds[i], err)
			}
		}
		if got := names(t, db); !slices.Equal(got, want) {
			t.Errorf("stored %q\nwant %q", got, want)
		}
	})
}

// failing returns an op that fails in the way of kind 0 to 5; others succeed.
func failing(kind int, name string) func(tx *store.Tx) error {
	return func(tx *store.Tx) error {
		insert := func(name string) error {
			return tx.Exec("INSERT INTO item (pos, name) VALUES ($1, $2)", tx.Next(), name)
		}
		switch kind {
		case 0: // before writing
			tx.Next()
			return errRefused
		case 1: // after writing
			if err := insert(name); err != nil {
				return err
			}
			return errRefused
		case 2: // after writing and reading
			if err := insert(name); err != nil {
				return err
			}
			var n int
			if err := tx.Row("SELECT count(*) FROM item WHERE name = $1", name).Scan(&n); err != nil || n != 1 {
				return fmt.Errorf("sees %d of its own rows: %w", n, err)
			}
			return errRefused
		case 3: // by a conflict
			return insert("taken")
		case 4: // by a conflict that it ignores
			_ = insert("taken")
			_ = insert(name)
			return nil
		case 5:
			if err := insert(name); err != nil {
				return err
			}
			panic("op panics")
		}
		return insert(name)
	}
}

func checkFailure(t *testing.T, kind int, err error) {
	t.Helper()
	switch {
	case kind <= 2 && !errors.Is(err, errRefused),
		(kind == 3 || kind == 4) && !errors.Is(err, store.ErrConflict),
		kind == 5 && (err == nil || !strings.Contains(err.Error(), "op panics")),
		kind > 5 && err != nil:
		t.Errorf("op of kind %d: %v", kind, err)
	}
}

func TestFullQueueIsBusy(t *testing.T) {
	storetest.Each(t, func(o *store.Options) { independent(o); o.QueueLimit = 10 }, func(t *testing.T, open func() *store.DB) {
		db := open()
		release := hold(t, db)
		r := newResults()
		for i := range 9 { // the op that holds the writer counts
			r.submit(t, db, i, add(fmt.Sprint(i)))
		}
		err := db.Write(context.Background(), add("too many"))
		var m *merr.Error
		if !errors.Is(err, store.ErrBusy) || !errors.As(err, &m) || m.Status != 503 || !m.Temporary {
			t.Errorf("the 11th op: %v", err)
		}
		release()
		r.wg.Wait()
		write(t, db, add("again"))
		if got := names(t, db); len(got) != 10 {
			t.Errorf("stored %q", got)
		}
	})
}

func TestWriteRespectsContextWhileQueued(t *testing.T) {
	storetest.Each(t, independent, func(t *testing.T, open func() *store.DB) {
		db := open()
		release := hold(t, db)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		if err := db.Write(ctx, add("late")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("write: %v", err)
		}
		if err := db.Write(ctx, add("later")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("write after the end of its context: %v", err)
		}
		release()
		write(t, db, add("next"))
		if got := names(t, db); !slices.Equal(got, []string{"next"}) {
			t.Errorf("stored %q", got)
		}
	})
}

func TestPanicInDoneStopsNothing(t *testing.T) {
	storetest.Each(t, independent, func(t *testing.T, open func() *store.DB) {
		db := open()
		if err := db.Submit(store.Op{Run: add("one"), Done: func(error) { panic("in Done") }}); err != nil {
			t.Fatal(err)
		}
		write(t, db, add("two"))
		if got := names(t, db); len(got) != 2 {
			t.Errorf("stored %q", got)
		}
	})
}

func TestCloseStoresWhatIsQueued(t *testing.T) {
	storetest.Each(t, independent, func(t *testing.T, open func() *store.DB) {
		db := open()
		release := hold(t, db)
		r := newResults()
		for i := range 1500 {
			r.submit(t, db, i, add(fmt.Sprint(i)))
		}
		time.AfterFunc(20*time.Millisecond, release)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		for i, err := range r.errs {
			if err != nil {
				t.Fatalf("op %d: %v", i, err)
			}
		}
		for what, err := range map[string]error{
			"Submit": db.Submit(store.Op{Run: add("x")}),
			"Write":  db.Write(context.Background(), add("x")),
			"Read":   db.Read(context.Background(), func(*store.Reader) error { return nil }),
			"Close":  errors.Join(db.Close(), store.ErrClosed),
		} {
			if !errors.Is(err, store.ErrClosed) {
				t.Errorf("%s after Close: %v", what, err)
			}
		}
		if got := names(t, open()); len(got) != 1500 {
			t.Errorf("stored %d of 1500", len(got))
		}
	})
}
