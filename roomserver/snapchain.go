package roomserver

import (
	"context"
	"maps"

	"hearth/roomserver/state"
	"hearth/roomserver/storage"
)

// snapChain holds the snapshots on which a room's next state builds, so that
// growing it needs no I/O. It is immutable.
type snapChain struct {
	s    *Server
	room *room
	byID map[int64]*state.Snapshot
	gens *genCache // shared by all chains that come from one
}

func newSnapChain(s *Server, r *room) *snapChain {
	return &snapChain{s: s, room: r, byID: make(map[int64]*state.Snapshot), gens: new(genCache)}
}

// snapCacheBytes bounds the cache of snapshots.
const snapCacheBytes = 8 << 20

func snapSize(_ int64, s *state.Snapshot) int { return len(s.Delta) + 8*len(s.Chain) + 150 }

// Load implements state.Loader: from the chain, from what is staged, otherwise from the store.
func (c *snapChain) Load(ctx context.Context, ids []int64) ([]*state.Snapshot, error) {
	out := make([]*state.Snapshot, len(ids))
	var missing []int64
	for i, id := range ids {
		if out[i] = c.byID[id]; out[i] != nil {
			continue
		}
		if out[i] = c.room.stagedSnap(id); out[i] != nil {
			continue
		}
		if cached, ok := c.s.snaps.Get(id); ok {
			out[i] = cached
			continue
		}
		missing = append(missing, id)
	}
	if len(missing) == 0 {
		return out, nil
	}
	read, err := readSnaps(ctx, c.s.store, missing)
	if err != nil {
		return nil, err
	}
	for i, id := range ids {
		if out[i] == nil && read[id] != nil {
			out[i] = read[id]
			c.s.snaps.Put(id, out[i])
		}
	}
	return out, nil
}

// one returns a snapshot: storage.ErrNotFound if there is none with that number.
func (c *snapChain) one(ctx context.Context, id int64) (*state.Snapshot, error) {
	snaps, err := c.Load(ctx, []int64{id})
	if err != nil {
		return nil, err
	}
	if snaps[0] == nil {
		return nil, storage.ErrNotFound
	}
	return snaps[0], nil
}

// grow makes the snapshot that changes lead to.
func (c *snapChain) grow(prev *state.Snapshot, id int64, changes []state.Entry) (*state.Snapshot, error) {
	return grow(c, prev, id, changes)
}

func grow(l state.Loader, prev *state.Snapshot, id int64, changes []state.Entry) (*state.Snapshot, error) {
	if prev == nil {
		return state.Root(id, changes), nil
	}
	return state.Append(context.Background(), l, prev, id, changes)
}

// with returns the chain for the state after snap.
func (c *snapChain) with(snap *state.Snapshot) *snapChain {
	next := &snapChain{s: c.s, room: c.room, gens: c.gens, byID: make(map[int64]*state.Snapshot, len(snap.Chain)+1)}
	for _, id := range snap.Chain {
		if s, ok := c.byID[id]; ok {
			next.byID[id] = s
		}
	}
	next.byID[snap.ID] = snap
	return next
}

// workChain is a chain on which several states are compared and grown: it keeps what it
// has loaded, so that the same again needs no I/O.
type workChain struct{ snapChain }

func (c *snapChain) work() *workChain {
	return &workChain{snapChain{s: c.s, room: c.room, gens: c.gens, byID: maps.Clone(c.byID)}}
}

// Load implements state.Loader.
func (w *workChain) Load(ctx context.Context, ids []int64) ([]*state.Snapshot, error) {
	out, err := w.snapChain.Load(ctx, ids)
	for _, s := range out {
		if s != nil {
			w.byID[s.ID] = s
		}
	}
	return out, err
}

func (w *workChain) one(ctx context.Context, id int64) (*state.Snapshot, error) {
	snap, err := w.snapChain.one(ctx, id)
	if err == nil {
		w.byID[id] = snap
	}
	return snap, err
}

// add takes in a snapshot that is not stored yet.
func (w *workChain) add(snap *state.Snapshot) { w.byID[snap.ID] = snap }

func readSnaps(ctx context.Context, store *storage.Store, ids []int64) (map[int64]*state.Snapshot, error) {
	rows, err := store.Snaps(ctx, ids)
	if err != nil {
		return nil, err
	}
	snaps := make(map[int64]*state.Snapshot, len(rows))
	for _, row := range rows {
		snaps[row.Nid] = &state.Snapshot{
			ID: row.Nid, Seq: int(row.Seq), Prev: row.Prev, Parent: row.Parent, Chain: row.Chain, N: int(row.N), Delta: row.Delta,
		}
	}
	return snaps, nil
}

func snapRow(s *state.Snapshot, room int64) storage.Snap {
	return storage.Snap{
		Nid: s.ID, Room: room, Seq: int64(s.Seq), Prev: s.Prev, Parent: s.Parent, Chain: s.Chain, N: int64(s.N), Delta: s.Delta,
	}
}

// loadState reads the snapshot with the given number, its chain and its contents into h.
func (s *Server) loadState(ctx context.Context, r *room, h *head, id int64) (err error) {
	work := newSnapChain(s, r).work()
	if h.snap, err = work.one(ctx, id); err != nil {
		return err
	}
	if h.view, err = state.Resolve(ctx, work, h.snap); err != nil {
		return err
	}
	h.chain = work.with(h.snap)
	return nil
}
