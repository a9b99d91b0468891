package storage

import (
	"context"
	"fmt"

	"hearth/internal/store"
)

// Receipt is the last receipt of one kind that a user has set in a thread.
type Receipt struct {
	Room, User   int64
	Thread, Kind string
	EventID      string
	Ord          int64 // order of the event, 0 if we do not have it
	TS           int64 // milliseconds
	Pos          int64
	Federate     bool // it goes to other servers
}

const upsertReceipt = `INSERT INTO receipt (room, user_nid, thread, kind, event_id, ord, ts, pos, federate) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (room, user_nid, thread, kind) DO UPDATE SET event_id = excluded.event_id, ord = excluded.ord, ts = excluded.ts, pos = excluded.pos,
 federate = excluded.federate`

// Write stores the receipt, replacing the one before.
func (rc *Receipt) Write(tx *store.Tx) error {
	federate := 0
	if rc.Federate {
		federate = 1
	}
	return tx.Exec(upsertReceipt, rc.Room, rc.User, rc.Thread, rc.Kind, rc.EventID, rc.Ord, rc.TS, rc.Pos, federate)
}

const receiptColumns = `room, user_nid, thread, kind, event_id, ord, ts, pos, federate`

func (rc *Receipt) scan(scan func(...any) error) error {
	var federate int64
	err := scan(&rc.Room, &rc.User, &rc.Thread, &rc.Kind, &rc.EventID, &rc.Ord, &rc.TS, &rc.Pos, &federate)
	rc.Federate = federate != 0
	return err
}

func scanReceipts(rows *store.Rows, err error) ([]Receipt, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var receipts []Receipt
	for rows.Next() {
		var rc Receipt
		if err := rc.scan(rows.Scan); err != nil {
			return nil, err
		}
		receipts = append(receipts, rc)
	}
	return receipts, rows.Err()
}

// Receipt reads one receipt: ErrNotFound if there is none.
func (s *Store) Receipt(ctx context.Context, room, user int64, thread, kind string) (rc Receipt, err error) {
	err = rc.scan(s.DB.Row(ctx, `SELECT `+receiptColumns+` FROM receipt WHERE room = $1 AND user_nid = $2 AND thread = $3 AND kind = $4`,
		room, user, thread, kind).Scan)
	if err != nil {
		err = fmt.Errorf("read receipt: %w", err)
	}
	return rc, err
}

// Receipts reads receipts of a room with after < pos ≤ upTo, oldest first.
// Private ones are read only if they are reader's.
func (s *Store) Receipts(ctx context.Context, room, reader, after, upTo int64, limit int) (receipts []Receipt, err error) {
	err = s.read(ctx, "read receipts", func(r *store.Reader) error {
		receipts, err = scanReceipts(r.Query(`SELECT `+receiptColumns+` FROM receipt
WHERE room = $1 AND pos > $2 AND pos <= $3 AND (kind <> 'm.read.private' OR user_nid = $4) ORDER BY pos LIMIT $5`,
			room, after, upTo, reader, limit))
		return err
	})
	return receipts, err
}

// OwnReceipts is Receipts for those of one user.
func (s *Store) OwnReceipts(ctx context.Context, room, user, after, upTo int64, limit int) (receipts []Receipt, err error) {
	err = s.read(ctx, "read own receipts", func(r *store.Reader) error {
		receipts, err = scanReceipts(r.Query(`SELECT `+receiptColumns+` FROM receipt
WHERE room = $1 AND user_nid = $2 AND pos > $3 AND pos <= $4 ORDER BY pos LIMIT $5`, room, user, after, upTo, limit))
		return err
	})
	return receipts, err
}
