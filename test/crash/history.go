package crash

// Event is what matters of an event: its id, and the transaction id that the load
// writes into the content ("" for the events with which the rooms were made).
type Event struct {
	ID, Txn string
}

// Ack is a 200: the server has promised that event ID is in Room.
type Ack struct {
	Txn, Room, ID string
}

// Value is something of which the last acknowledged write wins: account data, a
// receipt.
type Value struct {
	Name      string
	Want, Got string
}

// History is everything that was seen.
type History struct {
	// Attempts holds every transaction that was ever sent, with its room.
	Attempts map[string]string
	// Acks holds the 200s of each sender in their order, repeats included.
	Acks map[string][]Ack
	// Baseline holds the events of each room from before the load, in order.
	Baseline map[string][]Event
	// Messages is the whole history of each room, oldest first.
	Messages map[string][]Event
	// Views are other ways to see the same: what each reader collected. They must be
	// equal to Messages.
	Views map[string]map[string][]Event
	// State is the state of each room, event ids by type and state key.
	State map[string]map[string]string
	// StateViews must be equal to State.
	StateViews map[string]map[string]map[string]string
	Values     []Value
}
