package devicekeys

import (
	"context"
	"errors"
	"time"

	"hearth/internal/bus"
)

const (
	// followPause is how long to wait after a failure.
	followPause = 2 * time.Second
	// Progress in which nothing was to be done is stored after so many entries or that time.
	lazyEntries = 2000
	lazyTime    = time.Minute
)

// follower reads a log and remembers how far it got.
type follower[E any] struct {
	keys  *Keys
	log   bus.Log[E]
	name  string // of its progress
	apply func(ctx context.Context, pos int64, e *E) (did bool, err error)

	stored   int64
	storedAt time.Time
}

// run follows the log until ctx ends. What was there before the first run is passed over.
func (f *follower[E]) run(ctx context.Context) error {
	for ctx.Err() == nil {
		err := f.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && f.keys.log != nil {
			f.keys.log.WithError(err).WithField("for", f.name).Warn("a log cannot be read now")
		}
		select {
		case <-ctx.Done():
		case <-time.After(followPause):
		}
	}
	return nil
}

func (f *follower[E]) follow(ctx context.Context) error {
	pos, there, err := f.keys.users.Progress(ctx, f.name)
	if err != nil {
		return err
	}
	if !there {
		if pos, err = bus.Head(ctx, f.keys.bus, f.log); err != nil {
			return err
		}
		if err := f.keys.users.SetProgress(ctx, f.name, pos); err != nil {
			return err
		}
	}
	f.stored, f.storedAt = pos, time.Now()
	err = bus.Follow(ctx, f.keys.bus, f.log, pos, f.batch)
	if errors.Is(err, bus.ErrLog) { // the log is an older copy, or another one
		head, headErr := bus.Head(ctx, f.keys.bus, f.log)
		if headErr != nil {
			return headErr
		}
		return errors.Join(err, f.keys.users.SetProgress(ctx, f.name, head))
	}
	return err
}

func (f *follower[E]) batch(ctx context.Context, entries []bus.Positioned[E]) error {
	any := false
	for _, e := range entries {
		did, err := f.apply(ctx, e.Pos, e.Entry)
		if err != nil {
			return err
		}
		any = any || did
	}
	last := entries[len(entries)-1].Pos
	if !any && last-f.stored < lazyEntries && time.Since(f.storedAt) < lazyTime {
		return nil
	}
	f.stored, f.storedAt = last, time.Now()
	return f.keys.users.SetProgress(ctx, f.name, last)
}
