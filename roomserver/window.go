package roomserver

import (
	"context"
	"errors"
	"math"

	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/state"
	"hearth/roomserver/storage"
)

// maxHeroes is how many other members a summary names.
const maxHeroes = 5

// window is one answer under construction.
type window struct {
	s    *Server
	room *room
	head *head
	v    *visibility
	req  *roomapi.WindowRequest
	info roomapi.WindowInfo

	end      int64 // order of the place where the timeline ends
	timeline []*roomapi.Event
	first    int64 // order of the first event of the timeline; end+1 if it is empty
	// before is the newest event with a state at or before the place beforeOrd; nil if not known.
	before    *stored
	beforeOrd int64
}

// streamWindow sends what /sync shows of a room. A user who is not joined sees the
// timeline up to their leave; one who never was gets 403.
func (s *Server) streamWindow(ctx context.Context, req *roomapi.WindowRequest, send func([]byte) error) error {
	pos := s.store.DB.Head() // before the view, which must not be older
	r, h, done, err := s.view(ctx, req.RoomID)
	if err != nil {
		return notAMember(err)
	}
	defer done()
	v, err := s.visibility(ctx, r, req.UserID)
	if err != nil {
		return err
	}
	if req.To != 0 {
		pos = min(req.To, pos)
	}
	w := &window{s: s, room: r, head: h, v: v, req: req, info: roomapi.WindowInfo{Pos: pos}}
	if err := w.membership(); err != nil {
		return err
	}
	if err := w.page(ctx); err != nil {
		return err
	}
	if err := w.summary(ctx); err != nil {
		return err
	}
	nids, err := w.state(ctx)
	if err != nil {
		return err
	}
	return w.send(ctx, nids, send)
}

// membership finds what the user is at the end of the window, and where that is.
func (w *window) membership() error {
	w.end = storage.OrdAfter(w.info.Pos)
	changes := w.v.memberships
	for len(changes) > 0 && changes[len(changes)-1].ord > w.end {
		changes = changes[:len(changes)-1]
	}
	if len(changes) == 0 {
		return merr.Forbidden("You are not in this room")
	}
	last := changes[len(changes)-1]
	w.info.Membership, w.info.MemberPos = last.value, last.ord>>storage.OrdShift
	if last.value != "join" {
		w.end = last.ord
		return nil
	}
	for i := len(changes) - 1; i >= 0 && changes[i].value == "join"; i-- {
		w.info.JoinedPos = changes[i].ord >> storage.OrdShift
	}
	return nil
}

// page reads the timeline.
func (w *window) page(ctx context.Context) error {
	p, err := w.s.newPager(ctx, w.room, w.v, &roomapi.MessagesRequest{
		From: roomapi.Point{Ord: w.end}, Backwards: true, Limit: clamp(w.req.Limit, 1, maxPage, defaultPage), Filter: w.req.Filter,
	})
	if err != nil {
		return err
	}
	// State that the user may not see must not hide between timeline events: it would
	// be part of neither the timeline nor the state before it.
	p.unbroken = true
	if w.req.From != 0 {
		p.low = storage.OrdAfter(w.req.From)
	}
	gap, broken := w.head.gapAfter(p.low, w.end)
	if broken {
		p.low = gap
	}
	if w.req.Limit == 0 {
		p.limit = 0
	}
	if err := p.run(ctx); err != nil {
		return err
	}
	w.info.Limited = p.more || broken
	w.info.PrevBatch = roomapi.Point{Ord: p.at}
	w.first = w.end + 1
	for i := len(p.events) - 1; i >= 0; i-- {
		w.timeline = append(w.timeline, p.events[i])
	}
	if len(w.timeline) > 0 {
		w.first = w.timeline[0].Ord
	}
	w.before, w.beforeOrd = p.before, w.first-1
	if err := w.cutStale(ctx, p.forked); err != nil {
		return err
	}
	if !w.info.Limited && w.req.From != 0 {
		return nil
	}
	return w.s.bundle(ctx, w.room, w.v, w.req.Ignored, w.timeline...)
}

func (w *window) summary(ctx context.Context) error {
	w.info.Joined, w.info.Invited = int(w.head.joined), int(w.head.invited)
	for typ, key := range map[string]string{"m.room.name": "name", "m.room.canonical_alias": "alias"} {
		e, err := w.s.committedState(ctx, w.room, w.head, typ, "")
		if err != nil {
			return err
		}
		if e != nil {
			if value, _ := pdu.GetString(e.ev.Content, key); value != "" {
				return nil // clients need no heroes to name the room
			}
		}
	}
	user, _, err := w.s.names.lookup(ctx, w.req.UserID)
	if err != nil {
		return err
	}
	heroes, err := w.s.store.Heroes(ctx, w.room.nid, user, []int64{storage.MembershipJoin, storage.MembershipInvite}, maxHeroes)
	if err == nil && len(heroes) == 0 {
		heroes, err = w.s.store.Heroes(ctx, w.room.nid, user, []int64{storage.MembershipLeave, storage.MembershipBan}, maxHeroes)
	}
	if err != nil {
		return err
	}
	texts, err := w.s.names.texts(ctx, heroes)
	if err != nil {
		return err
	}
	for _, nid := range heroes {
		w.info.Heroes = append(w.info.Heroes, texts[nid])
	}
	return nil
}

