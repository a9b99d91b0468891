package bus

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"hearth/internal/merr"
)

// endpoint is a handler of this process.
type endpoint struct {
	bus     *Bus
	subject string
	direct  any // the typed handler, for local calls
	limit   int64
	// serve decodes body, runs the handler and answers f.
	serve  func(ctx context.Context, f *flight, body []byte)
	active atomic.Int64
}

// atOnce is the number of handlers that may run at once, if a contract asks for n.
func (b *Bus) atOnce(n int) int64 {
	if n == 0 {
		n = b.tune.handlers
	}
	return int64(n)
}

// enter counts a running handler; false if there are too many.
func (e *endpoint) enter() bool {
	if e.active.Add(1) > e.limit {
		e.active.Add(-1)
		return false
	}
	e.bus.active.Add(1)
	return true
}

func (e *endpoint) leave() {
	e.active.Add(-1)
	e.bus.active.Add(-1)
}

// flight is a request from over NATS that a handler of this process works on.
type flight struct {
	reply  string // where answers go; also the name of the request
	ack    string // where this side hears from the caller
	cancel context.CancelFunc
	wake   chan struct{} // a stream's window may have opened
	acked  atomic.Uint64 // chunks that the caller has consumed
	told   atomic.Int64  // when the last sign of life was sent, Unix nanoseconds
	heard  atomic.Int64  // when the caller was heard, Unix nanoseconds
}

// flightTable holds the requests that handlers of this process work on.
type flightTable struct {
	prefix string
	mu     sync.Mutex
	next   uint64
	m      map[uint64]*flight
	// early holds cancellations that overtook their request (each comes on its own
	// subscription), with the moment of their arrival.
	early map[string]time.Time
}

const maxEarly = 1024

func (t *flightTable) init(id string) {
	t.prefix = ackPrefix + id + "."
	t.m, t.early = map[uint64]*flight{}, map[string]time.Time{}
}

func (t *flightTable) add(reply string, cancel context.CancelFunc) (uint64, *flight) {
	now := time.Now().UnixNano()
	f := &flight{reply: reply, cancel: cancel, wake: make(chan struct{}, 1)}
	f.told.Store(now)
	f.heard.Store(now)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next++
	f.ack = t.prefix + strconv.FormatUint(t.next, 36)
	t.m[t.next] = f
	if _, ok := t.early[reply]; ok {
		delete(t.early, reply)
		cancel()
	}
	return t.next, f
}

func (t *flightTable) remove(n uint64) {
	t.mu.Lock()
	delete(t.m, n)
	t.mu.Unlock()
}

func (t *flightTable) get(n uint64) *flight {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.m[n]
}

// onCancel ends the context of the handler that works on a request. Every process
// hears every cancellation: the caller does not know who took its request.
func (b *Bus) onCancel(m *nats.Msg) {
	t := &b.flights
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, f := range t.m {
		if f.reply == string(m.Data) {
			f.cancel()
			return
		}
	}
	if len(t.early) < maxEarly && len(m.Data) < 256 {
		t.early[string(m.Data)] = time.Now()
	}
}

// onAck notes that a caller lives and what it has consumed.
func (b *Bus) onAck(m *nats.Msg) {
	n, err := strconv.ParseUint(m.Subject[len(b.flights.prefix):], 36, 64)
	if err != nil {
		return
	}
	f := b.flights.get(n)
	if f == nil {
		return
	}
	if unheard(m) { // nobody listens where our answers go
		f.cancel()
		return
	}
	d := NewDecoder(m.Data)
	acked := d.Uint()
	if d.Err() != nil {
		return
	}
	f.heard.Store(time.Now().UnixNano())
	for old := f.acked.Load(); acked > old; old = f.acked.Load() {
		if f.acked.CompareAndSwap(old, acked) {
			break
		}
	}
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// register makes a handler known and subscribes its subject.
func (b *Bus) register(e *endpoint) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shut {
		return merr.Unavailable("The server is shutting down")
	}
	if _, taken := b.endpoints.LoadOrStore(e.subject, e); taken {
		return fmt.Errorf("bus: %s has a handler already", e.subject)
	}
	sub, err := b.nc.QueueSubscribe(callSubject+e.subject, e.subject, e.accept)
	if err != nil {
		b.endpoints.Delete(e.subject)
		return fmt.Errorf("bus: subscribe %q: %w", e.subject, err)
	}
	b.subs = append(b.subs, sub)
	b.settle()
	return nil
}

// accept starts the handler of one request. It never blocks, so requests do not
// pile up behind it: who comes too late is told at once.
func (e *endpoint) accept(m *nats.Msg) {
	b := e.bus
	if m.Reply == "" {
		return
	}
	head, body, err := parseRequest(m.Data)
	if err != nil {
		b.answerError(m.Reply, merr.Internal(fmt.Errorf("request to %s: %w", e.subject, err)))
		return
	}
	if !e.enter() {
		b.answerError(m.Reply, merr.Busy(busyRetry))
		return
	}
	ctx, cancel := context.WithTimeout(b.base, head.timeout)
	if head.trace != "" {
		ctx = WithTrace(ctx, head.trace)
	}
	n, f := b.flights.add(m.Reply, cancel)
	b.metrics.running(e.subject, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				b.answerError(f.reply, recovered(b.log, e.subject, p))
			}
			cancel()
			b.flights.remove(n)
			b.metrics.running(e.subject, -1)
			e.leave()
		}()
		e.serve(ctx, f, body)
	}()
}

// answer sends an answer; a caller that cannot be reached finds out by itself.
func (b *Bus) answer(reply string, data []byte) {
	if err := b.publish(reply, "", data); err != nil {
		b.log.WithError(err).Debug("bus: answer was not sent")
	}
}

func (b *Bus) answerError(reply string, e *merr.Error) {
	data := encodeError([]byte{kindError}, e)
	if len(data) > b.limit() {
		plain := *e
		plain.Extra = nil
		if len(plain.Message) > 1024 {
			plain.Message = plain.Message[:1024]
		}
		data = encodeError([]byte{kindError}, &plain)
	}
	b.answer(reply, data)
}

// fail answers with the error of a handler and logs what the caller will not see.
func (e *endpoint) fail(ctx context.Context, f *flight, err error) {
	shown := shown(ctx, err)
	if shown.Status == 500 {
		e.bus.log.WithFields(map[string]any{"subject": e.subject, "trace": Trace(ctx)}).
			WithError(shown).Error("bus: handler failed")
	}
	e.bus.answerError(f.reply, shown)
}
