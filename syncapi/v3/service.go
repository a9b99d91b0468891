// Package v3 answers GET /sync (client-server API, "Syncing") from the views of
// package core.
//
// One request is a loop of rounds:
//
//	core.Changes(user, since) ─▶ render what changed ─▶ something? ─▶ send it
//	        ▲                                             │ no
//	        └──── the user's bell rings ◀── wait ◀────────┘   time is over: send an empty answer
//
// While it waits, a request holds a goroutine, a timer and a channel, and no buffer.
package v3

import (
	"context"
	"encoding/json"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hearth/internal/deep"
	"hearth/internal/lru"
	"hearth/internal/merr"
	"hearth/syncapi/core"
	"hearth/syncapi/internal/render"
	"hearth/syncapi/unread"
	"hearth/syncapi/viewapi"
)

// Bounds of the service.
const (
	maxSyncs   = 20_000          // in progress
	maxTimeout = 5 * time.Minute // of a long-poll
	maxSent    = 1 << 17         // marks of member events that were sent
	windowsAt  = 8               // rooms that one sync renders at a time
	busyForNow = time.Second
	perCPU     = 4 // rooms that are rendered at a time, a CPU
	// maxFilters bounds the filters that are remembered, in bytes.
	maxFilters = 8 << 20
)

// Deps is what the service needs.
type Deps struct {
	Engine  *core.Engine
	Unread  *unread.Counter       // nil: answers have no unread counts
	Metrics prometheus.Registerer // may be nil
	Now     func() time.Time
}

// Service answers syncs. Its methods may be used at the same time.
type Service struct {
	engine  *core.Engine
	unread  *unread.Counter
	now     func() time.Time
	sent    *core.Sent
	metrics *metrics
	buffers render.Buffers
	slots   chan struct{} // rooms that are being rendered
	filters *lru.Cache[string, *filter]

	active  atomic.Int64
	stopped chan struct{}
	stop    sync.Once
}

// New returns a service.
func New(d Deps) (*Service, error) {
	s := &Service{
		engine: d.Engine, unread: d.Unread, now: d.Now,
		sent:    core.NewSent(maxSent),
		slots:   make(chan struct{}, runtime.GOMAXPROCS(0)*perCPU),
		filters: lru.New(maxFilters, func(text string, _ *filter) int { return 4<<10 + 24*len(text) }),
		stopped: make(chan struct{}),
	}
	var err error
	s.metrics, err = newMetrics(d.Metrics, s)
	return s, err
}

// filterOf reads a filter. Clients of a kind have the same one, so one is kept for all
// who wait.
func (s *Service) filterOf(definition json.RawMessage) (f *filter, err error) {
	if f, ok := s.filters.Get(string(definition)); ok {
		return f, nil
	}
	err = deep.Call(func() (err error) {
		f, err = parseFilter(definition)
		return err
	})
	if err == nil {
		f = s.filters.GetOrPut(string(definition), f)
	}
	return f, err
}

// Stop ends the long-polls in progress with empty answers and refuses new syncs.
func (s *Service) Stop() { s.stop.Do(func() { close(s.stopped) }) }

// Sync answers one request (see viewapi.Sync).
func (s *Service) Sync(ctx context.Context, req *viewapi.SyncRequest, send func([]byte) error) error {
	if s.active.Add(1) > maxSyncs {
		s.active.Add(-1)
		return merr.Busy(busyForNow)
	}
	defer s.active.Add(-1)
	select {
	case <-s.stopped:
		return merr.Unavailable("The server is shutting down")
	default:
	}
	p := poll{s: s, req: req, send: send, initial: req.Since == "", full: req.FullState}
	var err error
	if p.filter, err = s.filterOf(req.Filter); err != nil {
		return err
	}
	if !p.initial {
		if p.since, err = viewapi.ParseToken(req.Since); err != nil {
			return err
		}
		p.known, p.acked = p.since.Room, p.since.ToDevice
	}
	if p.user, err = s.engine.Acquire(ctx, req.UserID); err != nil {
		return err
	}
	defer s.engine.Release(p.user)
	return p.run(ctx)
}

// poll is one request.
type poll struct {
	s       *Service
	req     *viewapi.SyncRequest
	filter  *filter
	user    *core.User
	send    func([]byte) error
	initial bool
	full    bool          // full_state
	since   viewapi.Token // moves on when a round had nothing to tell
	known   int64         // position of the room log in the client's own token
	acked   int64         // position up to which the device has its messages
	device  core.Device
}

func (p *poll) run(ctx context.Context) error {
	reach := p.since
	reach.Room = max(reach.Room, p.user.Loaded())
	if err := p.s.engine.WaitFor(ctx, reach); err != nil {
		return err
	}
	p.device = p.s.sent.Device(p.req.UserID, p.req.DeviceID, p.initial, p.known)
	wait := min(time.Duration(max(p.req.TimeoutMS, 0))*time.Millisecond, maxTimeout)
	if p.req.TimeoutMS > maxTimeout.Milliseconds() {
		wait = maxTimeout // the product may have overflowed
	}
	if p.initial || p.full {
		wait = 0
	}
	// Listening begins before the first look, so nothing falls between the two.
	bell := p.user.Bell.Listen()
	defer bell.Close()
	var timer *time.Timer
	for {
		bell.Drain()
		var told bool
		err := deep.Call(func() (err error) {
			told, err = p.round(ctx, wait <= 0)
			return err
		})
		if told || err != nil {
			return err
		}
		if timer == nil {
			timer = time.NewTimer(wait)
			defer timer.Stop()
		}
		select {
		case <-bell.C():
		case <-timer.C:
			wait = 0
		case <-p.s.stopped:
			wait = 0
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// round looks once and sends an answer if there is something to tell or if it must.
func (p *poll) round(ctx context.Context, must bool) (told bool, err error) {
	start := time.Now()
	r := round{poll: p, time: p.s.now()}
	a := answer{send: p.send, buf: p.s.buffers.Get()}
	defer func() { p.s.buffers.Put(a.buf) }()
	if err := r.render(ctx, &a); err != nil {
		return false, err
	}
	if !a.begun && !must {
		// What was looked at needs no second look: next time only what comes after.
		p.since = r.now
		return false, nil
	}
	p.s.metrics.answered(p, a.begun, time.Since(start))
	p.device.Answered(r.now.Room)
	return true, a.finish()
}
