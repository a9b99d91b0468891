package storage

import (
	"context"
	"database/sql"
	"fmt"

	"hearth/internal/store"
)

const eventColumns = `e.nid, e.room, e.id, e.ord, e.flags, e.type, e.skey, e.sender, e.ts, e.depth, e.gen, e.snap, e.cur, e.replaces, e.redacted_by, e.links, e.origin, b.json`

const fromEvents = ` FROM event e JOIN body b ON b.nid = e.nid `

func scanEvent(scan func(...any) error) (*Event, error) {
	var e Event
	var skey sql.NullInt64
	var origin sql.NullString
	err := scan(&e.Nid, &e.Room, &e.Key, &e.Ord, &e.Flags, &e.Type, &skey, &e.Sender, &e.TS, &e.Depth, &e.Gen,
		&e.Snap, &e.Cur, &e.Replaces, &e.RedactedBy, &e.Links, &origin, &e.JSON)
	if err != nil {
		return nil, err
	}
	e.IsState, e.StateKey, e.Origin = skey.Valid, skey.Int64, origin.String
	return &e, nil
}

func scanEvents(rows *store.Rows, err error) ([]*Event, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var events []*Event
	for rows.Next() {
		e, err := scanEvent(rows.Scan)
		if err != nil {
			return nil, err
		}
		events = append(events, e)
	}
	return events, rows.Err()
}

// EventsByNid reads events by number, in no particular order; unknown ones are left out.
func (s *Store) EventsByNid(ctx context.Context, nids []int64) ([]*Event, error) {
	events := make([]*Event, 0, len(nids))
	err := s.read(ctx, "read events", func(r *store.Reader) error {
		return inChunks(nids, func(list string, args []any) error {
			part, err := scanEvents(r.Query(`SELECT `+eventColumns+fromEvents+`WHERE e.nid IN (`+list+`)`, args...))
			events = append(events, part...)
			return err
		})
	})
	return events, err
}

// EventsByKey reads events by EventKey, in no particular order; unknown ones are left out.
func (s *Store) EventsByKey(ctx context.Context, keys [][]byte) ([]*Event, error) {
	events := make([]*Event, 0, len(keys))
	err := s.read(ctx, "read events", func(r *store.Reader) error {
		return inChunks(keys, func(list string, args []any) error {
			part, err := scanEvents(r.Query(`SELECT `+eventColumns+fromEvents+`WHERE e.id IN (`+list+`)`, args...))
			events = append(events, part...)
			return err
		})
	})
	return events, err
}

// EventByKey reads the event with an id: ErrNotFound if we have none.
func (s *Store) EventByKey(ctx context.Context, key []byte) (e *Event, err error) {
	e, err = scanEvent(s.DB.Row(ctx, `SELECT `+eventColumns+fromEvents+`WHERE e.id = $1`, key).Scan)
	if err != nil {
		return nil, fmt.Errorf("read event: %w", err)
	}
	return e, nil
}

// Backwards reads up to limit events of a room's timeline with low < ord ≤ high, newest first.
func (s *Store) Backwards(ctx context.Context, room, low, high int64, limit int) (events []*Event, err error) {
	err = s.read(ctx, "read timeline", func(r *store.Reader) error {
		events, err = scanEvents(r.Query(`SELECT `+eventColumns+fromEvents+
			`WHERE e.room = $1 AND e.ord > $2 AND e.ord <= $3 ORDER BY e.ord DESC LIMIT $4`, room, low, high, limit))
		return err
	})
	return events, err
}

// Forwards reads up to limit events of a room's timeline with low < ord ≤ high, oldest first.
func (s *Store) Forwards(ctx context.Context, room, low, high int64, limit int) (events []*Event, err error) {
	err = s.read(ctx, "read timeline", func(r *store.Reader) error {
		events, err = scanEvents(r.Query(`SELECT `+eventColumns+fromEvents+
			`WHERE e.room = $1 AND e.ord > $2 AND e.ord <= $3 ORDER BY e.ord LIMIT $4`, room, low, high, limit))
		return err
	})
	return events, err
}

