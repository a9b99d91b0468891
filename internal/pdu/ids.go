package pdu

import (
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"hearth/internal/merr"
)

// hashIDLength is the length of an id made of a SHA-256 hash: sigil and 43
// characters of unpadded base64.
const hashIDLength = 44

// ParseServerName splits a server name (appendices, "Server Name") into host and
// port. host keeps the brackets of an IPv6 literal; port is "" if there is none.
// Empty labels are refused, though the grammar would allow them: such a name has
// no host, and ".." has a meaning in paths. Errors are *merr.Error 400.
func ParseServerName(s string) (host, port string, err error) {
	host, port, ok := splitServerName(s)
	if !ok {
		return "", "", merr.InvalidParam("Invalid server name")
	}
	return host, port, nil
}

func splitServerName(s string) (host, port string, ok bool) {
	if s == "" || len(s) > MaxIDLength {
		return "", "", false
	}
	host = s
	literal := s[0] == '['
	if literal {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return "", "", false
		}
		addr, err := netip.ParseAddr(s[1:end])
		if err != nil || !addr.Is6() || addr.Zone() != "" {
			return "", "", false
		}
		host = s[:end+1]
	} else if colon := strings.IndexByte(s, ':'); colon >= 0 {
		host = s[:colon]
	}
	if rest := s[len(host):]; rest != "" {
		port = rest[1:]
		if rest[0] != ':' || !validPort(port) {
			return "", "", false
		}
	}
	return host, port, literal || validDNSName(host)
}

func validPort(s string) bool {
	if s == "" || len(s) > 5 {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	n, err := strconv.Atoi(s)
	return err == nil && n <= 65535
}

func validDNSName(s string) bool {
	label := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '.':
			if label == 0 {
				return false
			}
			label = 0
			continue
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-':
		default:
			return false
		}
		label++
	}
	return s != ""
}

// ParseUserID splits a user id (appendices, "User Identifiers"). It accepts the
// historical grammar too, as servers must for events: any localpart, even an
// empty one, without ":" and NUL. Errors are *merr.Error 400.
func ParseUserID(s string) (localpart, domain string, err error) {
	localpart, domain, ok := splitID(s, '@')
	if !ok {
		return "", "", merr.InvalidParam("Invalid user ID")
	}
	return localpart, domain, nil
}

// ParseStrictUserID splits a user id of the current grammar: a localpart of one
// or more of a–z, 0–9 and "._=-/+", as new accounts must have. Errors are
// *merr.Error 400.
func ParseStrictUserID(s string) (localpart, domain string, err error) {
	localpart, domain, ok := splitID(s, '@')
	if !ok || localpart == "" {
		return "", "", merr.InvalidParam("Invalid user ID")
	}
	for i := range len(localpart) {
		c := localpart[i]
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || strings.IndexByte("._=-/+", c) >= 0) {
			return "", "", merr.InvalidParam("Invalid user ID")
		}
	}
	return localpart, domain, nil
}

// Compliant reports whether a localpart holds only U+0021 to U+007E and is not
// empty; user ids that are not must not be shown outside of events (appendices,
// "Historical User IDs").
func Compliant(localpart string) bool {
	for i := range len(localpart) {
		if localpart[i] < 0x21 || localpart[i] > 0x7E {
			return false
		}
	}
	return localpart != ""
}

// ParseRoomID splits a room id (appendices, "Room IDs"). domain is "" for the
// domainless form, a hash of 43 characters. A localpart that has "." or ".." as a
// path segment is refused, because room ids become parts of paths. Errors are
// *merr.Error 400.
func ParseRoomID(s string) (opaque, domain string, err error) {
	if isHashID(s, '!', true) {
		return s[1:], "", nil
	}
	opaque, domain, ok := splitID(s, '!')
	if !ok || opaque == "" || hasDotSegment(opaque) {
		return "", "", merr.InvalidParam("Invalid room ID")
	}
	return opaque, domain, nil
}

func hasDotSegment(s string) bool {
	for _, segment := range strings.FieldsFunc(s, func(r rune) bool { return r == '/' || r == '\\' }) {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

// ParseEventID checks an event id (appendices, "Event IDs") of any room version:
// "$", then anything but NUL, 255 bytes at most. domain is what follows the first
// ":" if that is a server name, as in v1 and v2; else it is "". Errors are
// *merr.Error 400.
func ParseEventID(s string) (opaque, domain string, err error) {
	if !validEventID(s) {
		return "", "", merr.InvalidParam("Invalid event ID")
	}
	if local, domain, ok := splitID(s, '$'); ok {
		return local, domain, nil
	}
	return s[1:], "", nil
}

// ParseAlias splits a room alias (appendices, "Room Aliases"). Errors are
// *merr.Error 400.
func ParseAlias(s string) (localpart, domain string, err error) {
	localpart, domain, ok := splitID(s, '#')
	if !ok || localpart == "" {
		return "", "", merr.InvalidParam("Invalid room alias")
	}
	return localpart, domain, nil
}

// Domain returns the server name in a user id, alias, or room or event id that
// has one: what follows the first colon. It does not check the id; it is "" if
// there is no colon.
func Domain(id string) string {
	_, domain, _ := strings.Cut(id, ":")
	return domain
}

// splitID splits "&localpart:domain" at the first colon.
func splitID(s string, sigil byte) (localpart, domain string, ok bool) {
	if len(s) < 2 || len(s) > MaxIDLength || s[0] != sigil {
		return "", "", false
	}
	colon := strings.IndexByte(s, ':')
	if colon < 0 || !cleanText(s[1:colon]) {
		return "", "", false
	}
	if _, _, ok := splitServerName(s[colon+1:]); !ok {
		return "", "", false
	}
	return s[1:colon], s[colon+1:], true
}

// cleanText reports whether s is UTF-8 without NUL.
func cleanText(s string) bool {
	return strings.IndexByte(s, 0) < 0 && utf8.ValidString(s)
}

func validEventID(s string) bool {
	return len(s) >= 2 && len(s) <= MaxIDLength && s[0] == '$' && cleanText(s)
}

// isHashID reports whether s is sigil and 43 characters of unpadded base64.
func isHashID(s string, sigil byte, urlSafe bool) bool {
	if len(s) != hashIDLength || s[0] != sigil {
		return false
	}
	for i := 1; i < len(s); i++ {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case urlSafe && (c == '-' || c == '_'):
		case !urlSafe && (c == '+' || c == '/'):
		default:
			return false
		}
	}
	return true
}

// roomIDValid applies the form that the room version asks for.
func (v *RoomVersion) roomIDValid(s string) bool {
	if v.DomainlessRoomIDs {
		return isHashID(s, '!', true)
	}
	opaque, _, ok := splitID(s, '!')
	return ok && opaque != "" && !hasDotSegment(opaque)
}
