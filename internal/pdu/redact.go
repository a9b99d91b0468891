package pdu

// topLevelKept are the keys that survive redaction, in canonical order.
// Versions before 11 keep membership, origin and prev_state too.
var topLevelKept = [...]field{
	fAuthEvents, fContent, fDepth, fEventID, fHashes, fMembership, fOrigin, fOriginServerTS,
	fPrevEvents, fPrevState, fRoomID, fSender, fSignatures, fStateKey, fType,
}

// powerLevelsKept are the keys of m.room.power_levels that every version keeps.
var powerLevelsKept = []string{
	"ban", "events", "events_default", "kick", "redact", "state_default", "users", "users_default",
}

// appendRedacted appends the event's redacted form (room versions, "Redactions")
// as canonical JSON. Values are copied as they are, so numbers keep their text.
// Without signatures these are the bytes that the reference hash and signatures
// cover.
func (f *fields) appendRedacted(dst []byte, v *RoomVersion, eventType string, signatures bool) []byte {
	open := len(dst)
	dst = append(dst, '{')
	for _, k := range topLevelKept {
		switch k {
		case fContent:
			if len(dst) > open+1 {
				dst = append(dst, ',')
			}
			dst = append(dst, `"content":`...)
			dst = appendRedactedContent(dst, f.val(fContent), v.redaction, eventType)
			continue
		case fMembership, fOrigin, fPrevState:
			if !v.redaction.legacyTopLevel {
				continue
			}
		case fEventID:
			if v.EventFormat != 1 {
				continue
			}
		case fSignatures:
			if !signatures {
				continue
			}
		}
		dst = f.appendMember(dst, open, k)
	}
	return append(dst, '}')
}

// appendRedactedContent appends what survives of a content object.
func appendRedactedContent(dst, content []byte, r redactionRules, eventType string) []byte {
	var keep func(key []byte) bool
	switch eventType {
	case "m.room.create":
		if r.wholeCreate && Kind(content) == '{' {
			return append(dst, content...)
		}
		keep = func(key []byte) bool { return string(key) == "creator" }
	case "m.room.member":
		return appendRedactedMember(dst, content, r)
	case "m.room.join_rules":
		keep = func(key []byte) bool {
			return string(key) == "join_rule" || r.allow && string(key) == "allow"
		}
	case "m.room.power_levels":
		keep = func(key []byte) bool {
			for _, k := range powerLevelsKept {
				if string(key) == k {
					return true
				}
			}
			return r.invite && string(key) == "invite"
		}
	case "m.room.history_visibility":
		keep = func(key []byte) bool { return string(key) == "history_visibility" }
	case "m.room.aliases":
		keep = func(key []byte) bool { return r.aliases && string(key) == "aliases" }
	case "m.room.redaction":
		keep = func(key []byte) bool { return r.redacts && string(key) == "redacts" }
	default:
		return append(dst, '{', '}')
	}
	return appendKept(dst, content, keep)
}

func appendRedactedMember(dst, content []byte, r redactionRules) []byte {
	open := len(dst)
	dst = append(dst, '{')
	it := iterate(content, '{')
	for it.next() {
		switch string(it.key) {
		case "membership":
			dst = appendRaw(dst, open, it.b[it.start:it.pos])
		case "join_authorised_via_users_server":
			if r.authorisedVia {
				dst = appendRaw(dst, open, it.b[it.start:it.pos])
			}
		case "third_party_invite":
			// Only an object can hold the signed key that is kept.
			if r.thirdParty && Kind(it.val) == '{' {
				dst = appendRaw(dst, open, []byte(`"third_party_invite":`))
				dst = appendKept(dst, it.val, func(key []byte) bool { return string(key) == "signed" })
			}
		}
	}
	return append(dst, '}')
}

// appendKept appends the object obj with only the keys for which keep is true.
func appendKept(dst, obj []byte, keep func(key []byte) bool) []byte {
	open := len(dst)
	dst = append(dst, '{')
	it := iterate(obj, '{')
	for it.next() {
		if keep(it.key) {
			dst = appendRaw(dst, open, it.b[it.start:it.pos])
		}
	}
	return append(dst, '}')
}

// appendRaw appends a member to the object that starts at open.
func appendRaw(dst []byte, open int, raw []byte) []byte {
	if len(dst) > open+1 {
		dst = append(dst, ',')
	}
	return append(dst, raw...)
}

// Redact returns the event's redacted form by the rules of its room version, with
// the same id, hashes and signatures. It returns e itself if nothing was to be
// removed.
func (e *Event) Redact() (*Event, error) {
	f, ok := split(e.JSON)
	if !ok {
		return nil, errNotEvent()
	}
	json := f.appendRedacted(make([]byte, 0, len(e.JSON)), e.Version, e.Type, true)
	if string(json) == string(e.JSON) {
		return e, nil
	}
	return Load(e.Version, json, e.EventID)
}
