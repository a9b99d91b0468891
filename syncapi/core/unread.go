package core

import "hearth/roomserver/roomapi"

// Past is what happened in a room after a position.
type Past struct {
	Now int64 // position up to which it is complete
	// Covered says that memory has all of it; nothing else is set if not.
	Covered bool
	Events  []*roomapi.Event   // oldest first
	Own     []*roomapi.Receipt // those of one user
}

// After returns what happened in a room after a position, with the receipts of userID.
func (e *Engine) After(userID, roomID string, after int64) Past {
	e.mu.RLock()
	defer e.mu.RUnlock()
	p := Past{Now: e.roomPos}
	r := e.rooms[roomID]
	events, ok := e.eventsAfter(r, after)
	if !ok {
		return p
	}
	receipts, ok := e.receiptsAfter(r, after)
	if !ok {
		return p
	}
	p.Covered, p.Events = true, events
	for _, rc := range receipts {
		if rc.UserID == userID {
			p.Own = append(p.Own, rc)
		}
	}
	return p
}

// Recent returns an event of a room's recent timeline as it is now, nil if memory
// has not got it.
func (e *Engine) Recent(roomID, eventID string) *roomapi.Event {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if r := e.rooms[roomID]; r != nil && r.recent != nil {
		for i := len(r.recent.events) - 1; i >= 0; i-- {
			if ev := r.recent.events[i].event; ev.EventID == eventID {
				return ev
			}
		}
	}
	return nil
}

// JoinedRooms lists the rooms that u has joined.
func (e *Engine) JoinedRooms(u *User) []string {
	e.mu.RLock()
	defer e.mu.RUnlock()
	var rooms []string
	for id, m := range u.rooms {
		if m.now == Join {
			rooms = append(rooms, id)
		}
	}
	return rooms
}

// Changed says whether a piece of u's global account data of one of the types may
// have changed after a position of the user log.
func (e *Engine) Changed(u *User, after int64, types ...string) bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if u.accountLast <= after && after >= u.accountFrom {
		return false
	}
	if after < u.accountFrom {
		return true
	}
	for i := range u.account {
		d := &u.account[i]
		if d.Pos <= after || d.RoomID != "" {
			continue
		}
		for _, typ := range types {
			if d.Type == typ {
				return true
			}
		}
	}
	return false
}
