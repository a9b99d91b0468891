package auth

import (
	"strings"

	"hearth/internal/pdu"
)

// checkFormat is rules 10.1 to 10.3, which look at the new content alone.
func checkFormat(v *pdu.RoomVersion, content []byte) error {
	n := numbersOf(v)
	reject := func(r int, reason string) error {
		return &Rejection{Version: v.ID, Rule: rule(n.levels, r), Reason: reason}
	}
	if v.IntegerPowerLevels {
		// From version 10: 10.1. If any of the properties users_default,
		// events_default, state_default, ban, redact, kick, or invite in content
		// are present and not an integer, reject.
		for _, field := range namedLevels {
			if val, ok := pdu.Get(content, field.name); ok {
				if _, ok := parseLevel(v, val); !ok {
					return reject(1, "A power level is not an integer")
				}
			}
		}
		// From version 10: 10.2. If either of the properties events or
		// notifications in content are present and not an object with values that
		// are integers, reject.
		for _, name := range [...]string{"events", "notifications"} {
			if val, ok := pdu.Get(content, name); ok && !isLevels(v, val, false) {
				return reject(2, "A power level is not an integer")
			}
		}
	}
	// 10.3. If the users property in content is not an object with keys that are
	// valid user IDs with values that are integers [up to version 9: or a string
	// that is an integer], reject. (Without the property users_default holds.)
	if val, ok := pdu.Get(content, "users"); ok && !isLevels(v, val, true) {
		return reject(n.users, "The power levels of users are malformed")
	}
	return nil
}

// isLevels reports whether val is an object of levels, with user IDs as keys if
// users is set.
func isLevels(v *pdu.RoomVersion, val []byte, users bool) bool {
	valid := true
	isObject := pdu.Members(val, func(key string, val []byte) bool {
		_, valid = parseLevel(v, val)
		if valid && users {
			_, _, err := pdu.ParseUserID(key)
			valid = err == nil
		}
		return valid
	})
	return isObject && valid
}

// powerLevelsEvent is rule 10; level is the sender's.
func (c *check) powerLevelsEvent(level int64) error {
	// 10.1 to 10.3.
	if err := checkFormat(c.v, c.ev.Content); err != nil {
		return err
	}
	next := levelsOf(c.v, c.create, c.ev)
	// From version 12: 10.4. If the users property in content contains the sender
	// of the m.room.create event or any of the additional_creators array (if
	// present) from the content of the m.room.create event, reject.
	if c.v.PrivilegedCreators {
		for _, id := range Creators(c.create) {
			if _, ok := pdu.Get(next.users, id); ok {
				return c.reject(rule(c.n.levels, c.n.creators), "The power of creators cannot be set")
			}
		}
	}
	// 10.5. If there is no previous m.room.power_levels event in the room, allow.
	prev := c.power()
	if !prev.present {
		return nil
	}
	if err := c.namedChanges(prev, &next, level); err != nil {
		return err
	}
	if err := c.eventChanges(prev.events, next.events, level); err != nil {
		return err
	}
	if c.v.NotificationLevels { // from version 6
		if err := c.eventChanges(prev.notifications, next.notifications, level); err != nil {
			return err
		}
	}
	return c.userChanges(prev.users, next.users, level)
}

// namedChanges is rule 10.6: For the properties users_default, events_default,
// state_default, ban, redact, kick, invite check if they were added, changed or
// removed. A level that is not there has its default ("Power levels are inferred
// from defaults when not explicitly supplied").
func (c *check) namedChanges(prev, next *PowerLevels, level int64) error {
	current, wanted := prev.named(), next.named()
	for i := range namedLevels {
		if *current[i] == *wanted[i] && prev.set[i] == next.set[i] {
			continue
		}
		// 10.6.1. If the current value is higher than the sender's current power
		// level, reject.
		if *current[i] > level {
			return c.reject(rule(c.n.levels, c.n.named, 1), "A power level is above the sender's")
		}
		// 10.6.2. If the new value is higher than the sender's current power level,
		// reject.
		if *wanted[i] > level {
			return c.reject(rule(c.n.levels, c.n.named, 2), "A power level would be above the sender's")
		}
	}
	return nil
}

// eventChanges is rules 10.7 and 10.8, for events or notifications.
func (c *check) eventChanges(prev, next []byte, level int64) error {
	for _, ch := range c.changes(prev, next) {
		// 10.7. For each entry being changed in, or removed from, the events or
		// notifications properties:
		// 10.7.1. If the current value is greater than the sender's current power
		// level, reject.
		if ch.had && ch.from > level {
			return c.reject(rule(c.n.levels, c.n.oldEvents, 1), "A power level is above the sender's")
		}
		// 10.8. For each entry being added to, or changed in, the events or
		// notifications properties:
		// 10.8.1. If the new value is greater than the sender's current power
		// level, reject.
		if ch.has && ch.to > level {
			return c.reject(rule(c.n.levels, c.n.newEvents, 1), "A power level would be above the sender's")
		}
	}
	return nil
}

// userChanges is rules 10.9 and 10.10.
func (c *check) userChanges(prev, next []byte, level int64) error {
	for _, ch := range c.changes(prev, next) {
		// 10.9. For each entry being changed in, or removed from, the users
		// property, other than the sender's own entry:
		// 10.9.1. If the current value is greater than or equal to the sender's
		// current power level, reject.
		if ch.had && ch.key != c.ev.Sender && ch.from >= level {
			return c.reject(rule(c.n.levels, c.n.oldUsers, 1), "A user's power level is not below the sender's")
		}
		// 10.10. For each entry being added to, or changed in, the users property:
		// 10.10.1. If the new value is greater than the sender's current power
		// level, reject.
		if ch.has && ch.to > level {
			return c.reject(rule(c.n.levels, c.n.newUsers, 1), "A user's power level would be above the sender's")
		}
	}
	return nil
}

// change is an entry that is added, changed or removed.
type change struct {
	key      string
	from, to int64
	had, has bool
}

// changes compares two objects of levels. Canonical JSON has its keys in order.
func (c *check) changes(prev, next []byte) []change {
	if string(prev) == string(next) {
		return nil
	}
	old, new := c.entries(prev), c.entries(next)
	var out []change
	for len(old) > 0 || len(new) > 0 {
		order := -1
		if len(old) == 0 {
			order = 1
		} else if len(new) > 0 {
			order = strings.Compare(old[0].key, new[0].key)
		}
		switch {
		case order < 0:
			out, old = append(out, change{key: old[0].key, from: old[0].level, had: true}), old[1:]
		case order > 0:
			out, new = append(out, change{key: new[0].key, to: new[0].level, has: true}), new[1:]
		default:
			if old[0].level != new[0].level {
				out = append(out, change{key: old[0].key, from: old[0].level, to: new[0].level, had: true, has: true})
			}
			old, new = old[1:], new[1:]
		}
	}
	return out
}

type levelEntry struct {
	key   string
	level int64
}

func (c *check) entries(obj []byte) []levelEntry {
	var out []levelEntry
	pdu.Members(obj, func(key string, val []byte) bool {
		if level, ok := parseLevel(c.v, val); ok {
			out = append(out, levelEntry{key, level})
		}
		return true
	})
	return out
}
