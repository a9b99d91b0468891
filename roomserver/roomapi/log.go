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
	// KindOutside: the membership of a user of ours changed in a room that we are not in: an
	// invite or knock came or ended. Event is the member event; it is in no timeline.
	KindOutside Kind = 4
	// KindRetention: what is kept of the room RoomID, of all rooms if it is empty, has changed. What a reader
	// remembers of it may have expired and must be asked for again.
	KindRetention Kind = 5
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
	// State are the events besides Event that hold a piece of the room's state from here on,
	// after state resolution. Gone lists what is no longer in the state.
	State []*Event
	Gone  []StateKey
	// If Event is in the timeline but did not come to hold its piece of state, State or Gone
	// says what does.
	// Reset says that the state was replaced as a whole (a join over federation, a repair):
	// State has only member events of users of ours, if any, and a reader asks for the rest.
	Reset bool
	// Federate says that Event goes to other servers (Outgoing), or Receipt.
	Federate bool
}

// StateKey names a piece of state.
type StateKey struct{ Type, StateKey string }
