package storage

import (
	"context"

	"hearth/internal/store"
)

// HostRoom is a room with the position of its newest event.
type HostRoom struct {
	ID  string
	Pos int64
}

// RoomsOfHost lists the rooms in which two servers have joined members, in order of room id,
// after an id.
func (s *Store) RoomsOfHost(ctx context.Context, server, own int64, after string, limit int) (rooms []HostRoom, err error) {
	err = s.read(ctx, "list the rooms of a server", func(r *store.Reader) error {
		rows, err := r.Query(`SELECT r.id, (SELECT e.ord FROM event e WHERE e.room = h.room ORDER BY e.ord DESC LIMIT 1)
FROM host h JOIN host o ON o.room = h.room AND o.server = $2 JOIN room r ON r.room = h.room
WHERE h.server = $1 AND r.id > $3 ORDER BY r.id LIMIT $4`, server, own, after, limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var room HostRoom
			var ord int64
			if err := rows.Scan(&room.ID, &ord); err != nil {
				return err
			}
			room.Pos = ord >> OrdShift
			rooms = append(rooms, room)
		}
		return rows.Err()
	})
	return rooms, err
}

// HostsWith lists the other servers that have joined members in a room that a user has joined, in
// order of name.
func (s *Store) HostsWith(ctx context.Context, user, own int64) (servers []string, err error) {
	err = s.read(ctx, "list the servers that a user meets", func(r *store.Reader) error {
		rows, err := r.Query(`SELECT DISTINCT n.s FROM member m JOIN host h ON h.room = m.room JOIN name n ON n.nid = h.server
WHERE m.user_nid = $1 AND m.membership = $2 AND h.server <> $3 ORDER BY n.s`, user, int64(MembershipJoin), own)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var name string
			if err := rows.Scan(&name); err != nil {
				return err
			}
			servers = append(servers, name)
		}
		return rows.Err()
	})
	return servers, err
}

// MembersSince reads the member events, and those before which the state was replaced, that
// have been in a room's timeline since a place in it, the newest first. member is the number
// of m.room.member.
func (s *Store) MembersSince(ctx context.Context, room, member, ord int64, limit int) (events []*Event, err error) {
	err = s.read(ctx, "read changes of members", func(r *store.Reader) error {
		events, err = scanEvents(r.Query(`SELECT `+eventColumns+fromEvents+
			`WHERE e.room = $1 AND e.ord >= $2 AND (e.type = $3 AND e.skey IS NOT NULL OR e.flags & $4 <> 0) ORDER BY e.ord DESC LIMIT $5`,
			room, ord, member, int64(FlagReset), limit))
		return err
	})
	return events, err
}
