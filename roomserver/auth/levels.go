package auth

import (
	"math"
	"strconv"
	"strings"

	"hearth/internal/pdu"
)

// Infinite is the power level of the creators of a version 12 room. No value in an
// event reaches it.
const Infinite = math.MaxInt64

// Default levels (client-server API, m.room.power_levels).
const (
	defaultLevel        = 50  // ban, kick, redact, state_default, notifications
	defaultCreatorLevel = 100 // the creator's, up to version 11, without power levels event
)

// namedLevels are the single levels of m.room.power_levels with their defaults.
var namedLevels = [...]struct {
	name string
	zero bool // the default is 0, not 50
}{
	{"users_default", true}, {"events_default", true}, {"state_default", false},
	{"ban", false}, {"redact", false}, {"kick", false}, {"invite", true},
}

// PowerLevels is who may do what in a room. The zero value means nothing; see
// [LevelsOf] and [ParsePowerLevels]. It is immutable and shares the event's bytes.
type PowerLevels struct {
	// Single levels, defaults filled in.
	UsersDefault, EventsDefault, StateDefault, Ban, Redact, Kick, Invite int64

	v                            *pdu.RoomVersion
	create                       *pdu.Event // nil in what ParsePowerLevels returns
	present                      bool       // there is a power levels event
	users, events, notifications []byte     // objects, or nil
	set                          [len(namedLevels)]bool
}

// LevelsOf returns the power levels that hold in a room of state st. Without an
// m.room.power_levels event the defaults hold: level 100 for the creator (infinite
// from version 12) and 0 for everybody else. Values that are no levels, which only
// versions 1 to 9 let into the state, count as absent.
func LevelsOf(v *pdu.RoomVersion, st State) PowerLevels {
	return levelsOf(v, st.Event(typeCreate, ""), st.Event(typePowerLevels, ""))
}

func levelsOf(v *pdu.RoomVersion, create, ev *pdu.Event) PowerLevels {
	p := PowerLevels{v: v, create: create, present: ev != nil}
	var content []byte
	if ev != nil {
		content = ev.Content
	}
	p.read(content)
	return p
}

// ParsePowerLevels checks the format of an m.room.power_levels event's content, as
// rules 10.1 to 10.3 do, and reads it. Without a create event it knows no creators.
// The error is a *[Rejection].
func ParsePowerLevels(v *pdu.RoomVersion, content []byte) (PowerLevels, error) {
	if err := checkFormat(v, content); err != nil {
		return PowerLevels{}, err
	}
	p := PowerLevels{v: v, present: true}
	p.read(content)
	return p, nil
}

func (p *PowerLevels) read(content []byte) {
	for i, field := range p.named() {
		val, _ := pdu.Get(content, namedLevels[i].name)
		level, ok := parseLevel(p.v, val)
		if !ok {
			level = defaultLevel
			if namedLevels[i].zero {
				level = 0
			}
		}
		*field, p.set[i] = level, ok
	}
	p.users, _ = pdu.Get(content, "users")
	p.events, _ = pdu.Get(content, "events")
	p.notifications, _ = pdu.Get(content, "notifications")
}

// named returns the single levels in the order of namedLevels.
func (p *PowerLevels) named() [len(namedLevels)]*int64 {
	return [...]*int64{&p.UsersDefault, &p.EventsDefault, &p.StateDefault, &p.Ban, &p.Redact, &p.Kick, &p.Invite}
}

// User returns the power level of a user.
func (p *PowerLevels) User(userID string) int64 {
	if p.v.PrivilegedCreators && isCreator(p.create, userID) {
		return Infinite
	}
	if !p.present && isCreator(p.create, userID) {
		return defaultCreatorLevel
	}
	if level, ok := p.entry(p.users, userID); ok {
		return level
	}
	return p.UsersDefault
}

// ForEvent returns the level required to send events of a type ("required power
// level" in the server-server API). It is not asked for member events, whose
// levels are Invite, Kick and Ban.
func (p *PowerLevels) ForEvent(eventType string, isState bool) int64 {
	if level, ok := p.entry(p.events, eventType); ok {
		return level
	}
	if isState {
		return p.StateDefault
	}
	return p.EventsDefault
}

// Notification returns the level required to trigger a notification, such as
// "room".
func (p *PowerLevels) Notification(key string) int64 {
	if level, ok := p.entry(p.notifications, key); ok {
		return level
	}
	return defaultLevel
}

func (p *PowerLevels) entry(obj []byte, key string) (int64, bool) {
	val, ok := pdu.Get(obj, key)
	if !ok {
		return 0, false
	}
	return parseLevel(p.v, val)
}

// parseLevel reads one level. From version 10 it is an integer. Up to version 9 it
// may be a string, "a single base 10 integer … optionally prefixed with a single -
// or + … optionally with … leading or trailing whitespace"; where JSON numbers are
// free (up to version 5), a fraction or exponent too, cut at the decimal point.
// Values beyond the range of int64 are brought to its ends.
func parseLevel(v *pdu.RoomVersion, val []byte) (level int64, ok bool) {
	switch pdu.Kind(val) {
	case '0':
		if n, ok := pdu.Int(val); ok {
			return clamp(n), true
		}
		if v.StrictJSON {
			return 0, false
		}
		f, err := strconv.ParseFloat(string(val), 64)
		switch {
		case err != nil: // outside the range of a double
			return 0, false
		case f >= math.MaxInt64:
			return clamp(math.MaxInt64), true
		case f <= math.MinInt64:
			return clamp(math.MinInt64), true
		}
		return int64(f), true
	case '"':
		if v.IntegerPowerLevels {
			return 0, false
		}
		text, ok := pdu.String(val)
		if !ok {
			return 0, false
		}
		return parseDecimal(strings.TrimSpace(text))
	}
	return 0, false
}

// parseDecimal reads an optional sign and digits.
func parseDecimal(s string) (n int64, ok bool) {
	digits := s
	if s != "" && (s[0] == '-' || s[0] == '+') {
		digits = s[1:]
	}
	if digits == "" {
		return 0, false
	}
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' {
			return 0, false
		}
	}
	n, _ = strconv.ParseInt(s, 10, 64) // out of range: the nearest end
	return clamp(n), true
}

// clamp keeps levels below Infinite, and symmetric.
func clamp(n int64) int64 { return max(min(n, Infinite-1), -(Infinite - 1)) }
