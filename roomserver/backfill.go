package roomserver

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"hearth/federationapi/remoteapi"
	"hearth/internal/pdu"
	"hearth/internal/pduwire"
	"hearth/internal/store"
	"hearth/roomserver/auth"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/state"
	"hearth/roomserver/storage"
)

// Bounds of filling a gap.
const (
	backfillLimit   = 100 // events of one request
	backfillTime    = 10 * time.Second
	backfillServers = 3
	maxBackfills    = 16 // at the same time
	backfillsOfPage = 3  // for a page on which nothing of what came is shown
)

// backfills lets one request at a time fill gaps of a room; others wait for it.
type backfills struct {
	mu    sync.Mutex
	rooms map[string]*backfilling
}

type backfilling struct {
	done   chan struct{}
	filled bool // valid once done is closed
}

func newBackfills() *backfills { return &backfills{rooms: make(map[string]*backfilling)} }

// backfill asks other servers for events before a gap and reports whether there are any new
// ones. It takes backfillTime at most; a page of history is then shown as far as we have it.
func (s *Server) backfill(ctx context.Context, roomID string, gap storage.Gap) (filled bool) {
	f := s.backfills
	f.mu.Lock()
	b := f.rooms[roomID]
	if b == nil && len(f.rooms) < maxBackfills {
		b = &backfilling{done: make(chan struct{})}
		f.rooms[roomID] = b
		s.work.Go(func() { s.runBackfill(context.WithoutCancel(ctx), roomID, gap, b) })
	}
	f.mu.Unlock()
	if b == nil {
		return false
	}
	select {
	case <-b.done:
		return b.filled
	case <-ctx.Done():
		return false
	}
}

func (s *Server) runBackfill(ctx context.Context, roomID string, gap storage.Gap, b *backfilling) {
	ctx, cancel := context.WithTimeout(ctx, backfillTime)
	defer cancel()
	fill := &filling{drainage: drainage{s: s, roomID: roomID}, gap: gap}
	filled, err := fill.run(ctx)
	if err != nil && ctx.Err() == nil {
		s.log.WithError(err).WithField("room", roomID).Warn("fill a gap of the timeline")
	}
	s.backfills.mu.Lock()
	delete(s.backfills.rooms, roomID)
	s.backfills.mu.Unlock()
	b.filled = filled
	close(b.done)
}

// filling fills a gap with what one server gives.
//
// The state before the oldest of the new events is asked for, and that after each of the
// others follows from it, so that they are authorized as live ones are, but for the check
// against the current state, which says nothing about the past; and so that the history
// visibility and the memberships of their time decide who sees them.
type filling struct {
	drainage
	gap    storage.Gap
	events []*pdu.Event // oldest first
}

func (f *filling) run(ctx context.Context) (filled bool, err error) {
	r, h, done, err := f.s.view(ctx, f.roomID)
	if err != nil {
		return false, err
	}
	defer done()
	f.version, f.room = r.version, r.nid
	rows, err := f.s.store.Forwards(ctx, r.nid, f.gap.Ord, maxOrd, 1)
	if err != nil || len(rows) == 0 || !h.hosts.local() {
		return false, err
	}
	after, err := f.s.finish(ctx, r.version, rows)
	if err != nil {
		return false, err
	}
	w := &waitingEvent{ev: after[0].ev, origin: pdu.Domain(after[0].ev.Sender)}
	servers := slices.DeleteFunc(f.servers(ctx, w), func(name string) bool { return name == f.s.serverName })
	for _, server := range servers[:min(len(servers), backfillServers)] {
		filled, err := f.ask(ctx, server, after[0].ev)
		if filled || ctx.Err() != nil || err != nil && !isRemote(err) {
			return filled, err
		}
	}
	return false, nil
}

// ask takes what one server gives.
func (f *filling) ask(ctx context.Context, server string, after *pdu.Event) (filled bool, err error) {
	resp, err := remoteapi.Backfill.Do(ctx, f.s.bus, &remoteapi.BackfillRequest{
		Destination: server, RoomID: f.roomID, RoomVersion: f.version.ID, From: []string{after.EventID}, Limit: backfillLimit,
	})
	if err != nil {
		return false, err
	}
	if err := f.choose(ctx, resp.Events, after); err != nil || len(f.events) == 0 {
		return false, err
	}
	var needed []string
	for _, ev := range f.events {
		needed = append(needed, ev.AuthEvents...)
	}
	missing, err := f.unknown(ctx, needed)
	if err != nil {
		return false, err
	}
	if len(missing) > 0 {
		if _, err := f.fetchEvents(ctx, server, missing); err != nil {
			return false, err
		}
	}
	given, err := f.stateBefore(ctx, server)
	if err != nil {
		return false, err
	}
	return f.place(ctx, given)
}

