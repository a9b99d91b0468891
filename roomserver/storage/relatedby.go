package storage

import (
	"context"

	"hearth/internal/store"
)

// RelationFilter selects events by the children that they have: one of one of the
// kinds Rels that one of Senders sent. A nil list selects everything, an empty one
// nothing.
type RelationFilter struct {
	Rels, Senders []int64
}

// Probes is how many index entries a look for the children of one event may need.
func (f RelationFilter) Probes() int { return max(1, len(f.Rels)) * max(1, len(f.Senders)) }

// RelatedBy finds out which of the events have such a child; the result holds their
// keys. It tells too for how many probes there was cause.
func (s *Store) RelatedBy(ctx context.Context, room int64, parents [][]byte, f RelationFilter) (found map[string]bool, probes int, err error) {
	found = make(map[string]bool)
	if f.Rels != nil && len(f.Rels) == 0 || f.Senders != nil && len(f.Senders) == 0 {
		return found, 0, nil
	}
	related, err := s.Related(ctx, room, parents) // most have no children
	if err != nil || len(related) == 0 {
		return found, 0, err
	}
	err = s.read(ctx, "read relations", func(r *store.Reader) error {
		for _, parent := range related {
			ok, err := hasChild(r, room, parent.Parent, f)
			if err != nil {
				return err
			}
			if ok {
				found[string(parent.Parent)] = true
			}
		}
		return nil
	})
	return found, len(related) * f.Probes(), err
}

// hasChild probes an index for each kind and sender: how many children there are does
// not matter.
func hasChild(r *store.Reader, room int64, parent []byte, f RelationFilter) (found bool, err error) {
	const q = `SELECT EXISTS (SELECT 1 FROM relation WHERE room = $1 AND parent = $2`
	rels, senders := f.Rels, f.Senders
	if rels == nil {
		rels = []int64{0}
	}
	if senders == nil {
		senders = []int64{0}
	}
	for _, rel := range rels {
		for _, sender := range senders {
			var row *store.Row
			switch {
			case rel == 0 && sender == 0:
				row = r.Row(q+`)`, room, parent)
			case rel == 0:
				row = r.Row(q+` AND sender = $3)`, room, parent, sender)
			case sender == 0:
				row = r.Row(q+` AND rel = $3)`, room, parent, rel)
			default:
				row = r.Row(q+` AND sender = $3 AND rel = $4)`, room, parent, sender, rel)
			}
			if err := row.Scan(&found); err != nil || found {
				return found, err
			}
		}
	}
	return false, nil
}
