package roomserver

import (
	"context"
	"errors"

	"hearth/internal/pdu"
	"hearth/roomserver/state"
	"hearth/roomserver/storage"
)

// withState lets the history of a value end with what the room's state has. It is another
// one than that of the last event where state resolution has chosen against that event, or
// has taken it back later.
func (s *Server) withState(ctx context.Context, r *room, k state.Key, key, other string, changes []change) ([]change, error) {
	h := r.committed.Load()
	if h == nil || len(changes) == 0 {
		return changes, nil
	}
	last := changes[len(changes)-1]
	if last.ord > storage.OrdAfter(h.pos) { // a later commit than the one that is shown
		return changes, nil
	}
	nid := h.view.Get(k)
	value := other
	if nid != 0 {
		e, err := s.event(ctx, r, nid)
		if err != nil {
			return nil, err
		}
		if v, ok := pdu.GetString(e.ev.Content, key); ok {
			value = v
		}
	}
	if value == last.value {
		return changes, nil
	}
	ord, err := s.heldSince(ctx, r, h, k, nid, last.ord)
	if err != nil {
		return nil, err
	}
	return append(changes, change{ord, value}), nil
}

// heldSince finds, after a place in the timeline, the event since which the room's state has
// an event for a key, and returns its order. It looks at a number of places that grows with
// the logarithm of the distance.
func (s *Server) heldSince(ctx context.Context, r *room, h *head, k state.Key, nid, after int64) (int64, error) {
	low, high := after>>storage.OrdShift, h.pos // it is held at high, and not known to be at low
	for low+1 < high {
		middle := low + (high-low)/2
		held, err := s.holds(ctx, r, h, k, nid, storage.OrdAfter(middle))
		if err != nil {
			return 0, err
		}
		if held {
			high = middle
		} else {
			low = middle
		}
	}
	return max(storage.LiveOrd(high), after+1), nil
}

func (s *Server) holds(ctx context.Context, r *room, h *head, k state.Key, nid, ord int64) (bool, error) {
	id, _, err := s.store.SnapAt(ctx, r.nid, ord)
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	snap, err := h.chain.one(ctx, id)
	if err != nil {
		return false, err
	}
	has, err := state.Get(ctx, h.chain, snap, k)
	return has == nid, err
}
