// Package inbound takes transactions of other servers (server-server API, "Transactions"):
//
//	shape → queue of the origin → known? → to-device messages and device lists
//	     → events, by room: verify, roomserver → typing, receipts, presence → store the answer
//
// The transactions of a server are worked on one at a time, in the order in which they
// came; those of different servers side by side. What was begun is finished also if the
// other server does not wait for it: when it asks again it gets the stored answer.
package inbound

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"hearth/federationapi/storage"
	"hearth/federationapi/verify"
	"hearth/internal/bus"
	"hearth/internal/lru"
	"hearth/internal/merr"
)

// MaxBody is the size of the largest transaction in bytes: 50 PDUs and 100 EDUs of
// 64 KiB, and some room for what is around them.
const MaxBody = 12 << 20

const (
	maxTxnID   = 255
	maxQueued  = 8         // transactions of one server, at work or waiting
	maxBytes   = 192 << 20 // of all that are at work or wait
	maxAtOnce  = 64        // servers whose transactions are worked on together
	timeout    = 5 * time.Minute
	keep       = 100 // answers of one server
	keepFor    = 24 * time.Hour
	expire     = 500 // answers at once
	expireTick = 10 * time.Minute
	// maxFailures is how often a transaction is put off because of what may pass. After
	// that its answer says what failed, lest one room hold up a server for ever.
	maxFailures = 8
	maxFailing  = 10_000
)

// Deps is what an Inbound needs.
type Deps struct {
	Bus        *bus.Bus
	ServerName string
	Ring       verify.Ring
	DB         *storage.DB
	Log        *logrus.Entry
	Now        func() time.Time
}

// Inbound takes transactions. It may be used by many goroutines.
type Inbound struct {
	d     Deps
	slots chan struct{}
	// failed counts how often a transaction was put off.
	failed *lru.Cache[key, int]

	ctx  context.Context // of the work; ends with Close
	stop context.CancelFunc
	work sync.WaitGroup

	mu     sync.Mutex // guards the rest
	closed bool
	bytes  int
	queues map[string][]*flight // by origin; a worker runs for each
}

type key struct{ origin, txn string }

// flight is a transaction that is at work or waits.
type flight struct {
	key     key
	txn     *transaction
	size    int
	waiters int // requests that wait for its answer
	done    chan struct{}
	answer  json.RawMessage
	err     error
}

// New returns an Inbound; Close must follow.
func New(d Deps) *Inbound {
	in := &Inbound{
		d: d, slots: make(chan struct{}, maxAtOnce), failed: lru.New[key, int](maxFailing, nil), queues: map[string][]*flight{},
	}
	in.ctx, in.stop = context.WithCancel(context.Background())
	return in
}

// Run forgets old answers until ctx ends.
func (in *Inbound) Run(ctx context.Context) {
	tick := time.NewTicker(expireTick)
	defer tick.Stop()
	for {
		more, err := in.d.DB.ExpireAnswers(ctx, in.d.Now().Add(-keepFor).UnixMilli(), expire)
		if err != nil && ctx.Err() == nil {
			in.d.Log.WithError(err).Warn("forget answers to old transactions")
		}
		if more && err == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Close stops the work and waits until it has ended.
func (in *Inbound) Close() {
	in.mu.Lock()
	in.closed = true
	in.mu.Unlock()
	in.stop()
	in.work.Wait()
}

// Transaction carries out a transaction and returns the body of the answer. body has
// passed [pdu.Envelope]. Errors: 400 for the shape, 429 if too many of the server's
// transactions wait, temporary ones that make the server try again.
func (in *Inbound) Transaction(ctx context.Context, origin, txnID string, body json.RawMessage) (json.RawMessage, error) {
	if txnID == "" || len(txnID) > maxTxnID {
		return nil, merr.InvalidParam("The transaction id must have 1 to %d bytes", maxTxnID)
	}
	txn, err := read(body)
	if err != nil {
		return nil, err
	}
	f, err := in.join(key{origin, txnID}, txn, len(body))
	if err != nil {
		return nil, err
	}
	defer in.leave(f)
	select {
	case <-f.done:
		return f.answer, f.err
	case <-ctx.Done():
		return nil, merr.Unavailable("The request was cancelled").WithCause(ctx.Err())
	}
}

// join queues a transaction, or finds it if it is queued.
func (in *Inbound) join(k key, txn *transaction, size int) (*flight, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	queue := in.queues[k.origin]
	for _, f := range queue {
		if f.key == k {
			f.waiters++
			return f, nil
		}
	}
	switch {
	case in.closed:
		return nil, merr.Unavailable("The server is stopping")
	case len(queue) >= maxQueued:
		return nil, merr.LimitExceeded(time.Second)
	case in.bytes+size > maxBytes:
		return nil, merr.Busy(2 * time.Second)
	}
	f := &flight{key: k, txn: txn, size: size, waiters: 1, done: make(chan struct{})}
	in.queues[k.origin] = append(queue, f)
	in.bytes += size
	if len(queue) == 0 {
		in.work.Go(func() { in.serve(k.origin) })
	}
	return f, nil
}

func (in *Inbound) leave(f *flight) {
	in.mu.Lock()
	defer in.mu.Unlock()
	f.waiters--
}

// serve works on the queue of a server until it is empty.
func (in *Inbound) serve(origin string) {
	for f := in.first(origin); f != nil; f = in.next(origin, f) {
		f.answer, f.err = in.run(f)
	}
}

func (in *Inbound) first(origin string) *flight {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.queues[origin][0]
}

// next takes a transaction that is done off the queue and returns the one after it.
func (in *Inbound) next(origin string, f *flight) *flight {
	in.mu.Lock()
	defer in.mu.Unlock()
	close(f.done)
	f.txn = nil
	in.bytes -= f.size
	rest := in.queues[origin][1:]
	if len(rest) == 0 {
		delete(in.queues, origin)
		return nil
	}
	in.queues[origin] = rest
	return rest[0]
}

// run carries a transaction out, or returns what was answered to it before.
func (in *Inbound) run(f *flight) (json.RawMessage, error) {
	if in.abandoned(f) {
		return nil, merr.Unavailable("The request was cancelled")
	}
	select {
	case in.slots <- struct{}{}:
		defer func() { <-in.slots }()
	case <-in.ctx.Done():
		return nil, merr.Unavailable("The server is stopping")
	}
	ctx, cancel := context.WithTimeout(in.ctx, timeout)
	defer cancel()
	answer, err := in.d.DB.Answer(ctx, f.key.origin, f.key.txn)
	if answer != nil || err != nil {
		return answer, err
	}
	count, _ := in.failed.Get(f.key)
	w := &worker{in: in, origin: f.key.origin, last: count >= maxFailures, errors: map[string]string{}}
	if err := w.carryOut(ctx, f.txn); err != nil {
		in.failed.Put(f.key, count+1)
		return nil, err
	}
	answer = w.answer()
	if err := in.d.DB.PutAnswer(ctx, f.key.origin, f.key.txn, answer, in.d.Now().UnixMilli(), keep); err != nil {
		return nil, err
	}
	in.failed.Delete(f.key)
	return answer, nil
}

// abandoned reports whether nobody waits for a transaction that was not begun.
func (in *Inbound) abandoned(f *flight) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return f.waiters == 0
}
