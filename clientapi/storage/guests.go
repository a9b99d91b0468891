package storage

import (
	"context"
	"errors"

	"hearth/internal/store"
)

// Guests returns those of some localparts that belong to guests.
func (u *Users) Guests(ctx context.Context, localparts []string) (guests []string, err error) {
	err = u.db.Read(ctx, func(r *store.Reader) error {
		for _, localpart := range localparts {
			a, err := account(r, localpart)
			if errors.Is(err, store.ErrNoRows) {
				continue
			}
			if err != nil {
				return err
			}
			if a.Guest && !a.Deactivated {
				guests = append(guests, localpart)
			}
		}
		return nil
	})
	return guests, err
}

// Cursor returns how far a reader of another log has come; ok is false if it never was.
func (u *Users) Cursor(ctx context.Context, name string) (pos int64, ok bool, err error) {
	err = u.db.Read(ctx, func(r *store.Reader) error {
		return r.Row(`SELECT pos FROM log_cursor WHERE name = $1`, name).Scan(&pos)
	})
	if errors.Is(err, store.ErrNoRows) {
		return 0, false, nil
	}
	return pos, err == nil, err
}

// SetCursor remembers it.
func (u *Users) SetCursor(ctx context.Context, name string, pos int64) error {
	return u.write(ctx, func(tx *Tx) error {
		return tx.Exec(`INSERT INTO log_cursor (name, pos) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET pos = excluded.pos`, name, pos)
	})
}
