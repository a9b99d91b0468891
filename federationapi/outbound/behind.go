package outbound

import (
	"context"
	"time"

	"hearth/federationapi/storage"
)

// maxKept bounds the events in the queues of all servers that fail.
const maxKept = 200_000

// fallBack gives up the queue of a server that is catching up; another round will follow.
// Queues.mu is held.
func (s *server) fallBack() {
	s.state, s.queue = behind, nil
	if s.catchup != nil && s.catchup.done {
		s.catchup = nil
	}
}

// fallBehind gives up the queue of a server and writes a row for it. Where that fails
// the queue stays as it is, and so does the cursor.
func (q *Queues) fallBehind(ctx context.Context, name string) {
	q.mu.Lock()
	s := q.servers[name]
	if s == nil || s.state != current {
		q.mu.Unlock()
		return
	}
	pending := s.pending()
	if len(pending) == 0 {
		q.mu.Unlock()
		return
	}
	s.state = falling
	q.mu.Unlock()
	progress := storage.Progress{Behind: map[string]int64{name: pending[0].pos - 1}}
	written := 0
	for {
		progress.Extra = nil
		for _, it := range pending[written:] {
			if it.ending {
				progress.Extra = append(progress.Extra, storage.ServerEvent{Server: name, Pos: it.pos})
			}
		}
		err := q.o.DB.WriteProgress(ctx, progress)
		q.mu.Lock()
		if err != nil {
			s.state = current
			q.mu.Unlock()
			if ctx.Err() == nil {
				q.o.Log.WithError(err).WithField("server", name).Warn("that a server is behind cannot be stored")
			}
			return
		}
		// What came while that was written may have to be remembered too.
		last, now := pending[len(pending)-1].pos, s.pending()
		if endingAfter(now, last) {
			written = len(pending)
			for _, it := range now {
				if it.pos > last {
					pending = append(pending, it)
				}
			}
			q.mu.Unlock()
			continue
		}
		break
	}
	defer q.mu.Unlock()
	s.behind, s.state = progress.Behind[name], catching
	s.catchup = &catchup{target: s.behind, extras: true, done: true} // its queue has all since then
	for i := range s.queue {
		q.release(&s.queue[i])
	}
	if len(s.queue) > q.o.Tune.Queue || q.old(name) {
		s.fallBack()
	}
	if s.txn != nil {
		for i := range s.txn.items {
			q.release(&s.txn.items[i])
		}
	}
	q.metrics.fell()
}

// old reports whether a server has failed for so long that its queue is not kept.
func (q *Queues) old(name string) bool {
	h := q.o.Ask.Health.State(name)
	return h.Failures > 0 && q.o.Now().Sub(h.FailingFrom) >= q.o.Tune.Keep
}

func endingAfter(items []item, pos int64) bool {
	for _, it := range items {
		if it.pos > pos && it.ending {
			return true
		}
	}
	return false
}

// release lets the cursor pass an event. q.mu is held.
func (q *Queues) release(it *item) {
	if it.held {
		it.held = false
		q.track.release(it.pos)
	}
}

// watch looks now and then whose time has come, who takes too long, and how far the
// cursor may go.
func (q *Queues) watch(ctx context.Context) {
	tick := time.NewTicker(q.o.Tune.Scan)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, name := range q.scan() {
			q.fallBehind(ctx, name)
		}
		q.storeCursor(ctx)
	}
}

// scan wakes servers and returns those that take too long.
func (q *Queues) scan() (late []string) {
	before := q.o.Now().Add(-q.o.Tune.Hold)
	q.mu.Lock()
	defer q.mu.Unlock()
	items := 0
	for name, s := range q.servers {
		if s.state == catching && s.catchup != nil && s.catchup.done && len(s.queue) > 0 && q.o.Ask.Health.Wait(name) > 0 {
			if items += len(s.queue); items > maxKept || q.old(name) {
				s.fallBack()
			}
		}
		if oldest := s.oldest(); s.state == current && !oldest.IsZero() &&
			(oldest.Before(before) || !s.busy && q.o.Ask.Health.Wait(name) > 0) {
			late = append(late, name)
		}
		if q.o.Ask.Health.Wait(name) > 0 {
			s.fleeting.clear()
		}
		q.forget(s)
		q.wake(s)
	}
	return late
}

// storeCursor stores how far the cursor may go.
func (q *Queues) storeCursor(ctx context.Context) {
	q.mu.Lock()
	low := q.track.low()
	known := low <= q.stored
	q.mu.Unlock()
	if known || low <= 0 {
		return
	}
	if err := q.o.DB.WriteProgress(ctx, storage.Progress{Cursor: &low}); err != nil {
		if ctx.Err() == nil {
			q.o.Log.WithError(err).Warn("how far events were sent cannot be stored")
		}
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stored = max(q.stored, low)
}
