// Package storetest runs a component's storage tests on both engines.
package storetest

import (
	"testing"

	"hearth/internal/store"
)

// Each runs test once on SQLite and once on PostgreSQL, each with a database of its
// own. open opens that database; a test may close it and open it again.
func Each(t *testing.T, opts func(o *store.Options), test func(t *testing.T, open func() *store.DB)) {
	t.Helper()
	t.Fatal("not yet")
}
