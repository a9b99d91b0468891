package sliding

import (
	"context"
	"math"
	"strconv"

	"hearth/roomserver/roomapi"
	"hearth/syncapi/core"
	"hearth/syncapi/internal/render"
	"hearth/syncapi/viewapi"
)

// delta is what an answer tells of a joined room.
type delta struct {
	from     int64 // what the client knew
	timeline []*roomapi.Event
	// changed is the state that changed; of a whole room, all of it that was read.
	changed []*roomapi.Event
	// extra is state that the client wants now and did not want before.
	extra    []*roomapi.Event
	limited  bool
	expanded bool
	prev     roomapi.Point
	info     *roomapi.WindowInfo // nil: the numbers of members did not change
	count    int32               // see known
}

// joined renders a room that the user has joined.
func (r *round) joined(ctx context.Context, t *target, dst []byte) ([]byte, error) {
	if t.part {
		return r.partOnly(ctx, t, dst)
	}
	d, err := r.delta(ctx, t)
	if err != nil || d == nil {
		return dst, err
	}
	k := known{
		kind: joined, live: true, dm: r.view.Settings.Direct[t.row.RoomID], pos: r.view.Now.Room,
		since: t.was.since, count: d.count, set: t.set, lists: t.lists,
	}
	if t.whole {
		k.since = r.view.Now.Room
	}
	t.now = &k
	state, err := r.requiredState(ctx, t, d)
	if err != nil {
		return dst, err
	}
	if err := r.readData(ctx, t, d); err != nil {
		return dst, err
	}
	o := r.open(t, dst, "join", t.whole)
	before := len(o.Buf)
	if err := r.appendFace(ctx, &o, t, d); err != nil {
		return dst, err
	}
	if k.dm != (t.was.dm && !t.whole) {
		o.Key("is_dm")
		o.Buf = strconv.AppendBool(o.Buf, k.dm)
	}
	if d.info != nil {
		o.Key("joined_count")
		o.Buf = strconv.AppendInt(o.Buf, int64(d.info.Joined), 10)
		o.Key("invited_count")
		o.Buf = strconv.AppendInt(o.Buf, int64(d.info.Invited), 10)
	}
	r.appendState(&o, state)
	r.appendTimeline(&o, t, d)
	if err := r.appendUnread(ctx, &o, t, d); err != nil {
		return dst, err
	}
	if len(o.Buf) == before && !t.whole {
		return dst, nil
	}
	// What a room does without a change of these is not told alone.
	if err := r.appendBump(ctx, &o, t, d); err != nil {
		return dst, err
	}
	return append(o.Buf, '}'), nil
}

// partOnly renders what may change in a room without an event.
func (r *round) partOnly(ctx context.Context, t *target, dst []byte) ([]byte, error) {
	k := t.was
	k.dm = r.view.Settings.Direct[t.row.RoomID]
	o := r.open(t, dst, "join", false)
	before := len(o.Buf)
	if k.dm != t.was.dm {
		t.now = &k
		o.Key("is_dm")
		o.Buf = strconv.AppendBool(o.Buf, k.dm)
	}
	if err := r.appendUnread(ctx, &o, t, nil); err != nil || len(o.Buf) == before {
		return dst, err
	}
	return append(o.Buf, '}'), nil
}

// delta finds what to tell, from memory if it has all of it. Nil if the user was not
// joined after all, or if nothing can have changed.
func (r *round) delta(ctx context.Context, t *target) (*delta, error) {
	if t.was.kind != joined {
		return r.wholeRoom(ctx, t)
	}
	from := r.base.from(t.was)
	c, ok := r.s.engine.Since(r.user, t.row.RoomID, viewapi.Token{Room: from}, r.view.Now)
	switch {
	case !ok: // gone meanwhile: the next answer tells it
		k := t.was
		k.live, k.pos = false, from
		t.now = &k
		return nil, nil
	case c.Newly == core.Yes:
		return r.wholeRoom(ctx, t)
	}
	d := &delta{from: from}
	done, err := r.fromMemory(ctx, t, &c, d)
	if !done && err == nil {
		d, err = r.fromOwner(ctx, t, &c, d)
	}
	if err != nil || d == nil || t.whole {
		return d, err
	}
	if t.limit > int(d.count) {
		err = r.expand(ctx, t, d)
	}
	return d, err
}

