package transport

import (
	"context"
	"sync"
	"time"

	"hearth/internal/merr"
)

// Bounds of requests on their way.
const (
	maxRequests  = 2048
	maxPerServer = 8
	maxWaiting   = 256 // for one server
)

// slots bounds the requests on their way, in all and to each server, so that servers
// that hang take no more than their share.
type slots struct {
	all chan struct{}

	mu     sync.Mutex // guards what follows
	server map[string]*share
}

type share struct {
	slots chan struct{}
	users int // that have or want a slot
}

func newSlots() *slots {
	return &slots{all: make(chan struct{}, maxRequests), server: map[string]*share{}}
}

// take waits for a slot; free must be called once. Errors: 503 if too many wait for the
// server already, or the context's.
func (s *slots) take(ctx context.Context, server string) (free func(), err error) {
	mine, err := s.enter(server)
	if err != nil {
		return nil, err
	}
	select {
	case mine.slots <- struct{}{}:
	case <-ctx.Done():
		s.leave(server, mine)
		return nil, ctx.Err()
	}
	select {
	case s.all <- struct{}{}:
	case <-ctx.Done():
		<-mine.slots
		s.leave(server, mine)
		return nil, ctx.Err()
	}
	return func() {
		<-s.all
		<-mine.slots
		s.leave(server, mine)
	}, nil
}

func (s *slots) enter(server string) (*share, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	mine := s.server[server]
	if mine == nil {
		mine = &share{slots: make(chan struct{}, maxPerServer)}
		s.server[server] = mine
	}
	if mine.users >= maxPerServer+maxWaiting {
		return nil, merr.Busy(time.Second)
	}
	mine.users++
	return mine, nil
}

func (s *slots) leave(server string, mine *share) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if mine.users--; mine.users == 0 {
		delete(s.server, server)
	}
}
