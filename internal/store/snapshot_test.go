package store_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"hearth/internal/store"
)

func snapshotOptions(dir string) store.Options {
	return store.Options{Component: "copied", DataDir: dir, Migrations: fstest.MapFS{
		"0001_row.sql": {Data: []byte(`CREATE TABLE row (n BIGINT PRIMARY KEY, body {blob} NOT NULL)`)},
	}}
}

func openCopied(t *testing.T, dir string) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), snapshotOptions(dir))
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func addRows(t *testing.T, db *store.DB, from, to int64) {
	t.Helper()
	for n := from; n < to; n++ {
		if err := db.Write(t.Context(), func(tx *store.Tx) error {
			return tx.Exec(`INSERT INTO row (n, body) VALUES ($1, $2)`, tx.Next(), make([]byte, 3000))
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// A copy holds the moment of its snapshot, whatever is written while it is made.
func TestSnapshotIsOneMoment(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	db := openCopied(t, from)
	defer db.Close()
	addRows(t, db, 0, 300)
	s, err := store.TakeSnapshot(t.Context(), from, "copied")
	if err != nil {
		t.Fatal(err)
	}
	addRows(t, db, 300, 400)
	if s.Position != 300 || s.Version != 1 {
		t.Errorf("position %d, version %d", s.Position, s.Version)
	}
	if err := s.Copy(t.Context(), filepath.Join(to, "copied.db")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(to, "*")); len(left) != 1 {
		t.Errorf("beside the copy: %v", left)
	}
	if db.Head() != 400 {
		t.Errorf("the head is %d", db.Head())
	}
	copied := openCopied(t, to)
	defer copied.Close()
	var n, last int64
	if err := copied.Row(t.Context(), `SELECT count(*), max(n) FROM row`).Scan(&n, &last); err != nil || n != 300 || last != 300 {
		t.Errorf("%d rows up to %d, %v", n, last, err)
	}
	if copied.Head() != 300 {
		t.Errorf("the copy's head is %d", copied.Head())
	}
}

func TestSnapshotRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := store.TakeSnapshot(t.Context(), dir, "copied"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no database: %v", err)
	}
	db := openCopied(t, dir)
	defer db.Close()
	s, err := store.TakeSnapshot(t.Context(), dir, "copied")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Copy(t.Context(), filepath.Join(dir, "copied.db")); !errors.Is(err, os.ErrExist) {
		t.Errorf("over a file: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Copy(ended, filepath.Join(dir, "other")); !errors.Is(err, context.Canceled) {
		t.Errorf("after its context: %v", err)
	}
	text := filepath.Join(dir, "text.db")
	if err := os.WriteFile(text, []byte("this is text and no database, whatever its name says"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := store.TakeSnapshot(t.Context(), dir, "text"); err == nil {
		t.Error("a text was taken for a database")
	}
}
