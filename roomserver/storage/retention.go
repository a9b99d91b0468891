package storage

import (
	"context"
	"database/sql"
	"encoding/json"
	"slices"
	"strconv"

	"hearth/internal/store"
	"hearth/roomserver/roomapi"
)

// Retention is what the tables say of how long events are kept.
type Retention struct {
	Policy *roomapi.RetentionPolicy // nil: not changed at run time
	Rooms  map[string]int64
	Holds  []roomapi.Hold
}

// Retention reads it.
func (s *Store) Retention(ctx context.Context) (*Retention, error) {
	out := &Retention{Rooms: map[string]int64{}}
	err := s.read(ctx, "read retention", func(r *store.Reader) error {
		var policy []byte
		if err := r.Row(`SELECT policy FROM retention WHERE slot = 0`).Scan(&policy); err != nil {
			return err
		}
		if len(policy) > 0 {
			out.Policy = new(roomapi.RetentionPolicy)
			if err := json.Unmarshal(policy, out.Policy); err != nil {
				return err
			}
		}
		rooms, err := r.Query(`SELECT id, lifetime FROM retention_room`)
		if err != nil {
			return err
		}
		defer rooms.Close()
		for rooms.Next() {
			var id string
			var lifetime int64
			if err := rooms.Scan(&id, &lifetime); err != nil {
				return err
			}
			out.Rooms[id] = lifetime
		}
		if err := rooms.Err(); err != nil {
			return err
		}
		holds, err := r.Query(`SELECT id, kind, target, reason, ends, actor, at FROM hold ORDER BY id`)
		if err != nil {
			return err
		}
		defer holds.Close()
		for holds.Next() {
			var h roomapi.Hold
			if err := holds.Scan(&h.ID, &h.Kind, &h.Target, &h.Reason, &h.Until, &h.Actor, &h.At); err != nil {
				return err
			}
			out.Holds = append(out.Holds, h)
		}
		return holds.Err()
	})
	return out, err
}

// SetPolicy is the write that changes the policy; nil takes that of the configuration again.
func SetPolicy(tx *store.Tx, p *roomapi.RetentionPolicy) error {
	raw := []byte{}
	if p != nil {
		var err error
		if raw, err = json.Marshal(p); err != nil {
			return err
		}
	}
	return tx.Exec(`UPDATE retention SET policy = $1 WHERE slot = 0`, raw)
}

// SetRoomLifetime is the write that gives a room's events a lifetime, 0: none.
func SetRoomLifetime(tx *store.Tx, roomID string, lifetime int64) error {
	if lifetime == 0 {
		return tx.Exec(`DELETE FROM retention_room WHERE id = $1`, roomID)
	}
	return tx.Exec(`INSERT INTO retention_room (id, lifetime) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET lifetime = excluded.lifetime`, roomID, lifetime)
}

