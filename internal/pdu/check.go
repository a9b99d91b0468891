package pdu

import (
	"strings"

	"hearth/internal/merr"
)

// check makes the checks of foreign events that go beyond types: sizes,
// identifiers, and the members that only hashes and signatures need.
func (e *Event) check(f *fields) error {
	if f.escapes {
		// Content may have such keys. On the event itself no key that means
		// anything has them; they only serve to look like other fields.
		return merr.BadJSON("keys of an event must not contain quotes, backslashes or control characters")
	}
	if err := e.checkIDs(f); err != nil {
		return err
	}
	if Kind(f.val(fHashes)) != '{' {
		return merr.BadJSON("hashes must be an object")
	}
	if !validSignatures(f.val(fSignatures)) {
		return merr.BadJSON("signatures must be an object of objects of strings")
	}
	return nil
}

// checkIDs checks what other events and tables will name the event by.
func (e *Event) checkIDs(f *fields) error {
	if len(e.Type) > MaxIDLength || strings.IndexByte(e.Type, 0) >= 0 {
		return merr.BadJSON("type must be at most %d bytes, without NUL", MaxIDLength)
	}
	if k := e.StateKey; k != nil && (len(*k) > MaxIDLength || strings.IndexByte(*k, 0) >= 0) {
		return merr.BadJSON("state_key must be at most %d bytes, without NUL", MaxIDLength)
	}
	if _, _, ok := splitID(e.Sender, '@'); !ok {
		return merr.BadJSON("sender is not a user ID")
	}
	if e.Version.EventFormat == 1 {
		if _, _, ok := splitID(e.EventID, '$'); !ok {
			return merr.BadJSON("event_id is not an event ID of this room version")
		}
	}
	return e.checkRoomID(f)
}

func (e *Event) checkRoomID(f *fields) error {
	if e.Version.DomainlessRoomIDs && e.Type == "m.room.create" {
		if f.has(fRoomID) {
			return merr.BadJSON("m.room.create must not have a room_id in this room version")
		}
		if !e.StateKeyEquals("") {
			return merr.BadJSON("m.room.create must have an empty state_key")
		}
		return nil
	}
	if !e.Version.roomIDValid(e.RoomID) {
		return merr.BadJSON("room_id is not a room ID of this room version")
	}
	return nil
}

func validSignatures(val []byte) bool {
	servers := iterate(val, '{')
	for servers.next() {
		keys := iterate(servers.val, '{')
		for keys.next() {
			if Kind(keys.val) != '"' {
				return false
			}
		}
		if !keys.complete {
			return false
		}
	}
	return servers.complete
}
