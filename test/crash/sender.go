package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"hearth/test/harness"
)

// Types of what the load sends.
const (
	messageType = "org.hearth.crash.message"
	stateType   = "org.hearth.crash.state"
	dataType    = "org.hearth.crash.data"
)

// content carries the transaction, so that an event tells what made it.
type content struct {
	Txn string `json:"txn"`
}

// sender is a user who sends one thing after the other. Only its own goroutine uses
// it, apart from the record.
type sender struct {
	name   string
	client *harness.Client
	rooms  []string
	record *record
	rng    *rand.Rand
	pace   time.Duration // mean pause between two requests

	n        int
	sent     []Ack             // messages, for repeats
	data     string            // the last account data that was acknowledged
	receipts map[string]string // the last receipt that was acknowledged, by room
}

func newSender(name string, c *harness.Client, rooms []string, r *record, rng *rand.Rand, pace time.Duration) *sender {
	return &sender{name: name, client: c, rooms: rooms, record: r, rng: rng, pace: pace, receipts: map[string]string{}}
}

// run sends until stop is closed, and finishes what it has begun.
func (s *sender) run(ctx context.Context, stop <-chan struct{}) {
	for {
		if s.step(ctx) != nil {
			return // ctx ended, or a breach that is recorded
		}
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(s.rng.Int64N(int64(2*s.pace) + 1))):
		}
	}
}

func (s *sender) step(ctx context.Context) error {
	room := s.rooms[s.rng.IntN(len(s.rooms))]
	switch n := s.rng.IntN(100); {
	case n < 8:
		return s.repeat(ctx)
	case n < 16:
		return s.state(ctx, room)
	case n < 22:
		return s.setData(ctx)
	case n < 28:
		return s.receipt(ctx, room)
	default:
		_, err := s.message(ctx, room)
		return err
	}
}

// next returns a new transaction id.
func (s *sender) next() string {
	s.n++
	return fmt.Sprintf("%s-%d", s.name, s.n)
}

// message sends a message and insists on a 200.
func (s *sender) message(ctx context.Context, room string) (eventID string, err error) {
	txn := s.next()
	s.record.attempt(txn, room)
	ack := Ack{Txn: txn, Room: room}
	if ack.ID, err = s.put(ctx, ack); err != nil {
		return "", err
	}
	s.sent = append(s.sent, ack)
	return ack.ID, nil
}

// put sends the message of a transaction and notes the 200.
func (s *sender) put(ctx context.Context, a Ack) (eventID string, err error) {
	err = s.record.insist(ctx, s.name+" sends "+a.Txn, func() (err error) {
		eventID, err = s.once(a)
		return err
	})
	return eventID, err
}

// once is put without insisting.
func (s *sender) once(a Ack) (eventID string, err error) {
	if eventID, err = s.client.Send(a.Room, messageType, a.Txn, content{a.Txn}); err == nil {
		a.ID = eventID
		s.record.acknowledge(s.name, a)
	}
	return eventID, err
}

// repeat sends an old transaction again.
func (s *sender) repeat(ctx context.Context) error {
	if len(s.sent) == 0 {
		return nil
	}
	old := s.sent[s.rng.IntN(len(s.sent))]
	if s.rng.IntN(2) == 0 { // the last ones are those that a kill may have hit
		old = s.sent[len(s.sent)-1-s.rng.IntN(min(5, len(s.sent)))]
	}
	_, err := s.put(ctx, old)
	return err
}

// state sets the sender's own state event. A state event has no transaction id, but
// one that changes nothing is not sent again.
func (s *sender) state(ctx context.Context, room string) error {
	a := Ack{Txn: s.next(), Room: room}
	s.record.attempt(a.Txn, room)
	return s.record.insist(ctx, s.name+" sets state "+a.Txn, func() (err error) {
		if a.ID, err = s.client.SetState(room, stateType, s.client.UserID, content{a.Txn}); err == nil {
			s.record.acknowledge(s.name, a)
		}
		return err
	})
}

func (s *sender) setData(ctx context.Context) error {
	txn := s.next()
	err := s.record.insist(ctx, s.name+" sets account data", func() error {
		return s.client.SetAccountData(dataType, content{txn})
	})
	if err == nil {
		s.data = txn
	}
	return err
}

// receipt marks the newest message that the sender has sent to a room.
func (s *sender) receipt(ctx context.Context, room string) error {
	newest := ""
	for _, a := range s.sent {
		if a.Room == room {
			newest = a.ID
		}
	}
	if newest == "" {
		return nil
	}
	err := s.record.insist(ctx, s.name+" reads", func() error { return s.client.Receipt(room, newest) })
	if err == nil {
		s.receipts[room] = newest
	}
	return err
}