// PlaceHold is the write that places a hold; it sets its id.
func PlaceHold(tx *store.Tx, h *roomapi.Hold) error {
	if err := tx.Row(`SELECT COALESCE(MAX(id), 0) + 1 FROM hold`).Scan(&h.ID); err != nil {
		return err
	}
	return tx.Exec(`INSERT INTO hold (id, kind, target, reason, ends, actor, at) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		h.ID, h.Kind, h.Target, h.Reason, h.Until, h.Actor, h.At)
}

// LiftHold is the write that ends a hold. What it kept may be anywhere: all rooms are looked through again.
func LiftHold(tx *store.Tx, id int64) error {
	if err := tx.Exec(`DELETE FROM hold WHERE id = $1`, id); err != nil {
		return err
	}
	return tx.Exec(`DELETE FROM expired`)
}

// RoomsToPurge reads the ids of up to limit rooms after a number, in order of their numbers: all, or those
// that have a state event of one of two types, with the empty state key.
func (s *Store) RoomsToPurge(ctx context.Context, after int64, all bool, stable, unstable, emptyKey int64, limit int) (rooms []Name, err error) {
	q, args := `SELECT r.room, r.id FROM room r WHERE r.room > $1 AND r.snap <> 0 AND EXISTS (SELECT 1 FROM event e
WHERE e.room = r.room AND e.type IN ($2, $3) AND e.skey = $4 AND e.skey IS NOT NULL) ORDER BY r.room LIMIT $5`, []any{after, stable, unstable, emptyKey, limit}
	if all {
		q, args = `SELECT room, id FROM room WHERE room > $1 AND snap <> 0 ORDER BY room LIMIT $2`, []any{after, limit}
	}
	err = s.read(ctx, "read rooms to purge", func(r *store.Reader) error {
		rows, err := r.Query(q, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var n Name
			if err := rows.Scan(&n.Nid, &n.S); err != nil {
				return err
			}
			rooms = append(rooms, n)
		}
		return rows.Err()
	})
	return rooms, err
}

// CountSince counts those of the events whose time is later than ts, in milliseconds.
func (s *Store) CountSince(ctx context.Context, nids []int64, ts int64) (n int, err error) {
	err = s.read(ctx, "count events", func(r *store.Reader) error {
		return inChunks(nids, func(list string, args []any) error {
			var some int
			err := r.Row(`SELECT COUNT(*) FROM event WHERE nid IN (`+list+`) AND ts > $`+strconv.Itoa(len(args)+1), append(args, ts)...).Scan(&some)
			n += some
			return err
		})
	})
	return n, err
}

// Purged reads how far a room was purged; zeros if never.
func (s *Store) Purged(ctx context.Context, room int64) (upto, ord int64, err error) {
	err = s.row(ctx, "read how far a room was purged", `SELECT COALESCE(MAX(upto), 0), COALESCE(MAX(ord), 0) FROM expired WHERE room = $1`, []any{room}, &upto, &ord)
	return upto, ord, err
}

// InTime reads up to limit events of a room that are not purged and come after a place in time (ts, ord), up to a time
// and an order, the oldest first.
func (s *Store) InTime(ctx context.Context, room, ts, ord, upto, maxOrd int64, limit int) (events []*Event, err error) {
	err = s.read(ctx, "read expired events", func(r *store.Reader) error {
		events, err = scanEvents(r.Query(`SELECT `+eventColumns+fromEvents+`WHERE e.room = $1 AND e.ts >= $2 AND (e.ts > $2 OR e.ord > $3)
AND e.ts <= $4 AND e.ord <= $5 AND e.flags & $6 = 0 ORDER BY e.ts, e.ord LIMIT $7`, room, ts, ord, upto, maxOrd, int64(FlagPurged), limit))
		return err
	})
	return events, err
}

// Replaced reads the numbers of up to limit events with a time up to upto that events of a room after an order have replaced.
// last is the order of the last event that was looked at, 0 if there is none.
func (s *Store) Replaced(ctx context.Context, room, ord, upto int64, limit int) (nids []int64, last int64, err error) {
	err = s.read(ctx, "read replaced events", func(r *store.Reader) error {
		rows, err := r.Query(`SELECT e.ord, e.replaces, o.ts, o.flags FROM event e LEFT JOIN event o ON o.nid = e.replaces AND e.replaces <> 0
WHERE e.room = $1 AND e.ord > $2 ORDER BY e.ord LIMIT $3`, room, ord, limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var replaced int64
			var ts, flags sql.NullInt64
			if err := rows.Scan(&last, &replaced, &ts, &flags); err != nil {
				return err
			}
			if ts.Valid && ts.Int64 <= upto && flags.Int64&FlagPurged == 0 {
				nids = append(nids, replaced)
			}
		}
		return rows.Err()
	})
	return nids, last, err
}

// Expiry is one step of purging a room.
type Expiry struct {
	Room      int64
	Events    []Purged
	Broken    []Relation
	Upto, Ord int64 // how far the room is purged then; 0: as before
	Bytes     int64
}

// Purged is the stub that is left of an event.
type Purged struct {
	Nid  int64
	JSON []byte
}

// Write writes the rows.
func (x *Expiry) Write(tx *store.Tx) error {
	for _, e := range x.Events {
		if err := tx.Exec(updateBody, e.Nid, e.JSON); err != nil {
			return err
		}
		if err := tx.Exec(`UPDATE event SET flags = flags | $2, origin = NULL WHERE nid = $1`, e.Nid, int64(FlagPurged)); err != nil {
			return err
		}
		if err := releaseMedia(tx, e.Nid); err != nil {
			return err
		}
	}
	for i := range x.Broken {
		if err := x.Broken[i].undo(tx); err != nil {
			return err
		}
	}
	if x.Upto > 0 {
		if err := tx.Exec(`INSERT INTO expired (room, upto, ord) VALUES ($1, $2, $3) ON CONFLICT (room) DO UPDATE SET
upto = CASE WHEN excluded.upto > expired.upto THEN excluded.upto ELSE expired.upto END, ord = excluded.ord`, x.Room, x.Upto, x.Ord); err != nil {
			return err
		}
	}
	if len(x.Events) == 0 {
		return nil
	}
	return x.count(tx)
}

// count adds to what the next receipt says.
func (x *Expiry) count(tx *store.Tx) error {
	t, err := readTally(tx)
	if err != nil {
		return err
	}
	if t.Since == 0 {
		t.Since = tx.Now().UnixMilli()
	}
	if !slices.Contains(t.Rooms, x.Room) && len(t.Rooms) < maxTally {
		t.Rooms = append(t.Rooms, x.Room)
	}
	t.Events, t.Bytes = t.Events+int64(len(x.Events)), t.Bytes+x.Bytes
	return t.write(tx)
}

// maxTally bounds the rooms that a receipt counts.
const maxTally = 10_000

// Tally is what was deleted since the last receipt.
type Tally struct {
	Rooms                []int64
	Events, Bytes, Since int64
}

func readTally(q interface {
	Row(sql string, args ...any) *store.Row
}) (t Tally, err error) {
	var rooms []byte
	if err = q.Row(`SELECT rooms, events, bytes, since FROM retention WHERE slot = 0`).Scan(&rooms, &t.Events, &t.Bytes, &t.Since); err != nil {
		return t, err
	}
	if len(rooms) > 0 {
		t.Rooms, err = UnpackInts(rooms)
	}
	return t, err
}

func (t *Tally) write(tx *store.Tx) error {
	return tx.Exec(`UPDATE retention SET rooms = $1, events = $2, bytes = $3, since = $4 WHERE slot = 0`, PackInts(t.Rooms), t.Events, t.Bytes, t.Since)
}

// Tally reads what was deleted since the last receipt.
func (s *Store) Tally(ctx context.Context) (t Tally, err error) {
	err = s.read(ctx, "read what was deleted", func(r *store.Reader) error {
		t, err = readTally(r)
		return err
	})
	return t, err
}

// Settle is the write that follows a receipt: what it told of is not told again.
func (t *Tally) Settle(tx *store.Tx) error {
	now, err := readTally(tx)
	if err != nil {
		return err
	}
	now.Events, now.Bytes, now.Since = now.Events-t.Events, now.Bytes-t.Bytes, 0
	if now.Rooms = nil; now.Events > 0 {
		now.Since = tx.Now().UnixMilli()
	}
	return now.write(tx)
}

// LogRetention is the write of a log entry that says that what is kept of a room, or with room 0 of all rooms, changed.
func LogRetention(tx *store.Tx, pos, kind, room int64) error {
	return tx.Exec(`INSERT INTO log (pos, kind, room, user_nid) VALUES ($1, $2, $3, 0)`, pos, kind, room)
}
