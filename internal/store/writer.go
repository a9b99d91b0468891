package store

import (
	"context"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
)

const (
	// maxBatchOps and maxBatchBytes bound a batch, and so how long an op can wait for
	// the commit of others.
	maxBatchOps   = 512
	maxBatchBytes = 4 << 20
	// maxSplits bounds how often a batch is cut around a failed op before its ops are
	// run one by one.
	maxSplits = 8
	// idlePeriod is how long nothing must happen before the engine tidies up, and how
	// often PostgreSQL's lease is renewed.
	idlePeriod = 3 * time.Second
	// reviveTimeout and reviveBackoff bound the tries to get a lost session back.
	reviveTimeout = 5 * time.Second
	reviveBackoff = 2 * time.Second
	// warnPeriod is how often the log is told of trouble that lasts.
	warnPeriod = 10 * time.Second
)

// writer is the one goroutine that writes. It commits whatever queued up during its
// last commit as one batch: under load many ops share one fsync, and a single op never
// waits for company.
type writer struct {
	e       engine
	q       *queue
	policy  Policy
	now     func() time.Time
	log     *logrus.Entry
	head    atomic.Int64
	lost    chan struct{}
	stopped chan struct{}
	// overwrite asks for one step of Overwrite.
	overwrite chan overwriteCall
	// Both belong to the writer goroutine.
	current []*entry  // the batch at work
	warned  time.Time // when trouble was last logged

	ops, failed atomic.Uint64
}

// run works until the queue is closed and empty.
func (w *writer) run() {
	defer close(w.stopped)
	idle := time.NewTicker(idlePeriod)
	defer idle.Stop()
	busy := false
	for {
		select {
		case c := <-w.overwrite:
			if !w.overwriteStep(c) {
				return
			}
		default:
		}
		var closed bool
		if w.current, closed = w.q.front(w.current[:0], maxBatchOps); len(w.current) > 0 {
			busy = true
			if !w.batch(w.current) {
				return
			}
			clear(w.current)
			continue
		}
		if closed {
			return
		}
		select {
		case <-w.q.wake:
		case c := <-w.overwrite:
			if !w.overwriteStep(c) {
				return
			}
		case <-idle.C:
			if !busy && !w.survive(w.e.idle()) {
				return
			}
			busy = false
		}
	}
}

// batch decides the fate of ops, which are the first of the queue. It returns false if
// the writer must end, as do all functions below that return a bool.
func (w *writer) batch(ops []*entry) bool {
	if w.policy == Chained {
		return w.chained(ops)
	}
	return w.independent(ops)
}

// independent stores ops. If one fails, the batch is cut: the ops before it are tried
// as one batch, it alone, and the others as the next.
func (w *writer) independent(ops []*entry) bool {
	size, splits := len(ops), 0
	for len(ops) > 0 {
		part := ops[:min(size, len(ops))]
		n, f := w.attempt(part)
		switch {
		case f == nil:
			w.settle(part[:n], nil)
			ops = ops[n:]
			size = len(ops)
			if n == len(part) && n > 1 || splits > maxSplits {
				size = 1 // the op that cut the batch is next
			}
		case f.scope != scopeOp:
			w.settle(ops, f.client())
			return w.survive(f)
		case len(part) == 1:
			w.settle(part, f.client())
			ops = ops[1:]
			size = len(ops)
			if splits > maxSplits {
				size = 1
			}
		default:
			size = max(f.op, 1)
			if splits++; f.op < 0 || splits > maxSplits {
				size, splits = 1, maxSplits+1
			}
		}
	}
	return w.survive(w.e.between())
}

// chained stores ops as one batch or fails everything that is queued, because what
// comes later was built on what failed.
func (w *writer) chained(ops []*entry) bool {
	n, f := w.attempt(ops)
	if f == nil {
		w.settle(ops[:n], nil)
		return w.survive(w.e.between())
	}
	for i, e := range w.q.restart(w.head.Load(), f.scope == scopeSession) {
		err := f.client()
		if f.scope == scopeOp && i != f.op {
			err = staleError()
		}
		w.finish(e, err)
	}
	return f.scope == scopeOp || w.survive(f)
}

