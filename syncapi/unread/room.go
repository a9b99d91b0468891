package unread

import (
	"sync"

	"hearth/internal/pdu"
	"hearth/internal/pushrules"
	"hearth/roomserver/roomapi"
)

// room is what conditions of rules ask of a room, for all users.
type room struct {
	mu      sync.Mutex // guards what follows
	pos     int64      // true at it
	members int
	power   pushrules.Power
}

// learn keeps what the owner said of the room.
func (v *view) learn(u *roomapi.UnreadRoom) {
	if !u.Joined {
		return
	}
	r := v.rooms.GetOrPut(u.RoomID, new(room))
	r.mu.Lock()
	defer r.mu.Unlock()
	// No event of the room stands between the state and the answer.
	if pos := max(u.StatePos, u.Pos); pos >= r.pos {
		r.pos, r.members = pos, u.Members
		r.power = pushrules.Power{Levels: u.Levels, Creators: u.Creators, Privileged: u.Privileged}
	}
}

// now returns the room as it is, with its lock held; nil if it cannot be read.
func (v *view) now() *room {
	r := v.rooms.GetOrPut(v.state.room, new(room))
	r.mu.Lock()
	if r.pos > 0 {
		past := v.engine.After("", v.state.room, r.pos)
		if past.Covered {
			r.follow(past.Events)
			r.pos = max(r.pos, past.Now)
			return r
		}
	}
	r.mu.Unlock()
	err := v.source.Unread(v.ctx, &roomapi.UnreadRequest{UserID: v.state.user, Rooms: []string{v.state.room}}, v.learn)
	if err != nil {
		v.fail(err)
		return nil
	}
	r = v.rooms.GetOrPut(v.state.room, r)
	r.mu.Lock()
	return r
}

// follow takes in events.
func (r *room) follow(events []*roomapi.Event) {
	for _, ev := range events {
		if ev.StateKey == nil {
			continue
		}
		switch ev.Type {
		case "m.room.power_levels":
			if *ev.StateKey == "" {
				r.power.Levels = ev.Content()
			}
		case "m.room.member":
			before, _ := pdu.GetString(ev.PrevContent, "membership")
			if ev.Membership == "join" {
				r.members++
			}
			if before == "join" {
				r.members--
			}
		}
	}
}

// Members is asked by rules.
func (v *view) Members() int {
	r := v.now()
	if r == nil {
		return 0
	}
	defer r.mu.Unlock()
	return r.members
}

// MayNotify is asked by rules.
func (v *view) MayNotify(sender, kind string) bool {
	r := v.now()
	if r == nil {
		return false
	}
	defer r.mu.Unlock()
	return r.power.MayNotify(sender, kind)
}

// DisplayName is asked by rules.
func (v *view) DisplayName() string {
	ev, err := v.engine.Member(v.ctx, v.user, v.state.room, v.user.ID)
	if err != nil {
		v.fail(err)
		return ""
	}
	if ev == nil {
		return ""
	}
	name, _ := pdu.GetString(ev.Content(), "displayname")
	return name
}