// Page is a part of a room's timeline: up to Limit events with Low < ord ≤ High, the
// newest first if Backwards.
type Page struct {
	Room, Low, High int64
	Backwards       bool
	Limit           int
}

// Page reads the numbers of the events of a page in their order, and, in no particular
// order, those events that are not known.
func (s *Store) Page(ctx context.Context, p Page, known func(nid int64) bool) (nids []int64, events []*Event, err error) {
	q := `SELECT nid FROM event WHERE room = $1 AND ord > $2 AND ord <= $3 ORDER BY ord LIMIT $4`
	if p.Backwards {
		q = `SELECT nid FROM event WHERE room = $1 AND ord > $2 AND ord <= $3 ORDER BY ord DESC LIMIT $4`
	}
	err = s.read(ctx, "read timeline", func(r *store.Reader) error {
		rows, err := r.Query(q, p.Room, p.Low, p.High, p.Limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		var missing []int64
		for rows.Next() {
			var nid int64
			if err := rows.Scan(&nid); err != nil {
				return err
			}
			nids = append(nids, nid)
			if !known(nid) {
				missing = append(missing, nid)
			}
		}
		if err := rows.Err(); err != nil {
			return err
		}
		return inChunks(missing, func(list string, args []any) error {
			part, err := scanEvents(r.Query(`SELECT `+eventColumns+fromEvents+`WHERE e.nid IN (`+list+`)`, args...))
			events = append(events, part...)
			return err
		})
	})
	return nids, events, err
}

// Replay is the skeleton of an event as needed to bring a checkpoint up to date.
type Replay struct {
	Nid, Ord, Depth, Gen, Flags, Cur int64
	Key                              []byte
	Links                            Links
}

// ReplayAfter reads the live events of a room after a log position, oldest first.
func (s *Store) ReplayAfter(ctx context.Context, room, pos int64) (events []Replay, err error) {
	err = s.read(ctx, "replay room", func(r *store.Reader) error {
		rows, err := r.Query(`SELECT nid, ord, depth, gen, flags, cur, id, links FROM event
WHERE room = $1 AND ord > $2 AND (nid > 0 OR flags & $3 <> 0) ORDER BY ord`, room, OrdAfter(pos), int64(FlagPromoted))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var e Replay
			var links []byte
			if err := rows.Scan(&e.Nid, &e.Ord, &e.Depth, &e.Gen, &e.Flags, &e.Cur, &e.Key, &links); err != nil {
				return err
			}
			if e.Links, err = UnpackLinks(links); err != nil {
				return err
			}
			events = append(events, e)
		}
		return rows.Err()
	})
	return events, err
}

// The state at a place is that after the live event before it, or that of a gap in
// between. Before all of these it is that of the first gap, the oldest that we know.
const selectSnapAt = `SELECT snap, pos FROM (
SELECT 0 AS late, ord, snap, pos FROM (SELECT ord, cur AS snap, nid AS pos FROM event
  WHERE room = $1 AND ord <= $2 AND (nid > 0 OR flags & $3 <> 0) ORDER BY ord DESC LIMIT 1) a
UNION ALL
SELECT 0 AS late, ord, snap, pos FROM (SELECT ord, snap, 0 AS pos FROM gap WHERE room = $1 AND ord <= $2 ORDER BY ord DESC LIMIT 1) b
UNION ALL
SELECT 1 AS late, -ord AS ord, snap, pos FROM (SELECT ord, snap, 0 AS pos FROM gap WHERE room = $1 AND ord > $2 ORDER BY ord LIMIT 1) c
) d ORDER BY late, ord DESC LIMIT 1`

// SnapAt returns the room's state at a place in its timeline and the position of the
// event that made it, 0 if another server told it: ErrNotFound before the room's first event.
func (s *Store) SnapAt(ctx context.Context, room, ord int64) (snap, pos int64, err error) {
	err = s.row(ctx, "find state", selectSnapAt, []any{room, ord, int64(FlagPromoted)}, &snap, &pos)
	return snap, pos, err
}

