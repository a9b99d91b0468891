package sliding

import (
	"context"
	"strconv"

	"hearth/roomserver/roomapi"
	"hearth/syncapi/core"
	"hearth/syncapi/internal/render"
)

// requiredState selects of the state that changed what the client wants, and adds
// the members that it needs and does not know.
func (r *round) requiredState(ctx context.Context, t *target, d *delta) ([]*roomapi.Event, error) {
	set := r.conn.sets[t.set]
	if !t.whole && t.was.set != t.set {
		if err := r.widen(ctx, t, d); err != nil {
			return nil, err
		}
	}
	if set.none {
		return nil, nil
	}
	speakers := map[string]bool{}
	if set.lazy {
		speakers = speakersOf(d.timeline)
	}
	var list []*roomapi.Event
	there := map[string]bool{} // members in list
	add := func(e *roomapi.Event) {
		list = append(list, e)
		if e.Type == memberType {
			there[*e.StateKey] = true
		}
	}
	for _, e := range d.changed {
		switch {
		case e.StateKey == nil:
		case set.wants(e.Type, *e.StateKey),
			// All members that changed are told unless there is a gap, after which the
			// client must forget its list of members anyway.
			e.Type == memberType && set.lazy && (speakers[*e.StateKey] || !t.whole && !d.limited):
			add(e)
		}
	}
	for _, e := range d.extra {
		if e.Type != memberType || !there[*e.StateKey] {
			add(e)
		}
	}
	if t.whole && !set.members {
		if err := r.addUsers(ctx, t, set, there, add); err != nil {
			return nil, err
		}
	}
	if !set.lazy {
		return list, nil
	}
	key := markKey(t.row.RoomID, t.now.since)
	for user := range speakers {
		if there[user] || !t.whole && r.members.Known(key, user, 0) {
			continue
		}
		e, err := r.s.engine.Member(ctx, r.user, t.row.RoomID, user)
		if err != nil {
			return nil, err
		}
		if e != nil {
			add(e)
		}
	}
	r.mark(key, there)
	return list, nil
}

// addUsers adds the members who are wanted one by one. They are not read with the
// state of a whole room.
func (r *round) addUsers(ctx context.Context, t *target, set *stateSet, there map[string]bool, add func(*roomapi.Event)) error {
	for _, user := range set.users {
		if there[user] || !set.wants(memberType, user) {
			continue
		}
		e, err := r.s.engine.Member(ctx, r.user, t.row.RoomID, user)
		if err != nil {
			return err
		}
		if e != nil {
			add(e)
		}
	}
	return nil
}

// speakersOf are the senders of events and the targets of member events.
func speakersOf(events []*roomapi.Event) map[string]bool {
	set := make(map[string]bool, len(events))
	for _, e := range events {
		set[e.Sender] = true
		if e.Type == memberType && e.StateKey != nil {
			set[*e.StateKey] = true
		}
	}
	return set
}

// mark notes which members the answer has; they count when it is acknowledged.
func (r *round) mark(room string, users map[string]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for user := range users {
		r.marks = append(r.marks, memberMark{room, user})
	}
}

// widen reads the state that the client wants now and did not want before.
func (r *round) widen(ctx context.Context, t *target, d *delta) error {
	set, old := r.conn.sets[t.set], r.conn.sets[t.was.set]
	if set.none {
		return nil
	}
	changed := map[string]bool{}
	for _, e := range d.changed {
		changed[e.EventID] = true
	}
	req := &roomapi.StateRequest{RoomID: t.row.RoomID, UserID: r.req.UserID, Types: set.types, At: roomapi.Point{Pos: r.view.Now.Room}}
	err := r.s.engine.Source().State(ctx, req, func(e *roomapi.Event) error {
		if e.StateKey != nil && !changed[e.EventID] && set.wants(e.Type, *e.StateKey) && !old.wants(e.Type, *e.StateKey) {
			d.extra = append(d.extra, e)
		}
		return nil
	})
	if refused(err) {
		return nil
	}
	return err
}

func (r *round) appendState(o *render.Object, state []*roomapi.Event) {
	if len(state) == 0 {
		return
	}
	write := roomapi.Render{UserID: r.req.UserID, DeviceID: r.req.DeviceID, Now: r.time}
	o.Key("required_state")
	o.Buf = append(o.Buf, '[')
	for _, e := range state {
		o.Buf = e.AppendJSON(render.Comma(o.Buf), write)
	}
	o.Buf = append(o.Buf, ']')
}

// find returns a piece of state with an empty key, nil if it is not there.
func find(state []*roomapi.Event, typ string) *roomapi.Event {
	for _, e := range state {
		if e.Type == typ && e.StateKey != nil && *e.StateKey == "" {
			return e
		}
	}
	return nil
}

// appendFace appends name, avatar and heroes, as far as they changed.
func (r *round) appendFace(ctx context.Context, o *render.Object, t *target, d *delta) error {
	for _, part := range [...]struct{ typ, from, name string }{
		{"m.room.name", "name", "name"}, {"m.room.avatar", "url", "avatar"},
	} {
		e := find(d.changed, part.typ)
		if e == nil {
			continue
		}
		value := text(e.Content(), part.from)
		switch {
		case value != "":
			o.Key(part.name)
			o.Buf = render.String(o.Buf, value)
		case !t.whole:
			o.Key(part.name)
			o.Buf = append(o.Buf, "null"...)
		}
	}
	if d.info == nil || len(d.info.Heroes) == 0 {
		return nil
	}
	o.Key("heroes")
	o.Buf = append(o.Buf, '[')
	for _, id := range d.info.Heroes {
		if err := r.appendHero(ctx, o, t, d, id); err != nil {
			return err
		}
	}
	o.Buf = append(o.Buf, ']')
	return nil
}

func (r *round) appendHero(ctx context.Context, o *render.Object, t *target, d *delta, id string) error {
	var member *roomapi.Event
	for _, e := range d.changed {
		if isMember(e, id) {
			member = e
		}
	}
	if member == nil {
		var err error
		if member, err = r.s.engine.Member(ctx, r.user, t.row.RoomID, id); err != nil {
			return err
		}
	}
	h := render.Open(render.Comma(o.Buf))
	h.Key("user_id")
	h.Buf = render.String(h.Buf, id)
	if member != nil {
		content := member.Content()
		for _, key := range [...]string{"displayname", "avatar_url"} {
			if value := text(content, key); value != "" {
				h.Key(key)
				h.Buf = render.String(h.Buf, value)
			}
		}
	}
	o.Buf = append(h.Buf, '}')
	return nil
}

// appendMoment appends the position of the member event as bump stamp of a room that
// the user is not in.
func appendMoment(o *render.Object, row *core.Row) {
	o.Key("bump_stamp")
	o.Buf = strconv.AppendInt(o.Buf, row.MemberPos, 10)
}
