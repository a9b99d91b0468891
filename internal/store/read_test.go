package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"hearth/internal/store"
	"hearth/internal/store/storetest"
)

// TestReadersSeeWholeBatches moves amounts between two rows while readers add them up.
func TestReadersSeeWholeBatches(t *testing.T) {
	storetest.Each(t, independent, func(t *testing.T, open func() *store.DB) {
		db := open()
		write(t, db, func(tx *store.Tx) error {
			if err := tx.Exec("INSERT INTO pair (a, b, v) VALUES ('left', 1000, ''), ('right', 1000, '')"); err != nil {
				return err
			}
			return nil
		})
		stop := make(chan struct{})
		var readers sync.WaitGroup
		for range 6 { // more than connections
			readers.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if err := db.Read(context.Background(), checkSum); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		var writers sync.WaitGroup
		for range 4 {
			writers.Go(func() {
				for range 100 {
					err := db.Write(context.Background(), func(tx *store.Tx) error {
						pos := tx.Next()
						if err := tx.Exec("UPDATE pair SET b = b - 1 WHERE a = 'left'"); err != nil {
							return err
						}
						if err := tx.Exec("INSERT INTO item (pos) VALUES ($1)", pos); err != nil {
							return err
						}
						return tx.Exec("UPDATE pair SET b = b + 1 WHERE a = 'right'")
					})
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		writers.Wait()
		close(stop)
		readers.Wait()
	})
}

func checkSum(r *store.Reader) error {
	var left, right, items int64
	if err := r.Row("SELECT b FROM pair WHERE a = 'left'").Scan(&left); err != nil {
		return err
	}
	head, err := r.Head()
	if err != nil {
		return err
	}
	if err := r.Row("SELECT b FROM pair WHERE a = 'right'").Scan(&right); err != nil {
		return err
	}
	if err := r.Row("SELECT count(*) FROM item").Scan(&items); err != nil {
		return err
	}
	if left+right != 2000 || 1000-left != items || head != items {
		return fmt.Errorf("left %d, right %d, items %d, head %d", left, right, items, head)
	}
	return nil
}

func TestNestedAndUnfinishedRows(t *testing.T) {
	storetest.Each(t, independent, func(t *testing.T, open func() *store.DB) {
		db := open()
		for i := range 5 {
			write(t, db, add(fmt.Sprint(i)))
		}
		pairs := func(q store.Queryer) error {
			const all = "SELECT pos FROM item ORDER BY pos"
			outer, err := q.Query(all)
			if err != nil {
				return err
			}
			n := 0
			for outer.Next() {
				inner, err := q.Query(all) // the same text
				if err != nil {
					return err
				}
				for inner.Next() {
					n++
				}
				if inner.Err() != nil {
					return inner.Err()
				}
			}
			if n != 25 || outer.Err() != nil {
				return fmt.Errorf("%d pairs: %w", n, outer.Err())
			}
			open, err := q.Query(all) // and left open
			if err != nil || !open.Next() {
				return fmt.Errorf("next: %w", err)
			}
			return nil
		}
		for range 3 {
			read(t, db, func(r *store.Reader) error { return pairs(r) })
			write(t, db, func(tx *store.Tx) error { return pairs(tx) })
		}
	})
}

// TestRowsOfTxDoNotSeeLaterStatements deletes what it iterates over.
func TestRowsOfTxDoNotSeeLaterStatements(t *testing.T) {
	storetest.Each(t, independent, func(t *testing.T, open func() *store.DB) {
		db := open()
		write(t, db, func(tx *store.Tx) error {
			for i := range 100 {
				if err := tx.Exec("INSERT INTO pair (a, b) VALUES ('x', $1)", i); err != nil {
					return err
				}
			}
			rows, err := tx.Query("SELECT b FROM pair ORDER BY b")
			if err != nil {
				return err
			}
			n := 0
			for ; rows.Next(); n++ {
				if err := tx.Exec("DELETE FROM pair"); err != nil {
					return err
				}
			}
			if n != 100 {
				return fmt.Errorf("saw %d rows", n)
			}
			return rows.Err()
		})
	})
}

func TestReadRespectsContext(t *testing.T) {
	storetest.Each(t, func(o *store.Options) { independent(o); o.Readers = 1 }, func(t *testing.T, open func() *store.DB) {
		db := open()
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		// While it waits for a connection.
		read(t, db, func(*store.Reader) error {
			err := db.Read(ctx, func(*store.Reader) error { return nil })
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("waiting: %v", err)
			}
			return nil
		})
		// While a statement runs.
		ctx, cancel = context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		start := time.Now()
		err := db.Read(ctx, func(r *store.Reader) error {
			var n int64
			return r.Row(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000)
				SELECT count(*) FROM n`).Scan(&n)
		})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 5*time.Second {
			t.Errorf("running: %v after %v", err, time.Since(start))
		}
		// And the connection is replaced or sound.
		write(t, db, add("one"))
		if got := names(t, db); len(got) != 1 {
			t.Errorf("read %q", got)
		}
	})
}

func TestErrorOfReaderIsReturned(t *testing.T) {
	storetest.Each(t, independent, func(t *testing.T, open func() *store.DB) {
		db := open()
		if err := db.Read(context.Background(), func(*store.Reader) error { return errRefused }); err != errRefused {
			t.Errorf("read: %v", err)
		}
	})
}

func TestCloseWaitsForReaders(t *testing.T) {
	storetest.Each(t, independent, func(t *testing.T, open func() *store.DB) {
		db := open()
		write(t, db, add("one"))
		inside, left := make(chan struct{}), make(chan error, 1)
		go func() {
			left <- db.Read(context.Background(), func(r *store.Reader) error {
				close(inside)
				time.Sleep(100 * time.Millisecond)
				_, err := r.Head()
				return err
			})
		}()
		<-inside
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		select {
		case err := <-left:
			if err != nil {
				t.Errorf("the reader: %v", err)
			}
		default:
			t.Error("Close did not wait for the reader")
		}
	})
}

func TestKeptReaderAndTxAreUseless(t *testing.T) {
	storetest.Each(t, independent, func(t *testing.T, open func() *store.DB) {
		db := open()
		var tx *store.Tx
		var r *store.Reader
		write(t, db, func(x *store.Tx) error { tx = x; return add("one")(x) })
		read(t, db, func(x *store.Reader) error { r = x; return nil })
		if err := add("two")(tx); err == nil {
			t.Error("a kept Tx wrote")
		}
		if err := tx.Row("SELECT 1").Scan(new(int)); err == nil {
			t.Error("a kept Tx read")
		}
		if _, err := r.Head(); err == nil {
			t.Error("a kept Reader read")
		}
		if _, err := r.Query("SELECT pos FROM item"); err == nil {
			t.Error("a kept Reader read rows")
		}
		write(t, db, add("three"))
		if got := names(t, db); len(got) != 2 {
			t.Errorf("stored %q", got)
		}
	})
}

func TestRowIsAReadByItself(t *testing.T) {
	storetest.Each(t, independent, func(t *testing.T, open func() *store.DB) {
		db := open()
		var v string
		if err := db.Row(t.Context(), "SELECT v FROM pair WHERE a = $1", "none").Scan(&v); !errors.Is(err, store.ErrNoRows) {
			t.Errorf("no row: %v", err)
		}
		write(t, db, func(tx *store.Tx) error { return tx.Exec("INSERT INTO pair (a, b, v) VALUES ('left', 1, 'x')") })
		for range 20 { // more than connections: each comes back
			if err := db.Row(t.Context(), "SELECT v FROM pair WHERE a = $1", "left").Scan(&v); err != nil || v != "x" {
				t.Errorf("got %q, %v", v, err)
			}
		}
		if err := db.Row(t.Context(), "SELECT nothing FROM nowhere").Scan(&v); err == nil {
			t.Error("a broken statement succeeded")
		}
		if err := db.Row(t.Context(), "SELECT v FROM pair WHERE a = $1", "left").Scan(&v); err != nil {
			t.Errorf("after a broken statement: %v", err)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := db.Row(ended, "SELECT v FROM pair WHERE a = $1", "left").Scan(&v); !errors.Is(err, context.Canceled) {
			t.Errorf("with an ended context: %v", err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if err := db.Row(t.Context(), "SELECT v FROM pair").Scan(&v); !errors.Is(err, store.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}
