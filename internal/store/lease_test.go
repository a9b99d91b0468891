package store_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"hearth/internal/merr"
	"hearth/internal/store"
	"hearth/internal/store/storetest"
)

func TestSecondProcessIsRefused(t *testing.T) {
	storetest.EachEngine(t, func(t *testing.T, e storetest.Engine) {
		e.Options.Migrations = schema
		cmd, lines := child(t, childOrder{Do: "hold", DataDir: e.Options.DataDir, URL: e.Options.URL})
		await(t, lines, "opened")
		start := time.Now()
		_, err := store.Open(context.Background(), e.Options)
		pid := fmt.Sprintf("(pid %d", cmd.Process.Pid)
		if err == nil || !strings.Contains(err.Error(), "is in use by another hearth process "+pid) || strings.Contains(err.Error(), "\n") {
			t.Fatalf("second open: %v", err)
		}
		if took := time.Since(start); took > 8*time.Second {
			t.Errorf("the refusal took %v", took)
		}
		// A killed holder is gone at once.
		cmd.Process.Kill()
		cmd.Wait()
		start = time.Now()
		db := storetest.Open(t, e.Options)
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("taking over from a dead holder took %v", took)
		}
		write(t, db, add("one"))
	})
}

func TestSameProcessIsRefusedToo(t *testing.T) {
	storetest.Each(t, independent, func(t *testing.T, open func() *store.DB) {
		db := open()
		write(t, db, add("one"))
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		write(t, open(), add("two")) // a closed database is free at once
	})
	e := storetest.SQLite(t)
	storetest.Open(t, e.Options)
	if _, err := store.Open(context.Background(), e.Options); err == nil {
		t.Error("opened twice")
	}
}

// terminate ends all other sessions of the test's database.
func terminate(t *testing.T, url string) {
	t.Helper()
	err := store.AdminExec(context.Background(), url,
		"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	if err != nil {
		t.Fatal(err)
	}
}

func TestConnectionLossIsSurvived(t *testing.T) {
	e := storetest.Postgres(t)
	e.Options.Migrations = schema
	db := storetest.Open(t, e.Options)
	want := 0
	for range 3 {
		write(t, db, add(fmt.Sprint(want)))
		want++
		read(t, db, func(r *store.Reader) error { _, err := r.Head(); return err })
		gen := db.Generation()
		terminate(t, e.Options.URL)
		err := db.Write(context.Background(), add("in flight"))
		var m *merr.Error
		if !errors.As(err, &m) || m.Status != 503 || !m.Temporary {
			t.Errorf("the op that met the loss: %v", err)
		}
		retry(t, func() error { return db.Write(context.Background(), add(fmt.Sprint(want))) })
		want++
		if db.Generation() == gen {
			t.Error("the generation stayed")
		}
		retry(t, func() error {
			return db.Read(context.Background(), func(r *store.Reader) error { _, err := r.Head(); return err })
		})
		if got := names(t, db); len(got) != want {
			t.Errorf("stored %q, want %d", got, want)
		}
	}
	if s := db.Stats(); s.Sessions != 4 {
		t.Errorf("%d sessions", s.Sessions)
	}
	select {
	case <-db.Lost():
		t.Error("the lease is lost")
	default:
	}
}

// TestLossDuringTheTransaction cuts the connection after an op has written.
func TestLossDuringTheTransaction(t *testing.T) {
	for _, policy := range []store.Policy{store.Independent, store.Chained} {
		e := storetest.Postgres(t)
		e.Options.Migrations, e.Options.Policy = schema, policy
		db := storetest.Open(t, e.Options)
		gen := db.Generation()
		r := newResults()
		r.submit(t, db, 0, func(tx *store.Tx) error {
			var pos int64
			err := tx.Row("INSERT INTO item (pos, name) VALUES (1, 'x') RETURNING pos").Scan(&pos)
			if err != nil {
				return err
			}
			terminate(t, e.Options.URL)
			return nil
		})
		r.wg.Wait()
		if r.errs[0] == nil {
			t.Errorf("policy %d: the op succeeded", policy)
		}
		retry(t, func() error {
			return db.Write(context.Background(), func(tx *store.Tx) error { return tx.Row("SELECT 1").Scan(new(int)) })
		})
		if db.Generation() < gen+1 {
			t.Errorf("policy %d: generation %d → %d", policy, gen, db.Generation())
		}
		if got := names(t, db); len(got) != 0 {
			t.Errorf("policy %d: stored %q", policy, got)
		}
		if policy == store.Chained {
			stage(t, db, r, 1, "y")
			r.wg.Wait()
			if r.errs[1] != nil {
				t.Error(r.errs[1])
			}
		}
	}
}

