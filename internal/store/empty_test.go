package store_test

import (
	"testing"

	"hearth/internal/store"
	"hearth/internal/store/storetest"
)

// TestEmptyTextIsNotNull asks for an empty text with the first statement of a fresh
// connection, when nothing has been bound before.
func TestEmptyTextIsNotNull(t *testing.T) {
	storetest.Each(t, nil, func(t *testing.T, open func() *store.DB) {
		db := open()
		var empty bool
		err := db.Read(t.Context(), func(r *store.Reader) error {
			return r.Row(`SELECT $1 = ''`, "").Scan(&empty)
		})
		if err == nil {
			var again bool
			err = db.Row(t.Context(), `SELECT $1 = ''`, "").Scan(&again)
			empty = empty && again
		}
		if err != nil || !empty {
			t.Errorf("an empty text arrives as something else: %v, %v", empty, err)
		}
	})
}
