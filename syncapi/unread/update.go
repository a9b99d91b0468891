package unread

import (
	"context"

	"hearth/internal/pdu"
	"hearth/internal/pushrules"
	"hearth/roomserver/roomapi"
	"hearth/syncapi/core"
)

// view is one look at a state, whose lock is held.
type view struct {
	*Counter
	ctx   context.Context
	user  *core.User
	rules *rules
	state *state
	// stale says that the state cannot be brought up to date from memory.
	stale bool
	err   error // the first failure
}

// update brings the state up to date.
func (v *view) update() error {
	s := v.state
	if !s.loaded {
		return v.load()
	}
	if s.version != v.rules.version {
		if !s.quiet() {
			return v.load()
		}
		s.version = v.rules.version
	}
	past := v.engine.After(s.user, s.room, s.upTo)
	if !past.Covered {
		return v.load()
	}
	if past.Now <= s.upTo { // the state is from the owner, which was ahead
		return nil
	}
	v.apply(&past)
	if v.err != nil {
		s.loaded = false
		return v.err
	}
	if v.stale {
		return v.load()
	}
	s.upTo = past.Now
	return nil
}

// apply takes in what happened.
func (v *view) apply(past *core.Past) {
	for _, ev := range past.Events {
		if v.event(ev) {
			v.state.changed = max(v.state.changed, ev.Pos)
		}
		if v.stale || v.err != nil {
			return
		}
	}
	for _, rc := range past.Own {
		ord, ok := v.place(rc.EventID, past.Events)
		if !ok {
			v.stale = true
			return
		}
		if v.state.mark(rc.ThreadID, ord) {
			v.state.changed = max(v.state.changed, rc.Pos)
		}
	}
}

// place finds the order of an event at hand.
func (v *view) place(eventID string, events []*roomapi.Event) (int64, bool) {
	for i := len(events) - 1; i >= 0; i-- {
		if events[i].EventID == eventID {
			return events[i].Ord, true
		}
	}
	for i := range v.state.items {
		if v.state.items[i].id == eventID {
			return v.state.items[i].ord, true
		}
	}
	if ev := v.engine.Recent(v.state.room, eventID); ev != nil {
		return ev.Ord, true
	}
	return 0, false
}

// event takes in a new event and reports whether the counts changed.
func (v *view) event(ev *roomapi.Event) bool {
	s := v.state
	if ev.Type == "m.room.member" && ev.StateKey != nil && *ev.StateKey == s.user {
		return v.ownMember(ev)
	}
	changed := ev.Type == "m.room.redaction" && v.redaction(ev)
	if len(ev.RedactedBecause) > 0 || v.stale {
		return changed
	}
	if ev.Sender == s.user {
		thread := v.threadOf(ev)
		return s.sent(thread, ev.EventID, ev.Ord) || changed
	}
	return v.foreign(ev, "") || changed
}

// foreign takes in an event of somebody else; thread is empty if it is not known.
func (v *view) foreign(ev *roomapi.Event, thread string) bool {
	s := v.state
	if ev.Ord <= s.joined || ev.Ord <= s.markOf("") {
		return false
	}
	if thread == "" {
		thread = direct(ev)
	}
	if thread != "" && s.read(ev.Ord, thread) || v.rules.ignored[ev.Sender] {
		s.saw(ev.Ord, thread)
		return false
	}
	// Most events that relate to others notify nobody, so their parents are not asked for.
	o := v.rules.compiled.Evaluate(pushrules.NewEvent(s.room, ev.Type, ev.Sender, ev.StateKey, ev.JSON), v)
	if o == nil || !o.Notify || v.err != nil {
		s.saw(ev.Ord, thread)
		return false
	}
	if thread == "" {
		thread = v.threadOf(ev)
	}
	s.saw(ev.Ord, thread)
	if s.read(ev.Ord, thread) {
		return false
	}
	s.items = append(s.items, item{ord: ev.Ord, id: ev.EventID, thread: thread, highlight: o.Highlight})
	return true
}

// ownMember takes in a member event of the user: who joins has read nothing, and
// nothing before counts.
func (v *view) ownMember(ev *roomapi.Event) bool {
	s := v.state
	before, _ := pdu.GetString(ev.PrevContent, "membership")
	if ev.Membership == "join" && before == "join" {
		return false
	}
	s.joined = ev.Ord
	return s.drop()
}

// redaction takes an event out that was redacted, if it was.
func (v *view) redaction(ev *roomapi.Event) bool {
	s := v.state
	target, ok := pdu.GetString(ev.JSON, "redacts")
	if !ok {
		target, ok = pdu.GetString(ev.Content(), "redacts")
	}
	if !ok {
		return false
	}
	for _, o := range s.own {
		// The redacted event does not tell its thread, so it marks nothing.
		v.stale = v.stale || o.id == target
	}
	for i := range s.items {
		if s.items[i].id != target {
			continue
		}
		now := v.engine.Recent(s.room, target)
		if now == nil {
			v.stale = true // was it allowed?
		} else if len(now.RedactedBecause) > 0 {
			s.items = append(s.items[:i], s.items[i+1:]...)
			return true
		}
		return false
	}
	return false
}

func (v *view) fail(err error) {
	if v.err == nil {
		v.err = err
	}
}

// load reads the state from the owner of the room.
func (v *view) load() error {
	s := v.state
	had, old := s.loaded, s.summary()
	var u *roomapi.UnreadRoom
	err := v.source.Unread(v.ctx, &roomapi.UnreadRequest{UserID: s.user, Rooms: []string{s.room}, Limit: roomapi.MaxUnread},
		func(found *roomapi.UnreadRoom) { u = found })
	if err != nil {
		return err
	}
	s.reset()
	s.loaded, v.stale = false, false
	if u == nil { // no such room: it is asked for again next time
		u = &roomapi.UnreadRoom{RoomID: s.room}
	}
	s.joined, s.upTo = u.JoinedOrd, u.Pos
	v.learn(u)
	for _, m := range u.Marks {
		s.mark(m.Thread, m.Ord)
	}
	for i := range u.Events {
		v.loaded(&u.Events[i])
	}
	if v.err != nil {
		return v.err
	}
	s.loaded = u.Joined
	now := s.summary()
	switch {
	case !had || !now.same(old) && s.version == v.rules.version:
		s.changed = max(s.changed, s.upTo)
	case !now.same(old):
		s.changed, s.changedBy = max(s.changed, s.upTo), v.rules.version.last()
	}
	s.version = v.rules.version
	return nil
}

// loaded takes in an event that the owner gave.
func (v *view) loaded(e *roomapi.UnreadEvent) {
	ev := e.Event
	switch {
	case ev.Type == "m.room.member" && ev.StateKey != nil && *ev.StateKey == v.state.user:
	case ev.Sender == v.state.user:
		v.state.sent(e.Thread, ev.EventID, ev.Ord)
	default:
		v.foreign(ev, e.Thread)
	}
}
