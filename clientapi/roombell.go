package clientapi

import (
	"context"
	"sync"

	"hearth/internal/bus"
	"hearth/roomserver/roomapi"
)

// maxRung bounds the requests that wait at a roomBell.
const maxRung = 1000

// roomBell tells requests that wait for events that there are some. It follows the
// room log only while somebody waits: what waits like that is rare.
type roomBell struct {
	bus *bus.Bus

	mu      sync.Mutex // guards what follows
	waiters map[*waiter]struct{}
	stop    context.CancelFunc // of the follower; nil: there is none
	ready   chan struct{}      // closed when the follower hears of everything new, or has failed
	err     error              // why it has failed
}

// waiter is one request. It hears of rooms that it is for, and of its user's memberships.
type waiter struct {
	userID string
	rooms  func(roomID string) bool
	rung   chan struct{}
}

func newRoomBell(b *bus.Bus) *roomBell {
	return &roomBell{bus: b, waiters: make(map[*waiter]struct{})}
}

// join adds a waiter. Everything that is committed after it returns rings; leave must
// follow. False: too many wait.
func (b *roomBell) join(ctx context.Context, w *waiter) (bool, error) {
	w.rung = make(chan struct{}, 1)
	b.mu.Lock()
	if len(b.waiters) >= maxRung {
		b.mu.Unlock()
		return false, nil
	}
	b.waiters[w] = struct{}{}
	if b.stop == nil {
		follow, stop := context.WithCancel(context.Background()) // it outlives the request that was first
		b.stop, b.ready, b.err = stop, make(chan struct{}), nil
		go b.follow(follow, b.ready)
	}
	ready := b.ready
	b.mu.Unlock()
	select {
	case <-ready:
	case <-ctx.Done():
		b.leave(w)
		return false, ctx.Err()
	}
	b.mu.Lock()
	err := b.err
	b.mu.Unlock()
	if err != nil {
		b.leave(w)
	}
	return err == nil, err
}

// leave removes a waiter; the last one ends the follower.
func (b *roomBell) leave(w *waiter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.waiters, w)
	if len(b.waiters) == 0 && b.stop != nil {
		b.stop()
		b.stop = nil
	}
}

// follow rings until ctx ends. If the log cannot be followed, all waiters are rung and
// look for themselves.
func (b *roomBell) follow(ctx context.Context, ready chan struct{}) {
	head, err := bus.Head(ctx, b.bus, roomapi.Log)
	b.mu.Lock()
	if b.ready == ready {
		b.err = err
	}
	b.mu.Unlock()
	close(ready)
	if err == nil {
		_ = bus.Follow(ctx, b.bus, roomapi.Log, head, b.apply) // ends with ctx, or the bus
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ready != ready || ctx.Err() != nil {
		return // another follower took over
	}
	b.stop()
	b.stop = nil
	for w := range b.waiters {
		w.ring()
	}
}

func (b *roomBell) apply(_ context.Context, batch []bus.Positioned[roomapi.Entry]) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for w := range b.waiters {
		for _, e := range batch {
			if event := e.Entry.Event; event != nil && (w.rooms(e.Entry.RoomID) || event.Membership != "" && event.StateKey != nil && *event.StateKey == w.userID) {
				w.ring()
				break
			}
		}
	}
	return nil
}

func (w *waiter) ring() {
	select {
	case w.rung <- struct{}{}:
	default:
	}
}
