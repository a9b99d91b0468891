package roomserver

import (
	"context"
	"sync"

	"hearth/roomserver/storage"
)

// claims keeps two rooms from storing events with one id at the same time. Up to
// room version 2 it is the sender's server that chooses event ids, so they may
// clash; a claim lasts from the look into the store to the commit.
type claims struct {
	mu  sync.Mutex
	ids map[string]claimed
}

type claimed struct {
	room int64
	n    int
}

func newClaims() *claims { return &claims{ids: make(map[string]claimed)} }

// take claims an id for a room; false if another room has it.
func (c *claims) take(id string, room int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	has := c.ids[id]
	if has.n > 0 && has.room != room {
		return false
	}
	c.ids[id] = claimed{room, has.n + 1}
	return true
}

func (c *claims) release(ids []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		has := c.ids[id]
		if has.n--; has.n > 0 {
			c.ids[id] = has
		} else {
			delete(c.ids, id)
		}
	}
}

// claim claims the ids of events that are about to be stored in a room and returns
// those that belong to other rooms. release must be called after the commit. Where
// ids are hashes, there is nothing to claim.
func (s *Server) claim(ctx context.Context, r *room, ids []string) (foreign map[string]bool, release func(), err error) {
	if r.version.EventFormat != 1 || len(ids) == 0 {
		return nil, func() {}, nil
	}
	foreign = make(map[string]bool)
	var held []string
	keys := make([][]byte, 0, len(ids))
	for _, id := range ids {
		if s.claims.take(id, r.nid) {
			held = append(held, id)
			keys = append(keys, storage.EventKey(id))
		} else {
			foreign[id] = true
		}
	}
	release = func() { s.claims.release(held) }
	rows, err := s.store.EventsByKey(ctx, keys)
	if err != nil {
		release()
		return nil, nil, err
	}
	for _, row := range rows {
		if row.Room != r.nid {
			foreign[string(row.Key)] = true
		}
	}
	return foreign, release, nil
}
