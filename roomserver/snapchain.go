package roomserver

import (
	"context"

	"hearth/roomserver/state"
	"hearth/roomserver/storage"
)

// snapChain holds the snapshots on which a room's next state builds, so that
// growing it needs no I/O. It is immutable.
type snapChain struct {
	store *storage.Store
	byID  map[int64]*state.Snapshot
}

func newSnapChain(store *storage.Store) *snapChain {
	return &snapChain{store: store, byID: make(map[int64]*state.Snapshot)}
}

// Load implements state.Loader: from the chain, otherwise from the store.
func (c *snapChain) Load(ctx context.Context, ids []int64) ([]*state.Snapshot, error) {
	out := make([]*state.Snapshot, len(ids))
	var missing []int64
	for i, id := range ids {
		if out[i] = c.byID[id]; out[i] == nil {
			missing = append(missing, id)
		}
	}
	if len(missing) == 0 {
		return out, nil
	}
	read, err := readSnaps(ctx, c.store, missing)
	if err != nil {
		return nil, err
	}
	for i, id := range ids {
		if out[i] == nil {
			out[i] = read[id]
		}
	}
	return out, nil
}

// grow makes the snapshot that changes lead to.
func (c *snapChain) grow(prev *state.Snapshot, id int64, changes []state.Entry) (*state.Snapshot, error) {
	if prev == nil {
		return state.Root(id, changes), nil
	}
	return state.Append(context.Background(), c, prev, id, changes)
}

// with returns the chain for the state after snap.
func (c *snapChain) with(snap *state.Snapshot) *snapChain {
	next := &snapChain{store: c.store, byID: make(map[int64]*state.Snapshot, len(snap.Chain)+1)}
	for _, id := range snap.Chain {
		if s, ok := c.byID[id]; ok {
			next.byID[id] = s
		}
	}
	next.byID[snap.ID] = snap
	return next
}

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
func (s *Server) loadState(ctx context.Context, h *head, id int64) error {
	snaps, err := readSnaps(ctx, s.store, []int64{id})
	if err != nil {
		return err
	}
	if h.snap = snaps[id]; h.snap == nil {
		return storage.ErrNotFound
	}
	h.chain = newSnapChain(s.store)
	h.chain.byID[id] = h.snap
	chain, err := readSnaps(ctx, s.store, h.snap.Chain)
	if err != nil {
		return err
	}
	for _, snap := range chain {
		h.chain.byID[snap.ID] = snap
	}
	h.view, err = state.Resolve(ctx, h.chain, h.snap)
	return err
}