func retry(t *testing.T, f func() error) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestStaleHolderCannotCommit stops a holder inside of its transaction, lets another
// one take the database, and lets the first go on.
func TestStaleHolderCannotCommit(t *testing.T) {
	e := storetest.Postgres(t)
	e.Options.Migrations = schema
	stale := storetest.Open(t, e.Options)
	write(t, stale, add("before"))

	var fresh *store.DB
	err := stale.Write(context.Background(), func(tx *store.Tx) error {
		pos := tx.Next()
		terminate(t, e.Options.URL) // frees the lock, as if the holder's machine was cut off
		fresh = storetest.Open(t, e.Options)
		return tx.Exec("INSERT INTO item (pos, name) VALUES ($1, 'stale')", pos)
	})
	if err == nil {
		t.Error("the stale holder committed")
	}
	select {
	case <-stale.Lost():
	case <-time.After(10 * time.Second):
		t.Fatal("the stale holder does not know that it lost the lease")
	}
	if err := stale.Write(context.Background(), add("stale")); !errors.Is(err, store.ErrClosed) {
		t.Errorf("a later write: %v", err)
	}
	write(t, fresh, add("fresh"))
	if got := names(t, fresh); len(got) != 2 || got[1] != "fresh" {
		t.Errorf("stored %q", got)
	}
}

// TestEpochStopsAHolderWhoseSessionLives takes the lease away by its row alone.
func TestEpochStopsAHolderWhoseSessionLives(t *testing.T) {
	storetest.Each(t, independent, func(t *testing.T, open func() *store.DB) {
		db := open()
		write(t, db, add("before"))
		// As another holder would; SQLite has nobody else, so the op does it itself.
		err := db.Write(context.Background(), func(tx *store.Tx) error {
			return tx.Exec("UPDATE writer SET epoch = epoch + 1")
		})
		if err == nil {
			err = db.Write(context.Background(), add("after"))
		}
		if err == nil {
			t.Error("a stale holder committed")
		}
		select {
		case <-db.Lost():
		case <-time.After(5 * time.Second):
			t.Fatal("the loss went unnoticed")
		}
		if err := db.Submit(store.Op{Run: add("later")}); !errors.Is(err, store.ErrClosed) {
			t.Errorf("a later op: %v", err)
		}
		read(t, db, func(r *store.Reader) error {
			var n int
			if err := r.Row("SELECT count(*) FROM item").Scan(&n); err != nil || n != 1 {
				return fmt.Errorf("%d items: %w", n, err)
			}
			return nil
		})
	})
}

// TestFrozenHolderIsReplaced has a session that keeps the lock but whose lease ran out.
func TestFrozenHolderIsReplaced(t *testing.T) {
	e := storetest.Postgres(t)
	e.Options.Migrations = schema
	db, err := store.Open(context.Background(), e.Options)
	if err != nil {
		t.Fatal(err)
	}
	write(t, db, add("one"))
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	frozen, err := pgx.Connect(ctx, e.Options.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer frozen.Close(ctx)
	h := fnv.New32a()
	h.Write([]byte("storetest"))
	var got bool
	if err := frozen.QueryRow(ctx, "SELECT pg_try_advisory_lock($1, $2)", 0x68656172, int32(h.Sum32())).Scan(&got); err != nil || !got {
		t.Fatalf("lock: %v, %v", got, err)
	}
	db = storetest.Open(t, e.Options)
	write(t, db, add("two"))
	if got := names(t, db); len(got) != 2 {
		t.Errorf("stored %q", got)
	}
	if err := frozen.Ping(ctx); err == nil {
		t.Error("the frozen session lives")
	}
}

// TestStoppedHolderWakesUpStale freezes a whole process and lets it go on.
func TestStoppedHolderWakesUpStale(t *testing.T) {
	t.Parallel()
	e := storetest.Postgres(t)
	e.Options.Migrations = schema
	cmd, lines := child(t, childOrder{Do: "hold", URL: e.Options.URL})
	await(t, lines, "opened")
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	db := storetest.Open(t, e.Options) // waits until the lease of 10 s has run out
	write(t, db, add("one"))
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	await(t, lines, "lost")
	write(t, db, add("two"))
}

func TestIdleHolderKeepsItsLease(t *testing.T) {
	t.Parallel()
	e := storetest.Postgres(t)
	e.Options.Migrations = schema
	db := storetest.Open(t, e.Options)
	until := func() (n int64) {
		read(t, db, func(r *store.Reader) error { return r.Row("SELECT until FROM writer").Scan(&n) })
		return n
	}
	before := until()
	for deadline := time.Now().Add(20 * time.Second); until() == before; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the lease is not renewed")
		}
	}
}

func TestLockFileOutlivesAKilledHolder(t *testing.T) {
	e := storetest.SQLite(t)
	e.Options.Migrations = schema
	if err := os.WriteFile(e.Options.DataDir+"/storetest.db.lock", []byte("99999999\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, storetest.Open(t, e.Options), add("one"))
}
