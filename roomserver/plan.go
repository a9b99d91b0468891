package roomserver

import (
	"cmp"
	"context"
	"slices"

	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/state"
	"hearth/roomserver/storage"
)

// plan says what an event does to a room where it does not simply follow all forward
// extremities: the state before and after it, and the room's state then. It is worked out
// before the event has its number, with selfNid in its place.
type plan struct {
	work   *workChain
	before *state.Snapshot
	// gap is the room's state before an event whose prev events we do not have, resolved with
	// what another server has told; nil: we have them.
	gap    *state.Snapshot
	after  int64 // number of the snapshot after the event; 0: it is before
	merges []*state.Snapshot
	keep   []extremity // the forward extremities that stay
	aside  bool        // the event becomes none

	// The room's state after the event: base with changes. base is nil for the state
	// after the event itself.
	base    *state.Snapshot
	changes []state.Entry
	current int64
	// delta leads from the room's state before to that after.
	delta []state.Entry

	told  []*stored // see roomapi.Entry.State
	gone  []roomapi.StateKey
	reset bool
}

// maxExtremities is how many forward extremities a room may have: as many as prev events an
// event may name, so that the next event of ours always follows all of them. An event that
// would be one more is accepted, but does not count for the room's state until another follows it.
const maxExtremities = maxPrev

// maxTold is how many changes of state an entry of the log tells one by one.
const maxTold = 500

// snapshotOf resolves states to one snapshot, which is fresh if it is none that is stored.
func (b *batch) snapshotOf(ctx context.Context, work *workChain, snaps []*state.Snapshot) (snap *state.Snapshot, fresh bool, err error) {
	m, err := b.merge(ctx, work, snaps, nil)
	if err != nil || len(m.changes) == 0 {
		if err == nil && m.key != "" {
			b.room.remember(m.key, m.base.ID)
		}
		return m.base, false, err
	}
	snap, err = grow(work, m.base, b.s.snapSeq.Add(1), m.changes)
	if err != nil {
		return nil, false, err
	}
	work.add(snap)
	b.mergedKeys = append(b.mergedKeys, mergedKey{m.key, snap.ID})
	return snap, true, nil
}

// mergedKey is a result of state resolution that is remembered once its snapshot is staged.
type mergedKey struct {
	key  string
	snap int64
}

// remember keeps a result of state resolution. The lock is held.
func (r *room) remember(key string, snap int64) {
	if r.merged == nil || len(r.merged) >= maxMerged {
		r.merged = make(map[string]int64)
	}
	r.merged[key] = snap
}

// plan works out what an accepted, shown event does. before is the state before it.
func (b *batch) plan(ctx context.Context, it *item, p *plan) error {
	after := p.before
	if it.row.IsState && it.flags&storage.FlagRejected == 0 {
		p.after = b.s.snapSeq.Add(1)
		var err error
		if after, err = grow(p.work, p.before, p.after, []state.Entry{{Key: it.key, Event: it.self()}}); err != nil {
			return err
		}
		if after == p.before { // a promoted event that held the key already
			p.after = 0
		} else {
			p.work.add(after)
		}
	}
	if it.hidden() {
		return nil
	}
	p.keep = b.keep(it)
	if len(p.keep) >= maxExtremities {
		p.aside = true
		it.flags |= storage.FlagAside
		return b.tellDelta(ctx, it, p, b.base.snap)
	}
	snaps := []*state.Snapshot{after}
	for _, x := range p.keep {
		snap, err := p.work.one(ctx, x.snap)
		if err != nil {
			return err
		}
		snaps = append(snaps, snap)
	}
	m, err := b.merge(ctx, p.work, snaps, it)
	if err != nil {
		return err
	}
	return b.planCurrent(ctx, it, p, after, m)
}

// planCurrent takes in what the room's state becomes.
func (b *batch) planCurrent(ctx context.Context, it *item, p *plan, after *state.Snapshot, m merged) error {
	if m.base != after || p.after == 0 {
		p.base = m.base
	}
	result := m.base
	if len(m.changes) > 0 {
		p.changes = m.changes
		p.current = b.s.snapSeq.Add(1)
		var err error
		if result, err = grow(p.work, m.base, p.current, m.changes); err != nil {
			return err
		}
		p.work.add(result)
	}
	if m.key != "" {
		b.mergedKeys = append(b.mergedKeys, mergedKey{m.key, result.ID})
	}
	var err error
	if p.delta, err = state.Diff(ctx, p.work, b.base.snap, result); err != nil {
		return err
	}
	// What growing at the commit needs is in memory then.
	for _, snap := range []*state.Snapshot{p.before, m.base} {
		if _, err := p.work.Load(ctx, snap.Chain); err != nil {
			return err
		}
	}
	return b.tellDelta(ctx, it, p, result)
}

// keep are the forward extremities that an event does not follow.
func (b *batch) keep(it *item) []extremity {
	var keep []extremity
	for _, x := range b.base.extremities {
		if !slices.Contains(it.prevNids, x.nid) {
			keep = append(keep, x)
		}
	}
	return keep
}

