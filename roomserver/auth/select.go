package auth

import (
	"errors"
	"slices"

	"hearth/internal/pdu"
)

// Select returns which state an event needs as auth events (server-server API,
// "Auth events selection"); those that the room does not have are left out by the
// caller. stateKey is nil for message events. In version 12 rooms the create event
// is not among them.
func Select(v *pdu.RoomVersion, eventType, sender string, stateKey *string, content []byte) []StateKey {
	// The auth_events for the m.room.create event in a room is empty.
	if eventType == typeCreate {
		return nil
	}
	out := make([]StateKey, 0, 6)
	// Depending on the room version, the m.room.create event.
	if !v.DomainlessRoomIDs {
		out = append(out, StateKey{typeCreate, ""})
	}
	// The current m.room.power_levels event, if any.
	// The sender's current m.room.member event, if any.
	out = append(out, StateKey{typePowerLevels, ""}, StateKey{typeMember, sender})
	// If type is m.room.member:
	if eventType != typeMember {
		return out
	}
	add := func(eventType, stateKey string) {
		if key := (StateKey{eventType, stateKey}); !slices.Contains(out, key) {
			out = append(out, key)
		}
	}
	// The target's current m.room.member event, if any.
	if stateKey != nil {
		add(typeMember, *stateKey)
	}
	membership, _ := pdu.GetString(content, "membership")
	switch membership {
	case "join", "invite", "knock":
		// If membership is join, invite or knock, the current m.room.join_rules
		// event, if any.
		add(typeJoinRules, "")
	}
	if membership == "invite" {
		// If membership is invite and content contains a third_party_invite
		// property, the current m.room.third_party_invite event with state_key
		// matching content.third_party_invite.signed.token, if any.
		invite, _ := pdu.Get(content, "third_party_invite")
		signed, _ := pdu.Get(invite, "signed")
		if token, ok := pdu.GetString(signed, "token"); ok {
			add(typeThirdPartyInvite, token)
		}
	}
	if membership == "join" && v.RestrictedJoins {
		// If membership is join, content.join_authorised_via_users_server is
		// present, and the room version supports restricted rooms, then the
		// m.room.member event with state_key matching
		// content.join_authorised_via_users_server.
		if id, ok := pdu.GetString(content, "join_authorised_via_users_server"); ok {
			add(typeMember, id)
		}
	}
	return out
}

// SelectFor is [Select] for an event that exists.
func SelectFor(ev *pdu.Event) []StateKey {
	return Select(ev.Version, ev.Type, ev.Sender, ev.StateKey, ev.Content)
}

// ErrIncomplete says that CheckAuthEvents was not given the events that auth_events
// names.
var ErrIncomplete = errors.New("auth: not the events that auth_events names")

// CheckAuthEvents is rule 3 (2 up to version 11): the rules about the list of auth
// events itself. authEvents must be the events that ev.AuthEvents names, in any
// order, else the error is [ErrIncomplete]. rejected tells which of them were
// rejected; nil means none. A violation is a *[Rejection].
//
// Check the event afterwards against NewEvents(authEvents...), with the create
// event added in version 12.
func CheckAuthEvents(ev *pdu.Event, authEvents []*pdu.Event, rejected func(*pdu.Event) bool) error {
	if ev.Type == typeCreate {
		return nil // rule 1 decides, before this one
	}
	c := check{ev: ev, v: ev.Version, n: numbersOf(ev.Version)}
	at := func(n int) string { return rule(c.n.authEvents, n) }
	// 3.1. If there are duplicate entries for a given type and state_key pair,
	// reject. One event named twice is such a pair, too.
	ids := slices.Sorted(slices.Values(ev.AuthEvents))
	if len(slices.Compact(slices.Clone(ids))) != len(ids) {
		return c.reject(at(1), "An auth event occurs twice")
	}
	if !sameIDs(ids, authEvents) {
		return ErrIncomplete
	}
	wanted := SelectFor(ev)
	seen := make(map[StateKey]bool, len(authEvents))
	for _, a := range authEvents {
		// 3.2. If there are entries whose type and state_key don't match those
		// specified by the auth events selection algorithm, reject. A message
		// event has no state_key.
		if a.StateKey == nil {
			return c.reject(at(2), "An auth event is not state")
		}
		key := StateKey{a.Type, *a.StateKey}
		if seen[key] {
			return c.reject(at(1), "Two auth events have the same state key")
		}
		seen[key] = true
		if !slices.Contains(wanted, key) {
			return c.reject(at(2), "An auth event is not one that the event needs")
		}
		// 3.3. If there are entries which were themselves rejected under the checks
		// performed on receipt of a PDU, reject.
		if rejected != nil && rejected(a) {
			return c.reject(at(3), "An auth event was rejected")
		}
		// 3.5. If any event in auth_events has a room_id which does not match that
		// of the event being authorised, reject.
		if a.RoomID != ev.RoomID {
			return c.reject(at(5), "An auth event is of another room")
		}
	}
	// Up to version 11: 2.4. If there is no m.room.create event among the entries,
	// reject.
	if !c.v.DomainlessRoomIDs && !seen[StateKey{typeCreate, ""}] {
		return c.reject(at(4), "The create event is not among the auth events")
	}
	return nil
}

// sameIDs reports whether the events have exactly the ids of the sorted list.
func sameIDs(ids []string, events []*pdu.Event) bool {
	if len(ids) != len(events) {
		return false
	}
	given := make([]string, len(events))
	for i, e := range events {
		if e == nil {
			return false
		}
		given[i] = e.EventID
	}
	slices.Sort(given)
	return slices.Equal(ids, given)
}
