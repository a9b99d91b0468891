package pdu

// Limits of the event format (client-server API, "Size limits"; room versions,
// "Event format"). All lengths are bytes.
const (
	MaxEventSize  = 65536     // canonical JSON of a whole PDU, signatures included
	MaxIDLength   = 255       // sender, room_id, type, state_key, event_id
	MaxDepth      = 1<<53 - 1 // depth; the next event of a room at the limit keeps it
	MaxPrevEvents = 20
	MaxAuthEvents = 10
)

// Event is one PDU, parsed once. It is immutable after construction and safe to
// share between goroutines; callers must not write to Content or JSON.
type Event struct {
	// Version is the version of the event's room.
	Version *RoomVersion
	// EventID, RoomID, Type and Sender have been checked for syntax and size. For
	// the create event of a v12 room RoomID is derived from EventID.
	EventID, RoomID, Type, Sender string
	// StateKey is nil for message events.
	StateKey *string
	// Redacts is the target of an m.room.redaction, from the top level or from
	// content by version; "" for other types or when it is no event id.
	Redacts string
	// OriginServerTS is in milliseconds, Depth counts events.
	OriginServerTS, Depth int64
	// PrevEvents and AuthEvents are event ids in the order of the PDU.
	PrevEvents, AuthEvents []string
	// Content is the canonical content object, a span of JSON.
	Content []byte
	// JSON is the whole PDU as canonical JSON, with hashes and signatures,
	// without unsigned.
	JSON []byte
	// Redacted says that the content hash did not match at [Parse], so that this
	// is the redacted form (server-server API, "Validating hashes and signatures
	// on received events").
	Redacted bool
}

// IsState reports whether the event has a state_key.
func (e *Event) IsState() bool { return e.StateKey != nil }

// StateKeyEquals reports whether the event is a state event with this key.
func (e *Event) StateKeyEquals(key string) bool { return e.StateKey != nil && *e.StateKey == key }
