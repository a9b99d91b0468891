package core

// Facts are what filters of rooms look at. They are immutable.
type Facts struct {
	Type      string // room_type of the create event
	Encrypted bool
	Name      string
	Children  map[string]bool // rooms with an m.space.child event; nil if they were not asked for
}

// isFact reports whether Facts depend on state events of a type.
func isFact(typ string) bool {
	switch typ {
	case "m.room.create", "m.room.encryption", "m.room.name", "m.space.child":
		return true
	}
	return false
}

// Bumps reports whether an event of a type counts as activity (MSC4186, bump_stamp).
func Bumps(typ string) bool {
	switch typ {
	case "m.room.create", "m.room.message", "m.room.encrypted", "m.sticker", "m.call.invite", "m.poll.start", "m.beacon_info",
		"org.matrix.msc3381.poll.start", "org.matrix.msc3672.beacon_info":
		return true
	}
	return false
}

// BumpTypes are the types for which Bumps is true.
var BumpTypes = [...]string{
	"m.room.create", "m.room.message", "m.room.encrypted", "m.sticker", "m.call.invite", "m.poll.start", "m.beacon_info",
	"org.matrix.msc3381.poll.start", "org.matrix.msc3672.beacon_info",
}

// LearnFacts keeps the facts of a room of u that were asked for when the room log
// was at before.
func (e *Engine) LearnFacts(u *User, roomID string, f *Facts, before int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	m := u.rooms[roomID]
	switch {
	case m == nil:
	case m.room != nil:
		if m.room.factsPos <= before {
			m.room.facts = f
		}
	case m.pos <= before:
		m.facts = f
	}
}

// LearnBump keeps the position of the last activity of a room, which was asked for
// when the room log was at before.
func (e *Engine) LearnBump(roomID string, pos, before int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r := e.rooms[roomID]; r != nil && r.bump == 0 && pos <= before {
		r.bump = pos
	}
}

// LearnOusted keeps the answer to Row.Ousted for the member event at memberPos.
func (e *Engine) LearnOusted(u *User, roomID string, memberPos int64, ousted bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if m := u.rooms[roomID]; m != nil && m.pos == memberPos {
		m.ousted = No
		if ousted {
			m.ousted = Yes
		}
	}
}
