package store_test

import (
	"context"
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"hearth/internal/store"
	"hearth/internal/store/storetest"
)

func files(pairs ...string) fstest.MapFS {
	fs := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		fs[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return fs
}

const (
	first  = "CREATE TABLE item (pos BIGINT PRIMARY KEY, name TEXT) {strict};\n"
	second = "ALTER TABLE item ADD COLUMN more TEXT;\nINSERT INTO item (pos, name) VALUES (-1, 'by migration');\n"
)

// tryOpen opens with other migrations and returns the error text.
func tryOpen(t *testing.T, o store.Options, fs fstest.MapFS) string {
	t.Helper()
	o.Migrations = fs
	db, err := store.Open(context.Background(), o)
	if err != nil {
		return err.Error()
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return ""
}

func items(t *testing.T, o store.Options, fs fstest.MapFS) (n int) {
	t.Helper()
	o.Migrations = fs
	db, err := store.Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	read(t, db, func(r *store.Reader) error { return r.Row("SELECT count(*) FROM item").Scan(&n) })
	return n
}

func TestMigrationsRunOnce(t *testing.T) {
	storetest.EachEngine(t, func(t *testing.T, e storetest.Engine) {
		old := files("0001_first.sql", first)
		now := files("migrations/0001_first.sql", first, "migrations/0002_second.sql", second)
		if n := items(t, e.Options, old); n != 0 {
			t.Errorf("%d items after the first migration", n)
		}
		for range 2 {
			if n := items(t, e.Options, now); n != 1 {
				t.Errorf("%d items after the second migration", n)
			}
		}
		if msg := tryOpen(t, e.Options, old); !strings.Contains(msg, "version 2") || !strings.Contains(msg, "up to 1") {
			t.Errorf("an older program: %q", msg)
		}
		edited := files("0001_first.sql", first+" ", "0002_second.sql", second)
		if msg := tryOpen(t, e.Options, edited); !strings.Contains(msg, "0001_first.sql") || !strings.Contains(msg, "must not change") {
			t.Errorf("an edited migration: %q", msg)
		}
		renamed := files("0001_first.sql", first, "0002_renamed.sql", second)
		if msg := tryOpen(t, e.Options, renamed); !strings.Contains(msg, "0002_renamed.sql") {
			t.Errorf("a renamed migration: %q", msg)
		}
		if n := items(t, e.Options, now); n != 1 {
			t.Errorf("%d items in the end", n)
		}
	})
}

func TestOlderProgramChangesNothingOnDisk(t *testing.T) {
	e := storetest.SQLite(t)
	items(t, e.Options, files("0001_first.sql", first, "0002_second.sql", second))
	sum := func() [32]byte {
		b, err := os.ReadFile(filepath.Join(e.Options.DataDir, "storetest.db"))
		if err != nil {
			t.Fatal(err)
		}
		return sha256.Sum256(b)
	}
	before := sum()
	if msg := tryOpen(t, e.Options, files("0001_first.sql", first)); msg == "" {
		t.Fatal("an older program opened the database")
	}
	if sum() != before {
		t.Error("the refused opening changed the file")
	}
}

func TestFailedMigrationLeavesTheOldState(t *testing.T) {
	for name, sql := range map[string]string{
		"an error halfway":    second + "INSERT INTO nowhere VALUES (1);",
		"an unknown macro":    second + "CREATE TABLE x (a {bolb});",
		"its own transaction": second + "COMMIT;",
	} {
		t.Run(name, func(t *testing.T) {
			storetest.EachEngine(t, func(t *testing.T, e storetest.Engine) {
				items(t, e.Options, files("0001_first.sql", first))
				msg := tryOpen(t, e.Options, files("0001_first.sql", first, "0002_second.sql", sql))
				if !strings.Contains(msg, "0002_second.sql") {
					t.Fatalf("opened: %q", msg)
				}
				if name == "its own transaction" {
					return // refused, but what it committed by itself stays
				}
				if n := items(t, e.Options, files("0001_first.sql", first)); n != 0 {
					t.Errorf("%d items after the failure", n)
				}
				if n := items(t, e.Options, files("0001_first.sql", first, "0002_second.sql", second)); n != 1 {
					t.Errorf("%d items after the right migration", n)
				}
			})
		})
	}
}

func TestMigrationFilesAreChecked(t *testing.T) {
	o := storetest.SQLite(t).Options
	for _, fs := range []fstest.MapFS{
		files("0002_second.sql", second),
		files("0001_first.sql", first, "0003_third.sql", second),
		files("0001_first.sql", first, "0001_second.sql", second),
		files("first.sql", first),
	} {
		if msg := tryOpen(t, o, fs); msg == "" {
			t.Errorf("%v passed", fs)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []store.Options{
		{Component: "", DataDir: t.TempDir()},
		{Component: "../x", DataDir: t.TempDir()},
		{Component: `a"b`, DataDir: t.TempDir()},
		{Component: "nowhere"},
		{Component: "x", URL: "postgres://hearth@127.0.0.1:1/x?connect_timeout=1"},
		{Component: "x", URL: "mysql://x"},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		if db, err := store.Open(ctx, o); err == nil {
			db.Close()
			t.Errorf("%+v opened", o)
		}
		cancel()
	}
}

func TestReservedWordAsComponent(t *testing.T) {
	storetest.Each(t, func(o *store.Options) { independent(o); o.Component = "user" }, func(t *testing.T, open func() *store.DB) {
		db := open()
		write(t, db, add("one"))
		if got := names(t, db); len(got) != 1 {
			t.Errorf("stored %q", got)
		}
	})
}
