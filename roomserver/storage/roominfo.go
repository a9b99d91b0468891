package storage

import (
	"context"
	"strconv"
	"strings"

	"hearth/internal/store"
)

// RoomNumbers are the numbers of a room that change with its state.
type RoomNumbers struct {
	Room, Joined, Local, StateEvents int64
}

func (n *RoomNumbers) write(tx *store.Tx) error {
	return tx.Exec(`UPDATE room_info SET joined = $2, local = $3, state_events = $4 WHERE room = $1`, n.Room, n.Joined, n.Local, n.StateEvents)
}

// RoomInfo is a row of the list of rooms.
type RoomInfo struct {
	RoomNumbers
	Federatable                                   bool
	Creator, Name, Topic, Alias, Avatar, RoomType string
	Encryption, JoinRule, GuestAccess, Visibility string
	Replacement                                   string
	// RoomID, Version and Public come from other tables.
	RoomID, Version string
	Public          bool
}

// Write adds or replaces the row.
func (i *RoomInfo) Write(tx *store.Tx) error {
	federatable := 0
	if i.Federatable {
		federatable = 1
	}
	return tx.Exec(`INSERT INTO room_info (room, joined, local, state_events, federatable, creator, name, topic, alias, avatar, room_type,
encryption, join_rule, guest_access, history_visibility, replacement) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
ON CONFLICT (room) DO UPDATE SET joined = excluded.joined, local = excluded.local, state_events = excluded.state_events,
federatable = excluded.federatable, creator = excluded.creator, name = excluded.name, topic = excluded.topic, alias = excluded.alias,
avatar = excluded.avatar, room_type = excluded.room_type, encryption = excluded.encryption, join_rule = excluded.join_rule,
guest_access = excluded.guest_access, history_visibility = excluded.history_visibility, replacement = excluded.replacement`,
		i.Room, i.Joined, i.Local, i.StateEvents, federatable, i.Creator, i.Name, i.Topic, i.Alias, i.Avatar, i.RoomType,
		i.Encryption, i.JoinRule, i.GuestAccess, i.Visibility, i.Replacement)
}

// RoomsWithoutInfo lists up to limit ids of rooms whose state we know and that have no row, in
// order of their numbers after one of them.
func (s *Store) RoomsWithoutInfo(ctx context.Context, after int64, limit int) (ids []string, last int64, err error) {
	err = s.read(ctx, "find rooms without information", func(r *store.Reader) error {
		rows, err := r.Query(`SELECT m.room, m.id FROM room m LEFT JOIN room_info i ON i.room = m.room
WHERE i.room IS NULL AND m.snap <> 0 AND m.room > $1 ORDER BY m.room LIMIT $2`, after, limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id string
			if err := rows.Scan(&last, &id); err != nil {
				return err
			}
			ids = append(ids, id)
		}
		return rows.Err()
	})
	return ids, last, err
}

// RoomsQuery asks for a page of the list. Order is a key of RoomOrders.
type RoomsQuery struct {
	Term          string // in small letters, part of the name or alias; or a whole room id
	RoomID        string // that one only
	Order         string
	Reverse       bool
	Public, Empty *bool
	From, Limit   int
}

// roomOrder is how a list is sorted.
type roomOrder struct {
	column  string
	falling bool
}

// roomOrders are Synapse's, with the directions that it gives them.
var roomOrders = map[string]roomOrder{
	"name": {"LOWER(i.name)", false}, "alphabetical": {"LOWER(i.name)", false}, "canonical_alias": {"LOWER(i.alias)", false},
	"joined_members": {"i.joined", true}, "size": {"i.joined", true}, "joined_local_members": {"i.local", true}, "version": {"r.version", true},
	"creator": {"i.creator", false}, "encryption": {"i.encryption", false}, "federatable": {"i.federatable", false},
	"public": {"(p.room IS NOT NULL)", false}, "join_rules": {"i.join_rule", false}, "guest_access": {"i.guest_access", false},
	"history_visibility": {"i.history_visibility", false}, "state_events": {"i.state_events", true},
}

