package store_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/sirupsen/logrus"

	"hearth/internal/store"
	"hearth/internal/store/storetest"
)

// TestOverwrite deletes and shortens rows and looks for what they held in all files.
func TestOverwrite(t *testing.T) {
	dir := t.TempDir()
	db, err := store.Open(t.Context(), store.Options{
		Component: "notes", DataDir: dir, Log: logrus.NewEntry(logrus.New()),
		Migrations: fstest.MapFS{"0001_note.sql": {Data: []byte(`CREATE TABLE note (id BIGINT PRIMARY KEY, body {text} NOT NULL) {strict};`)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	const n = 3000
	body := func(kind string, i int) string {
		return fmt.Sprintf("<%s-%06d>%s", kind, i, bytes.Repeat([]byte("x"), i%700))
	}
	write := func(run func(tx *store.Tx, i int) error) {
		t.Helper()
		err := db.Write(t.Context(), func(tx *store.Tx) error {
			for i := range n {
				if err := run(tx, i); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	kinds := []string{"keep", "delete", "redact"}
	write(func(tx *store.Tx, i int) error {
		return tx.Exec(`INSERT INTO note (id, body) VALUES ($1, $2)`, i, body(kinds[i%3], i))
	})
	count := func(kind string) (found int) {
		t.Helper()
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		seen := map[int]bool{}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for i := range n {
				if kinds[i%3] == kind && !seen[i] && bytes.Contains(data, fmt.Appendf(nil, "<%s-%06d>", kind, i)) {
					seen[i] = true
				}
			}
		}
		return len(seen)
	}
	if err := db.Overwrite(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, kind := range kinds {
		if got := count(kind); got != n/3 {
			t.Fatalf("%d of %d to %s are on disk before anything is deleted", got, n/3, kind)
		}
	}
	write(func(tx *store.Tx, i int) error {
		switch kinds[i%3] {
		case "delete":
			return tx.Exec(`DELETE FROM note WHERE id = $1`, i)
		case "redact":
			return tx.Exec(`UPDATE note SET body = '' WHERE id = $1`, i)
		}
		return nil
	})
	if err := db.Overwrite(t.Context()); err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[string]int{"keep": n / 3, "delete": 0, "redact": 0} {
		if got := count(kind); got != want {
			t.Errorf("%d of %s are on disk, want %d", got, kind, want)
		}
	}
	var sound string
	if err := db.Row(t.Context(), `PRAGMA integrity_check`).Scan(&sound); err != nil || sound != "ok" {
		t.Errorf("the file is not sound: %s, %v", sound, err)
	}
}

// TestOverwriteOnEachEngine works and loses nothing.
func TestOverwriteOnEachEngine(t *testing.T) {
	storetest.Each(t, nil, func(t *testing.T, open func() *store.DB) {
		if err := open().Overwrite(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
