package roomserver

import (
	"context"
	"slices"

	"hearth/internal/lru"
	"hearth/roomserver/state"
)

// historyKey names the history of a piece of a room's state.
type historyKey struct {
	room int64
	key  state.Key
}

// history is what a piece of state was over time, as of a stamp of its room.
type history struct {
	stamp   int64
	changes []change
}

const (
	// historyCacheBytes bounds the histories that are kept.
	historyCacheBytes = 4 << 20
	// historyOverhead is about what a history takes besides its changes.
	historyOverhead = 240
	// maxKeptChanges is how long a history that is kept may be.
	maxKeptChanges = 64
)

func newHistories() *lru.Cache[historyKey, history] {
	return lru.New(historyCacheBytes, func(_ historyKey, h history) int { return historyOverhead + 32*len(h.changes) })
}

// show makes a head what queries see. Histories are read anew unless events without
// state have only been added at the end.
func (s *Server) show(r *room, h *head, sameHistory bool) {
	if !sameHistory {
		r.stamp.Store(s.stamps.Add(1)) // what is remembered is not of the new head
	}
	r.committed.Store(h)
	if !sameHistory {
		r.stamp.Store(s.stamps.Add(1)) // what is being read may be of the old one
	}
}

// sameHistory reports whether a commit leaves the history of every piece of state as it is.
func (c *commit) sameHistory() bool {
	old := c.room.committed.Load()
	return old != nil && old.snap.ID == c.head.snap.ID && slices.Equal(old.gaps, c.head.gaps) &&
		!slices.ContainsFunc(c.items, func(it *item) bool { return it.ev.IsState() || it.promoted })
}

// history lists the values that a key of a state event's content had. Nobody may change
// the list.
func (s *Server) history(ctx context.Context, r *room, typ, stateKey, key, other string) ([]change, error) {
	k, ok, err := s.stateKey(ctx, typ, stateKey)
	if err != nil || !ok {
		return nil, err
	}
	stamp, name := r.stamp.Load(), historyKey{r.nid, k} // before anything is read
	if h, ok := s.histories.Get(name); ok && h.stamp == stamp {
		return h.changes, nil
	}
	changes, err := s.readHistory(ctx, r, k, key, other)
	if err != nil {
		return nil, err
	}
	changes = slices.Clip(changes)
	if stamp != 0 && len(changes) <= maxKeptChanges {
		s.histories.Put(name, history{stamp, changes})
	}
	return changes, nil
}
