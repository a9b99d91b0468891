package model

import (
	"encoding/json"

	"hearth/roomserver/roomapi"
)

type key struct{ kind, state string }

// history returns the events of a room up to a position, in their present form.
func (o *Owners) history(room string, to int64) []*roomapi.Event {
	var list []*roomapi.Event
	for _, p := range o.rooms {
		if p.Pos <= to && p.Entry.Kind == roomapi.KindEvent && p.Entry.RoomID == room {
			list = append(list, o.forms[p.Entry.Event.EventID])
		}
	}
	return list
}

// state is the state of a room after a position.
func (o *Owners) state(room string, to int64) map[key]*roomapi.Event {
	state := map[key]*roomapi.Event{}
	for _, e := range o.history(room, to) {
		if e.StateKey != nil {
			state[key{e.Type, *e.StateKey}] = e
		}
	}
	return state
}

// membership is a user's membership after a position, "" if there never was one.
func (o *Owners) member(room, user string, to int64) (membership string, pos int64) {
	if e := o.last(room, "m.room.member", user, to); e != nil {
		return e.Membership, e.Pos
	}
	return "", 0
}

// last is one piece of the state after a position, nil if there is none.
func (o *Owners) last(room, typ, stateKey string, to int64) *roomapi.Event {
	for i := min(to, int64(len(o.rooms))) - 1; i >= 0; i-- {
		if e := o.rooms[i].Entry.Event; e != nil && o.rooms[i].Entry.RoomID == room && e.Type == typ && e.StateKey != nil && *e.StateKey == stateKey {
			return o.forms[e.EventID]
		}
	}
	return nil
}

// joinedSince is where the joined time that lasts at a position began.
func (o *Owners) joinedSince(room, user string, to int64) int64 {
	var since int64
	for _, e := range o.history(room, to) {
		if e.Type != "m.room.member" || *e.StateKey != user {
			continue
		}
		if e.Membership != "join" {
			since = 0
		} else if since == 0 {
			since = e.Pos
		}
	}
	return since
}

func (o *Owners) visibility(room string, at int64) string {
	var c struct {
		Visibility string `json:"history_visibility"`
	}
	if e := o.last(room, "m.room.history_visibility", "", at); e != nil {
		_ = json.Unmarshal(e.Content(), &c) // redacted: none
	}
	if c.Visibility == "" {
		return "shared"
	}
	return c.Visibility
}

// visible applies "Room history visibility" to an event, for a user who looks at position to.
func (o *Owners) visible(room, user string, e *roomapi.Event, to int64) bool {
	at, _ := o.member(room, user, e.Pos)
	before, _ := o.member(room, user, e.Pos-1)
	if at == "join" || before == "join" || e.Type == "m.room.member" && *e.StateKey == user {
		return true
	}
	switch o.visibility(room, e.Pos) {
	case "world_readable":
		return true
	case "invited":
		return at == "invite"
	case "joined":
		return false
	}
	for i := e.Pos; i < to; i++ { // shared: if the user joins at any point after
		later := o.rooms[i].Entry.Event
		if later != nil && o.rooms[i].Entry.RoomID == room && later.Type == "m.room.member" && *later.StateKey == user && later.Membership == "join" {
			return true
		}
	}
	return false
}
