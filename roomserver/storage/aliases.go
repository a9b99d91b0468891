package storage

import (
	"context"

	"hearth/internal/store"
)

// Alias reads an alias and the id of its room: ErrNotFound if it points nowhere.
func (s *Store) Alias(ctx context.Context, alias string) (a Alias, roomID string, err error) {
	a.Alias = alias
	err = s.row(ctx, "read alias", `SELECT a.room, a.creator, r.id FROM alias a JOIN room r ON r.room = a.room WHERE a.alias = $1`,
		[]any{alias}, &a.Room, &a.Creator, &roomID)
	return a, roomID, err
}

// Aliases lists the aliases of a room in order of text.
func (s *Store) Aliases(ctx context.Context, room int64, limit int) (aliases []string, err error) {
	err = s.read(ctx, "read aliases", func(r *store.Reader) error {
		rows, err := r.Query(`SELECT alias FROM alias WHERE room = $1 ORDER BY alias LIMIT $2`, room, limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var alias string
			if err := rows.Scan(&alias); err != nil {
				return err
			}
			aliases = append(aliases, alias)
		}
		return rows.Err()
	})
	return aliases, err
}

// DeleteAlias is the write that removes an alias.
func DeleteAlias(tx *store.Tx, alias string) error {
	return tx.Exec(`DELETE FROM alias WHERE alias = $1`, alias)
}
