package pushrules

import (
	"strconv"
	"strings"

	"hearth/internal/pdu"
)

// Power is what the state of a room says of power. The zero Power is that of a room
// without m.room.power_levels.
type Power struct {
	// Levels is the content of m.room.power_levels, nil if there is none.
	Levels []byte
	// Creators have all power if Privileged; else they matter where there are no levels.
	Creators   []string
	Privileged bool
}

const (
	defaultNotification = 50
	creatorLevel        = 100
)

// MayNotify reports whether a user may cause notifications of a kind, such as "room"
// (m.room.power_levels, notifications).
func (p *Power) MayNotify(userID, kind string) bool {
	creator := false
	for _, c := range p.Creators {
		creator = creator || c == userID
	}
	if creator && p.Privileged {
		return true
	}
	need := int64(defaultNotification)
	if notifications, ok := pdu.Get(p.Levels, "notifications"); ok {
		need = level(notifications, kind, need)
	}
	has := int64(0)
	if p.Levels == nil && creator {
		has = creatorLevel
	}
	has = level(p.Levels, "users_default", has)
	if users, ok := pdu.Get(p.Levels, "users"); ok {
		has = level(users, userID, has)
	}
	return has >= need
}

// level reads a level, which old room versions may hold as text.
func level(obj []byte, key string, other int64) int64 {
	val, ok := pdu.Get(obj, key)
	if !ok {
		return other
	}
	if n, ok := pdu.Int(val); ok {
		return n
	}
	if s, ok := pdu.String(val); ok {
		if n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64); err == nil {
			return n
		}
	}
	return other
}
