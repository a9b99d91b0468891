package push

import (
	"context"
	"sync"
	"time"
)

// sender sends what waits, for each pusher in order and one at a time.
type sender struct {
	*Server
	ctx  context.Context // of Run; set before work begins
	work sync.WaitGroup
	all  chan struct{} // requests in progress

	mu    sync.Mutex // guards what follows
	live  bool
	boxes map[int64]*box      // pushers for which something waits
	hosts map[string]*gateway // of those
}

// box is a pusher for which something waits. It is guarded by sender.mu.
type box struct {
	busy     bool // a goroutine is at it
	again    bool // look once more when it is through
	failures int
	timer    *time.Timer // until the next try
}

// gateway bounds the requests to one host.
type gateway struct {
	slots chan struct{}
	users int
}

func newSender(s *Server) *sender {
	return &sender{Server: s, all: make(chan struct{}, inAll), boxes: map[int64]*box{}, hosts: map[string]*gateway{}}
}

// run sends until ctx ends. It begins with what waits from before.
func (s *sender) run(ctx context.Context) {
	s.mu.Lock()
	s.ctx, s.live = ctx, true
	s.mu.Unlock()
	for ctx.Err() == nil {
		list, err := s.db.waiting(ctx)
		if err == nil {
			for _, id := range list {
				s.wake(id)
			}
			break
		}
		s.log.WithError(err).Warn("push: cannot read what waits, trying again")
		sleep(ctx, pause)
	}
	<-ctx.Done()
	s.mu.Lock()
	s.live = false
	for _, b := range s.boxes {
		if b.timer != nil {
			b.timer.Stop()
		}
	}
	s.mu.Unlock()
	s.work.Wait()
}

// wake makes sure that what waits for a pusher is sent.
func (s *sender) wake(id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.boxes[id]
	if b == nil {
		b = &box{}
		s.boxes[id] = b
	}
	b.again = true
	if b.timer == nil {
		s.start(id, b)
	}
}

// start begins to send for a pusher, unless that is being done. The lock is held.
func (s *sender) start(id int64, b *box) {
	if b.busy || !s.live {
		return
	}
	b.busy = true
	s.work.Go(func() { s.empty(id, b) })
}

// empty sends what waits for a pusher, up to the first failure.
func (s *sender) empty(id int64, b *box) {
	for {
		s.mu.Lock()
		b.again = false
		s.mu.Unlock()
		err := s.sendAll(id)
		s.mu.Lock()
		if err == nil {
			b.failures = 0
			if b.again && s.live {
				s.mu.Unlock()
				continue
			}
			delete(s.boxes, id)
			s.mu.Unlock()
			return
		}
		b.busy = false
		b.failures++
		if s.live {
			wait := min(firstBackOff<<min(b.failures-1, 20), s.backoff)
			b.timer = time.AfterFunc(wait, func() { s.retry(id, b) })
		}
		s.mu.Unlock()
		return
	}
}

func (s *sender) retry(id int64, b *box) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.timer = nil
	s.start(id, b)
}

// sendAll sends everything that waits for one pusher.
func (s *sender) sendAll(id int64) error {
	for {
		p := s.users.get(id)
		if p == nil || s.ctx.Err() != nil {
			return s.ctx.Err()
		}
		n, err := s.db.next(s.ctx, id)
		if err != nil || n == nil {
			return err
		}
		release, err := s.slot(p.url.Host)
		if err != nil {
			return err
		}
		err = s.deliver(s.ctx, p, n)
		release()
		if err != nil {
			if s.ctx.Err() == nil {
				s.log.WithField("gateway", p.url.Host).WithError(err).Debug("push: a notification was not delivered")
			}
			return err
		}
	}
}

// slot waits for a place among the requests in progress.
func (s *sender) slot(host string) (release func(), err error) {
	s.mu.Lock()
	g := s.hosts[host]
	if g == nil {
		g = &gateway{slots: make(chan struct{}, perGateway)}
		s.hosts[host] = g
	}
	g.users++
	s.mu.Unlock()
	leave := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if g.users--; g.users == 0 {
			delete(s.hosts, host)
		}
	}
	select {
	case g.slots <- struct{}{}:
	case <-s.ctx.Done():
		leave()
		return nil, s.ctx.Err()
	}
	select {
	case s.all <- struct{}{}:
	case <-s.ctx.Done():
		<-g.slots
		leave()
		return nil, s.ctx.Err()
	}
	return func() {
		<-s.all
		<-g.slots
		leave()
	}, nil
}
