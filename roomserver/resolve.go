package roomserver

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"math"
	"slices"

	"hearth/internal/pdu"
	"hearth/roomserver/state"
	"hearth/roomserver/stateres"
	"hearth/roomserver/storage"
)

// selfNid stands for an event of a batch in states that are worked out before the event
// has its number.
const selfNid = math.MaxInt64 >> 2

// maxMerged is how many results of state resolution a room remembers.
const maxMerged = 256

// merged is the resolution of several states: one of them with changes.
type merged struct {
	key     string // of the set of states
	base    *state.Snapshot
	changes []state.Entry
}

// merge resolves states ("State resolution"). The results are remembered by the set of
// snapshots; self may be among the events of the states.
func (b *batch) merge(ctx context.Context, work *workChain, snaps []*state.Snapshot, self *item) (merged, error) {
	snaps = slices.Clone(snaps)
	slices.SortFunc(snaps, func(a, b *state.Snapshot) int { return cmp.Compare(a.ID, b.ID) })
	snaps = slices.CompactFunc(snaps, func(a, b *state.Snapshot) bool { return a.ID == b.ID })
	if len(snaps) == 1 {
		return merged{base: snaps[0]}, nil
	}
	ids := make([]int64, len(snaps))
	for i, snap := range snaps {
		ids[i] = snap.ID
	}
	m := merged{key: string(storage.PackInts(ids))}
	if id, ok := b.room.merged[m.key]; ok {
		var err error
		m.base, err = work.one(ctx, id)
		return m, err
	}
	conflicts, _, err := state.Conflicts(ctx, work, snaps)
	if err != nil {
		return m, err
	}
	want := make(map[state.Key]int64, len(conflicts))
	if len(conflicts) > 0 {
		if want, err = b.resolveConflicts(ctx, work, snaps, conflicts, self); err != nil {
			return m, err
		}
	}
	m.base, m.changes = nearest(snaps, conflicts, want, b.base.snap.ID)
	return m, nil
}

// nearest picks the state from which the fewest changes lead to the resolved one; of
// equals the room's current one.
func nearest(snaps []*state.Snapshot, conflicts []state.Conflict, want map[state.Key]int64, current int64) (*state.Snapshot, []state.Entry) {
	best, least := 0, math.MaxInt
	for i, snap := range snaps {
		n := 0
		for _, c := range conflicts {
			if c.Events[i] != want[c.Key] {
				n++
			}
		}
		if n < least || n == least && snap.ID == current {
			best, least = i, n
		}
	}
	var changes []state.Entry
	for _, c := range conflicts {
		if c.Events[best] != want[c.Key] {
			changes = append(changes, state.Entry{Key: c.Key, Event: want[c.Key]})
		}
	}
	return snaps[best], changes
}

// resolveConflicts returns what holds the conflicted keys.
func (b *batch) resolveConflicts(ctx context.Context, work *workChain, snaps []*state.Snapshot, conflicts []state.Conflict, self *item) (map[state.Key]int64, error) {
	rest, err := b.unconflicted(ctx, work, snaps, conflicts)
	if err != nil {
		return nil, err
	}
	in := stateres.Input{Version: b.room.version, Conflicted: make([][]int64, len(snaps)), Unconflicted: rest}
	for _, c := range conflicts {
		for i, nid := range c.Events {
			if nid != 0 {
				in.Conflicted[i] = append(in.Conflicted[i], nid)
			}
		}
	}
	entries, err := stateres.Resolve(ctx, &eventSource{b: b, self: self}, in)
	if err == nil {
		err = rest.err
	}
	if err != nil {
		return nil, fmt.Errorf("resolve state of %s: %w", b.room.id, err)
	}
	want := make(map[state.Key]int64, len(entries))
	for _, e := range entries {
		key, ok, err := b.s.stateKey(ctx, e.Type, e.StateKey.StateKey)
		if err != nil {
			return nil, err
		}
		if ok {
			want[key] = e.Event
		}
	}
	return want, nil
}

