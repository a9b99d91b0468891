package v3

import (
	"context"

	"hearth/roomserver/roomapi"
	"hearth/syncapi/core"
	"hearth/syncapi/internal/render"
)

// left renders a room of rooms.leave: what happened until the user left. The owner
// decides what the user may see of it.
func (r *round) left(ctx context.Context, c *core.Change, dst []byte) ([]byte, error) {
	req := roomapi.WindowRequest{
		RoomID: c.RoomID, UserID: r.req.UserID, From: r.since.Room, To: r.now.Room,
		Limit: r.filter.limit(), Filter: r.filter.timeline(), StateAfter: r.req.UseStateAfter, Lazy: r.lazy(),
		Ignored: r.settings.IgnoredList,
	}
	if !r.filter.Room.Timeline.has(c.RoomID) {
		req.Limit = 0
	}
	if c.MemberPos > 0 {
		req.To = min(req.To, c.MemberPos) // nothing after the departure
	}
	if r.initial || req.From >= req.To { // a room that was left earlier
		req.From = 0
	}
	d := &delta{told: true}
	r.s.metrics.window()
	w, err := r.s.engine.Source().Window(ctx, &req)
	if r.hidden[c.RoomID] && (refused(err) || err == nil && w.MemberPos <= r.since.Room) {
		return dst, nil // the client does not take itself to be in the room
	}
	switch {
	case refused(err): // forgotten, or never seen from inside: it is left all the same
	case err != nil:
		return dst, err
	default:
		d = r.fromWindow(w)
		d.told, d.whole = true, req.From == 0
	}
	departed := func(id string) (*roomapi.Event, error) {
		e, err := r.s.engine.Source().StateEvent(ctx, &roomapi.StateEventRequest{
			RoomID: c.RoomID, UserID: r.req.UserID, Type: memberType, StateKey: id,
		})
		if refused(err) {
			return nil, nil
		}
		return e, err
	}
	if err := r.addMembers(c, d, departed); err != nil {
		return dst, err
	}
	o := render.Open(dst)
	r.appendEvents(&o, c, d)
	data, err := r.roomData(ctx, c.RoomID, false)
	if err != nil {
		return dst, err
	}
	if f := &r.filter.Room.AccountData; f.has(c.RoomID) {
		o.Events("account_data", false, func(dst []byte) []byte { return r.appendAccountData(dst, data, &f.eventFilter) })
	}
	return append(o.Buf, '}'), nil
}
