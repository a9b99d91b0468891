package storage

import (
	"context"

	"hearth/internal/store"
)

// Counters are the greatest numbers in use.
type Counters struct {
	Name, Room, Snap int64
	Outlier          int64 // the least event number; 0 or negative
}

const selectCounters = `SELECT
 (SELECT COALESCE(MAX(nid), 0) FROM name),
 (SELECT COALESCE(MAX(room), 0) FROM room),
 (SELECT COALESCE(MAX(room), 0) FROM event),
 (SELECT COALESCE(MAX(snap), 0) FROM snap),
 (SELECT COALESCE(MIN(nid), 0) FROM event WHERE nid < 0)`

// Counters reads where numbering goes on.
func (s *Store) Counters(ctx context.Context) (c Counters, err error) {
	err = s.read(ctx, "read counters", func(r *store.Reader) error {
		var ofEvents int64 // outliers may be on disk before their room is
		if err := r.Row(selectCounters).Scan(&c.Name, &c.Room, &ofEvents, &c.Snap, &c.Outlier); err != nil {
			return err
		}
		c.Room = max(c.Room, ofEvents)
		return nil
	})
	return c, err
}

// NameNid returns the number of a name: ErrNotFound if it has none.
func (s *Store) NameNid(ctx context.Context, name string) (nid int64, err error) {
	err = s.row(ctx, "look up name", `SELECT nid FROM name WHERE s = $1`, []any{name}, &nid)
	return nid, err
}

// NameTexts returns the names with these numbers; unknown numbers are left out.
func (s *Store) NameTexts(ctx context.Context, nids []int64) (map[int64]string, error) {
	names := make(map[int64]string, len(nids))
	err := s.read(ctx, "read names", func(r *store.Reader) error {
		return inChunks(nids, func(list string, args []any) error {
			rows, err := r.Query(`SELECT nid, s FROM name WHERE nid IN (`+list+`)`, args...)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var nid int64
				var name string
				if err := rows.Scan(&nid, &name); err != nil {
					return err
				}
				names[nid] = name
			}
			return rows.Err()
		})
	})
	return names, err
}

// NameNids looks up many names; those without a number are left out.
func (s *Store) NameNids(ctx context.Context, names []string) (map[string]int64, error) {
	nids := make(map[string]int64, len(names))
	err := s.read(ctx, "look up names", func(r *store.Reader) error {
		return inChunks(names, func(list string, args []any) error {
			rows, err := r.Query(`SELECT nid, s FROM name WHERE s IN (`+list+`)`, args...)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var nid int64
				var name string
				if err := rows.Scan(&nid, &name); err != nil {
					return err
				}
				nids[name] = nid
			}
			return rows.Err()
		})
	})
	return nids, err
}