// IsRoomOrder reports whether rooms can be sorted that way.
func IsRoomOrder(order string) bool { _, ok := roomOrders[order]; return ok }

const roomInfoColumns = `i.room, i.joined, i.local, i.state_events, i.federatable, i.creator, i.name, i.topic, i.alias, i.avatar, i.room_type,
i.encryption, i.join_rule, i.guest_access, i.history_visibility, i.replacement, r.id, r.version, CASE WHEN p.room IS NULL THEN 0 ELSE 1 END`

const fromRoomInfo = ` FROM room_info i JOIN room r ON r.room = i.room LEFT JOIN published p ON p.room = i.room `

func (q *RoomsQuery) where() (string, []any) {
	var conditions []string
	var args []any
	add := func(v any) string { args = append(args, v); return "$" + strconv.Itoa(len(args)) }
	if q.RoomID != "" {
		conditions = append(conditions, `r.id = `+add(q.RoomID))
	}
	if q.Term != "" {
		like := add("%" + likeEscaper.Replace(q.Term) + "%")
		conditions = append(conditions, `(LOWER(i.name) LIKE `+like+` ESCAPE '\' OR LOWER(i.alias) LIKE `+like+` ESCAPE '\' OR LOWER(r.id) = `+add(q.Term)+`)`)
	}
	if q.Public != nil {
		is := "IS NULL"
		if *q.Public {
			is = "IS NOT NULL"
		}
		conditions = append(conditions, `p.room `+is)
	}
	if q.Empty != nil {
		compare := "> 0"
		if *q.Empty {
			compare = "= 0"
		}
		conditions = append(conditions, `i.joined `+compare)
	}
	if len(conditions) == 0 {
		return "", args
	}
	return `WHERE ` + strings.Join(conditions, ` AND `), args
}

// Rooms reads a page of the list of rooms, and the number of all that match.
func (s *Store) Rooms(ctx context.Context, q *RoomsQuery) (rooms []RoomInfo, total int64, err error) {
	where, args := q.where()
	order := roomOrders[q.Order]
	if order.column == "" {
		order = roomOrders["name"]
	}
	direction := " ASC"
	if order.falling != q.Reverse {
		direction = " DESC"
	}
	err = s.read(ctx, "list rooms", func(r *store.Reader) error {
		if err := r.Row(`SELECT COUNT(*)`+fromRoomInfo+where, args...).Scan(&total); err != nil {
			return err
		}
		n := len(args)
		rows, err := r.Query(`SELECT `+roomInfoColumns+fromRoomInfo+where+` ORDER BY `+order.column+direction+`, r.id`+direction+
			` LIMIT $`+strconv.Itoa(n+1)+` OFFSET $`+strconv.Itoa(n+2), append(args, q.Limit, q.From)...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var i RoomInfo
			if err := rows.Scan(&i.Room, &i.Joined, &i.Local, &i.StateEvents, &i.Federatable, &i.Creator, &i.Name, &i.Topic, &i.Alias, &i.Avatar,
				&i.RoomType, &i.Encryption, &i.JoinRule, &i.GuestAccess, &i.Visibility, &i.Replacement, &i.RoomID, &i.Version, &i.Public); err != nil {
				return err
			}
			rooms = append(rooms, i)
		}
		return rows.Err()
	})
	return rooms, total, err
}

// ownUsers is the LIKE pattern of the users of a server.
func ownUsers(server string) string { return "@%:" + likeEscaper.Replace(server) }

// AllForgotten reports whether users of a server were in a room and all of them have forgotten it.
func (s *Store) AllForgotten(ctx context.Context, room int64, server string) (bool, error) {
	var all, forgotten int64
	err := s.row(ctx, "count who has forgotten", `SELECT COUNT(*), COALESCE(SUM(m.forgotten), 0) FROM member m JOIN name n ON n.nid = m.user_nid
WHERE m.room = $1 AND n.s LIKE $2 ESCAPE '\'`, []any{room, ownUsers(server)}, &all, &forgotten)
	return all > 0 && all == forgotten, err
}
