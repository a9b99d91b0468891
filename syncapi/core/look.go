package core

import (
	"math"

	"hearth/clientapi/userapi"
	"hearth/roomserver/roomapi"
	"hearth/syncapi/viewapi"
)

// Row is a room of a user as a list of rooms needs it.
type Row struct {
	RoomID     string
	Membership Membership
	MemberPos  int64
	// Bump is the position of the last activity in a joined room; 0: not known.
	Bump int64
	// By is who invited the user.
	By string
	// Ousted says whether the user was in the room and was put out of it.
	Ousted    Tri
	Forgotten bool
	// Facts, nil if not known, hold since FactsPos.
	Facts    *Facts
	FactsPos int64
	Tags     []string // if NeedTags was called
}

// View is what Look found.
type View struct {
	Now      viewapi.Token
	Settings *Settings
	// TagsPos is the position of the last change of a tag; 0 without NeedTags.
	TagsPos int64
	// ForgotPos is the position at which a room was forgotten last, or a later one.
	ForgotPos int64
	// ThreadsPos is the position at which thread subscriptions changed last, or a later one.
	ThreadsPos int64
	// Changed are the rooms with an event or another membership after the token, the
	// latest first.
	Changed []Row
	// All are all rooms, the one with the latest event first; nil if not asked for.
	All []Row
	// Receipts are the joined rooms with receipts after the token; only the fields
	// about receipts and RoomID are set.
	Receipts []Change
	// Typing are the changes in joined rooms after the token.
	Typing []*roomapi.Typing
	// Account is the account data that changed after the token, if AccountCovered.
	Account        []userapi.AccountData
	AccountCovered bool
}

// Look finds what is new to u after since, at one moment; with the zero token only
// v.All is found. all is asked, after
// everything but v.All is set, whether v.All is wanted; it must not call the engine.
// Slices of v are used again.
func (e *Engine) Look(u *User, since viewapi.Token, v *View, all func(v *View) bool) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	v.Now, v.Settings, v.TagsPos = e.token(&since), u.settings, u.tagsPos
	v.ForgotPos, v.ThreadsPos = u.forgot, u.threadsPos
	v.Changed, v.All, v.Receipts, v.Typing = v.Changed[:0], v.All[:0], v.Receipts[:0], v.Typing[:0]
	if since != (viewapi.Token{}) {
		e.lookAfter(u, since, v)
	}
	if all(v) {
		v.All = appendRows(v.All, u, u.events.after(math.MinInt64))
	}
}

func (e *Engine) lookAfter(u *User, since viewapi.Token, v *View) {
	v.Changed = appendRows(v.Changed, u, u.events.after(since.Room))
	for _, p := range u.receipts.after(since.Room) {
		if r := p.m.room; r != nil {
			c := Change{RoomID: p.m.id, Membership: Join}
			c.Receipts, c.ReceiptsCovered = e.receiptsAfter(r, since.Room)
			v.Receipts = append(v.Receipts, c)
		}
	}
	for _, p := range u.typing.after(since.Typing) {
		if r := p.m.room; r != nil && r.recent != nil && r.recent.typing != nil {
			v.Typing = append(v.Typing, r.recent.typing)
		}
	}
	v.Account, v.AccountCovered = u.accountAfter(&Query{Since: since})
}

func appendRows(dst []Row, u *User, list []placedMember) []Row {
	for i := len(list) - 1; i >= 0; i-- {
		if m := list[i].m; m.now != None {
			dst = append(dst, m.row(u))
		}
	}
	return dst
}

func (m *member) row(u *User) Row {
	r := Row{
		RoomID: m.id, Membership: m.now, MemberPos: m.pos, By: m.by, Ousted: m.ousted, Forgotten: m.forgotten(),
		Facts: m.facts, FactsPos: m.pos,
	}
	if m.room != nil {
		r.Facts, r.FactsPos, r.Bump = m.room.facts, m.room.factsPos, m.room.bump
	}
	if u.tags != nil {
		r.Tags = u.tags[m.id].tags
	}
	return r
}

// Row returns one room of u.
func (e *Engine) Row(u *User, roomID string) (Row, bool) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	m := u.rooms[roomID]
	if m == nil || m.now == None {
		return Row{}, false
	}
	return m.row(u), true
}

// Since returns what happened in a room that u has joined after from and up to to,
// which the cursor has reached; false if u is not joined now.
func (e *Engine) Since(u *User, roomID string, from, to viewapi.Token) (Change, bool) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	m := u.rooms[roomID]
	if m == nil || m.now != Join {
		return Change{}, false
	}
	c := Change{RoomID: m.id, Membership: m.now, MemberPos: m.pos}
	e.joinedChange(m, &Query{Since: from}, &c)
	for len(c.Events) > 0 && c.Events[len(c.Events)-1].Pos > to.Room {
		c.Events = c.Events[:len(c.Events)-1]
	}
	return c, true
}

// Typing returns who types in a room, nil if that is not known.
func (e *Engine) Typing(roomID string) *roomapi.Typing {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if r := e.rooms[roomID]; r != nil && r.recent != nil {
		return r.recent.typing
	}
	return nil
}
