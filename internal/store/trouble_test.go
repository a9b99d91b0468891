package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hearth/internal/merr"
	"hearth/internal/store"
	"hearth/internal/store/storetest"
)

// bulk returns an op that stores some pages.
func bulk(name string) func(tx *store.Tx) error {
	return func(tx *store.Tx) error {
		return tx.Exec("INSERT INTO item (pos, name, body) VALUES ($1, $2, $3)", tx.Next(), name, make([]byte, 20_000))
	}
}

func limitPages(t *testing.T, db *store.DB, n int) {
	t.Helper()
	write(t, db, func(tx *store.Tx) error {
		return tx.Row(fmt.Sprintf("PRAGMA max_page_count = %d", n)).Scan(new(int))
	})
}

// TestFullDiskFailsWritesAndHeals lets the SQLite file reach a largest size.
func TestFullDiskFailsWritesAndHeals(t *testing.T) {
	for _, policy := range []store.Policy{store.Independent, store.Chained} {
		t.Run(fmt.Sprint("policy ", policy), func(t *testing.T) {
			e := storetest.SQLite(t)
			e.Options.Migrations, e.Options.Policy = schema, policy
			db := storetest.Open(t, e.Options)
			put := func(name string) error { return db.Write(context.Background(), bulk(name)) }
			if policy == store.Chained {
				put = func(name string) error {
					answer := make(chan error, 1)
					_, err := db.Stage(db.Generation(), 1, func(first int64) store.Op {
						return store.Op{Done: func(err error) { answer <- err }, Run: func(tx *store.Tx) error {
							return tx.Exec("INSERT INTO item (pos, name, body) VALUES ($1, $2, $3)", first, name, make([]byte, 20_000))
						}}
					})
					if err != nil {
						return err
					}
					return <-answer
				}
			}
			if err := put("fits"); err != nil {
				t.Fatal(err)
			}
			limitPages(t, db, 20)
			var err error
			stored := 1
			for ; err == nil && stored < 30; stored++ {
				err = put(fmt.Sprint(stored))
			}
			stored--
			checkFull(t, err)
			start := time.Now()
			checkFull(t, put("more"))
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("the failure took %v", took)
			}
			if got := names(t, db); len(got) != stored { // reading goes on
				t.Errorf("stored %q", got)
			}
			limitPages(t, db, 10_000)
			if err := put("healed"); err != nil {
				t.Errorf("with space again: %v", err)
			}
			if got := names(t, db); len(got) != stored+1 {
				t.Errorf("stored %q", got)
			}
		})
	}
}

func checkFull(t *testing.T, err error) {
	t.Helper()
	var m *merr.Error
	if !errors.Is(err, store.ErrDiskFull) || !errors.As(err, &m) || m.Status != 503 || !m.Temporary || !strings.Contains(m.Message, "disk is full") {
		t.Errorf("on a full disk: %v", err)
	}
}

func TestFullDiskFailsTheWholeBatchAtOnce(t *testing.T) {
	e := storetest.SQLite(t)
	e.Options.Migrations = schema
	db := storetest.Open(t, e.Options)
	write(t, db, bulk("fits"))
	limitPages(t, db, 20)
	release := hold(t, db)
	r := newResults()
	for i := range 400 {
		r.submit(t, db, i, bulk(fmt.Sprint(i)))
	}
	start := time.Now()
	release()
	r.wg.Wait()
	for i, err := range r.errs {
		if err == nil {
			t.Errorf("op %d succeeded", i)
		} else {
			checkFull(t, err)
		}
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("the failures took %v", took)
	}
	if got := names(t, db); len(got) != 1 {
		t.Errorf("stored %q", got)
	}
}

// TestServerErrorsHaveTheirScope raises errors that a PostgreSQL server can give.
func TestServerErrorsHaveTheirScope(t *testing.T) {
	e := storetest.Postgres(t)
	e.Options.Migrations = schema
	db := storetest.Open(t, e.Options)
	err := store.AdminExec(context.Background(), e.Options.URL, `CREATE FUNCTION storetest.fail(code TEXT) RETURNS INT
		LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'told to' USING ERRCODE = code; END $$`)
	if err != nil {
		t.Fatal(err)
	}
	fail := func(code string) error {
		return db.Write(context.Background(), func(tx *store.Tx) error {
			if err := tx.Exec("INSERT INTO item (pos, name) VALUES ($1, $2)", tx.Next(), code); err != nil {
				return err
			}
			return tx.Exec("SELECT fail($1)", code)
		})
	}
	checkFull(t, fail("53100"))
	var m *merr.Error
	for _, code := range []string{"53200", "58030", "40001", "55P03", "57P01", "08006"} {
		if err := fail(code); !errors.As(err, &m) || m.Status != 503 || !m.Temporary {
			t.Errorf("%s: %v", code, err)
		}
		retry(t, func() error { return db.Write(context.Background(), add("after "+code)) })
	}
	if err := fail("23505"); !errors.Is(err, store.ErrConflict) {
		t.Errorf("23505: %v", err)
	}
	if err := fail("22000"); err == nil || errors.As(err, &m) {
		t.Errorf("22000: %v", err)
	}
	if got := names(t, db); len(got) != 6 {
		t.Errorf("stored %q", got)
	}
}

