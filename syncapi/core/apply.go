package core

import (
	"context"
	"encoding/json"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/roomserver/roomapi"
)

// ApplyRooms applies entries of the room log and wakes the users concerned.
func (e *Engine) ApplyRooms(ctx context.Context, batch []bus.Positioned[roomapi.Entry]) error {
	if err := e.settle(ctx); err != nil {
		return err
	}
	e.mu.Lock()
	for _, p := range batch {
		if p.Pos <= e.roomPos {
			continue
		}
		if p.Entry != nil {
			e.applyRoom(p.Pos, p.Entry)
		}
		e.roomPos = p.Pos
	}
	e.shrink()
	e.unlockAndWake()
	return nil
}

// ApplyUsers applies entries of the user log and wakes the users concerned.
func (e *Engine) ApplyUsers(_ context.Context, batch []bus.Positioned[userapi.Entry]) error {
	e.mu.Lock()
	for _, p := range batch {
		if p.Pos <= e.userPos {
			continue
		}
		if p.Entry != nil {
			e.applyUser(p.Pos, p.Entry)
		}
		e.userPos = p.Pos
	}
	e.unlockAndWake()
	return nil
}

func (e *Engine) applyUser(pos int64, entry *userapi.Entry) {
	switch entry.Kind {
	case userapi.KindAccountData:
		if entry.Data != nil {
			e.applyAccountData(pos, entry)
		}
	case userapi.KindDevice:
		e.applyDevice(pos, entry.UserID, entry.DeviceID)
	case userapi.KindDeviceList:
		e.applyListChange(listChange{pos: pos, user: entry.UserID})
	case userapi.KindSignature:
		e.applyListChange(listChange{pos: pos, user: entry.UserID, signed: entry.Target})
	case userapi.KindThread:
		if u := e.users[entry.UserID]; u != nil {
			u.threadsPos = pos
			e.wake(u)
		}
	}
}

// ApplyTyping applies a typing notification and wakes the users in the room.
func (e *Engine) ApplyTyping(t *roomapi.Typing) {
	e.mu.Lock()
	e.typing = max(e.typing, t.Serial)
	r := e.rooms[t.RoomID]
	// That nobody types in a room is no news where nobody was known to type.
	if len(t.UserIDs) > 0 || r != nil && (len(r.joined) > 0 || r.recent != nil) {
		r = e.touch(t.RoomID)
		c := r.recent
		if c.typing == nil || c.typing.Serial < t.Serial {
			c.typing = t
			for u, m := range r.joined {
				u.typingCame(m, t.Serial)
				e.wake(u)
			}
		}
	}
	e.shrink()
	e.unlockAndWake()
}

// unlockAndWake releases mu and rings the bells of the dirty users: outside of the
// lock, because whoever wakes up takes it.
func (e *Engine) unlockAndWake() {
	woken := e.dirty
	e.dirty = nil
	for _, u := range woken {
		u.dirty = false
	}
	e.mu.Unlock()
	e.moved.Ring()
	for _, u := range woken {
		u.Bell.Ring()
	}
}

func (e *Engine) wake(u *User) {
	if !u.dirty {
		u.dirty = true
		e.dirty = append(e.dirty, u)
	}
}

func (e *Engine) applyRoom(pos int64, entry *roomapi.Entry) {
	switch entry.Kind {
	case roomapi.KindEvent:
		if entry.Event != nil {
			e.applyEvent(pos, entry)
		}
	case roomapi.KindReceipt:
		if entry.Receipt != nil {
			e.applyReceipt(pos, entry)
		}
	case roomapi.KindForget:
		if u := e.users[entry.UserID]; u != nil {
			e.forget(u, entry.RoomID, pos)
		}
	case roomapi.KindRetention:
		e.applyRetention(pos, entry.RoomID)
	case roomapi.KindOutside:
		if entry.Event != nil {
			e.applyOutside(pos, entry)
		}
	}
}

// applyRetention lets the events at hand begin after pos: those before may have expired, and whoever wants them
// asks the owner. An empty id stands for all rooms.
func (e *Engine) applyRetention(pos int64, roomID string) {
	for id, r := range e.rooms {
		if r.recent != nil && (roomID == "" || roomID == id) {
			e.cutEvents(r.recent, pos)
			e.dropMembers(r.recent)
		}
	}
}

// boundsRetention reports whether the lifetime of a room's events depends on state events of a type.
func boundsRetention(typ string) bool {
	switch typ {
	case "m.room.retention", "org.matrix.msc1763.retention", encryptionType, "m.room.join_rules":
		return true
	}
	return false
}

// applyOutside notes an invite or a knock of a room that we are not in, or its end.
func (e *Engine) applyOutside(pos int64, entry *roomapi.Entry) {
	u, now := e.users[entry.UserID], membershipOf(entry.Event.Membership)
	if u == nil || now == None {
		return
	}
	m := u.rooms[entry.RoomID]
	e.setMember(u, entry.RoomID, memberEvent{
		now: now, pos: pos, sender: entry.Event.Sender, ousted: No, exact: !u.partial || m != nil && m.now != None,
	})
	e.wake(u)
}

