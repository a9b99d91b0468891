package core

import (
	"container/list"
	"context"

	"hearth/clientapi/userapi"
)

const (
	// maxPresences bounds the users whose presence is kept.
	maxPresences = 50_000
	// maxPresenceEvents bounds what one answer tells of.
	maxPresenceEvents = 2_000
)

// presences is who is online as far as it was told; guarded by Engine.mu. Places are
// given out here, in the order in which changes become visible, and follow the owner's
// serials, so that they also order what was told by another process or before a
// restart.
type presences struct {
	byUser map[string]*list.Element // of *placedPresence
	order  *list.List               // front: the oldest place
	place  int64                    // the last one
	epoch  int64
}

type placedPresence struct {
	userapi.Presence
	place int64
}

func newPresences() presences {
	return presences{byUser: map[string]*list.Element{}, order: list.New()}
}

// SeedPresence takes what the owner knows at the start, when nobody listens yet.
func (e *Engine) SeedPresence(epoch int64, users []userapi.Presence) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.presences.begin(epoch)
	for i := range users {
		e.presences.put(&users[i])
	}
}

// ApplyPresence applies a change and wakes those who share a room with the user. Where
// the rooms of the user are not known, they are read first: a change must not be
// passed over by a sync that cannot tell whether it may show it.
func (e *Engine) ApplyPresence(p *userapi.Presence) {
	e.mu.Lock()
	if p.Epoch < e.presences.epoch {
		e.mu.Unlock()
		return
	}
	e.presences.begin(p.Epoch)
	if p.UserID == "" {
		e.mu.Unlock()
		return
	}
	if u := e.users[p.UserID]; u != nil && !u.partial {
		if e.presences.put(p) {
			e.wakePeers(u)
		}
	} else {
		e.readThenPut(*p)
	}
	e.unlockAndWake()
}

// readThenPut puts p when the rooms of the user are known; where they cannot be read,
// presence is lost, as it may be. mu is held.
func (e *Engine) readThenPut(p userapi.Presence) {
	if e.ctx.Err() != nil || e.reading >= maxUnloaded {
		return
	}
	e.reading++
	e.work.Go(func() {
		ctx, cancel := context.WithTimeout(e.ctx, findTime)
		defer cancel()
		var u *User
		var err error
		select {
		case e.lists.slots <- struct{}{}:
			u, err = e.Acquire(ctx, p.UserID)
			<-e.lists.slots
		case <-ctx.Done():
			err = ctx.Err()
		}
		e.mu.Lock()
		e.reading--
		if err == nil && e.presences.put(&p) {
			e.wakePeers(u)
		}
		e.unlockAndWake()
		if err == nil {
			e.Release(u)
		}
	})
}

// begin notes the epoch of the owner. What was told in an older one is no longer so.
func (s *presences) begin(epoch int64) {
	if epoch <= s.epoch {
		return
	}
	s.epoch = epoch
	el := s.order.Front()
	for range s.order.Len() { // those that are moved come after the rest
		next := el.Next()
		if p := el.Value.(*placedPresence); p.Epoch < epoch && p.Presence.Presence != userapi.Offline {
			p.Presence.Presence, p.CurrentlyActive = userapi.Offline, false
			s.moveUp(el, epoch)
		}
		el = next
	}
}

func (s *presences) moveUp(el *list.Element, serial int64) {
	s.place = max(s.place+1, serial)
	el.Value.(*placedPresence).place = s.place
	s.order.MoveToBack(el)
}

// put stores a change and reports whether it is news.
func (s *presences) put(p *userapi.Presence) bool {
	el := s.byUser[p.UserID]
	if el == nil {
		el = s.order.PushBack(&placedPresence{})
		s.byUser[p.UserID] = el
	} else if el.Value.(*placedPresence).Serial >= p.Serial {
		return false
	}
	el.Value.(*placedPresence).Presence = *p
	s.moveUp(el, p.Serial)
	for s.order.Len() > maxPresences {
		first := s.order.Front()
		delete(s.byUser, first.Value.(*placedPresence).UserID)
		s.order.Remove(first)
	}
	return true
}

// again makes the presence of a user news for those in his rooms, unless he is offline.
func (s *presences) again(userID string) bool {
	el := s.byUser[userID]
	if el == nil || el.Value.(*placedPresence).Presence.Presence == userapi.Offline {
		return false
	}
	s.moveUp(el, 0)
	return true
}

// Presences returns the presence of users who share a room with u, as far as it
// changed after a place, the latest first; with initial, of all who are not offline.
// fresh are rooms that u has just joined: of those in them it is told in any case.
func (e *Engine) Presences(u *User, after int64, initial bool, fresh []string) []userapi.Presence {
	e.mu.RLock()
	defer e.mu.RUnlock()
	var out []userapi.Presence
	for el := e.presences.order.Back(); el != nil && len(out) < maxPresenceEvents; el = el.Prev() {
		p := el.Value.(*placedPresence)
		news := p.place > after
		if !news && !initial && len(fresh) == 0 {
			break
		}
		if (!news || initial) && p.Presence.Presence == userapi.Offline {
			continue
		}
		if other := e.users[p.UserID]; other != nil && (shareRoom(u, other) && (news || initial) || joinedOne(other, fresh)) {
			out = append(out, p.Presence)
		}
	}
	return out
}

// shareRoom reports whether two loaded users have joined a room in common.
func shareRoom(a, b *User) bool {
	if a == b {
		return true
	}
	if len(a.rooms) > len(b.rooms) {
		a, b = b, a
	}
	for id, m := range a.rooms {
		if m.now != Join {
			continue
		}
		if other := b.rooms[id]; other != nil && other.now == Join {
			return true
		}
	}
	return false
}

func joinedOne(u *User, rooms []string) bool {
	for _, id := range rooms {
		if m := u.rooms[id]; m != nil && m.now == Join {
			return true
		}
	}
	return false
}
