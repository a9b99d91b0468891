package sliding

import (
	"context"
	"maps"
	"sync"
	"time"

	"hearth/syncapi/core"
	"hearth/syncapi/internal/render"
	"hearth/syncapi/viewapi"
)

// round is one look at what is new, and its rendering. Everything up to next is
// fixed before rooms are rendered, which happens on several goroutines.
type round struct {
	*poll
	time time.Time // of rendering, for ages
	view *core.View
	full bool // the lists are gone through
	base *state
	out  answer
	next change // what the answer makes of base
	// deviceState is what the device is told of itself; nil if it has not asked.
	deviceState *core.DeviceState

	targets []target
	// What may change unread counts: other push rules, receipts of the user's own.
	newRules bool
	own      map[string]bool // rooms

	mu    sync.Mutex // guards marks
	marks []memberMark
}

// target is a room that the rules want to be told.
type target struct {
	row   core.Row
	lists uint64   // as in known
	names []string // of the lists
	limit int
	rules []*stateRule
	set   int32

	was   known // zero: the client does not know the room
	now   *known
	whole bool // the answer has the room as a whole
	part  bool // is in no window; only is_dm and unread counts are to be told
	data  roomData
}

func newRound(p *poll, view *core.View) *round {
	r := &round{poll: p, view: view, time: p.s.now(), base: &p.conn.state}
	r.out = answer{send: p.send, buf: p.s.buffers.Get()}
	return r
}

// render writes what is new; nothing at all if there is nothing.
func (r *round) render(ctx context.Context) error {
	r.s.engine.Look(r.user, r.base.since, r.view, r.needsAll)
	r.next.state = state{
		seq: r.conn.last + 1, since: r.view.Now, rooms: map[string]known{}, counts: r.base.counts,
		rules: r.rules.text, direct: r.view.Settings.Direct, ext: r.request.ext.enabled(),
	}
	if err := r.readDevice(ctx); err != nil {
		return err
	}
	if r.holds() {
		return r.hold()
	}
	r.noteUnread()
	if err := r.choose(ctx); err != nil {
		return err
	}
	r.prepare()
	if r.pos == nil || !maps.Equal(r.next.counts, r.base.counts) && r.rules.text != r.base.rules {
		r.out.start() // the client must know the counts of lists that it has just asked for
	}
	if err := r.renderRooms(ctx); err != nil {
		return err
	}
	return r.extend(ctx)
}

// prepare sets what the answer begins with.
func (r *round) prepare() {
	r.out.counts, r.out.txn = r.next.counts, r.txn
	r.out.pos = viewapi.Pos{Slot: r.s.slot, Conn: r.conn.id, Seq: r.next.seq, Token: r.next.since}
}

// needsAll decides whether every room of the user must be looked at. It runs under
// the engine's lock.
func (r *round) needsAll(v *core.View) bool {
	r.full = r.decide(v)
	return r.full
}

func (r *round) decide(v *core.View) bool {
	since, set := r.base.since, v.Settings
	switch {
	case r.base.seq == 0, r.base.recount, r.rules.text != r.base.rules,
		r.rules.direct && set.DirectPos > since.User,
		r.rules.tags && v.TagsPos > since.User,
		max(set.IgnoredPos, set.InvitesPos, set.FilterPos) > since.User,
		v.ForgotPos > since.Room,
		!r.rules.simple && len(v.Changed) > 0:
		return true
	}
	for i := range v.Changed {
		row := &v.Changed[i]
		if row.MemberPos > since.Room || (r.rules.facts || r.rules.spaces) && row.FactsPos > since.Room {
			return true
		}
	}
	return false
}

// renderRooms renders the targets, several at a time if the owner is asked.
func (r *round) renderRooms(ctx context.Context) error {
	parallel := 1
	if len(r.targets) > 1 {
		parallel = windowsAt
	}
	work := func(ctx context.Context, i int, dst []byte) ([]byte, error) {
		select {
		case r.s.slots <- struct{}{}:
			defer func() { <-r.s.slots }()
		case <-ctx.Done():
			return dst, ctx.Err()
		}
		return r.room(ctx, &r.targets[i], dst)
	}
	err := r.s.buffers.Ordered(ctx, len(r.targets), parallel, work, func(i int, part []byte) error {
		t := &r.targets[i]
		if t.now != nil {
			r.next.rooms[t.row.RoomID] = *t.now
			r.next.recount = r.next.recount || t.now.kind == left && (t.was.kind == 0 || t.row.Forgotten)
		}
		return r.out.room(t.row.RoomID, part)
	})
	r.next.members = r.marks
	return err
}

func (r *round) room(ctx context.Context, t *target, dst []byte) ([]byte, error) {
	switch t.row.Membership {
	case core.Join:
		return r.joined(ctx, t, dst)
	case core.Invite, core.Knock:
		return r.invited(ctx, t, dst)
	}
	return r.left(ctx, t, dst)
}

// open begins the object of a room with what all have.
func (r *round) open(t *target, dst []byte, membership string, initial bool) render.Object {
	o := render.Open(dst)
	if initial {
		o.Key("initial")
		o.Buf = append(o.Buf, "true"...)
	}
	if !r.req.Stable {
		return o
	}
	o.Key("membership")
	o.Buf = render.String(o.Buf, membership)
	if len(t.names) > 0 {
		o.Key("lists")
		o.Buf = append(o.Buf, '[')
		for _, name := range t.names {
			o.Buf = render.String(render.Comma(o.Buf), name)
		}
		o.Buf = append(o.Buf, ']')
	}
	return o
}

// finish sends the answer and notes what it makes of the client's state.
func (r *round) finish() error {
	r.out.start()
	next := r.next
	r.conn.last = next.seq
	r.conn.next = &next // also if sending fails: the client knows which one it has
	return r.out.finish()
}
