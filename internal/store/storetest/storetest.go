// Package storetest runs a component's storage tests on both engines.
package storetest

import (
	"context"
	"testing"

	"github.com/sirupsen/logrus"

	"hearth/internal/store"
	"hearth/internal/testkit/postgres"
)

// Engine is one of the two engines with an empty database.
type Engine struct {
	// Name is sqlite or postgres.
	Name string
	// Options open the database: Component, DataDir, URL and Log are set.
	Options store.Options
}

// SQLite returns an empty SQLite database.
func SQLite(t testing.TB) Engine {
	t.Helper()
	return Engine{"sqlite", store.Options{Component: "storetest", DataDir: t.TempDir(), Log: logger(t)}}
}

// Postgres returns an empty PostgreSQL database.
func Postgres(t testing.TB) Engine {
	t.Helper()
	return Engine{"postgres", store.Options{Component: "storetest", URL: postgres.URL(t), Log: logger(t)}}
}

// Each runs test once on SQLite and once on PostgreSQL, each with a database of its
// own. opts may change the options; DataDir and URL are set already. open opens the
// database; a test may close it and open it again. What is open when the test ends is
// closed, and a failed Close fails the test.
func Each(t *testing.T, opts func(o *store.Options), test func(t *testing.T, open func() *store.DB)) {
	t.Helper()
	EachEngine(t, func(t *testing.T, e Engine) {
		if opts != nil {
			opts(&e.Options)
		}
		test(t, func() *store.DB { return Open(t, e.Options) })
	})
}

// EachEngine runs test once for each engine.
func EachEngine(t *testing.T, test func(t *testing.T, e Engine)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, SQLite(t)) })
	t.Run("postgres", func(t *testing.T) { test(t, Postgres(t)) })
}

// Open opens a database that is closed when the test ends.
func Open(t testing.TB, o store.Options) *store.DB {
	t.Helper()
	db, err := store.Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return db
}

// logger writes to the test's log.
func logger(t testing.TB) *logrus.Entry {
	l := logrus.New()
	l.SetOutput(t.Output())
	return logrus.NewEntry(l)
}
