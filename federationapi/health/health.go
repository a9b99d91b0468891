// Package health knows which other servers do not answer, and when to try them again. Queues
// and calls share it: who fails for one is not tried by the other before its time.
//
// The first failure is followed by a minute of silence, each further one by twice as
// much, up to a day. A request of the server itself ends the silence: it lives.
package health

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"hearth/federationapi/storage"
	"hearth/internal/merr"
)

const (
	maxSuccesses = 20_000
	// wakeEvery is how often a server can end its back-off, so that one that sends but
	// does not answer is not asked all the time.
	wakeEvery  = time.Minute
	forgetTime = 30 * 24 * time.Hour
	sweepEvery = time.Hour
	page       = 1000
)

// maxFailing bounds the servers whose failures are remembered.
const maxFailing = 50_000

// Options say how to build a Book.
type Options struct {
	DB  *storage.DB
	Log *logrus.Entry
	Now func() time.Time
	// First and Longest bound the back-off; 0: a minute and a day.
	First, Longest time.Duration
}

// Book remembers how servers do. It may be used by many goroutines.
type Book struct {
	o Options

	mu        sync.Mutex // guards what follows
	failing   map[string]*entry
	successes map[string]int64 // milliseconds
}

// entry is a server that failed.
type entry struct {
	failures      int
	from, retryAt time.Time
	woken         time.Time
}

// State is how a server does. Times are zero if there is none.
type State struct {
	Failures                          int
	FailingFrom, RetryAt, LastSuccess time.Time
}

// Open reads what is known.
func Open(ctx context.Context, o Options) (*Book, error) {
	if o.First == 0 {
		o.First = time.Minute
	}
	if o.Longest == 0 {
		o.Longest = 24 * time.Hour
	}
	b := &Book{o: o, successes: map[string]int64{}, failing: map[string]*entry{}}
	for after := ""; ; {
		list, err := o.DB.Destinations(ctx, after, page)
		if err != nil {
			return nil, err
		}
		for _, d := range list {
			if d.LastSuccess > 0 {
				b.successes[d.Server] = d.LastSuccess
			}
			if d.Failures > 0 {
				b.failing[d.Server] = &entry{failures: d.Failures, from: time.UnixMilli(d.FailingFrom), retryAt: time.UnixMilli(d.RetryAt)}
			}
		}
		if len(list) < page {
			return b, nil
		}
		after = list[len(list)-1].Server
	}
}

// Run forgets failures of long ago until ctx ends.
func (b *Book) Run(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		before := b.o.Now().Add(-forgetTime)
		b.mu.Lock()
		for server, e := range b.failing {
			if e.retryAt.Before(before) {
				delete(b.failing, server)
			}
		}
		b.mu.Unlock()
		if err := b.o.DB.ForgetFailures(ctx, before.UnixMilli()); err != nil && ctx.Err() == nil {
			b.o.Log.WithError(err).Warn("forget servers that failed long ago")
		}
	}
}

// Check returns a temporary error, 502, while a server must be left alone.
func (b *Book) Check(server string) error {
	wait := b.Wait(server)
	if wait <= 0 {
		return nil
	}
	e := merr.New(502, "M_UNKNOWN", "The other server has not answered lately and is not asked again yet")
	e.Temporary, e.RetryAfter = true, wait
	return e
}

// Wait is how long a server must be left alone, 0 if it may be asked.
func (b *Book) Wait(server string) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.failing[server]; e != nil {
		return max(0, e.retryAt.Sub(b.o.Now()))
	}
	return 0
}

// State returns how a server does.
func (b *Book) State(server string) State {
	var s State
	b.mu.Lock()
	defer b.mu.Unlock()
	if at, ok := b.successes[server]; ok {
		s.LastSuccess = time.UnixMilli(at)
	}
	if e := b.failing[server]; e != nil {
		s.Failures, s.FailingFrom, s.RetryAt = e.failures, e.from, e.retryAt
	}
	return s
}

// Known lists the servers of which something is known, in no order.
func (b *Book) Known() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]string, 0, len(b.failing)+len(b.successes))
	for server := range b.failing {
		out = append(out, server)
	}
	for server := range b.successes {
		out = append(out, server)
	}
	return out
}

// Failing counts the servers that fail.
func (b *Book) Failing() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.failing)
}

// Succeeded notes that a server answered.
func (b *Book) Succeeded(server string) {
	b.mu.Lock()
	if _, known := b.successes[server]; !known && len(b.successes) >= maxSuccesses {
		for other := range b.successes { // any: what is lost is a time that is shown
			delete(b.successes, other)
			break
		}
	}
	b.successes[server] = b.o.Now().UnixMilli()
	e := b.failing[server]
	delete(b.failing, server)
	b.mu.Unlock()
	if e != nil {
		b.o.Log.WithFields(logrus.Fields{"server": server, "failures": e.failures}).Info("a server answers again")
		b.note(server)
	}
}

// Failed notes that a server did not answer, or not as it should. least, if not 0, is how
// long it asks to be left alone. Failures at the same time count as one.
func (b *Book) Failed(server string, least time.Duration) {
	now := b.o.Now()
	b.mu.Lock()
	e := b.failing[server]
	if e == nil {
		if len(b.failing) >= maxFailing {
			b.mu.Unlock()
			return
		}
		e = &entry{from: now}
		b.failing[server] = e
	}
	if now.Before(e.retryAt) {
		b.mu.Unlock()
		return
	}
	wait := b.o.Longest
	if e.failures < 30 {
		wait = min(b.o.First<<e.failures, b.o.Longest)
	}
	wait = max(wait, min(least, b.o.Longest))
	wait = (wait + rand.N(wait/4+1)).Truncate(time.Millisecond)
	e.failures++
	e.retryAt = now.Add(wait)
	first := e.failures == 1
	b.mu.Unlock()
	if first {
		b.o.Log.WithFields(logrus.Fields{"server": server, "wait": wait.Round(time.Second).String()}).Info("a server does not answer")
	}
	b.note(server)
}

// Alive notes that a server has sent us a request: if it is left alone, that ends.
func (b *Book) Alive(server string) {
	now := b.o.Now()
	b.mu.Lock()
	e := b.failing[server]
	if e == nil || !now.Before(e.retryAt) || now.Sub(e.woken) < wakeEvery {
		b.mu.Unlock()
		return
	}
	e.woken, e.retryAt = now, now
	b.mu.Unlock()
}

// Retry forgets the failures of a server, as an administrator wishes.
func (b *Book) Retry(server string) {
	b.mu.Lock()
	delete(b.failing, server)
	b.mu.Unlock()
	b.note(server)
}

// note stores how a server does.
func (b *Book) note(server string) {
	s := b.State(server)
	d := storage.Destination{Server: server, Failures: s.Failures}
	for _, t := range []struct {
		at  time.Time
		dst *int64
	}{{s.FailingFrom, &d.FailingFrom}, {s.RetryAt, &d.RetryAt}, {s.LastSuccess, &d.LastSuccess}} {
		if !t.at.IsZero() {
			*t.dst = t.at.UnixMilli()
		}
	}
	if err := b.o.DB.NoteHealth(d); err != nil {
		b.o.Log.WithError(err).WithField("server", server).Debug("how a server does was not stored")
	}
}
