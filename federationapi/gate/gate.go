// Package gate bounds what each server may have under way, so that one that asks too
// much slows down nobody but itself.
package gate

import (
	"context"
	"sync"
	"time"

	"hearth/internal/lru"
	"hearth/internal/merr"
)

// Class is a kind of work with its limits.
type Class struct {
	// Each is how many requests of one server are at work, Queue how many more may wait.
	Each, Queue int
	// All is how many are at work together.
	All int
}

const (
	// maxWait is how long a request waits for its turn.
	maxWait = 20 * time.Second
	// maxBuckets is of how many servers it is known how much they asked lately.
	maxBuckets = 20_000
)

// Options say how to build a Gate.
type Options struct {
	Classes map[string]Class
	// Rate is the number of requests a second that one server may send for long, Burst
	// how many it may send at once before that counts.
	Rate, Burst float64
	Now         func() time.Time
}

// Gate lets requests in. It may be used by many goroutines.
type Gate struct {
	o   Options
	all map[string]chan struct{} // by class

	mu      sync.Mutex // guards the rest
	inside  map[place]*turn
	buckets *lru.Cache[string, bucket]
}

type place struct{ class, server string }

// turn is what one server has under way of one class.
type turn struct {
	users int // at work or waiting
	work  chan struct{}
}

// bucket holds what a server may still send without waiting; less than 0: it waits.
type bucket struct {
	tokens float64
	at     time.Time
}

// New returns a gate.
func New(o Options) *Gate {
	g := &Gate{
		o: o, all: make(map[string]chan struct{}, len(o.Classes)),
		inside: map[place]*turn{}, buckets: lru.New[string, bucket](maxBuckets, nil),
	}
	for name, c := range o.Classes {
		g.all[name] = make(chan struct{}, c.All)
	}
	return g
}

// Enter waits until a request of a server may be worked on; leave must follow. The
// error is 429 M_LIMIT_EXCEEDED if the server has too many waiting or waits too long,
// or that the context has ended.
func (g *Gate) Enter(ctx context.Context, class, server string) (leave func(), err error) {
	at := place{class, server}
	t, delay, err := g.join(at)
	if err != nil {
		return nil, err
	}
	timer := time.NewTimer(maxWait)
	defer timer.Stop()
	if delay > 0 {
		if err := sleep(ctx, delay); err != nil {
			g.quit(at, t)
			return nil, err
		}
	}
	all := g.all[class]
	for i, work := range []chan struct{}{t.work, all} {
		select {
		case work <- struct{}{}:
			continue
		case <-timer.C:
			err = merr.LimitExceeded(time.Second)
		case <-ctx.Done():
			err = cancelled(ctx)
		}
		if i == 1 {
			<-t.work
		}
		g.quit(at, t)
		return nil, err
	}
	return func() {
		<-all
		<-t.work
		g.quit(at, t)
	}, nil
}

// join counts one more request and says how long it must wait for the sake of the rate.
func (g *Gate) join(at place) (t *turn, delay time.Duration, err error) {
	class := g.o.Classes[at.class]
	g.mu.Lock()
	defer g.mu.Unlock()
	t = g.inside[at]
	if t != nil && t.users >= class.Each+class.Queue {
		return nil, 0, merr.LimitExceeded(time.Second)
	}
	if delay, err = g.take(at.server); err != nil {
		return nil, 0, err
	}
	if t == nil {
		t = &turn{work: make(chan struct{}, class.Each)}
		g.inside[at] = t
	}
	t.users++
	return t, delay, nil
}

// take takes a token of a server. g.mu is held.
func (g *Gate) take(server string) (delay time.Duration, err error) {
	now := g.o.Now()
	b, ok := g.buckets.Get(server)
	if !ok {
		b = bucket{tokens: g.o.Burst, at: now}
	}
	passed := max(now.Sub(b.at), 0).Seconds()
	b.tokens, b.at = min(b.tokens+passed*g.o.Rate, g.o.Burst)-1, now
	if b.tokens < 0 {
		delay = time.Duration(-b.tokens / g.o.Rate * float64(time.Second))
	}
	if delay > maxWait/4 {
		return 0, merr.LimitExceeded(delay)
	}
	g.buckets.Put(server, b)
	return delay, nil
}

func (g *Gate) quit(at place, t *turn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t.users--; t.users == 0 {
		delete(g.inside, at)
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return cancelled(ctx)
	}
}

func cancelled(ctx context.Context) error {
	return merr.Unavailable("The request was cancelled").WithCause(ctx.Err())
}