// choose sorts out the events that we do not have in the timeline, oldest first.
func (f *filling) choose(ctx context.Context, list []pduwire.PDU, after *pdu.Event) error {
	f.waiting = make(map[string]*waitingEvent)
	var ids []string
	for i := range list[:min(len(list), 2*backfillLimit)] {
		ev, err := list[i].Load(f.version)
		if err == nil && ev.RoomID == f.roomID && ev.EventID != after.EventID {
			f.waiting[ev.EventID] = &waitingEvent{ev: ev}
			ids = append(ids, ev.EventID)
		}
	}
	r, _, done, err := f.s.view(ctx, f.roomID)
	if err != nil {
		return err
	}
	defer done()
	known, err := f.s.eventsByID(ctx, r, ids)
	if err != nil {
		return err
	}
	for id, e := range known {
		if e.flags&storage.FlagOutlier == 0 {
			delete(f.waiting, id)
		}
	}
	f.events = nil
	for _, w := range f.order() {
		f.events = append(f.events, w.ev)
	}
	return nil
}

// stateBefore is the state before the oldest event; nil if that is the create event.
func (f *filling) stateBefore(ctx context.Context, server string) (*state.Snapshot, error) {
	oldest := f.events[0]
	if oldest.Type == "m.room.create" {
		return nil, nil
	}
	req := &remoteapi.StateIDsRequest{Destination: server, RoomID: f.roomID, RoomVersion: f.version.ID, EventID: oldest.EventID}
	ids, err := remoteapi.StateIDs.Do(ctx, f.s.bus, req)
	if err != nil {
		return nil, err
	}
	if len(ids.State) == 0 || len(ids.State)+len(ids.AuthChain) > maxStateIDs {
		return nil, errUseless
	}
	if err := f.fetchStateEvents(ctx, req, ids); err != nil {
		return nil, err
	}
	snap, err := f.givenState(ctx, ids.State)
	if err == nil && snap == nil {
		err = errUseless
	}
	return snap, err
}

// place gives the events their places just before the gap's end, and moves the gap to
// before them. The room's lock is held until it is on disk.
func (f *filling) place(ctx context.Context, given *state.Snapshot) (filled bool, err error) {
	lr, err := f.s.lockRoom(ctx, f.roomID)
	if err != nil {
		return false, err
	}
	defer lr.unlock()
	if !slices.Contains(lr.staged.gaps, f.gap) {
		return true, nil // filled meanwhile
	}
	stored, err := f.s.storeOutliers(ctx, lr, f.events)
	if err != nil {
		return false, err
	}
	p := &placing{b: lr.begin(), work: lr.staged.chain.work(), given: given, known: stored}
	if given != nil {
		p.keep(given)
	}
	n := int64(len(f.events))
	for i, ev := range f.events {
		if e := stored[ev.EventID]; e != nil {
			if err := p.add(ctx, e, ev, f.gap.Ord-n+int64(i)+1); err != nil {
				return false, err
			}
		}
	}
	rows, err := f.s.store.Backwards(ctx, lr.nid, f.gap.Ord-n, f.gap.Ord, 1)
	if err != nil || len(rows) > 0 || len(p.placed) == 0 {
		return false, err // no room left between the orders, or nothing new
	}
	var gaps []storage.Gap
	for _, g := range lr.staged.gaps {
		if g != f.gap {
			gaps = append(gaps, g)
		} else if given != nil && !p.connected(ctx, f.events[0]) {
			gaps = append(gaps, storage.Gap{Ord: f.gap.Ord - n, Snap: given.ID})
		}
	}
	return true, f.write(ctx, lr, p, gaps)
}

