package core

import (
	"hearth/clientapi/userapi"
	"hearth/roomserver/roomapi"
	"hearth/syncapi/viewapi"
)

// Tri is the answer to a question that memory alone may not answer.
type Tri uint8

// Answers.
const (
	No Tri = iota
	Yes
	Unknown
)

// Query says what Changes looks for.
type Query struct {
	// Since is what the client knows; with Initial it knows nothing.
	Since   viewapi.Token
	Initial bool
	// All adds the joined rooms in which nothing changed.
	All bool
	// Left adds the rooms that were left earlier and are not forgotten.
	Left bool
	// Skip, if set, leaves out rooms.
	Skip func(roomID string) bool
}

// Change is a room of which there may be something to tell.
type Change struct {
	RoomID     string
	Membership Membership
	MemberPos  int64  // of the member event
	By         string // who invited the user
	Forgotten  bool

	// Newly says whether a joined room was joined after Since.
	Newly Tri
	// Events are the timeline events after Since, oldest first, if Covered. The user
	// may see all of them unless Newly.
	Events  []*roomapi.Event
	Covered bool
	// Counts says whether the numbers of joined and invited members changed.
	Counts Tri
	// Receipts are those after Since, if ReceiptsCovered, private ones of others among them.
	Receipts        []*roomapi.Receipt
	ReceiptsCovered bool
	// Typing is the set of typing users if it changed after Since, else nil. With
	// Initial or Newly it is set whenever it is known.
	Typing *roomapi.Typing
}

// Result is the answer of Changes.
type Result struct {
	// Now is the place up to which the result is complete: the next Since.
	Now   viewapi.Token
	Rooms []Change
	// Account is the account data that changed after Since, if AccountCovered.
	Account        []userapi.AccountData
	AccountCovered bool
	// Settings are the user's at Now.
	Settings *Settings
}

// Changes finds what happened in the rooms of u after q.Since, the latest first. It
// looks at a few numbers for each room in which something happened, or for each room
// of the user if q asks for more, and asks nobody. The cursors must have reached
// Since and u.Loaded().
func (e *Engine) Changes(u *User, q Query) Result {
	e.mu.RLock()
	defer e.mu.RUnlock()
	res := Result{Now: e.token(&q.Since), Settings: u.settings}
	if q.Initial || q.All || q.Left {
		e.consider(&res, &q, u.events.list, nil)
	} else {
		e.consider(&res, &q, u.events.after(q.Since.Room), nil)
		e.consider(&res, &q, u.receipts.after(q.Since.Room), func(m *member) bool { return m.eventAt > q.Since.Room })
		e.consider(&res, &q, u.typing.after(q.Since.Typing), func(m *member) bool {
			return m.eventAt > q.Since.Room || m.receiptAt > q.Since.Room
		})
	}
	res.Account, res.AccountCovered = u.accountAfter(&q)
	return res
}

// token is the place up to which everything was applied.
func (e *Engine) token(since *viewapi.Token) viewapi.Token {
	return viewapi.Token{Room: e.roomPos, User: e.userPos, Typing: max(since.Typing, e.typing), Presence: max(since.Presence, e.presences.place)}
}

// consider adds the changes of memberships, the last one first, but not of those
// that were considered already.
func (e *Engine) consider(res *Result, q *Query, list []placedMember, done func(*member) bool) {
	for i := len(list) - 1; i >= 0; i-- {
		m := list[i].m
		if m.now == None || done != nil && done(m) {
			continue
		}
		c := Change{RoomID: m.id, Membership: m.now, MemberPos: m.pos}
		if m.now == Invite {
			c.By = m.by
		}
		var tell bool
		switch m.now {
		case Join:
			tell = e.joinedChange(m, q, &c)
		case Invite, Knock:
			tell = q.Initial || q.All || m.pos > q.Since.Room
		default:
			c.Forgotten = m.forgotten()
			tell = !q.Initial && m.pos > q.Since.Room || q.Left && !c.Forgotten
		}
		if tell && (q.Skip == nil || !q.Skip(m.id)) {
			res.Rooms = append(res.Rooms, c)
		}
	}
}

func (e *Engine) joinedChange(m *member, q *Query, c *Change) (tell bool) {
	r := m.room
	c.Newly = m.newly(q)
	if r != nil && r.recent != nil && r.recent.typing != nil {
		if t := r.recent.typing; t.Serial > q.Since.Typing || q.Initial || c.Newly != No {
			c.Typing = t
		}
	}
	if q.Initial {
		return true
	}
	from := q.Since.Room
	c.Events, c.Covered = e.eventsAfter(r, from)
	c.Receipts, c.ReceiptsCovered = e.receiptsAfter(r, from)
	c.Counts = e.countsAfter(r, from)
	return q.All || c.Newly != No || !c.Covered || !c.ReceiptsCovered ||
		len(c.Events) > 0 || len(c.Receipts) > 0 || c.Typing != nil
}

// newly says whether the present joined time began after q.Since.
func (m *member) newly(q *Query) Tri {
	switch {
	case q.Initial:
		return Yes
	case m.since <= q.Since.Room:
		return No
	case m.exact:
		return Yes
	}
	return Unknown
}

func (u *User) accountAfter(q *Query) ([]userapi.AccountData, bool) {
	if q.Initial || q.All || q.Since.User < u.accountFrom {
		return nil, false
	}
	if u.accountLast <= q.Since.User {
		return nil, true
	}
	var changed []userapi.AccountData
	for i, d := range u.account {
		if d.Pos > q.Since.User && !replaced(u.account[i+1:], &d) {
			changed = append(changed, d)
		}
	}
	return changed, true
}

// replaced reports whether a later piece takes the place of d.
func replaced(later []userapi.AccountData, d *userapi.AccountData) bool {
	for i := range later {
		if later[i].Type == d.Type && later[i].RoomID == d.RoomID {
			return true
		}
	}
	return false
}

// Learn notes that the present joined time of u in a room, whose member event is
// at memberPos, began at joined.
func (e *Engine) Learn(u *User, roomID string, memberPos, joined int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if m := u.rooms[roomID]; m != nil && m.now == Join && m.pos == memberPos {
		m.since, m.exact = joined, true
	}
}

// JoinedAt reports whether u was joined to a room at now, a position that the
// cursor has reached, and is joined still.
func (e *Engine) JoinedAt(u *User, roomID string, now int64) bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	m := u.rooms[roomID]
	return m != nil && m.now == Join && m.since <= now
}