// tellDelta prepares what follows from the change of the room's state: what the log tells,
// the rows of members, and what later events of the batch see.
func (b *batch) tellDelta(ctx context.Context, it *item, p *plan, result *state.Snapshot) error {
	for _, d := range p.delta {
		if err := b.changeState(ctx, it, d); err != nil {
			return err
		}
	}
	list := p.delta
	if it.row.IsState && !changes(list, it.key) {
		// The event did not come to hold its key: readers must not believe it.
		nid, err := state.Get(ctx, p.work, result, it.key)
		if err != nil {
			return err
		}
		list = append(slices.Clone(list), state.Entry{Key: it.key, Event: nid})
	}
	p.reset = p.gap != nil || len(list) > maxTold
	if p.gap != nil {
		it.flags |= storage.FlagReset
	}
	told, gone, err := b.s.told(ctx, b.room.room, list, it.self(), p.reset)
	p.told, p.gone = told, gone
	if len(told) > 0 || len(gone) > 0 || p.reset {
		it.flags |= storage.FlagForked
	}
	return err
}

// told is a change of state as the log tells it, without the event self. After a reset only
// what concerns users of ours is told.
func (s *Server) told(ctx context.Context, r *room, delta []state.Entry, self int64, reset bool) (told []*stored, gone []roomapi.StateKey, err error) {
	var nids []int64
	for _, d := range delta {
		if reset {
			if ours, err := s.ownMember(ctx, d.Key); err != nil {
				return nil, nil, err
			} else if !ours || d.Event == 0 {
				continue
			}
		}
		switch d.Event {
		case self:
		case 0:
			texts, err := s.names.texts(ctx, []int64{d.Type, d.StateKey})
			if err != nil {
				return nil, nil, err
			}
			gone = append(gone, roomapi.StateKey{Type: texts[d.Type], StateKey: texts[d.StateKey]})
		default:
			nids = append(nids, d.Event)
		}
	}
	told, err = s.events(ctx, r, nids)
	return told, gone, err
}

// ownMember reports whether a key is that of the membership of a user of ours.
func (s *Server) ownMember(ctx context.Context, key state.Key) (bool, error) {
	texts, err := s.names.texts(ctx, []int64{key.Type, key.StateKey})
	return err == nil && texts[key.Type] == memberType && s.isLocal(texts[key.StateKey]), err
}

// changeState notes that a key of the room's state changes.
func (b *batch) changeState(ctx context.Context, it *item, d state.Entry) error {
	before, err := b.current(ctx, d.Key)
	if err != nil {
		return err
	}
	now := it.stored
	switch {
	case d.Event == 0:
		now = nil
	case d.Event != it.self():
		if now, err = b.s.event(ctx, b.room.room, d.Event); err != nil {
			return err
		}
	}
	b.overlay[d.Key] = now
	change, err := b.memberChange(ctx, before, now, d.Key)
	if err != nil || change == nil {
		return err
	}
	it.members = append(it.members, *change)
	return nil
}

// current returns the event that holds a key in the batch's state; nil if none does.
func (b *batch) current(ctx context.Context, key state.Key) (*stored, error) {
	if e, ok := b.overlay[key]; ok || b.base == nil {
		return e, nil
	}
	nid := b.base.view.Get(key)
	if nid == 0 {
		return nil, nil
	}
	return b.s.event(ctx, b.room.room, nid)
}

// memberChange is a change of somebody's membership in the room's state.
type memberChange struct {
	row           storage.Member
	by            *stored // whose number row has; nil: it has it
	before        int64   // membership
	server        string
	serverNid     int64
	change        int64 // of the server's number of joined members
	joined, asked int64 // changes of the room's numbers
}

// memberChange returns what it means that now takes the place of before; nil if it means
// nothing for the list of members.
func (b *batch) memberChange(ctx context.Context, before, now *stored, key state.Key) (*memberChange, error) {
	e := cmp.Or(now, before)
	if e == nil || e.ev.Type != memberType {
		return nil, nil
	}
	c := &memberChange{row: storage.Member{User: key.StateKey, Room: b.room.nid, Membership: storage.MembershipLeave}}
	var err error
	if c.row.Sender, err = b.name(ctx, e.ev.Sender); err != nil {
		return nil, err
	}
	c.server = pdu.Domain(*e.ev.StateKey)
	if c.serverNid, err = b.name(ctx, c.server); err != nil {
		return nil, err
	}
	if c.row.Nid, c.by = e.nid, nil; e.nid == 0 {
		c.by = e
	}
	c.before = membershipNumber(before)
	if now != nil {
		c.row.Membership = membershipNumber(now)
	}
	count := func(membership, by int64) {
		switch membership {
		case storage.MembershipJoin:
			c.joined += by
			c.change += by
		case storage.MembershipInvite:
			c.asked += by
		}
	}
	count(c.before, -1)
	count(c.row.Membership, 1)
	return c, nil
}

func membershipNumber(e *stored) int64 {
	if e == nil {
		return storage.MembershipLeave
	}
	membership, _ := pdu.GetString(e.ev.Content, "membership")
	return storage.MembershipNumber(membership)
}
