package pdu

import (
	"hearth/internal/merr"
)

// maxSource bounds the bytes of one foreign PDU before it is read. Escapes can
// make them six times as long as the canonical form, unsigned adds to that.
const maxSource = 1 << 20

// Parse reads a PDU from foreign bytes and makes every check that needs nothing
// but the PDU itself: JSON and number rules ([Canonical]), the presence, type and
// size of every field that the room version's event format knows, identifiers,
// and the content hash. unsigned is checked and left out, and so is event_id from
// format 3 on, where the id is computed. If the content hash does not match, the
// result is the redacted form. Signatures are not verified here: see
// [Event.VerifySignature].
//
// Errors are *merr.Error: status 400 with M_NOT_JSON or M_BAD_JSON, or 413
// M_TOO_LARGE for more than [MaxEventSize] canonical bytes. The event must then
// be dropped. src is not kept.
func Parse(v *RoomVersion, src []byte) (*Event, error) {
	if len(src) > maxSource {
		return nil, merr.TooLarge("Event is too large")
	}
	s := scanner{
		src: src, dst: make([]byte, 0, len(src)), members: make([]member, 0, 24),
		strict: v.StrictJSON, limit: maxSource, drop: v.dropped(),
	}
	if err := s.object(); err != nil {
		return nil, gateError(err)
	}
	if len(s.dst) > MaxEventSize {
		return nil, merr.TooLarge("Event is too large")
	}
	return receive(v, append(make([]byte, 0, len(s.dst)), s.dst...))
}

// dropped are the top-level keys that are no part of an event: unsigned, and
// event_id where the id is computed.
func (v *RoomVersion) dropped() []string {
	if v.EventFormat == 1 {
		return formatOneDrops[:]
	}
	return hashedDrops[:]
}

var (
	formatOneDrops = [...]string{"unsigned"}
	hashedDrops    = [...]string{"event_id", "unsigned"}
)

// receive makes an event of canonical bytes without unsigned, with all checks.
func receive(v *RoomVersion, json []byte) (*Event, error) {
	f, ok := split(json)
	if !ok {
		return nil, errNotEvent()
	}
	e := &Event{Version: v, JSON: json}
	if err := e.fill(&f); err != nil {
		return nil, err
	}
	if err := e.check(&f); err != nil {
		return nil, err
	}
	e.identify(&f, "")
	claimed, ok := f.claimedHash()
	if !ok {
		return nil, merr.BadJSON("hashes.sha256 is missing or not base64")
	}
	if claimed == f.contentHash() {
		return e, nil
	}
	redacted := f.appendRedacted(make([]byte, 0, len(json)), v, e.Type, true)
	e, err := Load(v, redacted, e.EventID)
	if err != nil {
		return nil, err
	}
	e.Redacted = true
	return e, nil
}

// Load reads a PDU that we stored ourselves: canonical JSON as in [Event.JSON].
// eventID is the id that was stored with it; if it is "" the id is computed.
// Types are checked, because nothing may panic on a damaged row; hashes, sizes
// and identifiers are not. json is kept, so the caller must not change it.
// Redacted is false: whether the bytes are a redacted form is for the caller to
// remember.
func Load(v *RoomVersion, json []byte, eventID string) (*Event, error) {
	f, ok := split(json)
	if !ok {
		return nil, errNotEvent()
	}
	e := &Event{Version: v, JSON: json}
	if err := e.fill(&f); err != nil {
		return nil, err
	}
	e.identify(&f, eventID)
	return e, nil
}

func errNotEvent() error { return merr.BadJSON("Event is not a JSON object") }

// identify sets EventID, and RoomID where it follows from it.
func (e *Event) identify(f *fields, eventID string) {
	if e.EventID == "" { // format 1 has it in the PDU
		e.EventID = eventID
	}
	if e.EventID == "" {
		e.EventID = e.Version.eventID(f.referenceHash(e.Version, e.Type))
	}
	if e.Version.DomainlessRoomIDs && e.Type == "m.room.create" && !f.has(fRoomID) {
		e.RoomID = "!" + e.EventID[1:]
	}
}

// fill reads the fields and checks their types.
func (e *Event) fill(f *fields) error {
	var ok bool
	if e.Type, ok = String(f.val(fType)); !ok {
		return merr.BadJSON("type must be a string")
	}
	if e.Sender, ok = String(f.val(fSender)); !ok {
		return merr.BadJSON("sender must be a string")
	}
	if f.has(fRoomID) {
		if e.RoomID, ok = String(f.val(fRoomID)); !ok {
			return merr.BadJSON("room_id must be a string")
		}
	}
	if f.has(fStateKey) {
		key, ok := String(f.val(fStateKey))
		if !ok {
			return merr.BadJSON("state_key must be a string")
		}
		e.StateKey = &key
	}
	if e.Version.EventFormat == 1 {
		if e.EventID, ok = String(f.val(fEventID)); !ok {
			return merr.BadJSON("event_id must be a string")
		}
	}
	if e.Content = f.val(fContent); Kind(e.Content) != '{' {
		return merr.BadJSON("content must be an object")
	}
	if e.Depth, ok = Int(f.val(fDepth)); !ok || e.Depth < 0 || e.Depth > MaxDepth {
		return merr.BadJSON("depth must be an integer from 0 to 2^53-1")
	}
	if e.OriginServerTS, ok = Int(f.val(fOriginServerTS)); !ok {
		return merr.BadJSON("origin_server_ts must be an integer")
	}
	if e.PrevEvents, ok = e.Version.references(f.val(fPrevEvents), MaxPrevEvents); !ok {
		return merr.BadJSON("prev_events must be a list of at most %d references to events", MaxPrevEvents)
	}
	if e.AuthEvents, ok = e.Version.references(f.val(fAuthEvents), MaxAuthEvents); !ok {
		return merr.BadJSON("auth_events must be a list of at most %d references to events", MaxAuthEvents)
	}
	return e.fillRedacts(f)
}

func (e *Event) fillRedacts(f *fields) error {
	if e.Type != "m.room.redaction" {
		return nil
	}
	var target string
	if e.Version.RedactsInContent {
		target, _ = GetString(e.Content, "redacts")
	} else if f.has(fRedacts) {
		var ok bool
		if target, ok = String(f.val(fRedacts)); !ok {
			return merr.BadJSON("redacts must be a string")
		}
	}
	if validEventID(target) {
		e.Redacts = target
	}
	return nil
}

// references reads prev_events or auth_events: ids, or in event format 1 pairs of
// id and hashes.
func (v *RoomVersion) references(list []byte, most int) (ids []string, ok bool) {
	if len(list) > 2 {
		ids = make([]string, 0, 4)
	}
	it := iterate(list, '[')
	for it.next() {
		if len(ids) == most {
			return nil, false
		}
		ref := it.val
		if v.EventFormat == 1 {
			if ref, ok = pairID(ref); !ok {
				return nil, false
			}
		}
		id, ok := String(ref)
		if !ok || !validEventID(id) {
			return nil, false
		}
		ids = append(ids, id)
	}
	return ids, it.complete
}

// pairID returns the id of a reference of event format 1, [id, {"sha256": hash}].
func pairID(pair []byte) (id []byte, ok bool) {
	it := iterate(pair, '[')
	if !it.next() {
		return nil, false
	}
	id = it.val
	if !it.next() || Kind(it.val) != '{' {
		return nil, false
	}
	if hash, found := Get(it.val, "sha256"); found && Kind(hash) != '"' {
		return nil, false
	}
	return id, !it.next() && it.complete
}