// TestSessionsEndUnderLoad stands for restarts of the server.
func TestSessionsEndUnderLoad(t *testing.T) {
	e := storetest.Postgres(t)
	e.Options.Migrations = schema
	db := storetest.Open(t, e.Options)
	var mu sync.Mutex
	acknowledged := map[string]bool{}
	var writers sync.WaitGroup
	stop := make(chan struct{})
	for w := range 8 {
		writers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				name := fmt.Sprintf("%d-%d", w, i)
				if db.Write(context.Background(), add(name)) == nil {
					mu.Lock()
					acknowledged[name] = true
					mu.Unlock()
				}
			}
		})
	}
	for range 10 {
		time.Sleep(50 * time.Millisecond)
		terminate(t, e.Options.URL)
	}
	time.Sleep(100 * time.Millisecond)
	close(stop)
	writers.Wait()
	var got []string
	retry(t, func() error { return db.Write(context.Background(), add("last")) })
	got = names(t, db)
	for name := range acknowledged {
		if !slices.Contains(got, name) {
			t.Errorf("%s was acknowledged and is lost", name)
		}
	}
	t.Logf("%d acknowledged, %d stored, %d sessions", len(acknowledged), len(got), db.Stats().Sessions)
}

func walSize(t *testing.T, e storetest.Engine) int64 {
	t.Helper()
	info, err := os.Stat(filepath.Join(e.Options.DataDir, "storetest.db-wal"))
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func TestWALStaysSmall(t *testing.T) {
	t.Parallel()
	e := storetest.SQLite(t)
	e.Options.Migrations = schema
	db := storetest.Open(t, e.Options)
	body := make([]byte, 1<<20)
	mega := func() {
		write(t, db, func(tx *store.Tx) error {
			return tx.Exec("INSERT INTO item (pos, body) VALUES ($1, $2)", tx.Next(), body)
		})
	}
	for range 60 {
		mega()
	}
	if size := walSize(t, e); size > 16<<20 {
		t.Errorf("the WAL has %d bytes", size)
	}
	// A reader keeps it from starting anew; then it grows, and shrinks afterwards.
	read(t, db, func(r *store.Reader) error {
		if _, err := r.Head(); err != nil {
			return err
		}
		for range 30 {
			mega()
		}
		return nil
	})
	if db.Stats().Checkpoints == 0 {
		t.Error("no checkpoints were made")
	}
	mega()
	for deadline := time.Now().Add(15 * time.Second); walSize(t, e) > 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("an idle database keeps a WAL of %d bytes", walSize(t, e))
		}
	}
}

func TestFreeSpaceIsGivenBack(t *testing.T) {
	t.Parallel()
	e := storetest.SQLite(t)
	e.Options.Migrations = schema
	db := storetest.Open(t, e.Options)
	for i := range 14 {
		write(t, db, func(tx *store.Tx) error {
			return tx.Exec("INSERT INTO pair (a, b, v) VALUES ('x', $1, $2)", i, strings.Repeat("x", 1<<20))
		})
	}
	size := func() int64 {
		info, err := os.Stat(filepath.Join(e.Options.DataDir, "storetest.db"))
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	if n := size(); n < 8<<20 {
		t.Fatalf("the file has only %d bytes: the test shows nothing", n)
	}
	write(t, db, func(tx *store.Tx) error { return tx.Exec("DELETE FROM pair") })
	for deadline := time.Now().Add(40 * time.Second); size() > 5<<20; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the file still has %d bytes", size())
		}
	}
}

func TestDurabilityIsSet(t *testing.T) {
	e := storetest.SQLite(t)
	db := storetest.Open(t, e.Options)
	write(t, db, func(tx *store.Tx) error {
		for pragma, want := range map[string]string{
			"synchronous": "2", "journal_mode": "wal", "auto_vacuum": "2", "wal_autocheckpoint": "0",
			"mmap_size": "0", "foreign_keys": "0", "temp_store": "2",
		} {
			rows, err := tx.Query("PRAGMA " + pragma)
			if err != nil || !rows.Next() {
				return fmt.Errorf("%s: %w", pragma, err)
			}
			var s string
			var n int
			if rows.Scan(&n) == nil {
				s = fmt.Sprint(n)
			} else if err := rows.Scan(&s); err != nil {
				return err
			}
			if s != want {
				t.Errorf("PRAGMA %s is %s, want %s", pragma, s, want)
			}
		}
		return nil
	})
	info, err := os.Stat(filepath.Join(e.Options.DataDir, "storetest.db"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file has the rights %v, %v", info.Mode(), err)
	}
}

func TestMetricsFollowTheDatabase(t *testing.T) {
	registry := prometheus.NewRegistry()
	storetest.Each(t, func(o *store.Options) { independent(o); o.Metrics = registry }, func(t *testing.T, open func() *store.DB) {
		db := open()
		write(t, db, add("one"))
		families, err := registry.Gather()
		if err != nil || len(families) != 5 {
			t.Fatalf("%d families, %v", len(families), err)
		}
		for _, f := range families {
			if f.GetName() == "hearth_store_commits_total" && f.GetMetric()[0].GetCounter().GetValue() != 1 {
				t.Errorf("commits: %v", f)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if families, err := registry.Gather(); err != nil || len(families) != 0 {
			t.Errorf("after Close: %v, %v", families, err)
		}
		open() // registers again
	})
}
