package storage

import (
	"context"

	"hearth/internal/store"
)

// Host is the number of joined members that a server has in a room.
type Host struct {
	Room, Server int64
	Joined       int64
}

func (h *Host) write(tx *store.Tx) error {
	if h.Joined <= 0 {
		return tx.Exec(`DELETE FROM host WHERE room = $1 AND server = $2`, h.Room, h.Server)
	}
	return tx.Exec(`INSERT INTO host (room, server, joined) VALUES ($1, $2, $3)
ON CONFLICT (room, server) DO UPDATE SET joined = excluded.joined`, h.Room, h.Server, h.Joined)
}

// Hosts reads the servers with joined members in a room: name and number of members.
func (s *Store) Hosts(ctx context.Context, room int64) (joined map[string]int64, err error) {
	joined = make(map[string]int64)
	err = s.read(ctx, "read hosts", func(r *store.Reader) error {
		rows, err := r.Query(`SELECT n.s, h.joined FROM host h JOIN name n ON n.nid = h.server WHERE h.room = $1`, room)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var name string
			var n int64
			if err := rows.Scan(&name, &n); err != nil {
				return err
			}
			joined[name] = n
		}
		return rows.Err()
	})
	return joined, err
}
