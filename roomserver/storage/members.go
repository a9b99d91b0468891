package storage

import (
	"cmp"
	"context"
	"database/sql"
	"slices"

	"hearth/internal/store"
)

func sortBy[T any](list []T, key func(T) int64) {
	slices.SortFunc(list, func(a, b T) int { return cmp.Compare(key(a), key(b)) })
}

// UserRoom is a user's relation to a room, with the room's id.
type UserRoom struct {
	Member
	RoomID   string
	Version  string
	EventKey []byte
	// EventID and Pos are those of a membership from outside, whose Nid is 0.
	EventID   string
	Pos       int64
	Forgotten bool
	// LastOrd is the order of the room's last event, LastReceipt the position of its
	// last receipt; both 0 unless the user is joined.
	LastOrd, LastReceipt int64
}

const selectUserRooms = `SELECT m.room, m.membership, m.nid, m.sender, m.forgotten, r.id, r.version, e.id, o.event_id, COALESCE(o.pos, 0),
CASE WHEN m.membership = $4 THEN COALESCE((SELECT MAX(t.ord) FROM event t WHERE t.room = m.room), 0) ELSE 0 END,
CASE WHEN m.membership = $4 THEN COALESCE((SELECT MAX(c.pos) FROM receipt c WHERE c.room = m.room), 0) ELSE 0 END
FROM member m JOIN room r ON r.room = m.room LEFT JOIN event e ON e.nid = m.nid
LEFT JOIN outside o ON m.nid = 0 AND o.room = m.room AND o.user_nid = m.user_nid
WHERE m.user_nid = $1 AND r.id > $2 ORDER BY r.id LIMIT $3`

// UserRooms lists the rooms of a user after a room id, in order of room id, with
// the log position at which the list is true.
func (s *Store) UserRooms(ctx context.Context, user int64, after string, limit int) (rooms []UserRoom, pos int64, err error) {
	// The position is read first: what is committed between the two reads is then
	// in the list and again in the log, and applying it twice does no harm.
	pos = s.DB.Head()
	err = s.read(ctx, "read rooms of user", func(r *store.Reader) error {
		rows, err := r.Query(selectUserRooms, user, after, limit, MembershipJoin)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			ur := UserRoom{Member: Member{User: user}}
			var forgotten int64
			var eventID sql.NullString
			if err := rows.Scan(&ur.Room, &ur.Membership, &ur.Nid, &ur.Sender, &forgotten, &ur.RoomID, &ur.Version, &ur.EventKey,
				&eventID, &ur.Pos, &ur.LastOrd, &ur.LastReceipt); err != nil {
				return err
			}
			ur.Forgotten, ur.EventID = forgotten != 0, eventID.String
			rooms = append(rooms, ur)
		}
		return rows.Err()
	})
	return rooms, pos, err
}

// Member reads a user's membership in a room: ErrNotFound if there never was one.
func (s *Store) Member(ctx context.Context, user, room int64) (m Member, forgotten bool, err error) {
	m = Member{User: user, Room: room}
	var f int64
	err = s.row(ctx, "read member", `SELECT membership, nid, sender, forgotten FROM member WHERE user_nid = $1 AND room = $2`,
		[]any{user, room}, &m.Membership, &m.Nid, &m.Sender, &f)
	return m, f != 0, err
}

// Forget is the write that hides a room from a user, with its log entry at pos.
func Forget(tx *store.Tx, pos, user, room, kind int64) error {
	if err := tx.Exec(`UPDATE member SET forgotten = 1 WHERE user_nid = $1 AND room = $2`, user, room); err != nil {
		return err
	}
	return tx.Exec(`INSERT INTO log (pos, kind, room, user_nid) VALUES ($1, $2, $3, $4)`, pos, kind, room, user)
}
