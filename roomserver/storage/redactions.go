package storage

import (
	"context"

	"hearth/internal/store"
)

// WaitingRedaction is a redaction of an event that we do not have.
type WaitingRedaction struct {
	Room   int64
	Target []byte // EventKey
	Nid    int64  // of the redaction
}

func (w *WaitingRedaction) write(tx *store.Tx) error {
	return tx.Exec(`INSERT INTO redaction (room, target, nid) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, w.Room, w.Target, w.Nid)
}

// done is the write after the target came.
func (w *WaitingRedaction) done(tx *store.Tx) error {
	return tx.Exec(`DELETE FROM redaction WHERE room = $1 AND target = $2`, w.Room, w.Target)
}

// WaitingRedactions reads the numbers of up to limit redactions that wait for an event, oldest first.
func (s *Store) WaitingRedactions(ctx context.Context, room int64, target []byte, limit int) (nids []int64, err error) {
	err = s.read(ctx, "read waiting redactions", func(r *store.Reader) error {
		rows, err := r.Query(`SELECT nid FROM redaction WHERE room = $1 AND target = $2 ORDER BY nid LIMIT $3`, room, target, limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var nid int64
			if err := rows.Scan(&nid); err != nil {
				return err
			}
			nids = append(nids, nid)
		}
		return rows.Err()
	})
	return nids, err
}
