package sliding

import (
	"bytes"
	"context"
	"encoding/json"

	"hearth/roomserver/roomapi"
	"hearth/syncapi/core"
	"hearth/syncapi/internal/render"
)

// invited renders a room to which the user is invited or on which the user knocked.
func (r *round) invited(ctx context.Context, t *target, dst []byte) ([]byte, error) {
	if t.was.kind == invited && t.row.MemberPos <= r.base.from(t.was) {
		r.keep(t)
		return dst, nil
	}
	state, err := r.s.engine.Source().InviteState(ctx, &roomapi.InviteStateRequest{RoomID: t.row.RoomID, UserID: r.req.UserID})
	if refused(err) {
		return dst, nil // it is over by now; the next answer tells what came of it
	}
	if err != nil {
		return dst, err
	}
	membership := "invite"
	if t.row.Membership == core.Knock {
		membership = "knock"
	}
	o := r.open(t, dst, membership, true)
	r.appendStripped(&o, array(state.Events))
	appendMoment(&o, &t.row)
	t.now = &known{kind: invited, live: true, dm: r.view.Settings.Direct[t.row.RoomID], pos: r.view.Now.Room, count: allEvents, set: t.set, lists: t.lists}
	return append(o.Buf, '}'), nil
}

func (r *round) appendStripped(o *render.Object, events []byte) {
	name := "invite_state"
	if r.req.Stable {
		name = "stripped_state"
	}
	o.Key(name)
	o.Buf = append(o.Buf, events...)
}

// array returns raw if it is a JSON array, else an empty one: other servers take
// part in what an invite says.
func array(raw json.RawMessage) []byte {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || raw[0] != '[' || !json.Valid(raw) {
		return []byte("[]")
	}
	return raw
}

// keep notes that the client knows all of a room, and in which lists it is.
func (r *round) keep(t *target) {
	k := t.was
	k.live, k.dm, k.set, k.lists, k.count = true, r.view.Settings.Direct[t.row.RoomID], t.set, t.lists, allEvents
	t.now = &k
}

// left renders a room that the user has left or was put out of: what happened until
// then, once.
func (r *round) left(ctx context.Context, t *target, dst []byte) ([]byte, error) {
	switch {
	case t.was.kind == left && t.row.MemberPos <= r.base.from(t.was):
		r.keep(t)
		return dst, nil
	case t.was.kind == joined:
		return r.departure(ctx, t, dst)
	case t.was.kind == 0:
		return r.former(ctx, t, dst)
	}
	return r.rejection(ctx, t, dst)
}

func (r *round) membership(t *target) string {
	if t.row.Membership == core.Ban {
		return "ban"
	}
	return "leave"
}

// window reads what the user may see of a room up to the member event.
func (r *round) past(ctx context.Context, t *target, req roomapi.WindowRequest) (*roomapi.Window, error) {
	req.RoomID, req.UserID, req.To = t.row.RoomID, r.req.UserID, t.row.MemberPos
	req.Ignored = r.view.Settings.IgnoredList
	w, err := r.s.engine.Source().Window(ctx, &req)
	if refused(err) {
		return &roomapi.Window{}, nil // forgotten, or never seen from inside
	}
	return w, err
}

// departure tells a client that knows the room from inside.
func (r *round) departure(ctx context.Context, t *target, dst []byte) ([]byte, error) {
	from := r.base.from(t.was)
	w, err := r.past(ctx, t, roomapi.WindowRequest{From: from, Limit: max(t.limit, 1), StateAfter: true, Lazy: true})
	if err != nil {
		return dst, err
	}
	d := &delta{from: from}
	r.take(d, w)
	r.said(t)
	o := r.open(t, dst, r.membership(t), false)
	r.appendState(&o, r.departed(t, d, w.State))
	r.appendTimeline(&o, t, d)
	appendMoment(&o, &t.row)
	return append(o.Buf, '}'), nil
}

// said notes that the client knows that the room was left.
func (r *round) said(t *target) {
	t.now = &known{kind: left, live: true, dm: r.view.Settings.Direct[t.row.RoomID], pos: r.view.Now.Room, count: allEvents, set: t.set, lists: t.lists}
}

// departed selects state for a room that was left. The user's own member event is
// always there: it says that the room was left.
func (r *round) departed(t *target, d *delta, state []*roomapi.Event) []*roomapi.Event {
	set := r.conn.sets[t.set]
	speakers := speakersOf(d.timeline)
	var list []*roomapi.Event
	var own *roomapi.Event
	for _, e := range state {
		switch {
		case e.StateKey == nil:
		case isMember(e, r.req.UserID):
			own = e
		case set.wants(e.Type, *e.StateKey), set.lazy && e.Type == memberType && speakers[*e.StateKey]:
			list = append(list, e)
		}
	}
	for _, e := range d.timeline {
		if isMember(e, r.req.UserID) && (own == nil || e.Pos >= own.Pos) {
			own = e
		}
	}
	if own != nil {
		list = append(list, own)
	}
	return list
}

// former tells a client that does not know the room of a user who was put out of it
// or has subscribed to it.
func (r *round) former(ctx context.Context, t *target, dst []byte) ([]byte, error) {
	set := r.conn.sets[t.set]
	var state []*roomapi.Event
	req := &roomapi.StateRequest{RoomID: t.row.RoomID, UserID: r.req.UserID, Types: set.types, At: roomapi.Point{Pos: t.row.MemberPos}}
	if req.Types != nil {
		req.Types = append(req.Types, memberType)
	}
	err := r.s.engine.Source().State(ctx, req, func(e *roomapi.Event) error {
		state = append(state, e)
		return nil
	})
	if refused(err) {
		return dst, nil // the user never was inside
	}
	if err != nil {
		return dst, err
	}
	w, err := r.past(ctx, t, roomapi.WindowRequest{Limit: max(t.limit, 1), NoState: true})
	if err != nil {
		return dst, err
	}
	t.whole = true
	d := &delta{from: r.view.Now.Room}
	r.take(d, w)
	r.said(t)
	o := r.open(t, dst, r.membership(t), true)
	r.appendState(&o, r.departed(t, d, state))
	r.appendTimeline(&o, t, d)
	appendMoment(&o, &t.row)
	return append(o.Buf, '}'), nil
}

// rejection tells a client that knows an invite, a knock or a departure that the
// membership is another now. Nothing else of the room is told.
func (r *round) rejection(ctx context.Context, t *target, dst []byte) ([]byte, error) {
	own, err := r.ownMember(ctx, t.row.RoomID, t.row.MemberPos)
	if err != nil {
		return dst, err
	}
	r.said(t)
	o := r.open(t, dst, r.membership(t), false)
	switch {
	case own == nil:
	case r.req.Stable:
		r.appendStripped(&o, append(stripped([]byte{'['}, own), ']'))
	default:
		r.appendState(&o, []*roomapi.Event{own})
	}
	appendMoment(&o, &t.row)
	return append(o.Buf, '}'), nil
}

// stripped appends a state event in its stripped form.
func stripped(dst []byte, e *roomapi.Event) []byte {
	o := render.Open(dst)
	o.Key("content")
	o.Buf = append(o.Buf, e.Content()...)
	o.Key("sender")
	o.Buf = render.String(o.Buf, e.Sender)
	o.Key("state_key")
	o.Buf = render.String(o.Buf, *e.StateKey)
	o.Key("type")
	o.Buf = render.String(o.Buf, e.Type)
	return append(o.Buf, '}')
}