// attempt runs ops as one transaction. It returns how many of them it ran: fewer than
// all if they filled the batch. Ops that failed without having written anything fail
// alone, with their error in entry.err.
func (w *writer) attempt(ops []*entry) (int, *fault) {
	if err := w.e.begin(); err != nil {
		return 0, w.undo(asFault(err))
	}
	tx := &Tx{e: w.e, now: w.now(), chained: w.policy == Chained, seq: w.head.Load()}
	defer tx.end()
	n := 0
	for n < len(ops) && w.e.size() <= maxBatchBytes {
		if f := w.try(tx, n, ops[n]); f != nil {
			return n, w.undo(f)
		}
		n++
	}
	if err := w.e.commit(tx.seq); err != nil {
		return n, w.undo(asFault(err))
	}
	w.head.Store(tx.seq)
	return n, nil
}

// try runs op i of the batch and returns why the batch must be undone, if it must.
func (w *writer) try(tx *Tx, i int, e *entry) *fault {
	if e.err = nil; e.cancelled {
		e.err = context.Canceled
		return nil
	}
	before := tx.seq
	w.e.beginOp(i)
	err := w.call(tx, e)
	if tx.failed != nil {
		err = tx.failed
	}
	if err == nil {
		tx.seq += e.n
		return nil
	}
	f := *asFault(err)
	if f.op < 0 {
		f.op = i
	}
	if f.scope == scopeOp && f.op == i && !e.staged && w.e.dropOp() {
		e.err = f.err
		tx.seq, tx.failed = before, nil
		return nil
	}
	return &f
}

func (w *writer) call(tx *Tx, e *entry) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicked("Run", v)
			w.log.WithError(err).WithField("stack", string(debug.Stack())).Error("a write failed")
		}
	}()
	return e.op.Run(tx)
}

// undo ends the transaction. A session that cannot even do that is gone.
func (w *writer) undo(f *fault) *fault {
	if f.scope == scopeSession {
		return f
	}
	if err := w.e.rollback(); err != nil {
		return &fault{scope: scopeSession, op: -1, err: err}
	}
	return f
}

// settle tells ops, the first of the queue, their fate.
func (w *writer) settle(ops []*entry, err error) {
	w.q.drop(len(ops))
	for _, e := range ops {
		w.finish(e, err)
	}
}

func (w *writer) finish(e *entry, err error) {
	if err == nil {
		err = e.err
	}
	if err == nil {
		w.ops.Add(1)
	} else {
		w.failed.Add(1)
	}
	e.done(w, err)
}

// survive does what err asks for, be it a batch's fault or from housekeeping.
func (w *writer) survive(err error) bool {
	if err == nil {
		return true
	}
	f := asFault(err)
	switch f.scope {
	case scopeOp, scopeBatch: // the next batch or the next housekeeping tries again
		if time.Since(w.warned) > warnPeriod {
			w.warned = time.Now()
			w.log.WithError(f.err).Warn("the database is in trouble")
		}
		return true
	case scopeLease:
		w.lose(f)
		return false
	}
	w.log.WithError(f.err).Warn("the database connection was lost")
	return w.revive()
}

// lose ends all writing: somebody else has the database.
func (w *writer) lose(f *fault) {
	w.log.WithError(f.err).Error("the database was taken over by another process")
	w.q.close(closedError())
	for _, e := range w.q.takeAll() {
		w.finish(e, closedError())
	}
	close(w.lost)
}

// revive tries to get the session back until it succeeds or the queue is closed. Ops
// wait for one try, then they fail. The generation moves on once the committed
// position is known, because until then an unanswered commit may still have arrived.
func (w *writer) revive() bool {
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, reviveBackoff) {
		ctx, cancel := context.WithTimeout(context.Background(), reviveTimeout)
		head, err := w.e.revive(ctx)
		cancel()
		if err == nil {
			w.head.Store(head)
			w.q.settle(head)
			w.log.Info("the database connection is back")
			return true
		}
		f := asFault(err)
		if f.scope == scopeLease {
			w.lose(f)
			return false
		}
		f = &fault{scope: scopeSession, op: -1, err: f.err}
		for _, e := range w.q.takeAll() {
			w.finish(e, f.client())
		}
		if w.q.isClosed() {
			return false
		}
		time.Sleep(pause)
	}
}
