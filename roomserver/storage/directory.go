package storage

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"hearth/internal/store"
)

// Published is a row of the room directory.
type Published struct {
	Room     int64
	Joined   int64
	RoomType string
	Search   string // lower-case text that a search looks at
	Summary  []byte // JSON without the number of members
}

// Write adds or replaces the row.
func (p *Published) Write(tx *store.Tx) error {
	return tx.Exec(`INSERT INTO published (room, joined, room_type, search, summary) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (room) DO UPDATE SET joined = excluded.joined, room_type = excluded.room_type, search = excluded.search, summary = excluded.summary`,
		p.Room, p.Joined, p.RoomType, p.Search, p.Summary)
}

// Unpublish is the write that takes a room out of the directory.
func Unpublish(tx *store.Tx, room int64) error {
	return tx.Exec(`DELETE FROM published WHERE room = $1`, room)
}

// IsPublished reports whether a room is in the directory.
func (s *Store) IsPublished(ctx context.Context, room int64) (bool, error) {
	var n int64
	err := s.row(ctx, "look up published room", `SELECT 1 FROM published WHERE room = $1`, []any{room}, &n)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return n == 1, err
}

// DirectoryPage asks for a part of the directory: after (Joined, Room) in the order
// of falling numbers of members, or before it if Reverse.
type DirectoryPage struct {
	Joined, Room int64
	Reverse      bool
	Term         string   // lower case; empty: any
	Types        []string // "" is a room without type; nil: any
	Limit        int
}

// DirectoryStart is the place before the first room.
var DirectoryStart = DirectoryPage{Joined: math.MaxInt64, Room: math.MaxInt64}

// MaxRoomTypes bounds DirectoryPage.Types.
const MaxRoomTypes = 20

var likeEscaper = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`)

// Directory reads a page, in the direction of the walk, and counts the whole directory.
func (s *Store) Directory(ctx context.Context, p DirectoryPage) (rooms []Published, total int64, err error) {
	compare, order := "<", "DESC"
	if p.Reverse {
		compare, order = ">", "ASC"
	}
	q := `SELECT room, joined, room_type, search, summary FROM published WHERE (joined, room) ` + compare + ` ($1, $2) AND search LIKE $3 ESCAPE '\'`
	args := []any{p.Joined, p.Room, "%" + likeEscaper.Replace(p.Term) + "%"}
	if p.Types != nil {
		list := make([]string, 0, MaxRoomTypes)
		for _, t := range p.Types[:min(len(p.Types), MaxRoomTypes)] {
			args = append(args, t)
			list = append(list, fmt.Sprintf("$%d", len(args)))
		}
		if len(list) == 0 {
			list = append(list, `NULL`) // matches nothing
		}
		q += ` AND room_type IN (` + strings.Join(list, ",") + `)`
	}
	args = append(args, p.Limit)
	q += ` ORDER BY joined ` + order + `, room ` + order + fmt.Sprintf(` LIMIT $%d`, len(args))
	err = s.read(ctx, "read directory", func(r *store.Reader) error {
		if err := r.Row(`SELECT COUNT(*) FROM published`).Scan(&total); err != nil {
			return err
		}
		rows, err := r.Query(q, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var p Published
			if err := rows.Scan(&p.Room, &p.Joined, &p.RoomType, &p.Search, &p.Summary); err != nil {
				return err
			}
			rooms = append(rooms, p)
		}
		return rows.Err()
	})
	return rooms, total, err
}

// NearestInTime reads up to limit events at or after a time in milliseconds, oldest
// first; or at or before it, newest first.
func (s *Store) NearestInTime(ctx context.Context, room, ts, ord int64, before bool, limit int) (events []*Event, err error) {
	q := `WHERE e.room = $1 AND (e.ts, e.ord) > ($2, $3) AND e.flags & 4 = 0 ORDER BY e.ts, e.ord LIMIT $4`
	if before {
		q = `WHERE e.room = $1 AND (e.ts, e.ord) < ($2, $3) AND e.flags & 4 = 0 ORDER BY e.ts DESC, e.ord DESC LIMIT $4`
	}
	err = s.read(ctx, "find event by time", func(r *store.Reader) error {
		events, err = scanEvents(r.Query(`SELECT `+eventColumns+fromEvents+q, room, ts, ord, limit))
		return err
	})
	return events, err
}

// MoveAliases is the write that lets all aliases of a room point to another.
func MoveAliases(tx *store.Tx, from, to int64) error {
	return tx.Exec(`UPDATE alias SET room = $2 WHERE room = $1`, from, to)
}