// fromMemory makes the delta of the events at hand; false if they are not all or too many.
func (r *round) fromMemory(ctx context.Context, t *target, c *core.Change, d *delta) (bool, error) {
	events := r.view.Settings.Unignored(c.Events)
	if c.Newly != core.No || !c.Covered || len(events) > t.limit {
		return false, nil
	}
	d.timeline, d.changed = events, lastState(c.Events)
	d.count = grown(t.was.count, len(events))
	if len(events) > 0 {
		d.prev = roomapi.Point{Ord: events[0].Ord - 1}
	}
	if c.Counts == core.No && !unnamed(d.changed) {
		return true, nil
	}
	w, err := r.window(ctx, t, roomapi.WindowRequest{From: r.view.Now.Room, NoState: true})
	if w != nil {
		d.info = &w.WindowInfo
	}
	return true, err
}

// unnamed reports whether the room lost its name, so that clients need heroes.
func unnamed(changed []*roomapi.Event) bool {
	e := find(changed, "m.room.name")
	return e != nil && text(e.Content(), "name") == ""
}

// fromOwner reads the delta; the whole room if the user has joined anew. Nil if the
// user was not joined then.
func (r *round) fromOwner(ctx context.Context, t *target, c *core.Change, d *delta) (*delta, error) {
	set := r.conn.sets[t.set]
	w, err := r.window(ctx, t, roomapi.WindowRequest{
		From: d.from, Limit: t.limit, StateAfter: true, Lazy: c.Newly != core.No && !set.members,
	})
	if err != nil || w == nil {
		return nil, err
	}
	if c.Newly == core.Unknown {
		r.s.engine.Learn(r.user, t.row.RoomID, w.MemberPos, w.JoinedPos)
		if w.JoinedPos > d.from {
			return r.wholeRoom(ctx, t)
		}
	}
	r.take(d, w)
	d.changed = w.State
	d.count = int32(len(d.timeline))
	if !d.limited {
		d.count = grown(t.was.count, len(d.timeline))
	}
	if c.Counts != core.No || unnamed(d.changed) {
		d.info = &w.WindowInfo
	}
	return d, nil
}

// take takes the timeline of a window.
func (r *round) take(d *delta, w *roomapi.Window) {
	d.timeline = r.view.Settings.Unignored(w.Timeline)
	d.limited, d.prev = w.Limited, w.PrevBatch
}

// grown adds n events to a count.
func grown(count int32, n int) int32 {
	if count == allEvents {
		return allEvents
	}
	return int32(min(int(count)+n, allEvents-1))
}

// expand puts the latest events into the timeline, because more of them are wanted
// than the client has (MSC4186, "Changes to timeline_limit").
func (r *round) expand(ctx context.Context, t *target, d *delta) error {
	w, err := r.window(ctx, t, roomapi.WindowRequest{Limit: t.limit, NoState: true})
	if err != nil || w == nil {
		return err
	}
	had := int(d.count)
	d.count = int32(len(w.Timeline))
	if !w.Limited {
		d.count = allEvents
	}
	if len(w.Timeline) <= had {
		return nil // there are no more
	}
	r.take(d, w)
	d.expanded = true
	return nil
}

// wholeRoom reads a room of which the client knows nothing.
func (r *round) wholeRoom(ctx context.Context, t *target) (*delta, error) {
	set := r.conn.sets[t.set]
	w, err := r.window(ctx, t, roomapi.WindowRequest{Limit: t.limit, StateAfter: true, Lazy: !set.members})
	if err != nil || w == nil {
		return nil, err
	}
	t.whole = true
	d := &delta{changed: w.State, info: &w.WindowInfo, count: int32(len(w.Timeline)), from: r.base.since.Room}
	if r.base.seq == 0 {
		d.from = r.view.Now.Room // nothing in the first answer is live
	}
	r.take(d, w)
	if !w.Limited {
		d.count = allEvents
	}
	return d, nil
}

