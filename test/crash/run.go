package crash

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"hearth/test/harness"
)

// maxBroken bounds how many broken promises of answers are remembered.
const maxBroken = 50

// record is what the load notes while it runs. It outlives every kill.
type record struct {
	mu       sync.Mutex // guards all fields
	attempts map[string]string
	acks     map[string][]Ack
	broken   []string // answers that no server in any state may give
	failures int      // requests that had to be repeated
}

func newRecord() *record {
	return &record{attempts: map[string]string{}, acks: map[string][]Ack{}}
}

// attempt notes a transaction before it is sent.
func (r *record) attempt(txn, room string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.attempts[txn] = room
}

// acknowledge notes a 200.
func (r *record) acknowledge(sender string, ack Ack) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.acks[sender] = append(r.acks[sender], ack)
}

// acknowledged returns the ids of all events that were acknowledged so far.
func (r *record) acknowledged() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ids []string
	for _, acks := range r.acks {
		for _, a := range acks {
			ids = append(ids, a.ID)
		}
	}
	return ids
}

func (r *record) failed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures++
}

func (r *record) breach(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.broken) < maxBroken {
		r.broken = append(r.broken, fmt.Sprintf(format, args...))
	}
}

// insist repeats f until it succeeds or ctx ends. While the server, or a part of it,
// is down a request may find nobody, be cut off, or be refused with a temporary
// Matrix error. Anything else is a breach and not repeated: a client that is told 401
// throws away its keys.
func (r *record) insist(ctx context.Context, what string, f func() error) error {
	for {
		err := f()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !temporary(err) {
			r.breach("%s: %v", what, err)
			return err
		}
		r.failed()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// temporary reports whether err is what a request may get from a server that is down,
// or partly down.
func temporary(err error) bool {
	var e *harness.MatrixError
	if !errors.As(err, &e) {
		return false
	}
	return e.Status == 0 || refused(e)
}

// refused reports whether the answer was a proper temporary error.
func refused(e *harness.MatrixError) bool {
	switch e.Status {
	case 429, 502, 503, 504:
		return e.Code != ""
	}
	return false
}
