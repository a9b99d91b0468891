package storage

import (
	"context"
	"fmt"
	"strings"

	"hearth/internal/store"
)

// Relation says that event Nid relates to the event whose key is Parent.
type Relation struct {
	Room   int64
	Parent []byte // EventKey
	Ord    int64
	Nid    int64
	Rel    int64 // name of rel_type
	Type   int64
	Sender int64
	TS     int64 // milliseconds
	// Thread says that Rel is m.thread.
	Thread bool
}

const (
	insertRelation = `INSERT INTO relation (room, parent, ord, nid, rel, type, sender, ts) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`
	upsertRelated  = `INSERT INTO related (room, parent, thread_count, thread_ord) VALUES ($1, $2, $3, $4)
ON CONFLICT (room, parent) DO UPDATE SET thread_count = related.thread_count + excluded.thread_count,
 thread_ord = CASE WHEN excluded.thread_ord > related.thread_ord THEN excluded.thread_ord ELSE related.thread_ord END`
	deleteRelation = `DELETE FROM relation WHERE nid = $1`
	shrinkThread   = `UPDATE related SET thread_count = thread_count - 1 WHERE room = $1 AND parent = $2`
)

func (rel *Relation) write(tx *store.Tx) error {
	if err := tx.Exec(insertRelation, rel.Room, rel.Parent, rel.Ord, rel.Nid, rel.Rel, rel.Type, rel.Sender, rel.TS); err != nil {
		return err
	}
	count, ord := 0, int64(0)
	if rel.Thread {
		count, ord = 1, rel.Ord
	}
	return tx.Exec(upsertRelated, rel.Room, rel.Parent, count, ord)
}

// undo removes the relation of a redacted child.
func (rel *Relation) undo(tx *store.Tx) error {
	if err := tx.Exec(deleteRelation, rel.Nid); err != nil {
		return err
	}
	if rel.Thread {
		return tx.Exec(shrinkThread, rel.Room, rel.Parent)
	}
	return nil
}

// Related is what is known of an event's children without looking at them.
type Related struct {
	Parent      []byte
	ThreadCount int64
	ThreadOrd   int64
}

// Related finds out which of the events have children.
func (s *Store) Related(ctx context.Context, room int64, parents [][]byte) (related []Related, err error) {
	const few, part = 16, 64
	err = s.read(ctx, "read relations", func(r *store.Reader) error {
		for len(parents) > 0 {
			n, size, q := min(len(parents), part), part, selectRelated
			if n <= few {
				size, q = few, selectFewRelated
			}
			args := make([]any, size+1)
			args[0] = room
			for i := range size { // padded, so that two statements serve all
				args[i+1] = parents[min(i, n-1)]
			}
			parents = parents[n:]
			found, err := scanRelated(r.Query(q, args...))
			if err != nil {
				return err
			}
			related = append(related, found...)
		}
		return nil
	})
	return related, err
}

// These take a room and 64 or 16 parents.
var selectRelated, selectFewRelated = relatedQuery(64), relatedQuery(16)

func relatedQuery(parents int) string {
	var list strings.Builder
	for i := range parents {
		if i > 0 {
			list.WriteByte(',')
		}
		fmt.Fprintf(&list, "$%d", i+2)
	}
	return `SELECT parent, thread_count, thread_ord FROM related WHERE room = $1 AND parent IN (` + list.String() + `)`
}

func scanRelated(rows *store.Rows, err error) ([]Related, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var related []Related
	for rows.Next() {
		var rel Related
		if err := rows.Scan(&rel.Parent, &rel.ThreadCount, &rel.ThreadOrd); err != nil {
			return nil, err
		}
		related = append(related, rel)
	}
	return related, rows.Err()
}

// Threads lists thread roots of a room with their last event before an order,
// the thread with the newest event first.
func (s *Store) Threads(ctx context.Context, room, before int64, limit int) (threads []Related, err error) {
	err = s.read(ctx, "list threads", func(r *store.Reader) error {
		threads, err = scanRelated(r.Query(`SELECT parent, thread_count, thread_ord FROM related
WHERE room = $1 AND thread_ord < $2 AND thread_count > 0 ORDER BY thread_ord DESC LIMIT $3`, room, before, limit))
		return err
	})
	return threads, err
}

// ChildFilter selects children. Zero fields select everything.
type ChildFilter struct {
	Rel, Type, Sender int64
}

const relationColumns = `room, parent, ord, nid, rel, type, sender, ts`

// Children reads up to limit children of an event with low < ord < high, newest
// first, or oldest first.
func (s *Store) Children(ctx context.Context, room int64, parent []byte, f ChildFilter, low, high int64, oldestFirst bool, limit int) (children []Relation, err error) {
	order := "DESC"
	if oldestFirst {
		order = "ASC"
	}
	kind := "($5 = 0 OR rel = $5)"
	if f.Rel != 0 { // by the index for it
		kind = "rel = $5"
	}
	q := `SELECT ` + relationColumns + ` FROM relation WHERE room = $1 AND parent = $2 AND ord > $3 AND ord < $4
 AND ` + kind + ` AND ($6 = 0 OR type = $6) AND ($7 = 0 OR sender = $7) ORDER BY ord ` + order + ` LIMIT $8`
	err = s.read(ctx, "read children", func(r *store.Reader) error {
		rows, err := r.Query(q, room, parent, low, high, f.Rel, f.Type, f.Sender, limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var c Relation
			if err := rows.Scan(&c.Room, &c.Parent, &c.Ord, &c.Nid, &c.Rel, &c.Type, &c.Sender, &c.TS); err != nil {
				return err
			}
			children = append(children, c)
		}
		return rows.Err()
	})
	return children, err
}

// CountChildren counts a sender's children of one kind.
func (s *Store) CountChildren(ctx context.Context, room int64, parent []byte, rel, sender int64) (n int64, err error) {
	err = s.read(ctx, "count children", func(r *store.Reader) error {
		return r.Row(`SELECT COUNT(*) FROM relation WHERE room = $1 AND parent = $2 AND sender = $3 AND rel = $4`, room, parent, sender, rel).Scan(&n)
	})
	return n, err
}
