package storage

import (
	"context"

	"hearth/internal/store"
)

const (
	insertFilter = `INSERT INTO filter (localpart, id, definition, created) VALUES ($1, $2, $3, $4)
		ON CONFLICT (localpart, id) DO UPDATE SET created = excluded.created`
	selectFilter  = `SELECT definition FROM filter WHERE localpart = $1 AND id = $2`
	countFilters  = `SELECT count(*) FROM filter WHERE localpart = $1`
	deleteFilters = `DELETE FROM filter WHERE localpart = $1 AND id IN
		(SELECT id FROM filter WHERE localpart = $1 ORDER BY created, id LIMIT $2)`
)

// PutFilter stores a filter under its id. Beyond limit the oldest ones go.
func (u *Users) PutFilter(ctx context.Context, localpart, id string, definition []byte, limit int64) error {
	return u.db.Write(ctx, func(tx *store.Tx) error {
		if err := active(tx, localpart); err != nil {
			return err
		}
		n, err := count(tx, countFilters, localpart)
		if err != nil {
			return err
		}
		if n >= limit {
			if err := tx.Exec(deleteFilters, localpart, n-limit+1); err != nil {
				return err
			}
		}
		return tx.Exec(insertFilter, localpart, id, definition, tx.Now().UnixMilli())
	})
}

// Filter returns the definition of a filter, 404 M_NOT_FOUND if it is not there.
func (u *Users) Filter(ctx context.Context, localpart, id string) ([]byte, error) {
	var definition []byte
	err := u.db.Read(ctx, func(r *store.Reader) error {
		return found(r.Row(selectFilter, localpart, id).Scan(&definition), "Filter")
	})
	return definition, err
}
