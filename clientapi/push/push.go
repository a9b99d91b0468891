package push

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"

	"hearth/internal/bus"
	"hearth/internal/safedial"
	"hearth/internal/store"
)

// Deps is what push needs.
type Deps struct {
	Bus                  *bus.Bus
	ServerName           string
	DataDir, DatabaseURL string
	Log                  *logrus.Entry
	Metrics              prometheus.Registerer // may be nil
	Now                  func() time.Time
	// Deny and Allow are as in safedial.New. A gateway without TLS must be in Allow.
	Deny, Allow []netip.Prefix
	// Backoff bounds the pause after a failure; 0: 15 minutes.
	Backoff time.Duration
}

// Server holds the pushers and serves them.
type Server struct {
	bus        *bus.Bus
	serverName string
	log        *logrus.Entry
	now        func() time.Time
	db         database
	users      *users
	rules      *ruleCache
	sender     *sender
	tls, plain *http.Client
	allowPlain bool
	backoff    time.Duration
}

// New opens the database.
func New(ctx context.Context, d Deps) (*Server, error) {
	s := &Server{
		bus: d.Bus, serverName: d.ServerName, log: d.Log, now: d.Now,
		users: newUsers(), rules: newRuleCache(d.Bus), allowPlain: len(d.Allow) > 0, backoff: d.Backoff,
	}
	if s.backoff <= 0 {
		s.backoff = maxBackOff
	}
	dialer, err := safedial.New(d.Deny, d.Allow)
	if err != nil {
		return nil, fmt.Errorf("push: %w", err)
	}
	everything := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	allowed, err := safedial.New(everything, d.Allow)
	if err != nil {
		return nil, fmt.Errorf("push: %w", err)
	}
	s.tls, s.plain = newClient(dialer), newClient(allowed)
	s.db, err = openDatabase(ctx, store.Options{
		DataDir: d.DataDir, URL: d.DatabaseURL, Log: d.Log, Metrics: d.Metrics, Now: d.Now,
	})
	if err != nil {
		return nil, err
	}
	s.sender = newSender(s)
	if err := s.load(ctx); err != nil {
		_ = s.db.Close()
		return nil, err
	}
	return s, nil
}

// load reads who has pushers.
func (s *Server) load(ctx context.Context) error {
	pushers, err := s.db.pushers(ctx)
	if err != nil {
		return err
	}
	for _, p := range pushers {
		s.users.put(p)
	}
	badges, err := s.db.badges(ctx)
	for id, n := range badges {
		s.users.setBadge(id, n)
	}
	return err
}

// Run follows the logs and sends until ctx ends. It fails if another process has taken
// the database.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var work sync.WaitGroup
	work.Go(func() { s.rules.run(ctx, s.log) })
	work.Go(func() { s.follow(ctx) })
	work.Go(func() {
		select {
		case <-s.db.Lost():
			cancel(errLost)
		case <-ctx.Done():
		}
	})
	s.sender.run(ctx)
	work.Wait()
	if errors.Is(context.Cause(ctx), errLost) {
		return errLost
	}
	return nil
}

var errLost = errors.New("push: the database was taken over by another process")

// Close releases the database. Run must have ended.
func (s *Server) Close() error {
	s.tls.CloseIdleConnections()
	s.plain.CloseIdleConnections()
	return s.db.Close()
}

// newClient returns a client that follows no redirects: a gateway is where the user
// said that it is.
func newClient(d *safedial.Dialer) *http.Client {
	return &http.Client{
		Timeout: requestTimeout,
		Transport: &http.Transport{
			DialContext: d.DialContext, ForceAttemptHTTP2: true, TLSHandshakeTimeout: requestTimeout / 2,
			MaxIdleConnsPerHost: 4, MaxIdleConns: 256, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: maxAnswer,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
