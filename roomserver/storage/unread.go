package storage

import (
	"context"

	"hearth/internal/store"
)

// UserReceipts reads all receipts of a user in a room.
func (s *Store) UserReceipts(ctx context.Context, room, user int64) (receipts []Receipt, err error) {
	err = s.read(ctx, "read receipts of user", func(r *store.Reader) error {
		receipts, err = scanReceipts(r.Query(`SELECT `+receiptColumns+` FROM receipt WHERE room = $1 AND user_nid = $2`, room, user))
		return err
	})
	return receipts, err
}

const selectRecent = `SELECT ` + eventColumns + fromEvents + `WHERE e.nid > $1 AND e.nid < $2
AND e.room IN (SELECT room FROM member WHERE user_nid = $3 AND membership = $4) ORDER BY e.nid DESC LIMIT $5`

// RecentEvents reads live events with low < nid < high of the rooms that a user has
// joined, newest first.
func (s *Store) RecentEvents(ctx context.Context, user, low, high int64, limit int) (events []*Event, err error) {
	err = s.read(ctx, "read recent events", func(r *store.Reader) error {
		events, err = scanEvents(r.Query(selectRecent, max(low, 0), high, user, MembershipJoin, limit))
		return err
	})
	return events, err
}

// TimelineNids reads the numbers of up to limit events of a room's timeline with
// low < ord ≤ high, the newest first.
func (s *Store) TimelineNids(ctx context.Context, room, low, high int64, limit int) (nids []int64, err error) {
	err = s.read(ctx, "read timeline", func(r *store.Reader) error {
		nids = nil
		rows, err := r.Query(`SELECT nid FROM event WHERE room = $1 AND ord > $2 AND ord <= $3 ORDER BY ord DESC LIMIT $4`, room, low, high, limit)
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
