package roomserver

import (
	"context"
	"slices"

	"hearth/internal/pdu"
	"hearth/roomserver/state"
)

// withGaps adds to the changes of a value what other servers have told of it where our
// timeline has gaps. What the first of them says of the history visibility holds for what is
// before it, too, as far as we know no better.
func (s *Server) withGaps(ctx context.Context, r *room, k state.Key, key, other string, changes []change) ([]change, error) {
	h := r.committed.Load()
	if h == nil || len(h.gaps) == 0 {
		return changes, nil
	}
	for i, gap := range h.gaps {
		e, err := s.stateIn(ctx, r, gap.Snap, k)
		if err != nil {
			return nil, err
		}
		value := other
		if e != nil {
			if given, ok := pdu.GetString(e.ev.Content, key); ok {
				value = given
			}
		} else if len(changes) == 0 || changes[0].ord > gap.Ord {
			continue // nobody knows of it yet
		}
		if i == 0 && e != nil && e.ev.Type == visibilityType && (len(changes) == 0 || changes[0].ord > gap.Ord) {
			changes = slices.Insert(changes, 0, change{minOrd, value})
		}
		at, _ := slices.BinarySearchFunc(changes, gap.Ord, func(c change, ord int64) int {
			if c.ord < ord {
				return -1
			}
			return 1
		})
		changes = slices.Insert(changes, at, change{gap.Ord, value})
	}
	return changes, nil
}

// gapAfter finds the last gap within a part of the timeline.
func (h *head) gapAfter(low, high int64) (ord int64, ok bool) {
	for i := len(h.gaps) - 1; i >= 0; i-- {
		if g := h.gaps[i].Ord; g > low && g <= high {
			return g, true
		}
	}
	return 0, false
}
