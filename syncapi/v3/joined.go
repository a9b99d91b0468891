package v3

import (
	"context"
	"strconv"

	"hearth/roomserver/roomapi"
	"hearth/syncapi/core"
)

// joined renders a room of rooms.join. Sections without content are left out, a
// room without sections too. Unread counts have their place behind account_data.
func (r *round) joined(ctx context.Context, c *core.Change, dst []byte) ([]byte, error) {
	d, err := r.delta(ctx, c)
	if err != nil || d == nil {
		return dst, err
	}
	current := func(id string) (*roomapi.Event, error) { return r.s.engine.Member(ctx, r.user, c.RoomID, id) }
	if err := r.addMembers(c, d, current); err != nil {
		return dst, err
	}
	o := open(dst)
	if d.summary != nil {
		appendSummary(&o, d.summary)
	}
	something := r.appendEvents(&o, c, d) || d.summary != nil
	before := len(o.buf)
	if err := r.appendEphemeral(ctx, &o, c, d.whole); err != nil {
		return dst, err
	}
	data, err := r.roomData(ctx, c.RoomID, d.whole)
	if err != nil {
		return dst, err
	}
	if f := &r.filter.Room.AccountData; f.has(c.RoomID) {
		o.events("account_data", false, func(dst []byte) []byte { return r.appendAccountData(dst, data, &f.eventFilter) })
	}
	if !something && len(o.buf) == before {
		return dst, nil
	}
	return append(o.buf, '}'), nil
}

// appendEvents appends state and timeline and reports whether they have content.
// An empty state_after is written too: it tells the client not to take state from
// the timeline.
func (r *round) appendEvents(o *object, c *core.Change, d *delta) (something bool) {
	state := d.state
	if f := &r.filter.Room.State; !f.has(c.RoomID) {
		state = nil
	} else if !f.all() {
		state = state[:0:0]
		for _, e := range d.state {
			if f.event(e) {
				state = append(state, e)
			}
		}
	}
	write := roomapi.Render{UserID: r.req.UserID, DeviceID: r.req.DeviceID, Now: r.time}
	name := "state"
	if r.req.UseStateAfter {
		name = "state_after"
	}
	o.events(name, r.req.UseStateAfter, func(dst []byte) []byte { return r.appendList(dst, state, write) })
	r.markMembers(c, state, d.timeline)
	if !d.told || !d.whole && !r.filter.Room.Timeline.has(c.RoomID) {
		return len(state) > 0
	}
	write.Membership = d.membership
	o.key("timeline")
	t := open(o.buf)
	t.key("events")
	t.buf = append(t.buf, '[')
	t.buf = append(r.appendList(t.buf, d.timeline, write), ']')
	t.key("limited")
	t.buf = strconv.AppendBool(t.buf, d.limited)
	if !d.prev.IsZero() {
		t.key("prev_batch")
		t.buf = appendString(t.buf, prevBatch(d.prev))
	}
	o.buf = append(t.buf, '}')
	return true
}

// prevBatch is the pagination token of a point.
func prevBatch(p roomapi.Point) string { return roomapi.TimelineToken(p.Ord) }

// appendList appends events with commas between.
func (r *round) appendList(dst []byte, events []*roomapi.Event, write roomapi.Render) []byte {
	for _, e := range events {
		dst = comma(dst)
		if r.filter.fields == nil {
			dst = e.AppendJSON(dst, write)
			continue
		}
		dst = r.filter.fields.appendPicked(dst, e.AppendJSON(nil, write))
	}
	return dst
}

// appendSummary appends the room summary.
func appendSummary(o *object, s *roomapi.WindowInfo) {
	o.key("summary")
	sum := open(o.buf)
	if len(s.Heroes) > 0 {
		sum.key("m.heroes")
		sum.buf = append(sum.buf, '[')
		for _, id := range s.Heroes {
			sum.buf = appendString(comma(sum.buf), id)
		}
		sum.buf = append(sum.buf, ']')
	}
	sum.key("m.joined_member_count")
	sum.buf = strconv.AppendInt(sum.buf, int64(s.Joined), 10)
	sum.key("m.invited_member_count")
	sum.buf = strconv.AppendInt(sum.buf, int64(s.Invited), 10)
	o.buf = append(sum.buf, '}')
}

// appendEphemeral appends typing and receipts.
func (r *round) appendEphemeral(ctx context.Context, o *object, c *core.Change, whole bool) error {
	f := &r.filter.Room.Ephemeral
	if !f.has(c.RoomID) {
		return nil
	}
	var receipts []*roomapi.Receipt
	if f.hasType("m.receipt") {
		var err error
		if receipts, err = r.receipts(ctx, c, whole); err != nil {
			return err
		}
	}
	typing := c.Typing
	if typing != nil && (!f.hasType("m.typing") || !r.newTyping(typing, whole)) {
		typing = nil
	}
	o.events("ephemeral", false, func(dst []byte) []byte {
		if typing != nil {
			dst = appendTyping(dst, typing)
		}
		return appendReceipts(dst, receipts, r.req.UserID)
	})
	return nil
}

// newTyping reports whether the client does not know yet who types.
func (r *round) newTyping(t *roomapi.Typing, whole bool) bool {
	if whole {
		return len(t.UserIDs) > 0
	}
	return t.Serial > r.since.Typing
}
