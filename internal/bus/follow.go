package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hearth/internal/merr"
)

// ErrLog says that the owner's log and the follower's cursor contradict each other
// for good: the log ends before the cursor, or has a hole after it. One of the two
// databases was put back to an older state; a consumer that can be rebuilt starts
// again from 0.
var ErrLog = errors.New("bus: the owner's log does not continue at the follower's position")

const (
	backoffMin = 50 * time.Millisecond
	backoffMax = 2 * time.Second
	// headGrace is how long a follower waits for an entry that it knows to exist
	// before it asks the owner: a head may overtake the entry itself.
	headGrace = 10 * time.Millisecond
	// brokenReads is how many contradicting answers in a row are believed.
	brokenReads = 5
	complain    = 30 * time.Second // between log lines about the same trouble
)

// Follow gives every entry of the log after a position to apply, exactly once and
// in order, in batches of at most 512, until ctx ends, apply fails or the bus is
// closed. apply stores the last position with the effects, in one transaction, and
// the next Follow starts there. Entries come from NATS while they are contiguous;
// everything else is read from the owner, again and again while it cannot be
// reached. Follow returns ctx's error, the error of apply as it is, ErrLog, or a 503
// after Close. apply may keep the entries, which other followers may share, but not
// the slice.
func Follow[E any](ctx context.Context, b *Bus, l Log[E], after int64, apply func(ctx context.Context, batch []Positioned[E]) error) error {
	f := &follower[E]{bus: b, log: l, apply: apply, cursor: after, in: newInbox(after), limit: maxBatch}
	stop, err := b.follow(l.Name, f.in)
	if err != nil {
		return merr.Unavailable("The connection between the server's parts is closed").WithCause(err)
	}
	defer stop()
	for {
		if err := f.step(ctx); err != nil {
			return err
		}
	}
}

type follower[E any] struct {
	bus    *Bus
	log    Log[E]
	apply  func(context.Context, []Positioned[E]) error
	in     *inbox
	cursor int64 // last entry that was applied
	limit  int   // entries to ask the owner for

	batch []Positioned[E]
	spare []arrival
	ahead time.Time // since when the log is known to be longer than the cursor; zero: it is not
}

// step handles what is in the inbox, or waits for something.
func (f *follower[E]) step(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	n := f.in.take(f.cursor, f.spare)
	f.spare = n.entries
	gap, err := f.drain(ctx, n.entries)
	if err != nil {
		return err
	}
	reason := n.ask
	if reason == "" {
		reason = gap
	}
	switch {
	case n.head <= f.cursor:
		f.ahead = time.Time{}
	case f.ahead.IsZero():
		f.ahead = time.Now()
	case reason == "" && time.Since(f.ahead) >= headGrace:
		reason = "head"
	}
	if reason == "" {
		return f.wait(ctx)
	}
	f.ahead = time.Time{}
	f.bus.metrics.read(f.log.Name, reason)
	return f.catchUp(ctx, n.head)
}

// drain applies the arrivals that continue the log; gap says that one was missing.
func (f *follower[E]) drain(ctx context.Context, entries []arrival) (gap string, err error) {
	next := f.cursor + 1
	for _, a := range entries {
		if a.pos < next {
			continue // repeated
		}
		if a.pos > next {
			gap = "gap"
			break
		}
		e, err := parseValue[E](a.body)
		if err != nil {
			f.warn(err, "bus: malformed log entry")
			gap = "malformed"
			break
		}
		f.batch = append(f.batch, Positioned[E]{Pos: a.pos, Entry: e})
		next++
		if len(f.batch) == maxBatch {
			if err := f.flush(ctx, "nats"); err != nil {
				return "", err
			}
		}
	}
	return gap, f.flush(ctx, "nats")
}

// flush applies the batch.
func (f *follower[E]) flush(ctx context.Context, source string) error {
	if len(f.batch) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := f.apply(ctx, f.batch); err != nil {
		return err
	}
	f.cursor = f.batch[len(f.batch)-1].Pos
	f.bus.metrics.applied(f.log.Name, source, len(f.batch))
	clear(f.batch)
	f.batch = f.batch[:0]
	return nil
}

// wait returns when the inbox has something or the grace of a head is over.
func (f *follower[E]) wait(ctx context.Context) error {
	var grace <-chan time.Time
	if !f.ahead.IsZero() {
		grace = time.After(time.Until(f.ahead.Add(headGrace)))
	}
	select {
	case <-f.in.wake:
	case <-grace:
	case <-ctx.Done():
		return ctx.Err()
	case <-f.bus.done:
		return merr.Unavailable("The server is shutting down")
	}
	return nil
}

// catchUp reads from the owner until the cursor is at its head. known is the head
// that the follower had heard of before.
func (f *follower[E]) catchUp(ctx context.Context, known int64) error {
	broken, delay := 0, backoffMin
	var complained time.Time
	for {
		head, err := f.page(ctx)
		if failed, ok := err.(applyError); ok {
			return failed.error
		}
		switch {
		case err == nil && f.cursor >= head:
			if known > head {
				f.in.denied(known)
			}
			return nil
		case err == nil:
			broken, delay = 0, backoffMin
			continue
		case ctx.Err() != nil:
			return ctx.Err()
		}
		if errors.Is(err, ErrLog) {
			if broken++; broken == brokenReads {
				return err
			}
		} else {
			broken = 0
		}
		if time.Since(complained) > complain {
			f.warn(err, "bus: cannot read the log from its owner, trying again")
			complained = time.Now()
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return ctx.Err()
		case <-f.bus.done:
			return merr.Unavailable("The server is shutting down")
		}
		delay = min(2*delay, backoffMax)
	}
}

// applyError marks what the consumer returned.
type applyError struct{ error }

// page reads and applies one page; it returns the owner's head.
func (f *follower[E]) page(ctx context.Context) (head int64, err error) {
	entries, head, err := f.log.read(ctx, f.bus, f.cursor, f.limit)
	if err != nil {
		return 0, err
	}
	if head < f.cursor || head > f.cursor && len(entries) == 0 {
		return 0, fmt.Errorf("%w: at %d, the log ends at %d", ErrLog, f.cursor, head)
	}
	// Large entries fill a page early; the owner shall not read 512 of them each time.
	if n := len(entries); n < f.limit && f.cursor+int64(n) < head {
		f.limit = n
	} else {
		f.limit = min(2*f.limit, maxBatch)
	}
	for len(entries) > 0 {
		for _, e := range entries[:min(len(entries), maxBatch)] {
			if e.Pos != f.cursor+int64(len(f.batch))+1 {
				f.batch = f.batch[:0]
				return 0, fmt.Errorf("%w: at %d, next is %d", ErrLog, f.cursor, e.Pos)
			}
			f.batch = append(f.batch, e)
		}
		entries = entries[len(f.batch):]
		if err := f.flush(ctx, "owner"); err != nil {
			return 0, applyError{err}
		}
	}
	return head, nil
}

func (f *follower[E]) warn(err error, text string) {
	f.bus.log.WithFields(map[string]any{"log": f.log.Name, "cursor": f.cursor}).WithError(err).Warn(text)
}
