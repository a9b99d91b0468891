package v3

import (
	"context"

	"hearth/roomserver/roomapi"
	"hearth/syncapi/core"
)

// delta is what an answer tells of the events of a joined room.
type delta struct {
	whole      bool   // the client knows nothing of the room
	told       bool   // there is a timeline to tell, be it empty
	membership string // of the user at the timeline's events; empty: each says it
	timeline   []*roomapi.Event
	limited    bool
	prev       roomapi.Point
	state      []*roomapi.Event
	// summary is set if the numbers of members are to be told.
	summary *roomapi.WindowInfo
}

// delta finds what to tell of a joined room, from memory if it has all of it.
// Nil if the user was not joined after all.
func (r *round) delta(ctx context.Context, c *core.Change) (*delta, error) {
	if r.initial || c.Newly == core.Yes {
		return r.whole(ctx, c)
	}
	if c.Newly == core.No && !r.full && c.Covered {
		if d := r.fromMemory(c); d != nil {
			return d, r.summarize(ctx, c, d)
		}
	}
	// Without Lazy the state between has all members that changed, known or not, as
	// it must. Only a room that may turn out to be new could have far more.
	lazy := c.Newly != core.No && r.lazy()
	w, err := r.window(ctx, c, roomapi.WindowRequest{From: r.since.Room, NoState: r.full && !r.lazy(), Lazy: lazy})
	if err != nil || w == nil {
		return nil, err
	}
	if c.Newly == core.Unknown {
		r.s.engine.Learn(r.user, c.RoomID, w.MemberPos, w.JoinedPos)
		if w.JoinedPos > r.since.Room {
			return r.whole(ctx, c)
		}
	}
	d := r.fromWindow(w)
	d.told = len(d.timeline) > 0 || w.Limited
	if c.Counts != core.No {
		d.summary = &w.WindowInfo
	}
	if r.full {
		d.summary = &w.WindowInfo
		d.state, err = r.fullState(ctx, c, d)
	} else {
		err = r.addHidden(ctx, c, d, roomapi.WindowRequest{From: r.since.Room, Lazy: lazy})
	}
	return d, err
}

// fromMemory makes the delta of the events at hand: nil if they are too many, or if
// state that the timeline's filter takes away must be told in another way.
func (r *round) fromMemory(c *core.Change) *delta {
	if len(c.Events) == 0 {
		return &delta{}
	}
	f := &r.filter.Room.Timeline
	if f.byChildren() {
		return nil
	}
	d := &delta{told: true, membership: "join"}
	events := r.settings.Unignored(c.Events)
	if f.all() && f.has(c.RoomID) {
		d.timeline = events
	} else {
		for _, e := range events {
			switch {
			case f.has(c.RoomID) && f.event(e):
				d.timeline = append(d.timeline, e)
			case e.StateKey != nil && !r.req.UseStateAfter:
				return nil
			}
		}
	}
	if len(d.timeline) > r.filter.limit() {
		return nil
	}
	if len(d.timeline) > 0 {
		d.prev = roomapi.Point{Ord: d.timeline[0].Ord - 1}
	}
	d.told = len(d.timeline) > 0
	if r.req.UseStateAfter {
		d.state = lastState(c.Events)
	}
	return d
}

// lastState returns the last event of each piece of state among events, in order.
func lastState(events []*roomapi.Event) []*roomapi.Event {
	type key struct{ kind, state string }
	var list []*roomapi.Event
	seen := map[key]bool{}
	for i := len(events) - 1; i >= 0; i-- {
		e := events[i]
		if e.StateKey == nil || seen[key{e.Type, *e.StateKey}] {
			continue
		}
		seen[key{e.Type, *e.StateKey}] = true
		list = append(list, e)
	}
	for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
		list[i], list[j] = list[j], list[i]
	}
	return list
}

// whole is the delta of a room that the client knows nothing of.
func (r *round) whole(ctx context.Context, c *core.Change) (*delta, error) {
	w, err := r.window(ctx, c, roomapi.WindowRequest{Lazy: r.lazy()})
	if err != nil || w == nil {
		return nil, err
	}
	d := r.fromWindow(w)
	d.whole, d.told, d.summary = true, true, &w.WindowInfo
	if err := r.addHidden(ctx, c, d, roomapi.WindowRequest{Lazy: r.lazy()}); err != nil {
		return nil, err
	}
	if !r.initial && r.lazy() {
		err = r.addChangedMembers(ctx, c, d)
	}
	return d, err
}

