package push

import (
	"context"
	"errors"
	"time"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/lru"
	"hearth/internal/merr"
	"hearth/internal/pushrules"
	"hearth/roomserver/roomapi"
)

const (
	maxMembers = 1 << 20 // local members of rooms in memory
	maxRooms   = 16384
	// lazyEntries and lazyTime are how many entries without an effect go by, and how
	// long, before the cursor is stored.
	lazyEntries = 1000
	lazyTime    = time.Second
)

// follow reads the room log until ctx ends.
func (s *Server) follow(ctx context.Context) {
	for ctx.Err() == nil {
		err := s.followOnce(ctx)
		if errors.Is(err, bus.ErrLog) && ctx.Err() == nil {
			s.log.WithError(err).Error("push: the room log was put back to an older state")
			err = s.begin(ctx)
		}
		if err != nil && ctx.Err() == nil {
			s.log.WithError(err).Warn("push: the room log cannot be read, trying again")
			sleep(ctx, pause)
		}
	}
}

// begin goes on at the end of the log: nobody is told of what was before.
func (s *Server) begin(ctx context.Context) error {
	head, err := bus.Head(ctx, s.bus, roomapi.Log)
	if err != nil {
		return err
	}
	return s.db.advance(ctx, head, nil)
}

func (s *Server) followOnce(ctx context.Context) error {
	pos, known, err := s.db.progress(ctx)
	if err != nil {
		return err
	}
	if !known {
		return s.begin(ctx) // and again
	}
	f := &follower{
		Server: s, stored: pos,
		members: lru.New(maxMembers, func(_ string, m map[string]bool) int { return 1 + len(m) }),
		rooms:   lru.New[string, *roomapi.UnreadRoom](maxRooms, nil),
	}
	return bus.Follow(ctx, s.bus, roomapi.Log, pos, f.apply)
}

// follower turns entries of the log into notices.
type follower struct {
	*Server
	stored   int64 // the cursor in the database
	storedAt time.Time
	members  *lru.Cache[string, map[string]bool]     // local members of rooms
	rooms    *lru.Cache[string, *roomapi.UnreadRoom] // what conditions of rules ask
}

func (f *follower) apply(ctx context.Context, entries []bus.Positioned[roomapi.Entry]) error {
	var notices []notice
	for _, e := range entries {
		if e.Entry == nil {
			continue
		}
		more, err := f.entry(ctx, e.Pos, e.Entry)
		if err != nil {
			return err
		}
		notices = append(notices, more...)
	}
	last := entries[len(entries)-1].Pos
	// Reading entries again that had no effect has none either.
	if len(notices) == 0 && last-f.stored < lazyEntries && time.Since(f.storedAt) < lazyTime {
		return nil
	}
	if err := f.db.advance(ctx, last, notices); err != nil {
		return err
	}
	f.stored, f.storedAt = last, time.Now()
	for _, n := range notices {
		f.sender.wake(n.pusher)
	}
	return nil
}

func (f *follower) entry(ctx context.Context, pos int64, e *roomapi.Entry) ([]notice, error) {
	switch {
	case e.Kind == roomapi.KindEvent && e.Event != nil:
		f.noteState(e.RoomID, e.Event)
		if f.users.none() {
			return nil, nil
		}
		return f.event(ctx, pos, e.RoomID, e.Event)
	case e.Kind == roomapi.KindOutside && e.Event != nil && e.Event.Membership == "invite" && !f.users.none():
		asked := pushrules.NewEvent(e.RoomID, e.Event.Type, e.Event.Sender, e.Event.StateKey, e.Event.JSON)
		return f.user(ctx, pos, e.UserID, asked, e.Event)
	case e.Kind == roomapi.KindReceipt && e.Receipt != nil:
		return f.receipt(pos, e.RoomID, e.Receipt), nil
	}
	return nil, nil
}

// receipt makes a notice for gateways that show a number which is now too high.
func (f *follower) receipt(pos int64, roomID string, rc *roomapi.Receipt) (notices []notice) {
	for _, p := range f.users.pushers(rc.UserID) {
		if f.users.badgeOf(p.id) > 0 {
			notices = append(notices, notice{pusher: p.id, room: roomID, pos: pos, tweaks: []byte("{}")})
		}
	}
	return notices
}

// noteState forgets or corrects what an event makes untrue.
func (f *follower) noteState(roomID string, ev *roomapi.Event) {
	if ev.StateKey == nil {
		return
	}
	switch ev.Type {
	case "m.room.power_levels":
		f.rooms.Delete(roomID)
	case "m.room.member":
		f.rooms.Delete(roomID)
		members, ok := f.members.Get(roomID)
		if !ok || !f.local(*ev.StateKey) {
			return
		}
		if ev.Membership == "join" {
			members[*ev.StateKey] = true
		} else {
			delete(members, *ev.StateKey)
		}
		f.members.Put(roomID, members)
	}
}

