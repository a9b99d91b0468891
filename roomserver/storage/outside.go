package storage

import (
	"context"

	"hearth/internal/store"
)

// Outside is the membership of a user of ours in a room that we are not in.
type Outside struct {
	Room, User int64
	Pos        int64 // its log position
	Version    string
	EventID    string
	JSON       []byte // the member event
	State      []byte // stripped state, a JSON array
}

// OutsideKind is the number of such entries in the table log.
const OutsideKind = 4

// OutsideChange is the write that such a membership comes with. The member row, and the row
// of a room that was unknown, are in Append.
type OutsideChange struct {
	Append  Append
	Outside Outside
}

// Write writes the rows.
func (o *OutsideChange) Write(tx *store.Tx) error {
	if err := o.Append.Write(tx); err != nil {
		return err
	}
	row := &o.Outside
	if err := tx.Exec(`INSERT INTO outside (room, user_nid, pos, version, event_id, json, state) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (room, user_nid) DO UPDATE SET pos = excluded.pos, version = excluded.version, event_id = excluded.event_id,
json = excluded.json, state = excluded.state`,
		row.Room, row.User, row.Pos, row.Version, row.EventID, row.JSON, row.State); err != nil {
		return err
	}
	return tx.Exec(`INSERT INTO log (pos, kind, room, user_nid) VALUES ($1, $2, $3, $4)`, row.Pos, OutsideKind, row.Room, row.User)
}

const outsideColumns = `room, user_nid, pos, version, event_id, json, state`

func scanOutside(scan func(...any) error) (o Outside, err error) {
	err = scan(&o.Room, &o.User, &o.Pos, &o.Version, &o.EventID, &o.JSON, &o.State)
	return o, err
}

// OutsideOf reads a user's membership in a room from outside: ErrNotFound if there is none.
func (s *Store) OutsideOf(ctx context.Context, room, user int64) (o Outside, err error) {
	return scanOutside(func(dst ...any) error {
		return s.row(ctx, "read membership from outside",
			`SELECT `+outsideColumns+` FROM outside WHERE room = $1 AND user_nid = $2`, []any{room, user}, dst...)
	})
}

// OutsideAt reads the memberships from outside that the log positions from first to last tell of.
func (s *Store) OutsideAt(ctx context.Context, first, last int64) (list []Outside, err error) {
	err = s.read(ctx, "read memberships from outside", func(r *store.Reader) error {
		rows, err := r.Query(`SELECT `+outsideColumns+` FROM outside WHERE pos >= $1 AND pos <= $2 ORDER BY pos`, first, last)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			o, err := scanOutside(rows.Scan)
			if err != nil {
				return err
			}
			list = append(list, o)
		}
		return rows.Err()
	})
	return list, err
}
