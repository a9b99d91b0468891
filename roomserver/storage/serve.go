package storage

import (
	"context"
	"strings"

	"hearth/internal/store"
)

// Linked is the part of an event that walks over the DAG need.
type Linked struct {
	Nid, Ord, Flags, Snap int64
	Depth                 int64
	Key                   []byte
	Links                 Links
}

// Linked reads parts of events by number, in no particular order; unknown ones are left out.
func (s *Store) Linked(ctx context.Context, nids []int64) ([]Linked, error) {
	out := make([]Linked, 0, len(nids))
	err := s.read(ctx, "read event graph", func(r *store.Reader) error {
		return inChunks(nids, func(list string, args []any) error {
			rows, err := r.Query(`SELECT nid, ord, flags, snap, depth, id, links FROM event WHERE nid IN (`+list+`)`, args...)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var e Linked
				var links []byte
				if err := rows.Scan(&e.Nid, &e.Ord, &e.Flags, &e.Snap, &e.Depth, &e.Key, &links); err != nil {
					return err
				}
				if e.Links, err = UnpackLinks(links); err != nil {
					return err
				}
				out = append(out, e)
			}
			return rows.Err()
		})
	})
	return out, err
}

// Bodies hands the PDUs of events to f, in no particular order; unknown ones are left out. json is
// valid during f only.
func (s *Store) Bodies(ctx context.Context, nids []int64, f func(nid int64, json []byte) error) error {
	return s.read(ctx, "read events", func(r *store.Reader) error {
		return inChunks(nids, func(list string, args []any) error {
			rows, err := r.Query(`SELECT nid, json FROM body WHERE nid IN (`+list+`)`, args...)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var nid int64
				var json []byte
				if err := rows.Scan(&nid, &json); err != nil {
					return err
				}
				if err := f(nid, json); err != nil {
					return err
				}
			}
			return rows.Err()
		})
	})
}

// EventKeys returns the keys of events by number; unknown ones are left out.
func (s *Store) EventKeys(ctx context.Context, nids []int64) (map[int64][]byte, error) {
	keys := make(map[int64][]byte, len(nids))
	err := s.read(ctx, "read event ids", func(r *store.Reader) error {
		return inChunks(nids, func(list string, args []any) error {
			rows, err := r.Query(`SELECT nid, id FROM event WHERE nid IN (`+list+`)`, args...)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var nid int64
				var key []byte
				if err := rows.Scan(&nid, &key); err != nil {
					return err
				}
				keys[nid] = key
			}
			return rows.Err()
		})
	})
	return keys, err
}

// UsersOf lists up to limit users of a server who have or had to do with a room, those who
// are joined first.
func (s *Store) UsersOf(ctx context.Context, room int64, server string, limit int) (users []int64, err error) {
	suffix := ":" + server
	// The names of servers have no other characters that LIKE knows.
	like := "%" + strings.ReplaceAll(suffix, "_", `\_`)
	err = s.read(ctx, "list users of a server", func(r *store.Reader) error {
		rows, err := r.Query(`SELECT m.user_nid, n.s FROM member m JOIN name n ON n.nid = m.user_nid WHERE m.room = $1 AND n.s LIKE $2 ESCAPE '\'
ORDER BY CASE WHEN m.membership = 1 THEN 0 ELSE 1 END, m.nid LIMIT $3`, room, like, limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var user int64
			var id string
			if err := rows.Scan(&user, &id); err != nil {
				return err
			}
			if strings.HasSuffix(id, suffix) { // LIKE does not tell upper from lower case everywhere
				users = append(users, user)
			}
		}
		return rows.Err()
	})
	return users, err
}
