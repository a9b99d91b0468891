package storage

import (
	"context"

	"hearth/internal/store"
)

// LogPage is a part of the room log: what stands at positions after, …, Last.
// A position that appears in none of the lists has nothing to tell any more (its
// receipt was replaced by a later one).
type LogPage struct {
	Events   []*Event // live ones, those that were outliers first among them, in no order
	Receipts []Receipt
	Rest     []LogRow
	Last     int64
}

// LogRow is an entry that has no row elsewhere.
type LogRow struct {
	Pos, Kind, Room, User int64
}

// Log reads at most limit positions after a position, up to upTo.
func (s *Store) Log(ctx context.Context, after, upTo int64, limit int) (p LogPage, err error) {
	p.Last = min(after+int64(limit), upTo)
	err = s.read(ctx, "read log", func(r *store.Reader) error {
		p.Events, err = scanEvents(r.Query(`SELECT `+eventColumns+fromEvents+`WHERE e.nid > $1 AND e.nid <= $2 ORDER BY e.nid`, after, p.Last))
		if err != nil {
			return err
		}
		p.Receipts, err = scanReceipts(r.Query(`SELECT `+receiptColumns+` FROM receipt WHERE pos > $1 AND pos <= $2 ORDER BY pos`, after, p.Last))
		if err != nil {
			return err
		}
		rows, err := r.Query(`SELECT pos, kind, room, user_nid FROM log WHERE pos > $1 AND pos <= $2 ORDER BY pos`, after, p.Last)
		if err != nil {
			return err
		}
		defer rows.Close()
		var promoted []int64
		for rows.Next() {
			var row LogRow
			if err := rows.Scan(&row.Pos, &row.Kind, &row.Room, &row.User); err != nil {
				return err
			}
			if row.Kind == logPromoted {
				promoted = append(promoted, row.User)
				continue
			}
			p.Rest = append(p.Rest, row)
		}
		if err := rows.Err(); err != nil {
			return err
		}
		return inChunks(promoted, func(list string, args []any) error {
			part, err := scanEvents(r.Query(`SELECT `+eventColumns+fromEvents+`WHERE e.nid IN (`+list+`)`, args...))
			p.Events = append(p.Events, part...)
			return err
		})
	})
	return p, err
}