// event makes the notices of an event.
func (f *follower) event(ctx context.Context, pos int64, roomID string, ev *roomapi.Event) (notices []notice, err error) {
	members, err := f.membersOf(ctx, roomID)
	if err != nil {
		return nil, err
	}
	asked := pushrules.NewEvent(roomID, ev.Type, ev.Sender, ev.StateKey, ev.JSON)
	for userID := range members {
		more, err := f.user(ctx, pos, userID, asked, ev)
		if err != nil {
			return nil, err
		}
		notices = append(notices, more...)
	}
	if ev.Type == "m.room.member" && ev.StateKey != nil && ev.Membership == "invite" && !members[*ev.StateKey] {
		more, err := f.user(ctx, pos, *ev.StateKey, asked, ev)
		notices = append(notices, more...)
		return notices, err
	}
	return notices, nil
}

// user makes the notices of an event for one user.
func (f *follower) user(ctx context.Context, pos int64, userID string, asked *pushrules.Event, ev *roomapi.Event) ([]notice, error) {
	pushers := f.users.pushers(userID)
	if len(pushers) == 0 || userID == ev.Sender {
		return nil, nil
	}
	rules, err := f.rules.of(ctx, userID)
	if errors.Is(err, merr.NotFound("")) {
		return nil, nil // the account is gone
	}
	if err != nil || rules.ignored[ev.Sender] || ev.Membership == "invite" && ev.StateKey != nil && *ev.StateKey == userID && rules.unwanted(ev.Sender) {
		return nil, err
	}
	env := &surroundings{ctx: ctx, bus: f.bus, userID: userID, roomID: asked.RoomID, read: f.roomOf}
	o := rules.compiled.Evaluate(asked, env)
	if env.err != nil {
		return nil, env.err
	}
	if o == nil || !o.Notify {
		return nil, nil
	}
	var notices []notice
	for _, p := range pushers {
		if p.since >= pos {
			continue
		}
		notices = append(notices, notice{
			pusher: p.id, room: asked.RoomID, event: ev.EventID, pos: pos, tweaks: o.Tweaks,
			// An encrypted event may be anything.
			high: o.Sound || o.Highlight || ev.Type == "m.room.encrypted",
		})
	}
	return notices, nil
}

func (s *Server) local(userID string) bool {
	n := len(userID) - len(s.serverName)
	return n > 1 && userID[n:] == s.serverName && userID[n-1] == ':'
}

// membersOf returns the local members of a room, later ones perhaps than the entry at
// hand: who joined meanwhile and may not see the event is found out when it is sent.
func (f *follower) membersOf(ctx context.Context, roomID string) (map[string]bool, error) {
	if m, ok := f.members.Get(roomID); ok {
		return m, nil
	}
	members := map[string]bool{}
	for after := ""; ; {
		page, err := roomapi.LocalMembers.Do(ctx, f.bus, &roomapi.LocalMembersRequest{RoomID: roomID, After: after})
		if err != nil {
			return nil, err
		}
		for _, id := range page.UserIDs {
			members[id] = true
			after = id
		}
		if !page.More || len(page.UserIDs) == 0 {
			break
		}
	}
	f.members.Put(roomID, members)
	return members, nil
}

func (f *follower) roomOf(ctx context.Context, userID, roomID string) (*roomapi.UnreadRoom, error) {
	if u, ok := f.rooms.Get(roomID); ok {
		return u, nil
	}
	u := &roomapi.UnreadRoom{}
	err := roomapi.ReadUnread(ctx, f.bus, &roomapi.UnreadRequest{UserID: userID, Rooms: []string{roomID}},
		func(found *roomapi.UnreadRoom) { u = found })
	if err == nil && u.Joined {
		f.rooms.Put(roomID, u)
	}
	return u, err
}

// gone reports whether the owner said that there is nothing for the user.
func gone(err error) bool {
	e := merr.From(err)
	return e != nil && (e.Status == 404 || e.Status == 403)
}

// deviceGone reports whether a pusher's device has logged out.
func (s *Server) deviceGone(ctx context.Context, p *pusher) (bool, error) {
	_, err := userapi.GetDevice.Do(ctx, s.bus, &userapi.DeviceRequest{UserID: p.userID, DeviceID: p.device})
	if errors.Is(err, merr.NotFound("")) {
		return true, nil
	}
	return false, err
}