// write writes the placed events and the gaps, and shows them.
func (f *filling) write(ctx context.Context, lr *lockedRoom, p *placing, gaps []storage.Gap) error {
	done := make(chan error, 1)
	forms := p.b.redactedForms()
	rows := &storage.Backfill{Room: lr.nid, Gaps: gaps, Append: p.b.rows}
	_, err := f.s.store.DB.Stage(lr.generation, 0, func(int64) store.Op {
		return store.Op{Run: rows.Write, Done: func(err error) {
			if err == nil {
				f.s.names.settled(p.b.rows.Names)
				for _, snap := range p.snaps {
					f.s.snaps.Put(snap.ID, snap)
				}
				for _, e := range slices.Concat(p.placed, forms) {
					f.s.cache.Put(e.nid, e)
				}
				for _, form := range forms {
					f.s.forgetMentions(form)
				}
			}
			done <- err
		}}
	})
	if err != nil {
		return err
	}
	// Whoever waits has the room's lock, and everything staged before is on disk then.
	if err := <-done; err != nil {
		return err
	}
	shown := *lr.staged
	shown.gaps = gaps
	lr.staged = &shown
	f.s.show(lr.room, &shown, false)
	return nil
}

// placing works out the states of events of the past.
type placing struct {
	b      *batch
	work   *workChain
	given  *state.Snapshot
	known  map[string]*stored // with the state after them, once they are placed
	snaps  []*state.Snapshot
	placed []*stored
}

func (p *placing) keep(snap *state.Snapshot) {
	p.work.add(snap)
	p.snaps = append(p.snaps, snap)
	p.b.rows.Snaps = append(p.b.rows.Snaps, snapRow(snap, p.b.room.nid))
}

// connected reports whether we have all events before the oldest one.
func (p *placing) connected(ctx context.Context, oldest *pdu.Event) bool {
	known, err := p.b.s.eventsByID(ctx, p.b.room.room, oldest.PrevEvents)
	return err == nil && !slices.ContainsFunc(oldest.PrevEvents, func(id string) bool { return known[id] == nil || known[id].snap == 0 })
}

// add works out the row of an event, ord its place. e is the event as it is stored.
func (p *placing) add(ctx context.Context, e *stored, ev *pdu.Event, ord int64) error {
	if e.flags&storage.FlagOutlier == 0 {
		return nil
	}
	before, prev, err := p.before(ctx, ev)
	if err != nil {
		return err
	}
	it := &item{stored: &stored{}, promoted: true}
	*it.stored = *e
	it.ord, it.prev, it.flags, it.ev = ord, prev, e.flags&^storage.FlagOutlier, ev
	st := failing(&snapState{ctx: ctx, b: p.b, loader: p.work, snap: before})
	if before == nil {
		st = &nothing{}
	}
	if it.flags&storage.FlagRejected == 0 {
		rejected, err := asRejection(auth.Check(ev, st))
		if err = errors.Join(st.failed(), err); err != nil {
			return err
		}
		if rejected {
			it.flags |= storage.FlagRejected
		}
	}
	if err := p.redact(ctx, it, e, st); err != nil {
		return err
	}
	if err := p.b.place(ctx, it); err != nil {
		return err
	}
	return p.finish(ctx, it, before)
}

// redact applies redactions as for live events; target and redaction may both be of this part.
func (p *placing) redact(ctx context.Context, it *item, e *stored, st failing) error {
	for _, r := range p.b.redacted {
		if r.target.nid == e.nid {
			it.ev, it.redactedBy, it.redaction = r.form, r.by.nid, r.by
			return nil
		}
	}
	n, waiting := len(p.b.redacted), len(p.b.rows.Waiting)
	if err := p.b.redactions(ctx, it, e, st); err != nil {
		return err
	}
	for i := range p.b.redacted[n:] {
		r := &p.b.redacted[n+i]
		if placed := p.known[r.target.ev.EventID]; placed != nil {
			r.target = placed
		}
	}
	for i := range p.b.rows.Waiting[waiting:] {
		p.b.rows.Waiting[waiting+i].Nid = it.nid
	}
	return nil
}

