package pdu

import (
	"crypto/rand"
	"encoding/base64"
	"strconv"

	"hearth/internal/merr"
)

// Template is what the caller decides about a new event.
type Template struct {
	// RoomID is "" for the create event of a v12 room.
	RoomID, Type, Sender string
	// StateKey is nil for a message event.
	StateKey *string
	// Content is any JSON object; [Build] makes it canonical.
	Content []byte
	// Redacts is the target of a redaction; it goes where the version wants it.
	Redacts string
	// PrevEvents and AuthEvents: at most 20 and 10.
	PrevEvents, AuthEvents []Ref
	// Depth is one more than the greatest depth of PrevEvents, at most MaxDepth;
	// OriginServerTS is in milliseconds.
	Depth, OriginServerTS int64
}

// Ref names an event that another event follows or is authorised by.
type Ref struct {
	EventID string
	// SHA256 is the reference hash, only needed for event format 1.
	SHA256 []byte
}

// Build makes a new event: hashes it, signs it and gives it an id. The result
// passes [Parse]. In v12 the create event's RoomID is "!" and the hash of its id.
// Errors are *merr.Error: 413 M_TOO_LARGE if a size limit is exceeded, those of
// [Canonical] for the content, 400 for other faults of the template, and 500 if
// the key cannot be used.
func Build(v *RoomVersion, t Template, s Signer) (*Event, error) {
	d, err := newDraft(v, t, s)
	if err != nil {
		return nil, err
	}
	var buf [smallEvent]byte
	hash, ok := split(d.append(buf[:0]))
	if !ok {
		return nil, errNotEvent()
	}
	sum := hash.contentHash()
	d.hash = base64.RawStdEncoding.AppendEncode(nil, sum[:])

	unsigned, _ := split(d.append(buf[:0]))
	sig, err := s.sign(unsigned.appendRedacted(nil, v, t.Type, false))
	if err != nil {
		return nil, err
	}
	d.signatures = s.addSignature(nil, sig)
	json := d.append(make([]byte, 0, len(unsigned.json)+len(d.signatures)+16))
	if len(json) > MaxEventSize {
		return nil, merr.TooLarge("Event is too large")
	}
	f, _ := split(json)
	e := &Event{Version: v, JSON: json}
	if err := e.fill(&f); err != nil {
		return nil, err
	}
	if err := e.check(&f); err != nil {
		return nil, err
	}
	e.identify(&f, "")
	return e, nil
}

// draft is an event that is being built.
type draft struct {
	v          *RoomVersion
	t          Template
	content    []byte
	eventID    string
	hash       []byte // base64; nil before it is known
	signatures []byte // canonical object; nil before it is known
}

func newDraft(v *RoomVersion, t Template, s Signer) (*draft, error) {
	if err := checkSizes(t); err != nil {
		return nil, err
	}
	for _, text := range []string{t.Type, t.Sender, t.RoomID, t.Redacts} {
		if !cleanText(text) {
			return nil, merr.BadJSON("type, sender, room_id and redacts must be UTF-8 without NUL")
		}
	}
	if t.StateKey != nil && !cleanText(*t.StateKey) {
		return nil, merr.BadJSON("state_key must be UTF-8 without NUL")
	}
	content, err := Canonical(t.Content, v.StrictJSON)
	if err != nil {
		return nil, err
	}
	if t.Redacts != "" && v.RedactsInContent {
		content, _ = Set(content, "redacts", AppendString(nil, t.Redacts))
	}
	d := &draft{v: v, t: t, content: content}
	if v.EventFormat == 1 {
		d.eventID = "$" + rand.Text() + ":" + s.ServerName
	}
	return d, nil
}

// checkSizes gives the limits of the event format their own error: a client that
// sends too much must see M_TOO_LARGE.
func checkSizes(t Template) error {
	if len(t.Type) > MaxIDLength || len(t.Sender) > MaxIDLength || len(t.RoomID) > MaxIDLength ||
		t.StateKey != nil && len(*t.StateKey) > MaxIDLength {
		return merr.TooLarge("type, sender, room_id and state_key must be at most %d bytes", MaxIDLength)
	}
	if len(t.Content) > maxSource {
		return merr.TooLarge("Event is too large")
	}
	return nil
}

// append writes the event in canonical order.
func (d *draft) append(dst []byte) []byte {
	t := &d.t
	dst = append(dst, `{"auth_events":`...)
	dst = d.appendRefs(dst, t.AuthEvents)
	dst = append(dst, `,"content":`...)
	dst = append(dst, d.content...)
	dst = append(dst, `,"depth":`...)
	dst = strconv.AppendInt(dst, t.Depth, 10)
	if d.eventID != "" {
		dst = append(dst, `,"event_id":`...)
		dst = AppendString(dst, d.eventID)
	}
	if d.hash != nil {
		dst = append(dst, `,"hashes":{"sha256":"`...)
		dst = append(dst, d.hash...)
		dst = append(dst, `"}`...)
	}
	dst = append(dst, `,"origin_server_ts":`...)
	dst = strconv.AppendInt(dst, t.OriginServerTS, 10)
	dst = append(dst, `,"prev_events":`...)
	dst = d.appendRefs(dst, t.PrevEvents)
	if t.Redacts != "" && !d.v.RedactsInContent {
		dst = append(dst, `,"redacts":`...)
		dst = AppendString(dst, t.Redacts)
	}
	if t.RoomID != "" {
		dst = append(dst, `,"room_id":`...)
		dst = AppendString(dst, t.RoomID)
	}
	dst = append(dst, `,"sender":`...)
	dst = AppendString(dst, t.Sender)
	if d.signatures != nil {
		dst = append(dst, `,"signatures":`...)
		dst = append(dst, d.signatures...)
	}
	if t.StateKey != nil {
		dst = append(dst, `,"state_key":`...)
		dst = AppendString(dst, *t.StateKey)
	}
	dst = append(dst, `,"type":`...)
	dst = AppendString(dst, t.Type)
	return append(dst, '}')
}

func (d *draft) appendRefs(dst []byte, refs []Ref) []byte {
	dst = append(dst, '[')
	for i, r := range refs {
		if i > 0 {
			dst = append(dst, ',')
		}
		if d.v.EventFormat != 1 {
			dst = AppendString(dst, r.EventID)
			continue
		}
		dst = append(dst, '[')
		dst = AppendString(dst, r.EventID)
		dst = append(dst, `,{"sha256":"`...)
		dst = base64.RawStdEncoding.AppendEncode(dst, r.SHA256)
		dst = append(dst, `"}]`...)
	}
	return append(dst, ']')
}
