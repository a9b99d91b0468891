package roomapi

// Kind says what a log entry tells.
type Kind uint8

// Kinds of entries. A reader skips a kind that it does not know.
const (
	// KindEvent: an event was appended to a room's timeline.
	KindEvent Kind = 1
	// KindReceipt: a receipt was set.
	KindReceipt Kind = 2
	// KindForget: a user forgot a room; UserID and RoomID are set.
	KindForget Kind = 3
)

// Entry is one entry of the room log.
type Entry struct {
	Kind   Kind
	RoomID string
	// Event is the appended event (KindEvent). Its UserMembership is empty.
	Event *Event
	// Redacted is the new form of the event that Event, a redaction, has redacted.
	Redacted *Event
	// Receipt is set for KindReceipt.
	Receipt *Receipt
	// UserID is set for KindForget.
	UserID string
}
