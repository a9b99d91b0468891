package outbound

import (
	"encoding/json"
	"time"

	"hearth/roomserver/roomapi"
)

// state says how a server gets its events.
type state int

const (
	// current: each event goes into the queue and holds the cursor back until it is delivered.
	current state = iota
	// falling: like current, while its row is being written.
	falling
	// behind: it has a row; events are passed over.
	behind
	// catching: it has a row; events are queued and do not hold the cursor back. Unless its queue
	// goes back to the row, it gets the newest events of its rooms first.
	catching
	// clearing: it has got everything and its row is being removed; events hold the cursor back again.
	clearing
)

// item is an event in the queue of a server.
type item struct {
	pos int64
	pdu json.RawMessage
	at  time.Time
	// held says that the item holds the cursor back.
	held bool
	// ending says that the event must be remembered by itself if the server falls behind.
	ending bool
}

// server is a server that has something to get. Queues.mu guards it, but for what the
// goroutine that sends to it has taken.
type server struct {
	name  string
	state state
	// behind is the position up to which it has got its events, in the states with a row.
	behind   int64
	queue    []item
	fleeting fleeting
	edus     int64 // in the database, about
	txn      *transaction
	// catchup is set while it gets the newest events of its rooms. In the state behind, events
	// have been passed over since, and another round will follow.
	catchup *catchup
	// unwritten counts events that must be remembered for it and are not on disk yet.
	unwritten int
	// careful: it has refused a transaction for good, so it gets its events one by one until
	// it has caught up.
	careful bool
	busy    bool // has a place in a line or a goroutine
}

// hasWork reports whether there is something to send, or to write.
func (s *server) hasWork() bool {
	return s.txn != nil || len(s.queue) > 0 || s.edus > 0 || s.fleeting.len() > 0 || s.state == behind || s.state == catching
}

// oldest is when the first event that is not delivered was queued; zero if there is none.
func (s *server) oldest() time.Time {
	if s.txn != nil && len(s.txn.items) > 0 {
		return s.txn.items[0].at
	}
	if len(s.queue) > 0 {
		return s.queue[0].at
	}
	return time.Time{}
}

// pending lists the events that are not delivered, in order.
func (s *server) pending() []item {
	var out []item
	if s.txn != nil {
		out = append(out, s.txn.items...)
	}
	return append(out, s.queue...)
}

// transaction is one that is sent until it is answered.
type transaction struct {
	id   string
	body []byte
	// items are the events of the queue in it, lastEDU the number of the last stored EDU, 0: none.
	items   []item
	lastEDU int64
	edus    int64 // stored ones
	// extra are positions of remembered events in it.
	extra    []int64
	pdus     int
	refusals int
}

// catchup is where the catching up of a server stands.
type catchup struct {
	target int64 // the events up to there are covered when it is through
	after  string
	more   bool
	rooms  []roomapi.HostRoom
	// extras says that all remembered events are sent, done that all is.
	extras, done bool
}
