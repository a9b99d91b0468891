package outbound

import (
	"context"
	"time"

	"hearth/federationapi/storage"
)

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
		if last := pending[len(pending)-1].pos; len(s.queue) > 0 && s.queue[len(s.queue)-1].pos > last && endingAfter(s.queue, last) {
			written = len(pending)
			for _, it := range s.queue {
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
	s.behind, s.state = progress.Behind[name], behind
	for _, it := range s.queue {
		q.release(&it)
	}
	s.queue = nil
	if s.txn != nil {
		for i := range s.txn.items {
			q.release(&s.txn.items[i])
		}
	}
	q.metrics.fell()
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
	for name, s := range q.servers {
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
