package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/fstest"

	"hearth/internal/store"
	"hearth/internal/store/storetest"
)

// schema is what most tests store in.
var schema = fstest.MapFS{
	"0001_start.sql": {Data: []byte(`
CREATE TABLE item (pos BIGINT PRIMARY KEY, name {text} UNIQUE, body {blob}, flag BOOLEAN NOT NULL DEFAULT FALSE, x DOUBLE PRECISION) {strict};
CREATE TABLE pair (a {text} NOT NULL, b BIGINT NOT NULL, v TEXT, PRIMARY KEY (a, b)) {clustered} {strict};
`)},
}

func independent(o *store.Options) { o.Migrations = schema }
func chained(o *store.Options)     { o.Migrations, o.Policy = schema, store.Chained }

// add returns an op that stores name at the next position.
func add(name string) func(tx *store.Tx) error {
	return func(tx *store.Tx) error {
		return tx.Exec("INSERT INTO item (pos, name) VALUES ($1, $2)", tx.Next(), name)
	}
}

func write(t testing.TB, db *store.DB, run func(tx *store.Tx) error) {
	t.Helper()
	if err := db.Write(context.Background(), run); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, db *store.DB, f func(r *store.Reader) error) {
	t.Helper()
	if err := db.Read(context.Background(), f); err != nil {
		t.Fatal(err)
	}
}

// names returns the stored names by position and checks that positions are 1, 2, 3 …
// up to the head.
func names(t testing.TB, db *store.DB) []string {
	t.Helper()
	var out []string
	read(t, db, func(r *store.Reader) error {
		out = nil
		rows, err := r.Query("SELECT pos, name FROM item ORDER BY pos")
		if err != nil {
			return err
		}
		for rows.Next() {
			var pos int64
			var name string
			if err := rows.Scan(&pos, &name); err != nil {
				return err
			}
			if pos != int64(len(out)+1) {
				return fmt.Errorf("position %d in place %d", pos, len(out)+1)
			}
			out = append(out, name)
		}
		head, err := r.Head()
		if err != nil || head != int64(len(out)) {
			return fmt.Errorf("head %d with %d items: %w", head, len(out), err)
		}
		return rows.Err()
	})
	if h := db.Head(); h != int64(len(out)) {
		t.Fatalf("Head is %d with %d items", h, len(out))
	}
	return out
}

func TestWriteIsThereAfterReopening(t *testing.T) {
	storetest.Each(t, independent, func(t *testing.T, open func() *store.DB) {
		db := open()
		write(t, db, add("one"))
		write(t, db, add("two"))
		if got := names(t, db); len(got) != 2 {
			t.Fatalf("stored %q", got)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		db = open()
		if got := names(t, db); len(got) != 2 || db.Head() != 2 {
			t.Fatalf("after reopening: %q, head %d", got, db.Head())
		}
	})
}

func TestConflictFailsItsOpAlone(t *testing.T) {
	storetest.Each(t, independent, func(t *testing.T, open func() *store.DB) {
		db := open()
		write(t, db, add("one"))
		if err := db.Write(context.Background(), add("one")); !errors.Is(err, store.ErrConflict) {
			t.Fatalf("second insert: %v", err)
		}
		write(t, db, add("two"))
		if got := names(t, db); len(got) != 2 {
			t.Fatalf("stored %q", got)
		}
	})
}
