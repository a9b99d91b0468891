package core

import (
	"container/list"
	"context"
	"time"

	"hearth/clientapi/userapi"
	"hearth/internal/merr"
	"hearth/syncapi/notify"
)

// User is the view of one user: his rooms and his latest account data. It is
// loaded by Acquire and kept in memory while it is in use and for some time after.
type User struct {
	ID   string      // fixed
	Bell notify.Bell // rings when something happened that concerns the user

	ready chan struct{} // closed when loading ended; err and loaded are fixed then
	err   error
	// loaded is the position of the newest row that was read: the view is true only
	// when the cursor has reached it.
	loaded int64

	// guarded by Engine.mu
	refs    int
	at      *list.Element // in Engine.idle
	dirty   bool          // is in Engine.dirty
	partial bool          // not all memberships are loaded yet
	rooms   map[string]*member
	// The same, by the last event, the last receipt and the last change of typing.
	// events has all of them once the user is loaded.
	events, receipts, typing order

	forgot    int64             // a room was forgotten there, or earlier, and none later
	settings  *Settings         // never nil
	tags      map[string]tagged // by room; nil: not in use
	tagsReady bool              // tags has all
	tagsPos   int64             // position of the last change of tags

	account     []userapi.AccountData // latest changes, oldest first
	accountFrom int64                 // account has all after it
	accountLast int64                 // position of the last change, 0: none after accountFrom
	threadsPos  int64                 // thread subscriptions changed there, or earlier, and none later

	devices map[string]*deviceView // those that have asked
}

// Membership is a user's relation to a room.
type Membership uint8

// Memberships.
const (
	None Membership = iota
	Join
	Invite
	Knock
	Leave
	Ban
)

func membershipOf(s string) Membership {
	switch s {
	case "join":
		return Join
	case "invite":
		return Invite
	case "knock":
		return Knock
	case "leave":
		return Leave
	case "ban":
		return Ban
	}
	return None
}

// member is one membership of a loaded user, guarded by Engine.mu.
type member struct {
	id   string // of the room; fixed
	room *room  // while joined
	now  Membership
	pos  int64 // of the member event
	// since when the user has joined without a break: the present joined time began
	// at since if exact, else at since or before.
	since int64
	exact bool
	// by is the sender of the member event of an invite.
	by string
	// ousted says whether the user was in the room and was put out of it.
	ousted Tri
	facts  *Facts // of an invite or a knock, nil: not known

	// places in the orders of the user
	eventAt, receiptAt, typingAt int64

	// forgot is the position at which the user forgot the room; it holds while pos is less.
	forgot int64
}

// maxAccountPiece bounds a piece of account data that is kept, in bytes.
const maxAccountPiece = 16 << 10

// maxAccount bounds the number of pieces that are kept for a user.
const maxAccount = 16

// userWeight is what a view weighs besides its memberships.
const userWeight = 8

func (u *User) weight() int { return userWeight + len(u.rooms) }

// Acquire returns the view of a user at the present cursor or later, loading it if
// need be; Release gives it back. 429 if the user has too many syncs in progress.
func (e *Engine) Acquire(ctx context.Context, userID string) (*User, error) {
	u, err := e.hold(userID)
	if err != nil {
		return nil, err
	}
	select {
	case <-u.ready:
		err = u.err
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		e.Release(u)
		return nil, err
	}
	return u, nil
}

// Loaded is the position of the room log that the cursor must have reached before
// the view is used.
func (u *User) Loaded() int64 { return u.loaded }

func (e *Engine) hold(userID string) (*User, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx.Err() != nil {
		return nil, merr.Unavailable("The server is shutting down")
	}
	u := e.users[userID]
	if u == nil {
		u = &User{ID: userID, ready: make(chan struct{}), rooms: map[string]*member{}, partial: true, accountFrom: e.userPos, threadsPos: e.userPos, settings: &Settings{}}
		e.users[userID] = u
		e.memberships += u.weight()
		e.work.Go(func() { e.load(u) })
	}
	if u.refs >= e.limits.UserSyncs {
		return nil, merr.LimitExceeded(time.Second)
	}
	u.refs++
	if u.at != nil {
		e.idle.Remove(u.at)
		u.at = nil
	}
	return u, nil
}

// Release gives back a view that Acquire returned.
func (e *Engine) Release(u *User) {
	e.mu.Lock()
	defer e.mu.Unlock()
	u.refs--
	if u.refs > 0 || e.users[u.ID] != u {
		return
	}
	u.at = e.idle.PushBack(u)
	e.evict()
}

// evict drops idle views until memory is in bounds.
func (e *Engine) evict() {
	for e.memberships > e.limits.Memberships {
		first := e.idle.Front()
		if first == nil {
			return
		}
		e.drop(first.Value.(*User))
	}
}

// drop forgets a view.
func (e *Engine) drop(u *User) {
	if e.users[u.ID] != u {
		return
	}
	delete(e.users, u.ID)
	e.memberships -= u.weight()
	if u.at != nil {
		e.idle.Remove(u.at)
		u.at = nil
	}
	for _, m := range u.rooms {
		e.unlink(u, m)
	}
}

// link makes u hear of the room of m.
func (e *Engine) link(u *User, m *member) {
	if m.room != nil {
		return
	}
	r := e.rooms[m.id]
	if r == nil {
		r = e.newRoom(m.id)
	}
	if r.joined == nil {
		r.joined = map[*User]*member{}
	}
	r.joined[u] = m
	m.room = r
}

// unlink undoes link.
func (e *Engine) unlink(u *User, m *member) {
	if m.room == nil {
		return
	}
	delete(m.room.joined, u)
	e.release(m.room)
	m.room = nil
}

// member returns the membership of u in a room, making one without a position.
func (e *Engine) member(u *User, roomID string) *member {
	m := u.rooms[roomID]
	if m == nil {
		m = &member{id: roomID}
		u.rooms[roomID] = m
		e.memberships++
	}
	return m
}

// memberEvent is what is known of a member event.
type memberEvent struct {
	now    Membership
	pos    int64
	exact  bool // what was before is known
	sender string
	ousted Tri
}

// setMember notes a member event. Those that come late, from a row that was read
// earlier, change nothing.
func (e *Engine) setMember(u *User, roomID string, ev memberEvent) {
	m := e.member(u, roomID)
	if ev.pos <= m.pos && m.now != None {
		return
	}
	if ev.now == Join && m.now != Join {
		m.since, m.exact = ev.pos, ev.exact
	}
	m.now, m.pos, m.facts, m.by = ev.now, ev.pos, nil, ""
	if ev.now == Invite {
		m.by = ev.sender
	}
	m.ousted = ev.ousted
	if ev.now == Join {
		e.link(u, m)
	} else {
		e.unlink(u, m)
	}
	u.eventCame(m, ev.pos)
}

// forget notes that u forgot a room.
func (e *Engine) forget(u *User, roomID string, pos int64) {
	m := e.member(u, roomID)
	m.forgot = max(m.forgot, pos)
	u.forgot = max(u.forgot, pos)
}

// forgotten reports whether the user has forgotten the room since he left it.
func (m *member) forgotten() bool { return m.forgot > m.pos }
