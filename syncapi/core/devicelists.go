package core

import (
	"context"
	"time"

	"hearth/clientapi/userapi"
	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
)

// Bounds of what is kept for device lists.
const (
	maxListChanges = 4096             // changes of device lists
	maxUnloaded    = 1024             // users whose rooms are being read to wake who is in them
	findTime       = 30 * time.Second // for the rooms of one of them
)

// listChange is a change of a user's device list, or, with signed, a signature of the
// user on the keys of another one.
type listChange struct {
	pos    int64
	user   string
	signed string
}

// deviceLists is what is known of changes; guarded by Engine.mu.
type deviceLists struct {
	changes []listChange // oldest first
	from    int64        // changes has all after it
	// finding are users whose rooms are being read.
	finding map[string]struct{}
	slots   chan struct{} // those that are read at a time
}

func newDeviceLists(from int64) deviceLists {
	return deviceLists{from: from, finding: map[string]struct{}{}, slots: make(chan struct{}, 4)}
}

// applyListChange notes a change and wakes whom it concerns.
func (e *Engine) applyListChange(c listChange) {
	l := &e.lists
	l.changes = append(l.changes, c)
	if len(l.changes) > maxListChanges {
		l.from = l.changes[0].pos
		l.changes = l.changes[1:]
	}
	u := e.users[c.user]
	if u != nil {
		e.wake(u)
	}
	switch {
	case c.signed != "":
	case u != nil && !u.partial:
		e.wakePeers(u)
	default:
		e.findPeers(c.user)
	}
}

// wakePeers wakes those who share a room with u. Whether it is encrypted they find
// out themselves.
func (e *Engine) wakePeers(u *User) {
	for _, m := range u.rooms {
		if m.now != Join || m.room == nil {
			continue
		}
		for other := range m.room.joined {
			e.wake(other)
		}
	}
}

// findPeers wakes those who share a room with a user who has no view, after reading it.
// If that cannot be done, everybody is woken.
func (e *Engine) findPeers(userID string) {
	l := &e.lists
	if _, ok := l.finding[userID]; ok && e.users[userID] == nil {
		return
	}
	if len(l.finding) >= maxUnloaded || e.ctx.Err() != nil {
		e.wakeAll()
		return
	}
	l.finding[userID] = struct{}{}
	e.work.Go(func() {
		ctx, cancel := context.WithTimeout(e.ctx, findTime)
		defer cancel()
		select {
		case l.slots <- struct{}{}:
			defer func() { <-l.slots }()
		case <-ctx.Done():
		}
		// From here on a further change is not covered by what is read.
		e.mu.Lock()
		delete(l.finding, userID)
		e.mu.Unlock()
		u, err := e.Acquire(ctx, userID)
		e.mu.Lock()
		if err != nil {
			e.wakeAll()
		} else {
			e.wakePeers(u)
		}
		e.unlockAndWake()
		if err == nil {
			e.Release(u)
		}
	})
}

func (e *Engine) wakeAll() {
	for _, u := range e.users {
		e.wake(u)
	}
}

// ListChanges are the device lists that may have changed for a user.
type ListChanges struct {
	// Sure are users whose lists changed for certain; Ask are those that count only if
	// they share an encrypted room with the user.
	Sure, Ask []string
	// Covered says that these are all.
	Covered bool
	// Peers says whether the set of users with whom the user shares encrypted rooms may
	// have changed. Rooms are those on which it depends, because it is not known whether
	// they are encrypted; without them it may have changed for certain.
	Peers bool
	Rooms []string
}

// ListChanges finds which device lists may have changed for u between two tokens. It
// asks nobody.
func (e *Engine) ListChanges(u *User, since, now Place) ListChanges {
	e.mu.RLock()
	defer e.mu.RUnlock()
	c := ListChanges{Covered: since.User >= e.lists.from}
	if c.Covered {
		e.addChanges(&c, u, since.User, now.User)
	}
	for _, p := range u.events.after(since.Room) {
		e.addPeers(&c, p.m, since.Room)
	}
	return c
}