// state lists the state events to send: the whole state, or what changed since From
// if the user was joined then.
func (w *window) state(ctx context.Context) ([]int64, error) {
	if w.req.NoState {
		return nil, nil
	}
	place := w.first - 1 // before the timeline
	if w.req.StateAfter {
		place = w.end
	}
	place, ok := w.permitted(place)
	if !ok {
		return nil, nil
	}
	target, err := w.snapAt(ctx, place)
	if err != nil || target == nil {
		return nil, err
	}
	from := storage.OrdAfter(w.req.From)
	var base *state.Snapshot
	if w.req.From != 0 && at(w.v.memberships, from, true, "") == "join" {
		if base, err = w.snapAt(ctx, from); err != nil {
			return nil, err
		}
	}
	if base == nil {
		nids, err := w.fullState(ctx, target)
		if err != nil {
			return nil, err
		}
		return w.resolved(ctx, nids, target)
	}
	if base.ID == target.ID {
		return w.changed(ctx, nil, target)
	}
	changes, err := state.Diff(ctx, w.head.chain, base, target)
	if err != nil {
		return nil, err
	}
	var nids []int64
	for _, c := range changes {
		if c.Event != 0 {
			nids = append(nids, c.Event)
		}
	}
	return w.changed(ctx, nids, target)
}

// changed completes the state that changed.
func (w *window) changed(ctx context.Context, nids []int64, target *state.Snapshot) ([]int64, error) {
	nids, err := w.lazily(ctx, nids, target)
	if err != nil {
		return nil, err
	}
	return w.resolved(ctx, nids, target)
}

// lazily adds to the changed state the member events of those who speak in the
// timeline and of the heroes. Changed member events stay: a client keeps its list of
// members by them.
func (w *window) lazily(ctx context.Context, nids []int64, target *state.Snapshot) ([]int64, error) {
	if !w.req.Lazy {
		return nids, nil
	}
	have := make(map[int64]bool, len(nids))
	for _, nid := range nids {
		have[nid] = true
	}
	keys, err := w.speakers(ctx)
	if err != nil {
		return nil, err
	}
	events, err := state.GetMany(ctx, w.head.chain, target, keys)
	if err != nil {
		return nil, err
	}
	for _, nid := range events {
		if nid != 0 && !have[nid] {
			have[nid] = true
			nids = append(nids, nid)
		}
	}
	return nids, nil
}

// speakers are the keys of the member events that lazy loading includes.
func (w *window) speakers(ctx context.Context) ([]state.Key, error) {
	users := map[string]bool{w.req.UserID: true}
	for _, e := range w.timeline {
		users[e.Sender] = true
	}
	for _, hero := range w.info.Heroes {
		users[hero] = true
	}
	keys := make([]state.Key, 0, len(users))
	for userID := range users {
		key, ok, err := w.s.stateKey(ctx, memberType, userID)
		if err != nil {
			return nil, err
		}
		if ok {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// permitted is the last place at or before place at which the user may see the state:
// the end of the last time that the user was joined, or place itself where the room
// was world readable. There is none for who was invited only.
func (w *window) permitted(place int64) (int64, bool) {
	if w.info.Membership == "join" || at(w.v.settings, place, true, shared) == worldReadable {
		return place, true
	}
	changes := w.v.memberships
	for i := len(changes) - 1; i >= 0; i-- {
		switch {
		case changes[i].ord > w.end || changes[i].value != "join":
		case i+1 < len(changes):
			return min(place, changes[i+1].ord), true
		default:
			return place, true
		}
	}
	return 0, false
}

func (w *window) fullState(ctx context.Context, target *state.Snapshot) ([]int64, error) {
	view := w.head.view
	if target.ID != w.head.snap.ID {
		var err error
		if view, err = state.Resolve(ctx, w.head.chain, target); err != nil {
			return nil, err
		}
	}
	members, ok, err := w.s.names.lookup(ctx, memberType)
	if err != nil {
		return nil, err
	}
	var nids []int64
	for e := range view.All() {
		if w.req.Lazy && ok && e.Type == members {
			continue
		}
		nids = append(nids, e.Event)
	}
	return w.lazily(ctx, nids, target)
}

// snapAt finds the room's state at a place; nil before its first event.
func (w *window) snapAt(ctx context.Context, ord int64) (*state.Snapshot, error) {
	if ord >= storage.LiveOrd(w.head.pos) {
		return w.head.snap, nil
	}
	if ord == math.MinInt64 {
		return nil, nil
	}
	id, err := w.snapID(ctx, ord)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if id == w.head.snap.ID {
		return w.head.snap, nil
	}
	snaps, err := w.head.chain.Load(ctx, []int64{id})
	if err != nil {
		return nil, err
	}
	return snaps[0], nil
}

// snapID finds the number of the room's state at a place. Reading the timeline has shown
// it for the place before it, unless another server has told the state in between.
func (w *window) snapID(ctx context.Context, ord int64) (int64, error) {
	if w.before != nil && ord == w.beforeOrd && ord >= w.before.ord {
		if _, gap := w.head.gapAfter(w.before.ord, ord); !gap {
			return w.before.cur, nil
		}
	}
	id, _, err := w.s.store.SnapAt(ctx, w.room.nid, ord)
	return id, err
}

func (w *window) send(ctx context.Context, nids []int64, send func([]byte) error) error {
	fw := roomapi.NewFrameWriter(send)
	if err := fw.Info(&w.info); err != nil {
		return err
	}
	for _, e := range w.timeline {
		if err := fw.Timeline(e); err != nil {
			return err
		}
	}
	err := w.s.eachEvent(ctx, w.room, nids, func(e *stored) error { return fw.State(seen(w.v, e)) })
	if err != nil {
		return err
	}
	return fw.Flush()
}
