package pdu

import "bytes"

// field is a top-level key that the event format knows, in canonical order, so
// that fields written in the order of their numbers are sorted.
type field int

const (
	fAuthEvents field = iota
	fContent
	fDepth
	fEventID
	fHashes
	fMembership
	fOrigin
	fOriginServerTS
	fPrevEvents
	fPrevState
	fRedacts
	fRoomID
	fSender
	fSignatures
	fStateKey
	fType
	fUnsigned
	numFields
)

func fieldOf(key []byte) (field, bool) {
	switch string(key) {
	case "auth_events":
		return fAuthEvents, true
	case "content":
		return fContent, true
	case "depth":
		return fDepth, true
	case "event_id":
		return fEventID, true
	case "hashes":
		return fHashes, true
	case "membership":
		return fMembership, true
	case "origin":
		return fOrigin, true
	case "origin_server_ts":
		return fOriginServerTS, true
	case "prev_events":
		return fPrevEvents, true
	case "prev_state":
		return fPrevState, true
	case "redacts":
		return fRedacts, true
	case "room_id":
		return fRoomID, true
	case "sender":
		return fSender, true
	case "signatures":
		return fSignatures, true
	case "state_key":
		return fStateKey, true
	case "type":
		return fType, true
	case "unsigned":
		return fUnsigned, true
	}
	return 0, false
}

// span is one member of the top-level object as offsets: the quoted key starts at
// start, the value runs from val to end. A missing member is the zero span.
type span struct{ start, val, end int }

// fields holds where the known members of one event are.
type fields struct {
	json    []byte
	at      [numFields]span
	escapes bool // a key of the event itself is written with an escape
}

// split finds the known members of a canonical event; ok is false if json is not
// a canonical object.
func split(json []byte) (f fields, ok bool) {
	f.json = json
	it := iterate(json, '{')
	for it.next() {
		if k, known := fieldOf(it.key); known {
			f.at[k] = span{start: it.start, val: it.pos - len(it.val), end: it.pos}
		} else if !f.escapes {
			f.escapes = bytes.IndexByte(it.key, '\\') >= 0
		}
	}
	return f, it.complete
}

// val returns the value of a field, nil if the event does not have it.
func (f *fields) val(k field) []byte {
	s := f.at[k]
	return f.json[s.val:s.end:s.end]
}

func (f *fields) has(k field) bool { return f.at[k].end > 0 }

// appendMember appends the member with its key and, unless it is the first of the
// object that starts at open, a comma before it.
func (f *fields) appendMember(dst []byte, open int, k field) []byte {
	if !f.has(k) {
		return dst
	}
	if len(dst) > open+1 {
		dst = append(dst, ',')
	}
	return append(dst, f.json[f.at[k].start:f.at[k].end]...)
}

// appendWithout appends the event without some of its members. without must be in
// ascending order.
func (f *fields) appendWithout(dst []byte, without ...field) []byte {
	from := 0
	for _, k := range without {
		if !f.has(k) {
			continue
		}
		dst = append(dst, f.json[from:f.at[k].start]...)
		from = f.at[k].end
		if f.json[from] == ',' {
			from++
		} else if dst[len(dst)-1] == ',' { // the last of several members
			dst = dst[:len(dst)-1]
		}
	}
	return append(dst, f.json[from:]...)
}
