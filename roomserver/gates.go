package roomserver

import (
	"context"
	"sync"
)

// gates let one at a time through for each name. Who waits at one holds no lock.
type gates struct {
	mu   sync.Mutex
	open map[string]*gate
}

type gate struct {
	token chan struct{}
	users int
}

func newGates() *gates { return &gates{open: make(map[string]*gate)} }

// enter waits until nobody else is inside; leave must be called.
func (g *gates) enter(ctx context.Context, name string) (leave func(), err error) {
	g.mu.Lock()
	at := g.open[name]
	if at == nil {
		at = &gate{token: make(chan struct{}, 1)}
		g.open[name] = at
	}
	at.users++
	g.mu.Unlock()
	release := func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if at.users--; at.users == 0 {
			delete(g.open, name)
		}
	}
	select {
	case at.token <- struct{}{}:
		return func() { <-at.token; release() }, nil
	case <-ctx.Done():
		release()
		return nil, ctx.Err()
	}
}