// addHidden adds the state that changed after the start of the timeline and that
// the timeline's filter took away from it; the client would never hear of it. req
// is the request of the window that the delta was made of.
func (r *round) addHidden(ctx context.Context, c *core.Change, d *delta, req roomapi.WindowRequest) error {
	if r.req.UseStateAfter || len(d.timeline) == 0 || r.filter.Room.Timeline.all() {
		return nil // without a timeline the state is that of its end
	}
	req.StateAfter = true
	w, err := r.window(ctx, c, req)
	if err != nil || w == nil {
		return err
	}
	there := eventSet(d.state, d.timeline)
	for _, e := range w.State {
		if !there[e.EventID] {
			d.state = append(d.state, e)
		}
	}
	return nil
}

func eventSet(lists ...[]*roomapi.Event) map[string]bool {
	set := map[string]bool{}
	for _, list := range lists {
		for _, e := range list {
			set[e.EventID] = true
		}
	}
	return set
}

// addChangedMembers adds the members that changed after the token, in case the
// client was in the room then and did not hear that the user left and came back: it
// still has members that a lazily loaded state would not correct.
func (r *round) addChangedMembers(ctx context.Context, c *core.Change, d *delta) error {
	w, err := r.window(ctx, c, roomapi.WindowRequest{From: r.since.Room, Lazy: true})
	if err != nil || w == nil {
		return err
	}
	there := eventSet(d.state, d.timeline)
	for _, list := range [][]*roomapi.Event{w.State, w.Timeline} {
		for _, e := range list {
			if e.Type == "m.room.create" {
				return nil // the whole state: the user was not in the room then
			}
			if e.Type == memberType && !there[e.EventID] {
				d.state = append(d.state, e)
			}
		}
	}
	return nil
}

// window reads the window of a joined room up to now; nil if the user was not
// joined then. Without From it is not cut at what the client knows.
func (r *round) window(ctx context.Context, c *core.Change, req roomapi.WindowRequest) (*roomapi.Window, error) {
	req.RoomID, req.UserID, req.To = c.RoomID, r.req.UserID, r.now.Room
	req.Ignored = r.settings.IgnoredList
	req.Limit, req.Filter, req.StateAfter = r.filter.limit(), r.filter.timeline(), req.StateAfter || r.req.UseStateAfter
	if !r.filter.Room.Timeline.has(c.RoomID) {
		req.Limit = 0
	}
	r.s.metrics.window()
	w, err := r.s.engine.Source().Window(ctx, &req)
	if refused(err) || err == nil && w.Membership != "join" {
		return nil, nil
	}
	return w, err
}

func (r *round) fromWindow(w *roomapi.Window) *delta {
	return &delta{timeline: r.settings.Unignored(w.Timeline), limited: w.Limited, prev: w.PrevBatch, state: w.State}
}

// summarize adds the summary to a delta from memory if the numbers changed.
func (r *round) summarize(ctx context.Context, c *core.Change, d *delta) error {
	if c.Counts == core.No {
		return nil
	}
	w, err := r.window(ctx, c, roomapi.WindowRequest{From: r.now.Room, NoState: true})
	if err == nil && w != nil {
		d.summary = &w.WindowInfo
	}
	return err
}

// fullState reads the whole state at the start of the delta's timeline, or at its end.
func (r *round) fullState(ctx context.Context, c *core.Change, d *delta) ([]*roomapi.Event, error) {
	req := roomapi.StateRequest{RoomID: c.RoomID, UserID: r.req.UserID, At: roomapi.Point{Pos: r.now.Room}}
	there := map[string]bool{}
	switch {
	case r.req.UseStateAfter || len(d.timeline) == 0:
	case !r.filter.Room.Timeline.all(): // the state at the end without what the timeline has of it
		there = eventSet(d.timeline)
	default:
		if d.prev.IsZero() {
			return nil, nil // the timeline begins with the room
		}
		req.At = d.prev
	}
	speaks := map[string]bool{r.req.UserID: true}
	for _, e := range d.timeline {
		speaks[e.Sender] = true
	}
	for _, e := range d.state { // changed in a gap: must be told, lazily loaded or not
		if e.Type == memberType && e.StateKey != nil {
			speaks[*e.StateKey] = true
		}
	}
	var state []*roomapi.Event
	err := r.s.engine.Source().State(ctx, &req, func(e *roomapi.Event) error {
		lazy := r.lazy() && e.Type == memberType && e.StateKey != nil
		if !there[e.EventID] && (!lazy || speaks[*e.StateKey]) {
			state = append(state, e)
		}
		return nil
	})
	return state, err
}

// lazy reports whether members are loaded lazily.
func (r *round) lazy() bool { return r.filter.Room.State.Lazy }

const memberType = "m.room.member"
