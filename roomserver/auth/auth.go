// Package auth holds the event authorization rules of room versions 1 to 12
// (room versions, "Authorisation rules"; server-server API, "Checks performed on
// receipt of a PDU").
//
// The rules are the specification's, one by one. Their numbers differ by version:
// comments quote those of version 12, and a [Rejection] carries the number of the
// room's own version.
//
// The package is pure: it sees an event and a [State] and decides. It does not
// check an event's format, hashes and signatures (package pdu has), nor what
// clients may send. All functions take events that package pdu has checked and
// may be called concurrently.
package auth

import (
	"fmt"
	"strconv"

	"hearth/internal/merr"
	"hearth/internal/pdu"
)

// Event types that the rules know.
const (
	typeCreate           = "m.room.create"
	typeMember           = "m.room.member"
	typePowerLevels      = "m.room.power_levels"
	typeJoinRules        = "m.room.join_rules"
	typeThirdPartyInvite = "m.room.third_party_invite"
	typeAliases          = "m.room.aliases"
	typeRedaction        = "m.room.redaction"
)

// State is the room state that an event is checked against: the state before the
// event, the current state, or the event's auth events.
type State interface {
	// Event returns the state event, nil if there is none. It must not return
	// rejected events.
	Event(eventType, stateKey string) *pdu.Event
}

// StateKey names a piece of room state.
type StateKey struct{ Type, StateKey string }

// Events is a State made of a list of events.
type Events map[StateKey]*pdu.Event

// NewEvents returns the state that consists of the state events of list. Of two
// with the same key the later counts; events without state key are left out.
//
// To check an event against its auth events in a version 12 room, add the create
// event: it is never among them.
func NewEvents(list ...*pdu.Event) Events {
	s := make(Events, len(list))
	for _, e := range list {
		if e.StateKey != nil {
			s[StateKey{e.Type, *e.StateKey}] = e
		}
	}
	return s
}

// Event implements [State].
func (s Events) Event(eventType, stateKey string) *pdu.Event {
	return s[StateKey{eventType, stateKey}]
}

// Rejection says which rule forbids an event. It unwraps to a *merr.Error, 403
// M_FORBIDDEN, which is what a client sees.
type Rejection struct {
	Version string // the room version
	Rule    string // its number in that version's rules, such as "4.3.7"
	Reason  string // safe to show
}

// Error returns version, rule and reason.
func (r *Rejection) Error() string {
	return fmt.Sprintf("room version %s, rule %s: %s", r.Version, r.Rule, r.Reason)
}

// Unwrap returns the error for clients.
func (r *Rejection) Unwrap() error { return merr.Forbidden("%s", r.Reason) }

// Rules decides about events.
type Rules struct {
	// SignedBy reports whether the event has a valid signature of the server. It
	// is asked for the server of content.join_authorised_via_users_server. If it
	// is nil, that signature counts as checked elsewhere, with the others.
	SignedBy func(ev *pdu.Event, serverName string) bool
}

// Check is Rules.Check without SignedBy.
func Check(ev *pdu.Event, st State) error { return Rules{}.Check(ev, st) }

// Check applies all rules except those about the list of auth events, which
// [CheckAuthEvents] has. It returns nil if the event is allowed, else a *[Rejection].
func (r Rules) Check(ev *pdu.Event, st State) error {
	c := check{rules: r, ev: ev, st: st, v: ev.Version, n: numbersOf(ev.Version)}
	// 1. If type is m.room.create: …
	if ev.Type == typeCreate {
		return c.createEvent()
	}
	// 2. If the event's room_id is not an event ID for an accepted (not rejected)
	// m.room.create event, with the sigil ! instead of $, reject. Up to version
	// 11: If there is no m.room.create event among the entries [or its room_id
	// does not match], reject.
	c.create = st.Event(typeCreate, "")
	if c.create == nil {
		return c.reject(c.n.noCreate, "The room has no create event")
	}
	if c.create.RoomID != ev.RoomID {
		return c.reject(c.n.wrongRoom, "The create event is of another room")
	}
	// 4. If the content of the m.room.create event in the room state has the
	// property m.federate set to false, and the sender domain of the event does
	// not match the sender domain of the create event, reject.
	if federate, ok := pdu.GetBool(c.create.Content, "m.federate"); ok && !federate &&
		domain(ev.Sender) != domain(c.create.Sender) {
		return c.reject(rule(c.n.federate), "The room is not open to other servers")
	}
	// Up to version 5: 4. If type is m.room.aliases: …
	if ev.Type == typeAliases && c.v.AliasAuthRule {
		return c.aliasesEvent()
	}
	// 5. If type is m.room.member: …
	if ev.Type == typeMember {
		return c.memberEvent()
	}
	return c.otherEvent()
}

// check is one event on its way through the rules.
type check struct {
	rules  Rules
	ev     *pdu.Event
	st     State
	v      *pdu.RoomVersion
	n      numbers
	create *pdu.Event
	read   bool
	levels PowerLevels // valid if read
}

func (c *check) reject(rule, reason string) error {
	return &Rejection{Version: c.v.ID, Rule: rule, Reason: reason}
}

// rule writes the number of a rule.
func rule(parts ...int) string {
	var buf []byte
	for i, p := range parts {
		if i > 0 {
			buf = append(buf, '.')
		}
		buf = strconv.AppendInt(buf, int64(p), 10)
	}
	return string(buf)
}

// power returns the room's power levels, read once.
func (c *check) power() *PowerLevels {
	if !c.read {
		c.levels, c.read = levelsOf(c.v, c.create, c.st.Event(typePowerLevels, "")), true
	}
	return &c.levels
}

// membership returns a user's current membership state, "" if there is none.
func (c *check) membership(userID string) string { return Membership(c.st, userID) }

// Membership returns content.membership of a user's m.room.member event in st, ""
// if there is no such event.
func Membership(st State, userID string) string {
	ev := st.Event(typeMember, userID)
	if ev == nil {
		return ""
	}
	membership, _ := pdu.GetString(ev.Content, "membership")
	return membership
}

// domain returns what follows the first colon of an id that package pdu has
// checked, "" if there is none.
func domain(id string) string {
	for i := range len(id) {
		if id[i] == ':' {
			return id[i+1:]
		}
	}
	return ""
}