func (e *Engine) applyEvent(pos int64, entry *roomapi.Entry) {
	ev := entry.Event
	r := e.touch(entry.RoomID)
	if entry.Redacted != nil {
		e.replaceEvent(r.recent, entry.Redacted)
	}
	if boundsRetention(ev.Type) || entry.Redacted != nil && boundsRetention(entry.Redacted.Type) {
		e.cutEvents(r.recent, pos-1)
	}
	e.addEvent(r.recent, pos, ev)
	r.eventBound = max(r.eventBound, pos)
	if Bumps(ev.Type) {
		r.bump = pos
	}
	if ev.StateKey != nil {
		e.applyState(pos, r, ev, membershipIn(ev.PrevContent))
	}
	if entry.Reset || len(entry.State)+len(entry.Gone) > 0 {
		e.applyResolution(pos, r, entry)
	}
	for u, m := range r.joined {
		u.eventCame(m, pos)
		e.wake(u)
	}
}

// applyState applies an event that holds a piece of the room's state from pos on. before is
// the membership that a member event has ended.
func (e *Engine) applyState(pos int64, r *room, ev *roomapi.Event, before string) {
	if isFact(ev.Type) {
		r.facts, r.factsPos = nil, pos
	}
	switch {
	case ev.Type == memberType:
		e.applyMember(pos, r, ev, before)
	case ev.Type == encryptionType && *ev.StateKey == "":
		r.recent.lastPeers = pos
		r.encrypted, r.plain = true, false
	}
}

// applyResolution applies what state resolution changed beside the event at pos. The events at
// hand do not tell it: who was there before asks the owner.
func (e *Engine) applyResolution(pos int64, r *room, entry *roomapi.Entry) {
	c := r.recent
	e.cutEvents(c, pos)
	c.lastCounts, c.lastMember, c.lastPeers = pos, pos, pos
	if entry.Reset {
		r.facts, r.factsPos = nil, pos
		r.encrypted, r.plain = false, false
		e.dropMembers(c)
	}
	for _, ev := range entry.State {
		if ev.StateKey != nil {
			e.applyState(pos, r, ev, e.membershipBefore(r, ev))
		}
	}
	for _, key := range entry.Gone {
		if isFact(key.Type) {
			r.facts, r.factsPos = nil, pos
		}
		switch {
		case key.Type == encryptionType:
			r.encrypted, r.plain = false, false
		case key.Type == memberType:
			e.forgetMember(c, key.StateKey)
			if u := e.users[key.StateKey]; u != nil {
				e.setMember(u, r.id, memberEvent{now: Leave, pos: pos, exact: true, ousted: No})
				e.wake(u)
			}
		}
	}
}

// membershipBefore is what is known of the membership that a member event, which is not
// new, has ended; "" if nothing is.
func (e *Engine) membershipBefore(r *room, ev *roomapi.Event) string {
	if u := e.users[*ev.StateKey]; u != nil && u.rooms[r.id] != nil && u.rooms[r.id].now == Join {
		return "join"
	}
	return ""
}

func (e *Engine) applyMember(pos int64, r *room, ev *roomapi.Event, before string) {
	c, user := r.recent, *ev.StateKey
	c.lastMember = pos
	if ev.Membership != before {
		c.lastCounts = pos
		if ev.Membership == "join" || before == "join" {
			c.lastPeers = pos
		}
	}
	e.renewMember(c, user, ev)
	if ev.Membership == "join" && before != "join" {
		e.presences.again(user)
	}
	u := e.users[user]
	now := membershipOf(ev.Membership)
	if u == nil || now == None {
		return
	}
	m := u.rooms[r.id]
	e.setMember(u, r.id, memberEvent{
		now: now, pos: pos, sender: ev.Sender, ousted: ousted(m, ev, before),
		// What was before is known, unless the row of the room may still come.
		exact: !u.partial || m != nil && m.now != None,
	})
	e.wake(u)
}

// ousted says whether a user whose member event is ev, and before was what before
// says, was put out of the room.
func ousted(m *member, ev *roomapi.Event, before string) Tri {
	out := membershipOf(ev.Membership)
	switch {
	case ev.Sender == *ev.StateKey || out != Leave && out != Ban:
		return No
	case before == "join":
		return Yes
	case m != nil && (m.now == Leave || m.now == Ban): // and is still outside
		return m.ousted
	}
	return No
}

func (e *Engine) applyReceipt(pos int64, entry *roomapi.Entry) {
	r := e.touch(entry.RoomID)
	e.addReceipt(r.recent, pos, entry.Receipt)
	r.receiptBound = max(r.receiptBound, pos)
	for u, m := range r.joined {
		if entry.Receipt.Kind != PrivateReceipt || entry.Receipt.UserID == u.ID {
			u.receiptCame(m, pos)
			e.wake(u)
		}
	}
}

func (e *Engine) applyAccountData(pos int64, entry *userapi.Entry) {
	u := e.users[entry.UserID]
	if u == nil {
		return
	}
	data := *entry.Data
	data.Pos = pos
	u.accountLast = pos
	u.learn(&data)
	if len(data.Content) > maxAccountPiece {
		u.account, u.accountFrom = nil, pos
	} else {
		u.account = append(u.account, data)
		if len(u.account) > maxAccount {
			u.accountFrom = u.account[0].Pos
			u.account = append([]userapi.AccountData(nil), u.account[1:]...)
		}
	}
	e.wake(u)
}

// PrivateReceipt is the kind of receipts that only their owner sees.
const PrivateReceipt = "m.read.private"

const memberType = "m.room.member"

// membershipIn returns content.membership, "" if there is none.
func membershipIn(content json.RawMessage) string {
	var c struct {
		Membership string `json:"membership"`
	}
	if len(content) == 0 || json.Unmarshal(content, &c) != nil {
		return ""
	}
	return c.Membership
}
