package roomserver

import (
	"context"
	"iter"
	"sync"
)

// genCache remembers the generations of a room's state events, so that state resolution
// need not load the whole room's members to find out that their auth chains are of no interest.
type genCache struct {
	mu   sync.Mutex
	gens map[int64]int64
}

// maxGens bounds the cache of one room.
const maxGens = 200_000

// above collects the events of a state with a generation above a bound. Of a state that is too
// large it returns all, which is right, too.
func (c *genCache) above(ctx context.Context, s *Server, r *room, nids iter.Seq[int64], bound int64) ([]int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all, missing []int64
	for nid := range nids {
		all = append(all, nid)
		if _, ok := c.gens[nid]; !ok {
			missing = append(missing, nid)
		}
	}
	if len(all) > maxGens {
		return all, nil
	}
	if c.gens == nil || len(c.gens)+len(missing) > 2*maxGens {
		c.gens, missing = make(map[int64]int64, len(all)), all
	}
	if err := c.learn(ctx, s, r, missing); err != nil {
		return nil, err
	}
	found := all[:0]
	for _, nid := range all {
		if gen, ok := c.gens[nid]; !ok || gen > bound {
			found = append(found, nid)
		}
	}
	return found, nil
}

func (c *genCache) learn(ctx context.Context, s *Server, r *room, nids []int64) error {
	var unknown []int64
	for _, nid := range nids {
		e, ok := r.event(nid)
		if !ok {
			e, ok = s.cache.Get(nid)
		}
		if ok {
			c.gens[nid] = e.gen
		} else if nid != selfNid {
			unknown = append(unknown, nid)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	gens, err := s.store.Gens(ctx, unknown)
	for nid, gen := range gens {
		c.gens[nid] = gen
	}
	return err
}

// Above implements stateres.Ranked.
func (u *unconflictedState) Above(gen int64) iter.Seq[int64] {
	return func(yield func(int64) bool) {
		list, err := u.gens.above(u.ctx, u.s, u.room, u.All(), gen)
		if err != nil && u.err == nil {
			u.err = err
		}
		for _, nid := range list {
			if !yield(nid) {
				return
			}
		}
	}
}
