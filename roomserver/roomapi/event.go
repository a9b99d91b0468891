package roomapi

import (
	"encoding/json"
	"strconv"
	"time"
)

// Event is an event as clients see it. It is immutable: processes and requests share it.
type Event struct {
	EventID  string
	Type     string
	Sender   string
	StateKey *string
	// OriginServerTS is in milliseconds.
	OriginServerTS int64
	// Pos is the log position; 0 for an event that never was in the live timeline.
	Pos int64
	// Ord is the order in the room's timeline; 0 as for Pos.
	Ord int64
	// JSON is the event in the format for clients, closed by its brace, but without
	// room_id and unsigned, which depend on who asks.
	JSON json.RawMessage
	// Membership is content.membership of an m.room.member event.
	Membership string

	// DeviceID and TxnID say which device of Sender sent it with which transaction
	// id; only that device may see TxnID.
	DeviceID, TxnID string
	// ReplacesState, PrevContent and PrevSender tell of the state event that this one replaced.
	ReplacesState string
	PrevContent   json.RawMessage
	PrevSender    string
	// RedactedBecause is the redaction, as client JSON with room_id.
	RedactedBecause json.RawMessage
	// Relations are the aggregated children, the value of m.relations in unsigned
	// ("Aggregations of child events"), as the asking user sees them.
	Relations json.RawMessage
	// UserMembership is the membership that the asking user had at this event; empty if unknown.
	UserMembership string
	// Expires is when the event must no longer be shown, in milliseconds, by what was known when it was told; 0: never.
	// It is set in log entries only.
	Expires int64
}

// DelayedDevice stands in the place of the device of events that were sent with a delay
// (MSC4140). Their transaction id is the id of the delay, which all devices of the sender
// may see.
const DelayedDevice = "org.matrix.msc4140.delayed"

// Render says for whom an event is written.
type Render struct {
	// RoomID is written as room_id if not empty.
	RoomID string
	// UserID and DeviceID are of the reader.
	UserID, DeviceID string
	// Membership overrides Event.UserMembership.
	Membership string
	Now        time.Time
}

// AppendJSON writes the event for a reader: JSON with room_id and unsigned (age,
// transaction_id, membership, prev_content, replaces_state, redacted_because).
func (e *Event) AppendJSON(dst []byte, r Render) []byte {
	dst = append(dst, e.JSON[:len(e.JSON)-1]...)
	if r.RoomID != "" {
		dst = append(dst, `,"room_id":`...)
		dst = appendString(dst, r.RoomID)
	}
	dst = append(dst, `,"unsigned":{"age":`...)
	dst = strconv.AppendInt(dst, max(0, r.Now.UnixMilli()-e.OriginServerTS), 10)
	membership := r.Membership
	if membership == "" {
		membership = e.UserMembership
	}
	if membership != "" {
		dst = append(dst, `,"membership":`...)
		dst = appendString(dst, membership)
	}
	if len(e.Relations) > 0 {
		dst = append(dst, `,"m.relations":`...)
		dst = append(dst, e.Relations...)
	}
	if len(e.PrevContent) > 0 {
		dst = append(dst, `,"prev_content":`...)
		dst = append(dst, e.PrevContent...)
	}
	if e.PrevSender != "" {
		dst = append(dst, `,"prev_sender":`...)
		dst = appendString(dst, e.PrevSender)
	}
	if len(e.RedactedBecause) > 0 {
		dst = append(dst, `,"redacted_because":`...)
		dst = append(dst, e.RedactedBecause...)
	}
	if e.ReplacesState != "" {
		dst = append(dst, `,"replaces_state":`...)
		dst = appendString(dst, e.ReplacesState)
	}
	if e.TxnID != "" && r.UserID == e.Sender && e.DeviceID == DelayedDevice {
		dst = append(dst, `,"org.matrix.msc4140.delay_id":`...)
		dst = appendString(dst, e.TxnID)
	} else if e.TxnID != "" && r.UserID == e.Sender && r.DeviceID == e.DeviceID {
		dst = append(dst, `,"transaction_id":`...)
		dst = appendString(dst, e.TxnID)
	}
	return append(dst, '}', '}')
}

// Content returns the content object.
func (e *Event) Content() json.RawMessage {
	var body struct {
		Content json.RawMessage `json:"content"`
	}
	if json.Unmarshal(e.JSON, &body) != nil {
		return json.RawMessage("{}") // JSON is ours; this cannot happen
	}
	return body.Content
}

func appendString(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= 0x7f {
			quoted, _ := json.Marshal(s) // a string always marshals
			return append(dst, quoted...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}
