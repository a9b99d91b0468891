// Package syncapi gives clients their view of rooms and account data: it answers
// viewapi.Sync. It stores nothing. What it knows comes from the room log, the user
// log and the typing topic, and what it does not have at hand it asks of the owners.
//
//	core    views of rooms and users, and what changed in them
//	unread  counts of unread notifications
//	v3      GET /sync
//	sliding simplified sliding sync
//	notify  wakes the long-polls concerned
package syncapi

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/roomserver/roomapi"
	"hearth/syncapi/core"
	"hearth/syncapi/sliding"
	"hearth/syncapi/unread"
	"hearth/syncapi/v3"
	"hearth/syncapi/viewapi"
)

// Deps is what syncapi needs. Metrics may be nil.
type Deps struct {
	Bus        *bus.Bus
	ServerName string
	Log        *logrus.Entry
	Metrics    prometheus.Registerer
	Now        func() time.Time
}

// Server is the component.
type Server struct {
	deps   Deps
	source core.Source

	mu      sync.Mutex // guards what follows
	closed  bool
	engine  *core.Engine
	service *v3.Service
	sliding *sliding.Service
	ready   chan struct{} // closed when syncs are answered
}

// New returns a component that does nothing before Run.
func New(_ context.Context, d Deps) (*Server, error) {
	if d.Bus == nil || d.Log == nil || d.Now == nil {
		return nil, fmt.Errorf("syncapi: Bus, Log and Now are needed")
	}
	return &Server{deps: d, source: core.Owners{Bus: d.Bus}, ready: make(chan struct{})}, nil
}

// Ready is closed when syncs are answered; before, callers get 503.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run waits for the owners, follows their logs and answers syncs until ctx ends.
// Then long-polls get their answers at once. It fails if a log does not continue
// where it was read to, because an owner's database was put back to an older state:
// the process must start anew. It is called once.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	views, err := s.follow(ctx, cancel)
	if err != nil {
		return err
	}
	defer views.wait()
	defer cancel(nil)
	if views.service == nil {
		return broken(ctx)
	}
	if err := errors.Join(
		bus.HandleStream(s.deps.Bus, viewapi.Sync, views.service.Sync),
		bus.HandleStream(s.deps.Bus, viewapi.Sliding, views.sliding.Sync),
		bus.HandleStream(s.deps.Bus, viewapi.SlidingAt(views.sliding.Slot()), views.sliding.Sync),
		bus.Handle(s.deps.Bus, viewapi.Unread, views.counting.unread),
	); err != nil {
		return fmt.Errorf("syncapi: register calls: %w", err)
	}
	close(s.ready)
	s.deps.Log.Info("syncapi: answering")
	<-ctx.Done()
	views.service.Stop()
	views.sliding.Stop()
	return broken(ctx)
}

// broken returns why ctx ended if that was not a wish.
func broken(ctx context.Context) error {
	if err := context.Cause(ctx); errors.Is(err, bus.ErrLog) {
		return err
	}
	return nil
}

// Close frees what Run has used; the context of Run must have ended.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.service != nil {
		s.service.Stop()
		s.sliding.Stop()
	}
	if s.engine != nil {
		s.engine.Close()
	}
	return nil
}

// replay is how many entries before the head of the room log are read at the start.
// They fill the views, so that clients who come back after a restart find what they
// missed without a question to the roomserver for each of their rooms.
const replay = 4096

// backOff is how long to wait for an owner that does not answer.
const (
	firstBackOff = 100 * time.Millisecond
	maxBackOff   = 2 * time.Second
)

// views is the running core.
type views struct {
	service  *v3.Service // nil if the context ended before it was ready
	sliding  *sliding.Service
	counting *counting
	work     *sync.WaitGroup
	typing   func() // ends the subscription
	presence func() // as typing
}

func (v *views) wait() {
	if v.typing != nil {
		v.typing()
	}
	if v.presence != nil {
		v.presence()
	}
	v.work.Wait()
}