// finish adds the rows of a placed event.
func (p *placing) finish(ctx context.Context, it *item, before *state.Snapshot) error {
	after := before
	if it.row.IsState && it.flags&storage.FlagRejected == 0 {
		var err error
		if after, err = grow(p.work, before, p.b.s.snapSeq.Add(1), []state.Entry{{Key: it.key, Event: it.nid}}); err != nil {
			return err
		}
		if after != before {
			p.keep(after)
		}
		if it.replaced, err = p.replaced(ctx, it, before); err != nil {
			return err
		}
	}
	if after != nil {
		it.snap, it.cur = after.ID, after.ID
	}
	var replaced, redaction *pdu.Event
	if it.replaced != nil {
		it.replaces, replaced = it.replaced.nid, it.replaced.ev
	}
	if it.redaction != nil {
		redaction = it.redaction.ev
	}
	row := &it.row
	row.Nid, row.Ord, row.Snap, row.Cur, row.Flags, row.Replaces = it.nid, it.ord, it.snap, it.cur, it.flags, it.replaces
	row.RedactedBy, row.Links = it.redactedBy, storage.Links{Prev: it.prev, Auth: it.auth}.Pack()
	p.b.rows.Events = append(p.b.rows.Events, *row)
	if it.relation != nil && !it.hidden() {
		it.relation.Nid, it.relation.Ord = it.nid, it.ord
		p.b.rows.Relations = append(p.b.rows.Relations, *it.relation)
	}
	if !it.hidden() {
		p.b.rows.Media = append(p.b.rows.Media, p.b.s.mediaUses(it.stored, row.Sender)...)
	}
	it.client = clientEvent(it.stored, replaced, redaction)
	p.known[it.ev.EventID] = it.stored
	p.placed = append(p.placed, it.stored)
	return nil
}

// before is the state before an event of the past, with its prev events as far as we have them.
func (p *placing) before(ctx context.Context, ev *pdu.Event) (*state.Snapshot, []int64, error) {
	known, err := p.b.s.eventsByID(ctx, p.b.room.room, ev.PrevEvents)
	if err != nil {
		return nil, nil, err
	}
	var snaps []*state.Snapshot
	prev := []int64{}
	for _, id := range ev.PrevEvents {
		e := p.known[id]
		if e == nil {
			e = known[id]
		}
		if e == nil || e.snap == 0 {
			continue
		}
		snap, err := p.work.one(ctx, e.snap)
		if err != nil {
			return nil, nil, err
		}
		snaps, prev = append(snaps, snap), append(prev, e.nid)
	}
	if len(snaps) < len(ev.PrevEvents) && p.given != nil {
		snaps = append(snaps, p.given)
	}
	if len(snaps) == 0 {
		return p.given, prev, nil
	}
	snap, fresh, err := p.b.snapshotOf(ctx, p.work, snaps)
	if fresh {
		p.keep(snap)
	}
	return snap, prev, err
}

func (p *placing) replaced(ctx context.Context, it *item, before *state.Snapshot) (*stored, error) {
	if before == nil {
		return nil, nil
	}
	nid, err := state.Get(ctx, p.work, before, it.key)
	if err != nil || nid == 0 || nid == it.nid {
		return nil, err
	}
	return p.b.s.event(ctx, p.b.room.room, nid)
}

// nothing is the state before the create event.
type nothing struct{}

func (*nothing) Event(string, string) *pdu.Event { return nil }
func (*nothing) failed() error                   { return nil }

// gapBelow finds the gap at which a walk back from a place has to stop.
func (h *head) gapBelow(low, at int64) (storage.Gap, bool) {
	for i := len(h.gaps) - 1; i >= 0; i-- {
		if g := h.gaps[i]; g.Ord <= at && g.Ord > low {
			return g, true
		}
	}
	return storage.Gap{}, false
}

// pageOver reads a page of history back. At a gap it asks other servers for what is missing;
// where that is not to be had, the page ends there, and the next one begins behind it. A page
// that is full at a gap, or has filled enough of it, leaves the rest to the next one.
func (p *pager) pageOver(ctx context.Context, req *roomapi.MessagesRequest) error {
	for low, filled := p.low, 0; ; {
		h := p.room.committed.Load()
		gap, broken := h.gapBelow(low, p.at)
		if p.low = low; broken {
			p.low = gap.Ord
		}
		if err := p.run(ctx); err != nil || !broken || p.more {
			return err
		}
		if n := len(p.events); n >= p.limit || filled > 0 && n > 0 || filled == backfillsOfPage {
			p.at, p.more = gap.Ord, true
			return nil
		}
		if p.s.backfill(ctx, p.room.id, gap) {
			filled++
			var err error
			if p.v, err = p.s.visibility(ctx, p.room, req.UserID); err != nil {
				return err
			}
			continue // from where the walk has come to
		}
		if p.at = gap.Ord - 1; len(p.events) > 0 {
			p.more = true
			return nil
		}
	}
}