// unconflictedState is what all states agree on. The first error of a read sticks.
type unconflictedState struct {
	ctx       context.Context
	s         *Server
	room      *room
	gens      *genCache
	view      state.View
	conflicts []state.Conflict // sorted by key
	err       error
}

func (b *batch) unconflicted(ctx context.Context, work *workChain, snaps []*state.Snapshot, conflicts []state.Conflict) (*unconflictedState, error) {
	u := &unconflictedState{ctx: ctx, s: b.s, room: b.room.room, gens: work.gens, view: b.base.view, conflicts: conflicts}
	if slices.ContainsFunc(snaps, func(s *state.Snapshot) bool { return s.ID == b.base.snap.ID }) {
		return u, nil
	}
	var err error
	u.view, err = state.Resolve(ctx, work, snaps[0])
	return u, err
}

func (u *unconflictedState) conflicted(key state.Key) bool {
	_, found := slices.BinarySearchFunc(u.conflicts, key, func(c state.Conflict, key state.Key) int { return c.Key.Compare(key) })
	return found
}

// Get implements stateres.State.
func (u *unconflictedState) Get(typ, stateKey string) int64 {
	key, ok, err := u.s.stateKey(u.ctx, typ, stateKey)
	if err != nil && u.err == nil {
		u.err = err
	}
	if err != nil || !ok || u.conflicted(key) {
		return 0
	}
	return u.view.Get(key)
}

// All implements stateres.State.
func (u *unconflictedState) All() iter.Seq[int64] {
	return func(yield func(int64) bool) {
		for e := range u.view.All() {
			if !u.conflicted(e.Key) && !yield(e.Event) {
				return
			}
		}
	}
}

// eventSource shows a room's events to state resolution.
type eventSource struct {
	b    *batch
	self *item
}

// Nodes implements stateres.Source.
func (src *eventSource) Nodes(ctx context.Context, nids []int64) ([]stateres.Node, error) {
	nodes := make([]stateres.Node, len(nids))
	var missing []int64
	at := make(map[int64]int)
	for i, nid := range nids {
		e, ok := src.b.room.event(nid)
		if nid == selfNid && src.self != nil {
			e, ok = src.self.stored, true
		}
		if !ok {
			e, ok = src.b.s.cache.Get(nid)
		}
		if !ok {
			missing = append(missing, nid)
			at[nid] = i
			continue
		}
		nodes[i] = stateres.Node{
			Auth: e.auth, Gen: e.gen, Rejected: e.flags&storage.FlagRejected != 0,
			PowerLevels: e.ev.Type == "m.room.power_levels" && e.ev.StateKeyEquals(""),
		}
	}
	if len(missing) == 0 {
		return nodes, nil
	}
	levels, ok, err := src.b.s.stateKey(ctx, "m.room.power_levels", "")
	if err != nil {
		return nil, err
	}
	rows, err := src.b.s.store.Skeletons(ctx, missing)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		nodes[at[row.Nid]] = stateres.Node{
			Auth: row.Auth, Gen: row.Gen, Rejected: row.Flags&storage.FlagRejected != 0,
			PowerLevels: ok && row.IsState && row.Type == levels.Type && row.StateKey == levels.StateKey,
		}
	}
	if len(rows) != len(missing) {
		return nil, fmt.Errorf("%d of %d events of room %s are not in the store", len(missing)-len(rows), len(missing), src.b.room.id)
	}
	return nodes, nil
}

// Events implements stateres.Source.
func (src *eventSource) Events(ctx context.Context, nids []int64) ([]*pdu.Event, error) {
	out := make([]*pdu.Event, len(nids))
	others := make([]int64, 0, len(nids))
	for i, nid := range nids {
		if nid == selfNid && src.self != nil {
			out[i] = src.self.ev
		} else {
			others = append(others, nid)
		}
	}
	events, err := src.b.s.events(ctx, src.b.room.room, others)
	if err != nil {
		return nil, err
	}
	for i := range out {
		if out[i] == nil {
			out[i], events = events[0].ev, events[1:]
		}
	}
	return out, nil
}
