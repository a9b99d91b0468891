package bus

import (
	"sync"

	"github.com/nats-io/nats.go"
)

// Bounds of what a follower has received and not yet applied.
const (
	inboxEntries = 4096
	inboxBytes   = 8 << 20
)

// arrival is an entry as it came.
type arrival struct {
	pos  int64
	body []byte
}

// inbox takes the messages of a log for one follower. It never blocks NATS: what
// does not fit is dropped, and the follower reads it from the owner.
type inbox struct {
	wake chan struct{} // something below has changed

	mu      sync.Mutex
	cursor  int64 // entries up to it were taken by the follower
	entries []arrival
	bytes   int
	head    int64  // greatest position that is known to exist
	ask     string // why the owner must be asked now, or ""
}

func newInbox(cursor int64) *inbox {
	return &inbox{wake: make(chan struct{}, 1), cursor: cursor, ask: "start"}
}

// receive takes one message of the log's subject.
func (in *inbox) receive(data []byte) {
	if len(data) == 0 {
		return
	}
	d := NewDecoder(data[1:])
	pos := int64(d.Uint())
	if d.Err() != nil || pos < 0 {
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if pos <= in.cursor {
		return
	}
	in.head = max(in.head, pos)
	if data[0] == logEntry {
		body := d.Rest()
		if len(in.entries) < inboxEntries && (in.bytes+len(body) <= inboxBytes || len(in.entries) == 0) {
			in.entries = append(in.entries, arrival{pos: pos, body: body})
			in.bytes += len(body)
		} else {
			in.ask = "overflow"
		}
	}
	in.signal()
}

func (in *inbox) signal() {
	select {
	case in.wake <- struct{}{}:
	default:
	}
}

// check makes the follower ask the owner: messages may have been lost unseen.
func (in *inbox) check() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.ask = "reconnect"
	in.signal()
}

// news is what a follower finds in its inbox.
type news struct {
	entries []arrival
	head    int64
	ask     string
}

// take empties the inbox. spare is memory for later arrivals.
func (in *inbox) take(cursor int64, spare []arrival) news {
	in.mu.Lock()
	defer in.mu.Unlock()
	n := news{entries: in.entries, head: in.head, ask: in.ask}
	clear(spare) // let go of the bodies
	in.cursor, in.entries, in.bytes, in.ask = cursor, spare[:0], 0, ""
	return n
}

// denied forgets a head that the owner, asked after it was known, does not have.
func (in *inbox) denied(head int64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.head == head {
		in.head = 0
	}
}

// follow subscribes in to a log's subject.
func (b *Bus) follow(name string, in *inbox) (stop func(), err error) {
	handle := func(m *nats.Msg) { in.receive(m.Data) }
	if tap := b.tune.tap; tap != nil {
		handle = func(m *nats.Msg) { tap(m.Data, in.receive) }
	}
	sub, err := b.nc.Subscribe(logSubject+name, handle)
	if err != nil {
		return nil, err
	}
	if err := sub.SetPendingLimits(4*inboxEntries, 2*inboxBytes); err != nil {
		return nil, err
	}
	b.mu.Lock()
	b.followers[in] = struct{}{}
	b.mu.Unlock()
	return func() {
		b.mu.Lock()
		delete(b.followers, in)
		b.mu.Unlock()
		if err := sub.Unsubscribe(); err != nil {
			b.log.WithError(err).Debug("bus: unsubscribe")
		}
	}, nil
}
