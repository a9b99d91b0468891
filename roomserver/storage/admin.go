package storage

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"hearth/internal/store"
)

// OwnMember is a user of this server and their membership in a room.
type OwnMember struct {
	UserID     string
	Membership int64
}

// OwnMembers lists the users of a server who have or had to do with a room and have not forgotten
// it, after a user id in order of it.
func (s *Store) OwnMembers(ctx context.Context, roomID, server, after string, limit int) (members []OwnMember, err error) {
	err = s.read(ctx, "read own members", func(r *store.Reader) error {
		rows, err := r.Query(`SELECT n.s, m.membership FROM room r JOIN member m ON m.room = r.room JOIN name n ON n.nid = m.user_nid
WHERE r.id = $1 AND m.forgotten = 0 AND n.s LIKE $2 ESCAPE '\' AND n.s > $3 ORDER BY n.s LIMIT $4`, roomID, ownUsers(server), after, limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var m OwnMember
			if err := rows.Scan(&m.UserID, &m.Membership); err != nil {
				return err
			}
			members = append(members, m)
		}
		return rows.Err()
	})
	return members, err
}

// Sent is an event that a user has sent.
type Sent struct {
	Key []byte
	Ord int64
}

// SentBy lists events of a user in a room that are not redacted, before an order (0: from the
// newest), of the given types if there are any, the newest first.
func (s *Store) SentBy(ctx context.Context, room, sender int64, types []int64, before int64, limit int) (events []Sent, err error) {
	args := []any{room, sender, limit}
	q := `SELECT id, ord FROM event WHERE room = $1 AND sender = $2 AND redacted_by = 0 AND flags & 7 = 0`
	if before != 0 {
		args = append(args, before)
		q += fmt.Sprintf(` AND ord < $%d`, len(args))
	}
	for i, t := range types {
		args = append(args, t)
		q += fmt.Sprintf([]string{` AND (type = $%d`, ` OR type = $%d`}[min(i, 1)], len(args))
	}
	if len(types) > 0 {
		q += `)`
	}
	err = s.read(ctx, "read what a user has sent", func(r *store.Reader) error {
		rows, err := r.Query(q+` ORDER BY ord DESC LIMIT $3`, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var e Sent
			if err := rows.Scan(&e.Key, &e.Ord); err != nil {
				return err
			}
			events = append(events, e)
		}
		return rows.Err()
	})
	return events, err
}

// MemberEvents hands the member events that a user has sent since a time in milliseconds to f, in
// the rooms that the user has to do with. json is valid during f only.
func (s *Store) MemberEvents(ctx context.Context, user, memberType, since int64, f func(room int64, own bool, json []byte)) error {
	return s.read(ctx, "read member events of a user", func(r *store.Reader) error {
		rows, err := r.Query(`SELECT e.room, e.skey, b.json FROM member m JOIN event e ON e.room = m.room AND e.type = $2 AND e.skey IS NOT NULL
JOIN body b ON b.nid = e.nid WHERE m.user_nid = $1 AND e.sender = $1 AND e.ts >= $3 AND e.flags & 7 = 0`, user, memberType, since)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var room, skey int64
			var json []byte
			if err := rows.Scan(&room, &skey, &json); err != nil {
				return err
			}
			f(room, skey == user, json)
		}
		return rows.Err()
	})
}

// RoomSize is about how many bytes a room's events take.
type RoomSize struct {
	ID    string
	Bytes int64
}

const (
	mostEvents = `SELECT c.room, r.id, c.n FROM (SELECT room, COUNT(*) AS n FROM event GROUP BY room ORDER BY n DESC LIMIT $1) c
JOIN room r ON r.room = c.room`
	sampleBodies = `SELECT COALESCE(SUM(LENGTH(s.json)), 0), COUNT(*) FROM (SELECT b.json FROM event e JOIN body b ON b.nid = e.nid
WHERE e.room = $1 ORDER BY e.ord DESC LIMIT 200) s`
)

// LargestRooms lists the rooms with the most events, the largest first. Their sizes are reckoned
// from the newest events.
func (s *Store) LargestRooms(ctx context.Context, limit int) (sizes []RoomSize, err error) {
	err = s.read(ctx, "find large rooms", func(r *store.Reader) error {
		rows, err := r.Query(mostEvents, limit)
		if err != nil {
			return err
		}
		var nids, counts []int64
		for rows.Next() {
			var nid, n int64
			var id string
			if err := rows.Scan(&nid, &id, &n); err != nil {
				rows.Close()
				return err
			}
			nids, counts, sizes = append(nids, nid), append(counts, n), append(sizes, RoomSize{ID: id})
		}
		rows.Close()
		if err := rows.Err(); err != nil {
			return err
		}
		for i := range sizes {
			var bytes, n int64
			if err := r.Row(sampleBodies, nids[i]).Scan(&bytes, &n); err != nil {
				return err
			}
			sizes[i].Bytes = bytes * counts[i] / max(n, 1)
		}
		return nil
	})
	slices.SortFunc(sizes, func(a, b RoomSize) int { return cmp.Compare(b.Bytes, a.Bytes) })
	return sizes, err
}

// ServerRoom is a room that a server is in. Last is the position of its last event.
type ServerRoom struct {
	ID   string
	Last int64
}

// RoomsOfServer reads a page of the rooms of a server in order of id, and how many there are.
func (s *Store) RoomsOfServer(ctx context.Context, server int64, backwards bool, from, limit int) (rooms []ServerRoom, total int64, err error) {
	direction := "ASC"
	if backwards {
		direction = "DESC"
	}
	err = s.read(ctx, "read rooms of a server", func(r *store.Reader) error {
		if err := r.Row(`SELECT COUNT(*) FROM host h JOIN room r ON r.room = h.room WHERE h.server = $1`, server).Scan(&total); err != nil {
			return err
		}
		rows, err := r.Query(`SELECT r.id, COALESCE((SELECT MAX(e.ord) FROM event e WHERE e.room = r.room), 0) FROM host h
JOIN room r ON r.room = h.room WHERE h.server = $1 ORDER BY r.id `+direction+` LIMIT $2 OFFSET $3`, server, limit, from)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var room ServerRoom
			if err := rows.Scan(&room.ID, &room.Last); err != nil {
				return err
			}
			room.Last >>= OrdShift
			rooms = append(rooms, room)
		}
		return rows.Err()
	})
	return rooms, total, err
}
