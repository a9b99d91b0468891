package auth

import "hearth/internal/pdu"

// createEvent is rule 1.
func (c *check) createEvent() error {
	content := c.ev.Content
	// 1.1. If it has any prev_events, reject.
	if len(c.ev.PrevEvents) > 0 {
		return c.reject("1.1", "A create event has no previous events")
	}
	if c.v.DomainlessRoomIDs {
		// 1.2. If the event has a room_id, reject. (Event.RoomID is derived here.)
		if _, ok := pdu.Get(c.ev.JSON, "room_id"); ok {
			return c.reject("1.2", "A create event has no room ID")
		}
	} else if domain(c.ev.RoomID) != domain(c.ev.Sender) {
		// Up to version 11: 1.2. If the domain of the room_id does not match the
		// domain of the sender, reject.
		return c.reject("1.2", "The room ID belongs to another server than the creator")
	}
	// 1.3. If content.room_version is present and is not a recognised version, reject.
	if val, ok := pdu.Get(content, "room_version"); ok {
		id, isString := pdu.String(val)
		if _, known := pdu.Version(id); !isString || !known {
			return c.reject("1.3", "Unknown room version")
		}
	}
	// Up to version 10: 1.4. If content has no creator property, reject.
	if !c.v.CreatorIsSender {
		if _, ok := pdu.Get(content, "creator"); !ok {
			return c.reject("1.4", "A create event names the creator")
		}
	}
	// From version 12: 1.4. If additional_creators is present in content and is not
	// an array of strings where each string passes the same user ID validation
	// applied to sender, reject.
	if c.v.PrivilegedCreators && !validCreators(content) {
		return c.reject("1.4", "additional_creators is not a list of user IDs")
	}
	// 1.5. Otherwise, allow.
	return nil
}

func validCreators(content []byte) bool {
	val, ok := pdu.Get(content, "additional_creators")
	if !ok {
		return true
	}
	valid := true
	isArray := pdu.Elements(val, func(val []byte) bool {
		id, ok := pdu.String(val)
		if ok {
			_, _, err := pdu.ParseUserID(id)
			ok = err == nil
		}
		valid = ok
		return ok
	})
	return isArray && valid
}

// Creators returns the room's creators by its create event: content.creator up to
// version 10, the sender from version 11, and from version 12 additional_creators
// too. The result is empty if an old create event names no user.
func Creators(create *pdu.Event) []string {
	if !create.Version.CreatorIsSender {
		if id, ok := pdu.GetString(create.Content, "creator"); ok {
			return []string{id}
		}
		return nil
	}
	out := []string{create.Sender}
	if create.Version.PrivilegedCreators {
		val, _ := pdu.Get(create.Content, "additional_creators")
		pdu.Elements(val, func(val []byte) bool {
			if id, ok := pdu.String(val); ok {
				out = append(out, id)
			}
			return true
		})
	}
	return out
}

// isCreator reports whether userID is one of Creators(create).
func isCreator(create *pdu.Event, userID string) bool {
	if create == nil {
		return false
	}
	if !create.Version.CreatorIsSender {
		id, ok := pdu.GetString(create.Content, "creator")
		return ok && id == userID
	}
	if create.Sender == userID {
		return true
	}
	found := false
	if create.Version.PrivilegedCreators {
		val, _ := pdu.Get(create.Content, "additional_creators")
		pdu.Elements(val, func(val []byte) bool {
			id, ok := pdu.String(val)
			found = ok && id == userID
			return !found
		})
	}
	return found
}
