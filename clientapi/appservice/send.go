package appservice

import (
	"context"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"hearth/roomserver/roomapi"
)

// peer is the talk with one application service.
type peer struct {
	*Registration
	s      *Service
	nid    int64
	log    *logrus.Entry
	now    func() time.Time
	http   *http.Client
	habits habits
	asking chan struct{} // a place for each query that may run at a time

	// bell says that there may be something to send; hurry that there is no reason to
	// wait any longer.
	bell, hurry chan struct{}
	failing     atomic.Bool

	mu     sync.Mutex // guards typing
	typing map[string]*roomapi.Typing
}

const (
	// maxTypingRooms bounds the rooms whose typing notifications wait for a service.
	maxTypingRooms = 1000
	// maxQueries bounds the queries to one service at a time.
	maxQueries = 16
)

func (s *Service) newPeer(r *Registration, nid int64) *peer {
	return &peer{
		Registration: r, s: s, nid: nid, log: s.log.WithField("appservice", r.ID), now: s.now, http: newHTTP(),
		bell: make(chan struct{}, 1), hurry: make(chan struct{}, 1), asking: make(chan struct{}, maxQueries),
		typing: map[string]*roomapi.Typing{},
	}
}

// ring wakes the sender.
func (p *peer) ring() { poke(p.bell) }

// reached ends the wait for another attempt: the service has been seen alive.
func (p *peer) reached() { poke(p.hurry) }

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run sends transactions, one at a time, until ctx ends.
func (p *peer) run(ctx context.Context) error {
	defer p.http.CloseIdleConnections()
	var last *transaction // confirmed, which the database may not know yet
	current, ok := repeat(ctx, p, func() (*transaction, error) { return p.s.db.inFlight(ctx, p.nid) })
	for ok {
		if current != nil {
			if _, ok = repeat(ctx, p, func() (struct{}, error) { return struct{}{}, p.put(ctx, current) }); !ok {
				break
			}
			last = current
		}
		doubt := false
		current, ok = repeat(ctx, p, func() (t *transaction, err error) {
			if t, err = p.next(ctx, last, doubt); err != nil && !p.failing.Load() {
				p.log.WithError(err).Warn("the next transaction of an application service cannot be made, trying again")
			}
			doubt = err != nil
			return t, err
		})
		last = nil
		if ok && current == nil {
			select {
			case <-p.bell:
			case <-ctx.Done():
				return nil
			}
		}
	}
	return nil
}

// repeat does something until it succeeds, with growing pauses; ok is false if ctx
// has ended before that.
func repeat[T any](ctx context.Context, p *peer, do func() (T, error)) (result T, ok bool) {
	delay := p.s.tune.backoffMin
	for ctx.Err() == nil {
		result, err := do()
		if err == nil {
			return result, true
		}
		if p.wait(ctx, delay) {
			delay = p.s.tune.backoffMin
			continue
		}
		delay = min(2*delay, p.s.tune.backoffMax)
	}
	return result, false
}

// wait waits for a time, a little more or less so that services that failed together
// do not come back together. It returns true at once when the service shows up.
func (p *peer) wait(ctx context.Context, delay time.Duration) (hurried bool) {
	t := time.NewTimer(delay*9/10 + rand.N(delay/5+1))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-p.hurry:
		return true
	}
	return false
}

// put sends a transaction once.
func (p *peer) put(ctx context.Context, t *transaction) error {
	select { // what was known of the service before this attempt
	case <-p.hurry:
	default:
	}
	path := "/transactions/" + url.PathEscape(t.id)
	answer, err := p.ask(ctx, &request{
		method: http.MethodPut, path: "/_matrix/app/v1" + path, legacy: path, body: t.body,
		timeout: p.s.tune.transaction, unread: true,
	})
	if err == nil && !answer.ok() {
		err = statusError(answer.status)
	}
	switch {
	case err == nil && p.failing.Swap(false):
		p.log.Info("the application service takes transactions again")
	case err != nil && ctx.Err() == nil:
		if !p.failing.Swap(true) {
			p.log.WithError(err).Warn("the application service does not take a transaction; it will get it again")
		}
		p.dropTyping()
	}
	return err
}
