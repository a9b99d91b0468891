package roomserver

import (
	"context"
	"errors"
	"slices"

	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/auth"
	"hearth/roomserver/state"
	"hearth/roomserver/storage"
)

// incoming is an event of another server that is to enter a room.
type incoming struct {
	ev *pdu.Event
	// state is the state before the event as another server gave it, for an event whose
	// prev events cannot be had; nil: it follows from the prev events.
	state *state.Snapshot
	// federate: we send the event on to the other servers in the room.
	federate bool
}

// verdict is what became of an incoming event. It is on disk once the batch is, unless it
// was known or events are missing.
type verdict struct {
	known bool
	// prev and auth are ids of events that it names and that we do not have; of prev
	// events we need the state after them, too.
	prev, auth []string
}

func (v *verdict) missing() bool { return len(v.prev)+len(v.auth) > 0 }

// take lets an event of another server enter the room ("Checks performed on receipt of a
// PDU", 4 to 6; what comes before has been done). One that its auth events or the state
// before it forbid is stored as rejected; one that the current state forbids as soft-failed.
// An empty batch takes one event. Errors that are a *merr.Error are the event's fault.
func (b *batch) take(ctx context.Context, in *incoming) (v verdict, err error) {
	ev := in.ev
	if ev.RoomID != b.room.id {
		return v, merr.InvalidParam("The event is of another room")
	}
	if len(ev.PrevEvents) == 0 || ev.Type == "m.room.create" {
		return v, merr.Forbidden("The event follows no other")
	}
	ids := append(append([]string{ev.EventID}, ev.PrevEvents...), ev.AuthEvents...)
	if b.room.version.DomainlessRoomIDs {
		ids = append(ids, createID(b.room.id))
	}
	known, err := b.s.eventsByID(ctx, b.room.room, ids)
	if err != nil {
		return v, err
	}
	was := known[ev.EventID]
	if was != nil && was.flags&storage.FlagOutlier == 0 {
		return verdict{known: true}, nil
	}
	if v = missingOf(in, known); v.missing() {
		return v, nil
	}
	if err := b.claim(ctx, ev.EventID); err != nil {
		return v, err
	}
	if err = b.enter(ctx, in, known, was); err != nil {
		b.drop()
	}
	return v, err
}

// drop gives up what a batch that is not staged holds.
func (b *batch) drop() {
	if b.release != nil {
		b.release()
		b.release = nil
	}
}

// missingOf lists what an event names and we do not have.
func missingOf(in *incoming, known map[string]*stored) (v verdict) {
	for _, id := range in.ev.PrevEvents {
		if e := known[id]; in.state == nil && (e == nil || e.snap == 0) {
			v.prev = append(v.prev, id)
		}
	}
	for _, id := range in.ev.AuthEvents {
		if known[id] == nil {
			v.auth = append(v.auth, id)
		}
	}
	return v
}

// claim makes sure that the id is not that of another room's event.
func (b *batch) claim(ctx context.Context, id string) error {
	foreign, release, err := b.s.claim(ctx, b.room.room, []string{id})
	if err != nil {
		return err
	}
	if foreign[id] {
		release()
		return merr.Forbidden("Another room has an event with this id")
	}
	b.release = release
	return nil
}

// enter makes the event an item of the batch.
func (b *batch) enter(ctx context.Context, in *incoming, known map[string]*stored, was *stored) error {
	ev := in.ev
	it := &item{prevNids: []int64{}, stored: &stored{depth: min(max(ev.Depth, 1), pdu.MaxDepth), gen: 1, ev: ev}, federate: in.federate}
	it.authEvents, _ = authEvents(ev, known)
	for _, e := range it.authEvents {
		it.gen = max(it.gen, e.gen+1)
		it.auth = append(it.auth, e.nid)
	}
	for _, id := range ev.PrevEvents {
		if e := known[id]; e != nil && !slices.Contains(it.prevNids, e.nid) {
			it.prevNids = append(it.prevNids, e.nid)
		}
	}
	if was != nil {
		it.promoted, it.nid, it.gen, it.flags = true, was.nid, was.gen, storage.FlagPromoted
	}
	p, err := b.before(ctx, in, known)
	if err != nil {
		return err
	}
	linear := in.state == nil && b.followsAll(it)
	st := b.stateFor(ctx, p, linear)
	now, err := b.stateNow(ctx, in, p)
	if err != nil {
		return err
	}
	if err := b.judge(it, known[createID(b.room.id)], st, now, linear); err != nil {
		return err
	}
	if err := b.redactions(ctx, it, was, st); err != nil {
		return err
	}
	if err := b.place(ctx, it); err != nil {
		return err
	}
	if it.hidden() {
		it.relation = nil
	}
	b.items = append(b.items, it)
	if linear && !it.hidden() {
		return b.follow(ctx, it)
	}
	it.plan = p
	if it.row.IsState {
		nid, err := state.Get(ctx, p.work, p.before, it.key)
		if err != nil {
			return err
		}
		if nid != 0 && nid != it.nid {
			if it.replaced, err = b.s.event(ctx, b.room.room, nid); err != nil {
				return err
			}
		}
	}
	return b.plan(ctx, it, p)
}

