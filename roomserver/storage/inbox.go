package storage

import (
	"context"

	"hearth/internal/store"
)

// Inbox is a PDU that waits for events that it names.
type Inbox struct {
	Room     int64
	EventID  string
	Origin   string // the server that sent it to us
	At       int64  // milliseconds
	Redacted bool   // its content hash did not match
	JSON     []byte
}

// Write stores the PDU; one that is there stays as it is.
func (in *Inbox) Write(tx *store.Tx) error {
	redacted := 0
	if in.Redacted {
		redacted = 1
	}
	return tx.Exec(`INSERT INTO inbox (room, id, event_id, origin, at, redacted, json) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING`,
		in.Room, EventKey(in.EventID), in.EventID, in.Origin, in.At, redacted, in.JSON)
}

// DeleteInbox is the write that takes a PDU out.
func DeleteInbox(tx *store.Tx, room int64, eventID string) error {
	return tx.Exec(`DELETE FROM inbox WHERE room = $1 AND id = $2`, room, EventKey(eventID))
}

// ExpireInbox is the write that gives up PDUs from before a time in milliseconds.
func ExpireInbox(tx *store.Tx, before int64) error {
	return tx.Exec(`DELETE FROM inbox WHERE at < $1`, before)
}

// InboxOf reads the PDUs that wait in a room, oldest first.
func (s *Store) InboxOf(ctx context.Context, room int64, limit int) (list []Inbox, err error) {
	err = s.read(ctx, "read inbox", func(r *store.Reader) error {
		rows, err := r.Query(`SELECT event_id, origin, at, redacted, json FROM inbox WHERE room = $1 ORDER BY at, event_id LIMIT $2`, room, limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			in := Inbox{Room: room}
			var redacted int64
			if err := rows.Scan(&in.EventID, &in.Origin, &in.At, &redacted, &in.JSON); err != nil {
				return err
			}
			in.Redacted = redacted != 0
			list = append(list, in)
		}
		return rows.Err()
	})
	return list, err
}

// InboxCount is how many PDUs of an origin wait in a room.
type InboxCount struct {
	RoomID, Origin string
	N              int64
}

// InboxCounts counts what waits, by room and origin.
func (s *Store) InboxCounts(ctx context.Context) (counts []InboxCount, err error) {
	err = s.read(ctx, "count inbox", func(r *store.Reader) error {
		rows, err := r.Query(`SELECT r.id, i.origin, COUNT(*) FROM inbox i JOIN room r ON r.room = i.room GROUP BY r.id, i.origin`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var c InboxCount
			if err := rows.Scan(&c.RoomID, &c.Origin, &c.N); err != nil {
				return err
			}
			counts = append(counts, c)
		}
		return rows.Err()
	})
	return counts, err
}
