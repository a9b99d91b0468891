package model

import (
	"hearth/clientapi/userapi"
	"hearth/roomserver/roomapi"
)

// View is all that a user may know at a pair of positions.
type View struct {
	Joined  map[string]*Room
	Invited map[string]bool
	Knocked map[string]bool
	// Account is the user's account data.
	Account []*userapi.AccountData
}

// Room is a joined room.
type Room struct {
	Since    int64             // where the present joined time began
	State    map[string]string // event ids by type and state key, with a NUL between
	Timeline []*roomapi.Event  // all that the user may see
	Receipts []*roomapi.Receipt
}

// View returns what a user may know when the logs end at the given positions.
func (o *Owners) View(user string, rooms, users int64) View {
	o.mu.Lock()
	defer o.mu.Unlock()
	past := &Owners{rooms: o.rooms[:rooms], users: o.users[:users], forms: o.forms}
	v := View{Joined: map[string]*Room{}, Invited: map[string]bool{}, Knocked: map[string]bool{}}
	seen := map[string]bool{}
	for _, p := range past.rooms {
		id := p.Entry.RoomID
		if seen[id] {
			continue
		}
		seen[id] = true
		switch m, _ := past.member(id, user, rooms); m {
		case "join":
			v.Joined[id] = past.room(id, user, rooms)
		case "invite":
			v.Invited[id] = true
		case "knock":
			v.Knocked[id] = true
		}
	}
	v.Account = past.accountData(user, users)
	return v
}

func (o *Owners) room(id, user string, at int64) *Room {
	r := &Room{Since: o.joinedSince(id, user, at), State: map[string]string{}, Receipts: o.receipts(id, user)}
	for k, e := range o.state(id, at) {
		r.State[k.kind+"\x00"+k.state] = e.EventID
	}
	for _, e := range o.history(id, at) {
		if o.visible(id, user, e, at) {
			r.Timeline = append(r.Timeline, e)
		}
	}
	return r
}

// MaySee reports whether a user may ever have seen an event when the room log
// ended at a position: it lets a test find leaks in what was left out of the view.
func (o *Owners) MaySee(user, room, event string, at int64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range o.history(room, at) {
		if e.EventID == event {
			return o.visible(room, user, e, at)
		}
	}
	return false
}
