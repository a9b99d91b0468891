package storage

import (
	"context"
	"errors"
	"strings"

	"hearth/internal/store"
)

const (
	selectProgress = `SELECT pos FROM progress WHERE name = $1`
	upsertProgress = `INSERT INTO progress (name, pos) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET pos = excluded.pos`
)

// Progress is how far a log has been read for a purpose; there is false if it has
// never been read.
func (u *Users) Progress(ctx context.Context, name string) (pos int64, there bool, err error) {
	err = u.db.Read(ctx, func(r *store.Reader) error {
		err := r.Row(selectProgress, name).Scan(&pos)
		there = err == nil
		if errors.Is(err, store.ErrNoRows) {
			return nil
		}
		return err
	})
	return pos, there, err
}

// SetProgress stores how far a log has been read.
func (u *Users) SetProgress(ctx context.Context, name string, pos int64) error {
	return u.write(ctx, func(tx *Tx) error { return tx.Exec(upsertProgress, name, pos) })
}

// DistrustServers makes all lists of devices of users of servers stale that are kept.
func (u *Users) DistrustServers(ctx context.Context, servers []string) error {
	return u.write(ctx, func(tx *Tx) error {
		kept, err := texts(tx, `SELECT user_id FROM remote_list WHERE NOT stale`)
		if err != nil {
			return err
		}
		of := map[string]bool{}
		for _, s := range servers {
			of[s] = true
		}
		for _, user := range kept {
			if _, server, ok := strings.Cut(user, ":"); !ok || !of[server] {
				continue
			}
			if err := tx.Exec(`UPDATE remote_list SET stale = TRUE WHERE user_id = $1`, user); err != nil {
				return err
			}
		}
		return nil
	})
}
