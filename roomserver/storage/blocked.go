package storage

import (
	"context"

	"hearth/internal/store"
)

// BlockedRooms reads who has blocked which rooms.
func (s *Store) BlockedRooms(ctx context.Context) (blockers map[string]string, err error) {
	return s.texts(ctx, "read blocked rooms", `SELECT id, blocker FROM blocked_room`)
}

// texts reads pairs of texts.
func (s *Store) texts(ctx context.Context, what, query string) (pairs map[string]string, err error) {
	pairs = map[string]string{}
	err = s.read(ctx, what, func(r *store.Reader) error {
		rows, err := r.Query(query)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var k, v string
			if err := rows.Scan(&k, &v); err != nil {
				return err
			}
			pairs[k] = v
		}
		return rows.Err()
	})
	return pairs, err
}

// BlockRoom is the write that blocks a room.
func BlockRoom(tx *store.Tx, id, blocker string) error {
	return tx.Exec(`INSERT INTO blocked_room (id, blocker, ts) VALUES ($1, $2, $3) ON CONFLICT (id) DO UPDATE SET blocker = excluded.blocker`,
		id, blocker, tx.Now().UnixMilli())
}

// UnblockRoom is the write that ends it.
func UnblockRoom(tx *store.Tx, id string) error {
	return tx.Exec(`DELETE FROM blocked_room WHERE id = $1`, id)
}
