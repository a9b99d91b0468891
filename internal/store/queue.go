package store

import (
	"context"
	"sync"
)

// Op is one unit of writing.
type Op struct {
	// Run makes the op's statements. With the policy Independent it may be called
	// more than once, if its batch has to be undone, so it must have no effect outside
	// tx. It must not wait for anything but tx: all writing waits with it.
	Run func(tx *Tx) error
	// Done, if not nil, is called once, on the writer goroutine, in the order of
	// commits: with nil after the op is durable, else with the reason. It must not
	// block or call Write; it may call Submit and Stage.
	Done func(err error)
}

// entry is an op in the queue.
type entry struct {
	op     Op
	staged bool
	n      int64 // positions of a staged op
	err    error // why it failed alone

	// Both are guarded by queue.mu.
	running   bool
	cancelled bool
}

func (e *entry) done(w *writer, err error) {
	if e.op.Done == nil {
		return
	}
	defer func() {
		if v := recover(); v != nil {
			w.log.WithError(panicked("Done", v)).Error("a completion handler failed")
		}
	}()
	e.op.Done(err)
}

// queue holds the ops that wait for the writer and those that it works on. The
// writer takes ops from the front when their fate is decided, so the length bounds
// both.
type queue struct {
	limit int
	wake  chan struct{} // one token when there is something to do

	mu         sync.Mutex
	ops        []*entry // guarded by mu, as all below
	closed     error    // what Submit returns, nil while open
	generation uint64
	staged     int64 // last position given out by Stage
	unsettled  bool  // the committed position is not known: no staging
}

func newQueue(limit int, head int64) *queue {
	return &queue{limit: limit, staged: head, wake: make(chan struct{}, 1)}
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue) submit(e *entry) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.push(e)
}

// push needs mu.
func (q *queue) push(e *entry) error {
	if q.closed != nil {
		return q.closed
	}
	if len(q.ops) >= q.limit {
		return busyError()
	}
	q.ops = append(q.ops, e)
	q.signal()
	return nil
}

func (q *queue) stage(gen uint64, n int, prepare func(first int64) Op) (int64, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed != nil {
		return 0, q.closed
	}
	if gen != q.generation || q.unsettled {
		return 0, staleError()
	}
	if len(q.ops) >= q.limit {
		return 0, busyError()
	}
	first := q.staged + 1
	op := prepare(first)
	if err := q.push(&entry{op: op, staged: true, n: int64(n)}); err != nil {
		return 0, err
	}
	q.staged += int64(n)
	return first, nil
}

// cancel marks e as not wanted. It returns false if the writer has it already.
func (q *queue) cancel(e *entry) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e.running {
		return false
	}
	e.cancelled = true
	return true
}

// front appends up to limit ops from the front to dst, without removing them, and
// returns whether the queue is closed.
func (q *queue) front(dst []*entry, limit int) ([]*entry, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range q.ops[:min(limit, len(q.ops))] {
		e.running = true
		dst = append(dst, e)
	}
	return dst, q.closed != nil
}

// drop removes n ops from the front.
func (q *queue) drop(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	clear(q.ops[:n])
	q.ops = q.ops[n:]
}

// restart begins a new generation after head and returns everything that was queued.
func (q *queue) restart(head int64, unsettled bool) []*entry {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.generation++
	q.staged, q.unsettled = head, unsettled
	ops := q.ops
	q.ops = nil
	return ops
}

// settle begins a new generation after head and keeps what is queued.
func (q *queue) settle(head int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.generation++
	q.staged, q.unsettled = head, false
}

// takeAll removes and returns everything that is queued.
func (q *queue) takeAll() []*entry {
	q.mu.Lock()
	defer q.mu.Unlock()
	ops := q.ops
	q.ops = nil
	return ops
}

func (q *queue) close(reason error) {
	q.mu.Lock()
	if q.closed == nil {
		q.closed = reason
	}
	q.mu.Unlock()
	q.signal()
}

func (q *queue) isClosed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed != nil
}

func (q *queue) current() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.generation
}

func (q *queue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.ops)
}

// write submits run and waits for its fate. Until the writer begins with the op, the
// end of ctx cancels it; from then on write waits for the answer, which is bounded,
// because run may use the caller's variables.
func (q *queue) write(ctx context.Context, run func(tx *Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	answer := make(chan error, 1)
	e := &entry{op: Op{Run: run, Done: func(err error) { answer <- err }}}
	if err := q.submit(e); err != nil {
		return err
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		if q.cancel(e) {
			return ctx.Err()
		}
		return <-answer
	}
}
