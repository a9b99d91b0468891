package sliding

import (
	"context"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hearth/internal/deep"
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
	perCPU     = 4               // rooms that are rendered at a time, a CPU
	busyForNow = time.Second
)

// Deps is what the service needs.
type Deps struct {
	Engine  *core.Engine
	Unread  *unread.Counter       // nil: answers have no unread counts
	Metrics prometheus.Registerer // may be nil
	Now     func() time.Time
}

// Service answers sliding syncs. Its methods may be used at the same time.
type Service struct {
	engine  *core.Engine
	unread  *unread.Counter
	now     func() time.Time
	slot    uint8
	conns   *conns
	sent    *core.Sent
	metrics *metrics
	buffers render.Buffers
	views   sync.Pool     // of *core.View
	slots   chan struct{} // rooms that are being rendered

	active  atomic.Int64
	stopped chan struct{}
	stop    sync.Once
}

// New returns a service with a slot of its own, most likely.
func New(d Deps) (*Service, error) {
	s := &Service{
		engine: d.Engine, unread: d.Unread, now: d.Now,
		slot:    uint8(rand.IntN(viewapi.Slots)),
		conns:   newConns(),
		sent:    core.NewSent(maxSent),
		views:   sync.Pool{New: func() any { return new(core.View) }},
		slots:   make(chan struct{}, runtime.GOMAXPROCS(0)*perCPU),
		stopped: make(chan struct{}),
	}
	var err error
	s.metrics, err = newMetrics(d.Metrics, s)
	return s, err
}

// Slot is part of the positions that the service gives out.
func (s *Service) Slot() uint8 { return s.slot }

// Stop ends the long-polls in progress with empty answers and refuses new syncs.
func (s *Service) Stop() { s.stop.Do(func() { close(s.stopped) }) }

// Sync answers one request (see viewapi.Sliding).
func (s *Service) Sync(ctx context.Context, req *viewapi.SlidingRequest, send func([]byte) error) error {
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
	p := &poll{s: s, req: req, send: send}
	if req.Pos != "" {
		pos, err := viewapi.ParsePos(req.Pos)
		if err != nil {
			return err
		}
		p.pos = &pos
	}
	err := deep.Call(func() (err error) {
		p.request, err = parse(req.Body, req.Stable)
		return err
	})
	if err != nil {
		return err
	}
	// From here on the body is not needed: a long-poll must not keep it.
	own := *req
	own.Body = nil
	p.req = &own
	if p.user, err = s.engine.Acquire(ctx, req.UserID); err != nil {
		return err
	}
	defer s.engine.Release(p.user)
	return p.run(ctx)
}

// poll is one request.
type poll struct {
	*request
	s       *Service
	req     *viewapi.SlidingRequest
	pos     *viewapi.Pos // nil: a new connection
	user    *core.User
	send    func([]byte) error
	conn    *conn
	members core.Device // what the client knows of members
}

func (p *poll) run(ctx context.Context) error {
	turn, cancel := context.WithCancel(ctx)
	defer cancel()
	key := connKey{p.req.UserID, p.req.DeviceID, p.request.conn}
	var err error
	if p.conn, err = p.s.conns.take(turn, cancel, key, p.pos); err == nil {
		err = p.answer(turn)
		p.s.conns.done(p.conn)
	}
	if turn.Err() != nil && ctx.Err() == nil {
		return viewapi.UnknownPos() // another request has taken its place
	}
	return err
}

// answer has the turn on the connection.
func (p *poll) answer(ctx context.Context) error {
	p.members = p.s.sent.Device(p.req.UserID, p.req.DeviceID+"\x00"+p.request.conn, p.pos == nil, 0)
	if err := p.conn.begin(p.pos, p.members); err != nil {
		return err
	}
	if old := p.conn.rules; old != nil && old.text == p.rules.text {
		p.rules = old // one copy is enough
	}
	p.conn.rules = p.rules
	reach := p.conn.since
	reach.Room = max(reach.Room, p.user.Loaded())
	if err := p.s.engine.WaitFor(ctx, reach); err != nil {
		return err
	}
	if p.rules.tags {
		if err := p.s.engine.NeedTags(ctx, p.user); err != nil {
			return err
		}
	}
	return p.wait(ctx)
}

// wait looks until there is something to tell or the time is over.
func (p *poll) wait(ctx context.Context) error {
	wait := min(time.Duration(min(max(p.req.TimeoutMS, 0), maxTimeout.Milliseconds()))*time.Millisecond, maxTimeout)
	if p.pos == nil {
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
			told, err = p.look(ctx, wait <= 0)
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

// look looks once and sends an answer if there is something to tell or if it must.
func (p *poll) look(ctx context.Context, must bool) (told bool, err error) {
	start := time.Now()
	view := p.s.views.Get().(*core.View)
	defer p.s.views.Put(view)
	r := newRound(p, view)
	defer r.out.release(&p.s.buffers)
	if err := r.render(ctx); err != nil {
		return false, err
	}
	if !r.out.begun && !must {
		return false, nil
	}
	p.s.metrics.answered(p, r.out.begun, time.Since(start))
	return true, r.finish()
}
