package model

import (
	"hearth/clientapi/userapi"
	"hearth/roomserver/roomapi"
)

// View is all that a user may know at a pair of positions.
type View struct {
	Joined  map[string]*Room
	Left    map[string]*Room // left or banned; the timeline ends with the departure
	Invited map[string]bool
	Knocked map[string]bool
	// Account is the user's account data.
	Account []*userapi.AccountData
}

// Room is a room that the user is in, or was.
type Room struct {
	Since    int64             // where the present joined time began
	State    map[string]string // event ids by type and state key, with a NUL between
	Timeline []*roomapi.Event  // what the user may see since the last event that he may not see
	Hole     int64             // position of that event
	Receipts []*roomapi.Receipt
}

// View returns what a user may know when the logs end at the given positions.
func (o *Owners) View(user string, rooms, users int64) View {
	o.mu.Lock()
	defer o.mu.Unlock()
	past := &Owners{rooms: o.rooms[:rooms], users: o.users[:users], forms: o.forms}
	v := View{Joined: map[string]*Room{}, Left: map[string]*Room{}, Invited: map[string]bool{}, Knocked: map[string]bool{}}
	seen := map[string]bool{}
	for _, p := range past.rooms {
		id := p.Entry.RoomID
		if seen[id] {
			continue
		}
		seen[id] = true
		switch m, _ := past.member(id, user, rooms); m {
		case "join":
			v.Joined[id] = past.room(id, user, rooms, rooms)
		case "leave", "ban":
			_, pos := past.member(id, user, rooms)
			v.Left[id] = past.room(id, user, pos, rooms)
		case "invite":
			v.Invited[id] = true
		case "knock":
			v.Knocked[id] = true
		}
	}
	v.Account = past.accountData(user, users)
	return v
}

func (o *Owners) room(id, user string, at, now int64) *Room {
	r := &Room{Since: o.joinedSince(id, user, at), State: map[string]string{}, Receipts: o.receipts(id, user)}
	for k, e := range o.state(id, at) {
		r.State[k.kind+"\x00"+k.state] = e.EventID
	}
	for _, e := range o.history(id, at) {
		if o.visible(id, user, e, now) {
			r.Timeline = append(r.Timeline, e)
		} else {
			r.Timeline, r.Hole = nil, e.Pos
		}
	}
	return r
}