// Place is a pair of positions in both logs.
type Place struct{ Room, User int64 }

func (e *Engine) addChanges(c *ListChanges, u *User, since, now int64) {
	list := e.lists.changes
	for i := len(list) - 1; i >= 0 && list[i].pos > since; i-- {
		switch change := &list[i]; {
		case change.pos > now:
		case change.signed != "":
			if change.user == u.ID {
				c.Sure = append(c.Sure, change.signed)
			}
		case change.user == u.ID:
			c.Sure = append(c.Sure, change.user)
		case e.mayShare(u, change.user):
			c.Ask = append(c.Ask, change.user)
		}
	}
}

// mayShare reports whether u may share a room with another user.
func (e *Engine) mayShare(u *User, other string) bool {
	o := e.users[other]
	if o == nil || o.partial {
		return true
	}
	for _, m := range o.rooms {
		if mine := u.rooms[m.id]; m.now == Join && mine != nil && mine.now == Join {
			return true
		}
	}
	return false
}

// addPeers looks at a membership in a room where something may have happened.
func (e *Engine) addPeers(c *ListChanges, m *member, since int64) {
	r := m.room
	switch {
	case m.now == None:
		return
	case m.now != Join || r == nil:
		if m.pos <= since {
			return
		}
	case r.plain:
		return
	case m.pos <= since: // neither came nor went
		if r.recent != nil && since >= r.recent.known && r.recent.lastPeers <= since {
			return
		}
		if !r.encrypted {
			c.Peers, c.Rooms = true, append(c.Rooms, m.id)
			return
		}
	}
	c.Peers = true
	c.Rooms = append(c.Rooms, "") // for certain
}

// maxAsked is the number of rooms that are asked for one by one.
const maxAsked = 4

// PeersMoved decides c.Peers by asking whether the rooms on which it depends are
// encrypted. What it learns is remembered.
func (e *Engine) PeersMoved(ctx context.Context, u *User, c *ListChanges) (bool, error) {
	if !c.Peers || len(c.Rooms) > maxAsked {
		return c.Peers, nil
	}
	for _, id := range c.Rooms {
		if id == "" {
			return true, nil
		}
	}
	for _, id := range c.Rooms {
		e.mu.RLock()
		before := e.roomPos
		e.mu.RUnlock()
		_, err := e.source.StateEvent(ctx, &roomapi.StateEventRequest{RoomID: id, UserID: u.ID, Type: encryptionType})
		switch {
		case err == nil:
			e.learnEncryption(id, true, before)
			return true, nil
		case merr.From(err).Is(merr.NotFound("")):
			e.learnEncryption(id, false, before)
		case gone(err):
			return true, nil
		default:
			return false, err
		}
	}
	return false, nil
}

const encryptionType = "m.room.encryption"

// learnEncryption notes whether a room is encrypted, as its owner said when the
// cursor was at before.
func (e *Engine) learnEncryption(id string, encrypted bool, before int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.rooms[id]
	if r == nil {
		return
	}
	if encrypted {
		r.encrypted, r.plain = true, false
	} else if !r.encrypted && (r.recent == nil || r.recent.lastPeers <= before) {
		r.plain = true
	}
}

// DeviceLists asks for the changed device lists that memory does not have, up to now.
func (e *Engine) DeviceLists(ctx context.Context, u *User, since, now Place) (users, signed []string, err error) {
	for after := since.User; after < now.User; {
		page, err := e.source.ChangedDeviceLists(ctx, &userapi.ChangedDeviceListsRequest{UserID: u.ID, After: after, UpTo: now.User})
		if err != nil {
			return nil, nil, err
		}
		users, signed = append(users, page.Users...), append(signed, page.Signed...)
		if !page.More || page.Next <= after {
			break
		}
		after = page.Next
	}
	return users, signed, nil
}