// CurBefore returns the room's state after the last live event before an order.
func (s *Store) CurBefore(ctx context.Context, room, ord int64) (snap int64, err error) {
	err = s.row(ctx, "find state", `SELECT cur FROM event WHERE room = $1 AND ord < $2 AND (nid > 0 OR flags & $3 <> 0) ORDER BY ord DESC LIMIT 1`,
		[]any{room, ord, int64(FlagPromoted)}, &snap)
	return snap, err
}

// StateChange is an event in the history of one piece of state.
type StateChange struct {
	Nid, Ord int64
}

// StateHistory reads the accepted events of one state key in timeline order.
func (s *Store) StateHistory(ctx context.Context, room, typ, skey int64) (changes []StateChange, err error) {
	err = s.read(ctx, "read state history", func(r *store.Reader) error {
		rows, err := r.Query(`SELECT nid, ord, flags FROM event WHERE room = $1 AND type = $2 AND skey = $3 AND skey IS NOT NULL ORDER BY ord`,
			room, typ, skey)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var c StateChange
			var flags int64
			if err := rows.Scan(&c.Nid, &c.Ord, &flags); err != nil {
				return err
			}
			if flags&HiddenFlags == 0 {
				changes = append(changes, c)
			}
		}
		return rows.Err()
	})
	return changes, err
}

// TxnEvent returns the event that a transaction id has made: ErrNotFound if none.
func (s *Store) TxnEvent(ctx context.Context, sender int64, device, txn string) (nid int64, err error) {
	err = s.row(ctx, "look up transaction id", `SELECT nid FROM txn WHERE sender = $1 AND device = $2 AND txn = $3`,
		[]any{sender, device, txn}, &nid)
	return nid, err
}

// ExpireTxns is the write that forgets up to 2,000 transaction ids from before a
// time in milliseconds.
func ExpireTxns(tx *store.Tx, before int64) error {
	return tx.Exec(`DELETE FROM txn WHERE (sender, device, txn) IN (SELECT sender, device, txn FROM txn WHERE at < $1 ORDER BY at LIMIT 2000)`, before)
}

// Skeleton is what state resolution needs of an event.
type Skeleton struct {
	Nid, Gen, Flags, Type, StateKey int64
	IsState                         bool
	Auth                            []int64
}

// Skeletons reads skeletons by number, in no particular order; unknown ones are left out.
func (s *Store) Skeletons(ctx context.Context, nids []int64) (list []Skeleton, err error) {
	list = make([]Skeleton, 0, len(nids))
	err = s.read(ctx, "read event graph", func(r *store.Reader) error {
		return inChunks(nids, func(in string, args []any) error {
			rows, err := r.Query(`SELECT nid, gen, flags, type, skey, links FROM event WHERE nid IN (`+in+`)`, args...)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var e Skeleton
				var skey sql.NullInt64
				var packed []byte
				if err := rows.Scan(&e.Nid, &e.Gen, &e.Flags, &e.Type, &skey, &packed); err != nil {
					return err
				}
				links, err := UnpackLinks(packed)
				if err != nil {
					return err
				}
				e.IsState, e.StateKey, e.Auth = skey.Valid, skey.Int64, links.Auth
				list = append(list, e)
			}
			return rows.Err()
		})
	})
	return list, err
}

// Gens reads the generations of events by number; unknown ones are left out.
func (s *Store) Gens(ctx context.Context, nids []int64) (map[int64]int64, error) {
	gens := make(map[int64]int64, len(nids))
	err := s.read(ctx, "read generations", func(r *store.Reader) error {
		return inChunks(nids, func(list string, args []any) error {
			rows, err := r.Query(`SELECT nid, gen FROM event WHERE nid IN (`+list+`)`, args...)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var nid, gen int64
				if err := rows.Scan(&nid, &gen); err != nil {
					return err
				}
				gens[nid] = gen
			}
			return rows.Err()
		})
	})
	return gens, err
}
