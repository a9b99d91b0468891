package clientapi

import (
	"strings"
	"unicode/utf8"

	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

// self refuses a request whose path names another user than the one who asks.
func self(r *matrixhttp.Request) error {
	if r.Param("userId") != r.Identity.UserID {
		return merr.Forbidden("This can only be done for one's own account")
	}
	return nil
}

// roomID returns the room id of the path.
func roomID(r *matrixhttp.Request) (string, error) {
	id := r.Param("roomId")
	if _, _, err := pdu.ParseRoomID(id); err != nil {
		return "", merr.InvalidParam("Invalid room id")
	}
	return id, nil
}

// userID checks a user id from a body.
func userID(id string) error {
	if id == "" {
		return merr.MissingParam("user_id")
	}
	if _, _, err := pdu.ParseUserID(id); err != nil {
		return merr.InvalidParam("Invalid user id")
	}
	return nil
}

// maxText bounds ids that clients choose, in bytes.
const maxText = 255

// plainText reports whether s may be an id that a client chose.
func plainText(s string) bool {
	return s != "" && len(s) <= maxText && utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}