// followsAll reports whether the event's prev events are the forward extremities.
func (b *batch) followsAll(it *item) bool {
	if len(it.prevNids) != len(b.base.extremities) || len(it.prevNids) != len(it.ev.PrevEvents) {
		return false
	}
	for _, x := range b.base.extremities {
		if !slices.Contains(it.prevNids, x.nid) {
			return false
		}
	}
	return true
}

// before works out the state before an event: that after its prev events, resolved.
func (b *batch) before(ctx context.Context, in *incoming, known map[string]*stored) (*plan, error) {
	p := &plan{work: b.base.chain.work()}
	var snaps []*state.Snapshot
	if in.state != nil {
		p.work.add(in.state)
		p.merges = append(p.merges, in.state)
		snaps = append(snaps, in.state)
	}
	for _, id := range in.ev.PrevEvents {
		e := known[id]
		if e == nil || e.snap == 0 {
			continue // the given state stands for it
		}
		snap, err := p.work.one(ctx, e.snap)
		if err != nil {
			return nil, err
		}
		snaps = append(snaps, snap)
	}
	snap, fresh, err := b.snapshotOf(ctx, p.work, snaps)
	if fresh {
		p.merges = append(p.merges, snap)
	}
	p.before = snap
	return p, err
}

// stateFor shows the state before an event to the auth rules.
func (b *batch) stateFor(ctx context.Context, p *plan, linear bool) failing {
	if linear || p.before.ID == b.base.snap.ID {
		return &authState{ctx: ctx, b: b}
	}
	return &snapState{ctx: ctx, b: b, loader: p.work, snap: p.before}
}

// stateNow is the current state for the check for soft failure. Where another server told
// the state before the event, ours may be out of date, and what was told may be a lie: so it
// is the resolution of both.
func (b *batch) stateNow(ctx context.Context, in *incoming, p *plan) (failing, error) {
	if in.state == nil {
		return &authState{ctx: ctx, b: b}, nil
	}
	snap, fresh, err := b.snapshotOf(ctx, p.work, []*state.Snapshot{p.before, b.base.snap})
	if fresh {
		p.merges = append(p.merges, snap)
	}
	p.gap = snap
	return &snapState{ctx: ctx, b: b, loader: p.work, snap: snap}, err
}

// failing is a state whose reads can fail: then the rules must not be believed.
type failing interface {
	auth.State
	failed() error
}

func (a *authState) failed() error { return a.err }

// snapState shows a snapshot to the auth rules.
type snapState struct {
	ctx    context.Context
	b      *batch
	loader state.Loader
	snap   *state.Snapshot
	err    error
}

func (s *snapState) failed() error { return s.err }

// Event implements auth.State.
func (s *snapState) Event(typ, stateKey string) *pdu.Event {
	e, err := s.read(typ, stateKey)
	if err != nil && s.err == nil {
		s.err = err
	}
	if e == nil {
		return nil
	}
	return e.ev
}

func (s *snapState) read(typ, stateKey string) (*stored, error) {
	key, ok, err := s.b.s.stateKey(s.ctx, typ, stateKey)
	if err != nil || !ok {
		return nil, err
	}
	nid, err := state.Get(s.ctx, s.loader, s.snap, key)
	if err != nil || nid == 0 {
		return nil, err
	}
	return s.b.s.event(s.ctx, s.b.room.room, nid)
}

