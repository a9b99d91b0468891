package storage

import (
	"context"

	"hearth/internal/merr"
	"hearth/internal/store"
)

const (
	selectBindings = `SELECT medium, address, server FROM binding WHERE localpart = $1 ORDER BY medium, address, server`
	countBindings  = `SELECT count(*) FROM binding WHERE localpart = $1`
	insertBinding  = `INSERT INTO binding (localpart, medium, address, server) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`
	deleteBinding  = `DELETE FROM binding WHERE localpart = $1 AND medium = $2 AND address = $3 AND server = $4`
)

// Bindings calls each with what a user has bound at identity servers.
func (u *Users) Bindings(ctx context.Context, localpart string, each func(medium, address, server string)) error {
	return u.db.Read(ctx, func(r *store.Reader) error {
		rows, err := r.Query(selectBindings, localpart)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var medium, address, server string
			if err := rows.Scan(&medium, &address, &server); err != nil {
				return err
			}
			each(medium, address, server)
		}
		return rows.Err()
	})
}

// AddBinding notes that a user has bound an identifier at an identity server.
func (u *Users) AddBinding(ctx context.Context, localpart, medium, address, server string, limit int64) error {
	return u.write(ctx, func(tx *Tx) error {
		if err := active(tx, localpart); err != nil {
			return err
		}
		n, err := count(tx, countBindings, localpart)
		if err != nil {
			return err
		}
		if n >= limit {
			return merr.Forbidden("This account has bound %d third-party identifiers, unbind some first", n)
		}
		return tx.Exec(insertBinding, localpart, medium, address, server)
	})
}

// DeleteBinding forgets it.
func (u *Users) DeleteBinding(ctx context.Context, localpart, medium, address, server string) error {
	return u.write(ctx, func(tx *Tx) error { return tx.Exec(deleteBinding, localpart, medium, address, server) })
}
