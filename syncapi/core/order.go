package core

import "slices"

// order holds memberships of one user by a number that only grows, the smallest
// first. What changed after some position stands at its end.
type order struct{ list []placedMember }

type placedMember struct {
	at int64
	m  *member
}

// put moves m from its place at from, if it has one, to a place at to, which is
// rarely not the last one.
func (o *order) put(m *member, from, to int64) {
	if i := o.find(m, from); i >= 0 {
		o.list = slices.Delete(o.list, i, i+1)
	}
	i := len(o.list)
	for i > 0 && o.list[i-1].at > to {
		i--
	}
	o.list = slices.Insert(o.list, i, placedMember{to, m})
}

// find returns the index of m at a number, -1 if it is not there.
func (o *order) find(m *member, at int64) int {
	i, _ := slices.BinarySearchFunc(o.list, at, func(p placedMember, at int64) int {
		switch {
		case p.at < at:
			return -1
		case p.at > at:
			return 1
		}
		return 0
	})
	for ; i < len(o.list) && o.list[i].at == at; i++ {
		if o.list[i].m == m {
			return i
		}
	}
	return -1
}

// after returns the part of the list whose numbers are greater than at.
func (o *order) after(at int64) []placedMember {
	i := len(o.list)
	for i > 0 && o.list[i-1].at > at {
		i--
	}
	return o.list[i:]
}

// sort puts a list in order that was filled without regard to it.
func (o *order) sort() {
	slices.SortFunc(o.list, func(a, b placedMember) int {
		switch {
		case a.at != b.at:
			if a.at < b.at {
				return -1
			}
			return 1
		case a.m.id < b.m.id: // so that every process has the same order
			return -1
		}
		return 1
	})
}

// arrange puts all memberships of a loaded user in order.
func (e *Engine) arrange(u *User) {
	u.events = order{make([]placedMember, 0, len(u.rooms))}
	for _, m := range u.rooms {
		m.eventAt = m.pos
		if r := m.room; r != nil {
			m.eventAt = max(m.pos, r.eventBound)
			m.receiptAt = r.receiptBound
			if m.receiptAt > 0 {
				u.receipts.list = append(u.receipts.list, placedMember{m.receiptAt, m})
			}
			if r.recent != nil && r.recent.typing != nil {
				m.typingAt = r.recent.typing.Serial
				u.typing.list = append(u.typing.list, placedMember{m.typingAt, m})
			}
		}
		u.events.list = append(u.events.list, placedMember{m.eventAt, m})
	}
	u.events.sort()
	u.receipts.sort()
	u.typing.sort()
}

// The following note a change at a position. While the user is being loaded there
// is no order yet; arrange makes it.

func (u *User) eventCame(m *member, pos int64) {
	if !u.partial {
		u.events.put(m, m.eventAt, max(pos, m.eventAt))
	}
	m.eventAt = max(pos, m.eventAt)
}

func (u *User) receiptCame(m *member, pos int64) {
	if !u.partial {
		u.receipts.put(m, m.receiptAt, pos)
	}
	m.receiptAt = pos
}

func (u *User) typingCame(m *member, serial int64) {
	if !u.partial {
		u.typing.put(m, m.typingAt, serial)
	}
	m.typingAt = serial
}
