package account

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"strings"
	"unicode/utf8"

	"hearth/clientapi/userapi"
	"hearth/internal/merr"
)

// maxUserID is the greatest length of a user id in bytes (appendices, "User Identifiers").
const maxUserID = 255

// username returns the localpart that a name to register stands for: its capitals
// become small letters, and what is left must have the grammar of new user ids.
func (s *Store) username(name string) (string, error) {
	localpart := strings.ToLower(name)
	ok := localpart != "" && len(s.userID(localpart)) <= maxUserID
	for i := 0; i < len(localpart); i++ {
		c := localpart[i]
		ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || strings.IndexByte("._=-/+", c) >= 0)
	}
	if !ok {
		return "", merr.New(http.StatusBadRequest, "M_INVALID_USERNAME",
			"User names have the characters a-z, 0-9, and . _ = - / +")
	}
	return localpart, nil
}

// password checks a password that somebody chose.
func (s *Store) password(password string) error {
	if len(password) < s.minLength {
		return merr.New(http.StatusBadRequest, "M_WEAK_PASSWORD", "The password must have at least %d characters", s.minLength)
	}
	if len(password) > userapi.MaxPassword {
		return merr.InvalidParam("The password must not be longer than %d bytes", userapi.MaxPassword)
	}
	return nil
}

// deviceID checks a device id that a client chose, or makes one.
func deviceID(id string) (string, error) {
	if id == "" {
		return randomText("ABCDEFGHIJKLMNOPQRSTUVWXYZ", 10), nil
	}
	if !plain(id, userapi.MaxKey) {
		return "", merr.InvalidParam("Invalid device_id")
	}
	return id, nil
}

// displayName cuts a device's display name to what is stored.
func displayName(name string) string {
	name = strings.ReplaceAll(name, "\x00", "")
	for len(name) > userapi.MaxKey {
		_, size := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-size]
	}
	return name
}

// plain reports whether s is text without control characters that is not too long.
func plain(s string, limit int) bool {
	if len(s) > limit || !utf8.ValidString(s) {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f }) < 0
}

// newToken returns a token of 256 random bits. The prefix lets people and programs
// that look for leaked secrets see what it is.
func newToken(prefix string) string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return prefix + base64.RawURLEncoding.EncodeToString(b[:])
}

// randomText returns n letters of an alphabet of at most 32.
func randomText(alphabet string, n int) string {
	out := make([]byte, 0, n)
	var b [1]byte
	for len(out) < n {
		_, _ = rand.Read(b[:])
		if i := int(b[0] & 31); i < len(alphabet) { // no letter is likelier than another
			out = append(out, alphabet[i])
		}
	}
	return string(out)
}
