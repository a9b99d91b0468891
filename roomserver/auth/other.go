package auth

import (
	"strings"

	"hearth/internal/pdu"
)

// aliasesEvent is rule 4 of versions 1 to 5.
func (c *check) aliasesEvent() error {
	// 4.1. If event has no state_key, reject.
	if c.ev.StateKey == nil {
		return c.reject(rule(c.n.aliases, 1), "Aliases are state")
	}
	// 4.2. If sender's domain doesn't match state_key, reject.
	if *c.ev.StateKey != domain(c.ev.Sender) {
		return c.reject(rule(c.n.aliases, 2), "The aliases belong to another server")
	}
	// 4.3. Otherwise, allow.
	return nil
}

// otherEvent is everything after rule 5.
func (c *check) otherEvent() error {
	ev := c.ev
	// 6. If the sender's current membership state is not join, reject.
	if c.membership(ev.Sender) != "join" {
		return c.reject(rule(c.n.joined), "The sender is not in the room")
	}
	level := c.power().User(ev.Sender)
	// 7. If type is m.room.third_party_invite:
	// 7.1. Allow if and only if sender's current power level is greater than or
	// equal to the invite level.
	if ev.Type == typeThirdPartyInvite {
		if level < c.power().Invite {
			return c.reject(rule(c.n.thirdParty, 1), "The sender may not invite")
		}
		return nil
	}
	// 8. If the event type's required power level is greater than the sender's
	// power level, reject.
	if c.power().ForEvent(ev.Type, ev.IsState()) > level {
		return c.reject(rule(c.n.required), "The sender's power level is too low for this event")
	}
	// 9. If the event has a state_key that starts with an @ and does not match the
	// sender, reject.
	if ev.StateKey != nil && strings.HasPrefix(*ev.StateKey, "@") && *ev.StateKey != ev.Sender {
		return c.reject(rule(c.n.ownKey), "The state key is another user's ID")
	}
	// 10. If type is m.room.power_levels: …
	if ev.Type == typePowerLevels {
		return c.powerLevelsEvent(level)
	}
	// Versions 1 and 2: 11. If type is m.room.redaction: …
	if ev.Type == typeRedaction && c.v.RedactionAuthRule {
		if !mayRedactByID(ev, level, c.power().Redact) {
			// 11.3. Otherwise, reject.
			return c.reject(rule(c.n.redaction, 3), "The sender may not redact this event")
		}
	}
	// 11. Otherwise, allow.
	return nil
}

// mayRedactByID is rule 11 of versions 1 and 2.
func mayRedactByID(redaction *pdu.Event, level, needed int64) bool {
	// 11.1. If the sender's power level is greater than or equal to the redact
	// level, allow.
	if level >= needed {
		return true
	}
	// 11.2. If the domain of the event_id of the event being redacted is the same
	// as the domain of the event_id of the m.room.redaction, allow.
	of := domain(redaction.Redacts)
	return of != "" && of == domain(redaction.EventID)
}

// MayRedact reports whether redaction is to be applied to target, in a room whose
// state is st (from version 3: room versions, "Handling redactions"; versions 1
// and 2: rule 11). Both events must have passed all checks. It is false if
// redaction names another event, if target is of another room, and for the create
// event, which the whole room hangs on.
func MayRedact(redaction, target *pdu.Event, st State) bool {
	if redaction.Type != typeRedaction || redaction.Redacts != target.EventID ||
		redaction.RoomID != target.RoomID || target.Type == typeCreate {
		return false
	}
	levels := LevelsOf(redaction.Version, st)
	level := levels.User(redaction.Sender)
	if redaction.Version.RedactionAuthRule {
		return mayRedactByID(redaction, level, levels.Redact)
	}
	// 1. The power level of the redaction event's sender is greater than or equal
	// to the redact level.
	// 2. The domain of the redaction event's sender matches that of the original
	// event's sender.
	return level >= levels.Redact || domain(redaction.Sender) == domain(target.Sender)
}
