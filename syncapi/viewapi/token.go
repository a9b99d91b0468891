package viewapi

import (
	"strconv"
	"strings"

	"hearth/internal/merr"
)

// Token is a place in everything that a client may hear of: the next_batch and
// since of /sync. It stays valid across restarts and in every process.
type Token struct {
	Room   int64 // position of the room log
	User   int64 // position of the user log
	Typing int64 // serial of the last typing change
	// ToDevice is the position of the user log up to which the device has messages.
	ToDevice int64
	// Hold, if not 0, says that events are held back until the device has the messages
	// up to this position of the user log.
	Hold int64
	// Presence is the place of the last change of presence.
	Presence int64
}

// String returns the token as clients see it.
func (t Token) String() string {
	s := "s" + strconv.FormatInt(t.Room, 36) + "_" + strconv.FormatInt(t.User, 36) + "_" + strconv.FormatInt(t.Typing, 36) +
		"_" + strconv.FormatInt(t.ToDevice, 36) + "_" + strconv.FormatInt(t.Hold, 36)
	if t.Presence > 0 {
		s += "_" + strconv.FormatInt(t.Presence, 36)
	}
	return s
}

// ParseToken reads what String wrote: 400 M_INVALID_PARAM for anything else.
// Fields that a newer server added are ignored, missing ones are zero.
func ParseToken(s string) (Token, error) {
	bad := merr.InvalidParam("Invalid sync token")
	if len(s) < 2 || len(s) > 256 || s[0] != 's' {
		return Token{}, bad
	}
	var t Token
	for i, part := range strings.Split(s[1:], "_") {
		n, err := strconv.ParseInt(part, 36, 64)
		if err != nil || n < 0 {
			return Token{}, bad
		}
		switch i {
		case 0:
			t.Room = n
		case 1:
			t.User = n
		case 2:
			t.Typing = n
		case 3:
			t.ToDevice = n
		case 4:
			t.Hold = n
		case 5:
			t.Presence = n
		}
	}
	return t, nil
}
