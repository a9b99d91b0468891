package v3

import (
	"context"
	"strconv"

	"hearth/roomserver/roomapi"
	"hearth/syncapi/core"
	"hearth/syncapi/internal/render"
)

// joined renders a room of rooms.join. Sections without content are left out, a
// room without sections too.
func (r *round) joined(ctx context.Context, c *core.Change, dst []byte) ([]byte, error) {
	d, err := r.delta(ctx, c)
	if err != nil || d == nil {
		return dst, err
	}
	current := func(id string) (*roomapi.Event, error) { return r.s.engine.Member(ctx, r.user, c.RoomID, id) }
	if err := r.addMembers(c, d, current); err != nil {
		return dst, err
	}
	o := render.Open(dst)
	if d.summary != nil {
		appendSummary(&o, d.summary)
	}
	something := r.appendEvents(&o, c, d) || d.summary != nil
	before := len(o.Buf)
	if err := r.appendEphemeral(ctx, &o, c, d.whole); err != nil {
		return dst, err
	}
	data, err := r.roomData(ctx, c.RoomID, d.whole)
	if err != nil {
		return dst, err
	}
	if f := &r.filter.Room.AccountData; f.has(c.RoomID) {
		o.Events("account_data", false, func(dst []byte) []byte { return r.appendAccountData(dst, data, &f.eventFilter) })
	}
	told := something || len(o.Buf) != before
	if err := r.appendUnread(ctx, &o, c, d, told); err != nil {
		return dst, err
	}
	if !told && len(o.Buf) == before {
		return dst, nil
	}
	return append(o.Buf, '}'), nil
}

// appendEvents appends state and timeline and reports whether they have content.
// An empty state_after is written too: it tells the client not to take state from
// the timeline.
func (r *round) appendEvents(o *render.Object, c *core.Change, d *delta) (something bool) {
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
		if r.req.UnstableStateAfter {
			name = "org.matrix.msc4222.state_after"
		}
	}
	o.Events(name, r.req.UseStateAfter, func(dst []byte) []byte { return r.appendList(dst, state, write) })
	r.markMembers(c, state, d.timeline)
	if !d.told || !d.whole && !r.filter.Room.Timeline.has(c.RoomID) {
		return len(state) > 0
	}
	write.Membership = d.membership
	o.Key("timeline")
	t := render.Open(o.Buf)
	t.Key("events")
	t.Buf = append(t.Buf, '[')
	t.Buf = append(r.appendList(t.Buf, d.timeline, write), ']')
	t.Key("limited")
	t.Buf = strconv.AppendBool(t.Buf, d.limited)
	if !d.prev.IsZero() {
		t.Key("prev_batch")
		t.Buf = render.String(t.Buf, prevBatch(d.prev))
	}
	o.Buf = append(t.Buf, '}')
	return true
}

// prevBatch is the pagination token of a point.
func prevBatch(p roomapi.Point) string { return roomapi.TimelineToken(p.Ord) }

// appendList appends events with commas between.
func (r *round) appendList(dst []byte, events []*roomapi.Event, write roomapi.Render) []byte {
	for _, e := range events {
		dst = render.Comma(dst)
		if r.filter.fields == nil {
			dst = e.AppendJSON(dst, write)
			continue
		}
		dst = r.filter.fields.appendPicked(dst, e.AppendJSON(nil, write))
	}
	return dst
}

// appendSummary appends the room summary.
func appendSummary(o *render.Object, s *roomapi.WindowInfo) {
	o.Key("summary")
	sum := render.Open(o.Buf)
	if len(s.Heroes) > 0 {
		sum.Key("m.heroes")
		sum.Buf = append(sum.Buf, '[')
		for _, id := range s.Heroes {
			sum.Buf = render.String(render.Comma(sum.Buf), id)
		}
		sum.Buf = append(sum.Buf, ']')
	}
	sum.Key("m.joined_member_count")
	sum.Buf = strconv.AppendInt(sum.Buf, int64(s.Joined), 10)
	sum.Key("m.invited_member_count")
	sum.Buf = strconv.AppendInt(sum.Buf, int64(s.Invited), 10)
	o.Buf = append(sum.Buf, '}')
}

// appendEphemeral appends typing and receipts.
func (r *round) appendEphemeral(ctx context.Context, o *render.Object, c *core.Change, whole bool) error {
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
	o.Events("ephemeral", false, func(dst []byte) []byte {
		if typing != nil {
			dst = render.Typing(dst, typing, r.settings.Ignored)
		}
		return render.Receipts(dst, receipts, r.req.UserID, r.settings.Ignored)
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
