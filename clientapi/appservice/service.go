package appservice

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"hearth/internal/bus"
	"hearth/internal/lru"
	"hearth/internal/store"
	"hearth/roomserver/roomapi"
)

// Deps is what a Service needs.
type Deps struct {
	Bus           *bus.Bus
	Registrations *Registrations
	// DataDir holds the SQLite file unless DatabaseURL names a PostgreSQL database.
	DataDir, DatabaseURL string
	Log                  *logrus.Entry
	Metrics              prometheus.Registerer // may be nil
	Now                  func() time.Time
}

// Service brings the application services what concerns them and asks them what
// only they know.
type Service struct {
	*Registrations
	bus     *bus.Bus
	db      database
	log     *logrus.Entry
	now     func() time.Time
	peers   []*peer // one for each registration, in the same order
	aliases *aliasCache
	recent  *lru.Cache[int64, *roomapi.Entry]
	typing  chan *roomapi.Typing

	protocols *protocolCache
	unknown   *unknownCache
	// tune is how long to wait; tests wait less.
	tune tuning
}

type tuning struct {
	backoffMin, backoffMax time.Duration // between attempts to send a transaction
	transaction            time.Duration // for an answer to a transaction
	query                  time.Duration // for an answer to anything else
	queryPause             time.Duration // between attempts to ask
}

func defaults() tuning {
	return tuning{
		backoffMin: time.Second, backoffMax: 5 * time.Minute, transaction: 60 * time.Second,
		query: 10 * time.Second, queryPause: 500 * time.Millisecond,
	}
}

const (
	// recentBytes bounds the entries that are kept because somebody waits for them.
	recentBytes = 8 << 20
	// maxTypingQueue bounds typing notifications that were not looked at yet.
	maxTypingQueue = 256
)

// New opens the database; Run must follow. There must be at least one registration.
func New(ctx context.Context, d Deps) (*Service, error) { return newService(ctx, d, defaults()) }

func newService(ctx context.Context, d Deps, tune tuning) (*Service, error) {
	db, err := openDatabase(ctx, store.Options{
		DataDir: d.DataDir, URL: d.DatabaseURL, Log: d.Log, Metrics: d.Metrics, Now: d.Now,
	})
	if err != nil {
		return nil, err
	}
	s := &Service{
		Registrations: d.Registrations, bus: d.Bus, db: db, log: d.Log, now: d.Now, tune: tune,
		recent: lru.New(recentBytes, func(_ int64, e *roomapi.Entry) int { return entrySize(e) }),
		typing: make(chan *roomapi.Typing, maxTypingQueue),
	}
	s.aliases = newAliasCache(d.Bus, d.Now)
	s.protocols = newProtocolCache(d.Now)
	s.unknown = newUnknownCache(d.Now)
	nids, err := db.reconcile(ctx, d.Registrations.All())
	if err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("application services: %w", err)
	}
	for i, r := range d.Registrations.All() {
		s.peers = append(s.peers, s.newPeer(r, nids[i]))
	}
	return s, nil
}

// Close releases the database. Run must have returned.
func (s *Service) Close() error { return s.db.Close() }

// Run works until ctx ends. An error says that the database is lost.
func (s *Service) Run(ctx context.Context) error {
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error { return s.follow(ctx) })
	ephemeral, encryption := false, false
	for _, p := range s.peers {
		if p.URL != "" {
			work.Go(func() error { return p.run(ctx) })
			ephemeral = ephemeral || p.Ephemeral
			encryption = encryption || p.Encryption
		}
	}
	if ephemeral {
		work.Go(func() error { return s.relayTyping(ctx) })
	}
	if encryption {
		work.Go(func() error { return s.followUsers(ctx) })
	}
	work.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-s.db.Lost():
			return errors.New("another process has taken over the database of application services")
		}
	})
	return work.Wait()
}

// peerOf returns the peer of a registration.
func (s *Service) peerOf(r *Registration) *peer {
	for _, p := range s.peers {
		if p.Registration == r {
			return p
		}
	}
	return nil
}

// pause waits for a time or for ctx to end.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