// judge decides whether the event is rejected or soft-failed.
func (b *batch) judge(it *item, create *stored, before, now failing, linear bool) error {
	if !b.room.version.DomainlessRoomIDs {
		create = nil
	}
	err := checkAuthEvents(it.ev, it.authEvents, create)
	if err == nil {
		if err = auth.Check(it.ev, before); before.failed() != nil {
			return before.failed()
		}
	}
	if rejected, err := asRejection(err); err != nil || rejected {
		it.flags |= storage.FlagRejected
		return err
	}
	if !linear {
		err = auth.Check(it.ev, now)
		if now.failed() != nil {
			return now.failed()
		}
		softFailed, err := asRejection(err)
		if err != nil {
			return err
		}
		if softFailed {
			it.flags |= storage.FlagSoftFailed
		}
	}
	if !policyOf(now.Event(policyType, ""), b.base.hosts).recommends(it.ev) {
		it.flags |= storage.FlagSoftFailed
	}
	return now.failed()
}

// asRejection tells a rejection from other errors.
func asRejection(err error) (rejected bool, other error) {
	var rejection *auth.Rejection
	if errors.As(err, &rejection) {
		return true, nil
	}
	return false, err
}

// maxWaitingRedactions is how many redactions that came before their target are looked at.
const maxWaitingRedactions = 20

// redactions applies the event to its target, if it is a redaction, and applies redactions
// that came before the event to it ("Redactions"; room versions, "Handling redactions").
func (b *batch) redactions(ctx context.Context, it *item, was *stored, st failing) error {
	if it.flags&storage.FlagRejected != 0 {
		return nil
	}
	if was != nil && was.redactedBy != 0 {
		by, err := b.s.event(ctx, b.room.room, was.redactedBy)
		if err != nil {
			return err
		}
		it.ev, it.redactedBy, it.redaction = was.ev, was.redactedBy, by
		return nil
	}
	if it.ev.Type == redactionType && it.ev.Redacts != "" && !it.hidden() {
		if err := b.applyRedaction(ctx, it, st); err != nil {
			return err
		}
	}
	return b.beRedacted(ctx, it)
}

func (b *batch) applyRedaction(ctx context.Context, it *item, st failing) error {
	target, err := b.s.eventByID(ctx, b.room.room, it.ev.Redacts)
	if errors.Is(err, storage.ErrNotFound) {
		b.rows.Waiting = append(b.rows.Waiting, storage.WaitingRedaction{Room: b.room.nid, Target: storage.EventKey(it.ev.Redacts)})
		return nil
	}
	if err != nil {
		return err
	}
	if target.redactedBy != 0 || target.flags&storage.FlagRejected != 0 {
		return nil
	}
	allowed := auth.MayRedact(it.ev, target.ev, st)
	if st.failed() != nil || !allowed {
		return st.failed()
	}
	return b.redact(target, it.stored)
}

// beRedacted puts the redacted form in the place of an event whose redaction came first.
func (b *batch) beRedacted(ctx context.Context, it *item) error {
	waiting, err := b.waitingRedactions(ctx, it.ev.EventID)
	if err != nil || len(waiting) == 0 {
		return err
	}
	b.rows.Arrived = append(b.rows.Arrived, storage.WaitingRedaction{Room: b.room.nid, Target: storage.EventKey(it.ev.EventID)})
	for _, by := range waiting {
		snap, err := b.base.chain.one(ctx, by.snap)
		if err != nil {
			return err
		}
		st := &snapState{ctx: ctx, b: b, loader: b.base.chain, snap: snap}
		allowed := auth.MayRedact(by.ev, it.ev, st)
		if st.err != nil {
			return st.err
		}
		if !allowed {
			continue
		}
		form, err := it.ev.Redact()
		if err != nil {
			return err
		}
		it.ev, it.redactedBy, it.redaction = form, by.nid, by
		return nil
	}
	return nil
}

// waitingRedactions finds accepted redactions of an event that is not there yet.
func (b *batch) waitingRedactions(ctx context.Context, eventID string) (list []*stored, err error) {
	b.room.mu.Lock()
	for _, e := range b.room.pending {
		if e.ev.Type == redactionType && e.ev.Redacts == eventID && !e.hidden() {
			list = append(list, e)
		}
	}
	b.room.mu.Unlock()
	nids, err := b.s.store.WaitingRedactions(ctx, b.room.nid, storage.EventKey(eventID), maxWaitingRedactions)
	if err != nil {
		return nil, err
	}
	events, err := b.s.events(ctx, b.room.room, nids)
	return append(list, events...), err
}