// window reads a window of the room that ends now; nil if the user was not joined then.
func (r *round) window(ctx context.Context, t *target, req roomapi.WindowRequest) (*roomapi.Window, error) {
	req.RoomID, req.UserID, req.To = t.row.RoomID, r.req.UserID, r.view.Now.Room
	req.Ignored = r.view.Settings.IgnoredList
	w, err := r.s.engine.Source().Window(ctx, &req)
	if refused(err) || err == nil && w.Membership != "join" {
		return nil, nil
	}
	return w, err
}

// lastState returns the last event of each piece of state among events, in order.
func lastState(events []*roomapi.Event) []*roomapi.Event {
	var list []*roomapi.Event
	for i, e := range events {
		if e.StateKey != nil && !replaced(events[i+1:], e) {
			list = append(list, e)
		}
	}
	return list
}

func replaced(later []*roomapi.Event, e *roomapi.Event) bool {
	for _, l := range later {
		if l.StateKey != nil && l.Type == e.Type && *l.StateKey == *e.StateKey {
			return true
		}
	}
	return false
}

// appendTimeline appends the timeline and what belongs to it.
func (r *round) appendTimeline(o *render.Object, t *target, d *delta) {
	if len(d.timeline) == 0 && !d.limited {
		return
	}
	write := roomapi.Render{UserID: r.req.UserID, DeviceID: r.req.DeviceID, Now: r.time}
	if !t.whole && !d.expanded {
		write.Membership = "join"
	}
	live := 0
	o.Key("timeline")
	o.Buf = append(o.Buf, '[')
	for _, e := range d.timeline {
		o.Buf = e.AppendJSON(render.Comma(o.Buf), write)
		if e.Pos > d.from {
			live++
		}
	}
	o.Buf = append(o.Buf, ']')
	if d.expanded {
		name := "unstable_expanded_timeline"
		if r.req.Stable {
			name = "expanded_timeline"
		}
		o.Key(name)
		o.Buf = append(o.Buf, "true"...)
	}
	if d.limited {
		o.Key("limited")
		o.Buf = append(o.Buf, "true"...)
	}
	o.Key("num_live")
	o.Buf = strconv.AppendInt(o.Buf, int64(live), 10)
	if !d.prev.IsZero() && d.prev.Ord != math.MinInt64 {
		o.Key("prev_batch")
		o.Buf = render.String(o.Buf, roomapi.TimelineToken(d.prev.Ord))
	}
}

// appendBump appends the bump stamp of a room that is told.
func (r *round) appendBump(ctx context.Context, o *render.Object, t *target, d *delta) error {
	bump := t.row.Bump
	for i := len(d.timeline) - 1; i >= 0 && bump == 0; i-- {
		if e := d.timeline[i]; core.Bumps(e.Type) && e.Pos > 0 {
			bump = e.Pos
			r.s.engine.LearnBump(t.row.RoomID, bump, r.view.Now.Room)
		}
	}
	if bump == 0 && t.whole {
		var err error
		if bump, err = r.lastActivity(ctx, t); err != nil {
			return err
		}
	}
	if bump > 0 && (t.whole || bump > d.from) {
		o.Key("bump_stamp")
		o.Buf = strconv.AppendInt(o.Buf, bump, 10)
	}
	return nil
}

// lastActivity asks for the last event that counts as activity. If none is near the
// end of the timeline, the place up to which was looked counts.
func (r *round) lastActivity(ctx context.Context, t *target) (int64, error) {
	page, err := r.s.engine.Source().Messages(ctx, &roomapi.MessagesRequest{
		RoomID: t.row.RoomID, UserID: r.req.UserID, From: roomapi.Point{Pos: r.view.Now.Room}, Backwards: true, Limit: 1,
		Filter: roomapi.EventFilter{Types: core.BumpTypes[:]},
	})
	if refused(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	bump := max(page.End.Ord>>20, 1)
	if len(page.Events) > 0 {
		bump = max(page.Events[0].Pos, 1)
	}
	r.s.engine.LearnBump(t.row.RoomID, bump, r.view.Now.Room)
	return bump, nil
}