// seedPresence asks who is online. It is no loss if nobody answers: presence may be
// off, and who is online will say so again.
func (s *Server) seedPresence(ctx context.Context, engine *core.Engine) {
	for after := ""; ; {
		page, err := userapi.OnlineUsers.Do(ctx, s.deps.Bus, &userapi.UserRequest{UserID: after})
		if err != nil {
			return
		}
		engine.SeedPresence(page.Epoch, page.Users)
		if !page.More || len(page.Users) == 0 {
			return
		}
		after = page.Users[len(page.Users)-1].UserID
	}
}

// follow starts the followers and returns when the views have caught up with where
// the logs ended, or when ctx ends.
func (s *Server) follow(ctx context.Context, fail context.CancelCauseFunc) (*views, error) {
	v := &views{work: new(sync.WaitGroup)}
	rooms, users, ok := s.heads(ctx)
	if !ok {
		return v, nil
	}
	engine := core.New(core.Options{
		Source: s.source, Limits: core.DefaultLimits(), Now: s.deps.Now,
		RoomPos: max(0, rooms-replay), UserPos: users,
	})
	v.counting = &counting{engine, unread.New(engine, unread.Owners{Bus: s.deps.Bus})}
	service, err := v3.New(v3.Deps{Engine: engine, Unread: v.counting.counter, Metrics: s.deps.Metrics, Now: s.deps.Now})
	if err != nil {
		engine.Close()
		return v, fmt.Errorf("syncapi: metrics: %w", err)
	}
	slides, err := sliding.New(sliding.Deps{Engine: engine, Unread: v.counting.counter, Metrics: s.deps.Metrics, Now: s.deps.Now})
	if err != nil {
		engine.Close()
		return v, fmt.Errorf("syncapi: metrics: %w", err)
	}
	if !s.own(engine, service, slides) {
		return v, nil
	}
	if v.typing, err = bus.Subscribe(s.deps.Bus, roomapi.TypingTopic, engine.ApplyTyping); err != nil {
		return v, fmt.Errorf("syncapi: subscribe to typing: %w", err)
	}
	if v.presence, err = bus.Subscribe(s.deps.Bus, userapi.PresenceTopic, engine.ApplyPresence); err != nil {
		return v, fmt.Errorf("syncapi: subscribe to presence: %w", err)
	}
	s.seedPresence(ctx, engine)
	v.work.Go(func() {
		s.keepFollowing(ctx, fail, "room log", func() error {
			after, _ := engine.Cursors()
			return bus.Follow(ctx, s.deps.Bus, roomapi.Log, after, engine.ApplyRooms)
		})
	})
	v.work.Go(func() {
		s.keepFollowing(ctx, fail, "user log", func() error {
			_, after := engine.Cursors()
			return bus.Follow(ctx, s.deps.Bus, userapi.Log, after, engine.ApplyUsers)
		})
	})
	if engine.Reach(ctx, viewapi.Token{Room: rooms, User: users}) == nil {
		v.service, v.sliding = service, slides
	}
	return v, nil
}

// own keeps the parts for Close; false, and they are closed, if Close was called.
func (s *Server) own(engine *core.Engine, service *v3.Service, slides *sliding.Service) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		engine.Close()
		return false
	}
	s.engine, s.service, s.sliding = engine, service, slides
	return true
}

// heads asks the owners for the ends of their logs until they answer or ctx ends.
func (s *Server) heads(ctx context.Context) (rooms, users int64, ok bool) {
	wait := firstBackOff
	for ctx.Err() == nil {
		var err error
		if rooms, users, err = s.source.Heads(ctx); err == nil {
			return rooms, users, true
		}
		if wait == maxBackOff {
			s.deps.Log.WithError(err).Warn("syncapi: waiting for the owners of rooms and users")
		}
		sleep(ctx, wait)
		wait = min(2*wait, maxBackOff)
	}
	return 0, 0, false
}

// keepFollowing runs follow, which ends only by an error, until ctx ends.
func (s *Server) keepFollowing(ctx context.Context, fail context.CancelCauseFunc, name string, follow func() error) {
	for ctx.Err() == nil {
		err := follow()
		if errors.Is(err, bus.ErrLog) {
			fail(fmt.Errorf("syncapi: the %s was put back to an older state, start again: %w", name, err))
			return
		}
		if ctx.Err() == nil {
			s.deps.Log.WithError(err).Warnf("syncapi: following the %s again", name)
			sleep(ctx, maxBackOff)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
