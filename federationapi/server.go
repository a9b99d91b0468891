// Package federationapi serves the server-server API and talks to other servers.
//
// routes.go is the table of endpoints, auth.go says who asks. transport sends requests,
// keys knows the keys of others.
package federationapi

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"

	"hearth/federationapi/gate"
	"hearth/federationapi/health"
	"hearth/federationapi/inbound"
	"hearth/federationapi/keys"
	"hearth/federationapi/outbound"
	"hearth/federationapi/peers"
	"hearth/federationapi/remoteapi"
	"hearth/federationapi/storage"
	"hearth/federationapi/transport"
	"hearth/internal/bus"
	"hearth/internal/matrixhttp"
	"hearth/internal/pdu"
	"hearth/internal/safedial"
	"hearth/internal/store"
)

// Deps is what federationapi needs from the program.
type Deps struct {
	Bus        *bus.Bus
	ServerName string
	// Key signs the list of our keys and the requests that we send.
	Key pdu.Signer
	// Version is told to other servers.
	Version string
	// DataDir holds the database if DatabaseURL is empty.
	DataDir, DatabaseURL string
	// Dialer connects to other servers, where it allows it.
	Dialer *safedial.Dialer
	// CAFile holds the authorities to trust, in PEM; empty: those of the system.
	CAFile string
	// NotaryServers are asked for keys that cannot be had otherwise.
	NotaryServers []string
	// BannedKeys are ids of keys that nobody may use.
	BannedKeys []string
	// Servers says which other servers we talk with.
	Servers peers.List
	// RetryFirst and RetryLongest bound how long a server that failed is left alone; 0: as in health.
	RetryFirst, RetryLongest time.Duration
	Log                      *logrus.Entry
	Metrics                  prometheus.Registerer // may be nil
	Now                      func() time.Time      // nil: time.Now
}

// Server is federationapi at work.
type Server struct {
	deps   Deps
	mux    *matrixhttp.Mux
	db     *storage.DB
	client *transport.Client
	keys   *keys.Ring
	health *health.Book
	queues *outbound.Queues
	// gate bounds what other servers ask, inbound takes their transactions.
	gate    *gate.Gate
	inbound *inbound.Inbound
	bodies  chan struct{} // one for each large body of somebody unknown
}

// New builds the component; Run must follow, and Close.
func New(ctx context.Context, d Deps) (*Server, error) {
	if d.Now == nil {
		d.Now = time.Now
	}
	d.Servers.Live = peers.NewLive(d.Now)
	s := &Server{deps: d, bodies: make(chan struct{}, largeBodies)}
	metrics, err := matrixhttp.NewMetrics(d.Metrics)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	s.mux, err = matrixhttp.New(matrixhttp.Options{Routes: s.routes(), MaxInFlight: maxInFlight, Log: d.Log, Metrics: metrics, Now: d.Now})
	if err != nil {
		return nil, err
	}
	cas, err := authorities(d.CAFile)
	if err != nil {
		return nil, err
	}
	s.db, err = storage.Open(ctx, store.Options{
		DataDir: d.DataDir, URL: d.DatabaseURL, Log: d.Log, Metrics: d.Metrics, Now: d.Now,
	})
	if err != nil {
		return nil, err
	}
	s.client = transport.New(transport.Options{
		Signer: d.Key, Dial: d.Dialer.DialContext, CAs: cas, UserAgent: "Hearth/" + d.Version, Now: d.Now,
	})
	s.keys = keys.New(keys.Options{
		Own: d.Key, Client: peers.Only{Transport: s.client, Servers: d.Servers}, DB: s.db, Notaries: d.NotaryServers, Banned: d.BannedKeys, Log: d.Log, Now: d.Now,
	})
	s.health, err = health.Open(ctx, health.Options{DB: s.db, Log: d.Log, Now: d.Now, First: d.RetryFirst, Longest: d.RetryLongest})
	if err != nil {
		return nil, errors.Join(err, s.db.Close())
	}
	s.gate = gate.New(gate.Options{Classes: limits(), Rate: requestRate, Burst: requestBurst, Now: d.Now})
	s.inbound = inbound.New(inbound.Deps{
		Bus: d.Bus, ServerName: d.ServerName, Ring: s.keys, DB: s.db, Log: d.Log, Now: d.Now,
	})
	ask := &peers.Client{Transport: s.client, Health: s.health, Servers: d.Servers}
	calls := &remote{name: d.ServerName, ask: ask, ring: s.keys, log: d.Log, spoolDir: d.DataDir}
	s.queues, err = outbound.New(ctx, outbound.Options{
		Bus: d.Bus, ServerName: d.ServerName, DB: s.db, Ask: ask, Log: d.Log, Metrics: d.Metrics, Now: d.Now,
	})
	if err != nil {
		return nil, errors.Join(err, s.db.Close())
	}
	err = errors.Join(
		calls.handle(d.Bus),
		bus.Handle(d.Bus, remoteapi.QueueEDU, s.queues.QueueEDU),
		bus.Handle(d.Bus, remoteapi.Destinations, s.queues.Destinations),
		bus.Handle(d.Bus, remoteapi.Retry, s.queues.Retry),
	)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("federationapi: register calls: %w", err), s.db.Close())
	}
	return s, nil
}

// authorities reads a file of certificates; nil stands for those of the system.
func authorities(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("certificate authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("certificate authorities: %s holds no certificate in PEM", file)
	}
	return pool, nil
}

// Handler serves /_matrix/federation and /_matrix/key.
func (s *Server) Handler() http.Handler { return s.mux }

// Lost is closed when another process took the database over.
func (s *Server) Lost() <-chan struct{} { return s.db.Lost() }

// Run works until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var work sync.WaitGroup
	var failed error
	work.Go(func() { s.health.Run(ctx) })
	work.Go(func() { s.followRules(ctx, s.deps.Servers.Live) })
	work.Go(func() { s.inbound.Run(ctx) })
	work.Go(func() { s.keys.Run(ctx) })
	work.Go(func() {
		failed = s.queues.Run(ctx)
		cancel()
	})
	work.Wait()
	return failed
}

// Close releases what New took.
func (s *Server) Close() error {
	s.inbound.Close()
	s.client.Close()
	return s.db.Close()
}
