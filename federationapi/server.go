// Package federationapi serves the server-server API and talks to other servers.
//
// What is here is what others need to recognise this server: its version and its
// signing key. routes.go is the table of endpoints.
package federationapi

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"

	"hearth/internal/bus"
	"hearth/internal/matrixhttp"
	"hearth/internal/pdu"
)

// Deps is what federationapi needs from the program.
type Deps struct {
	Bus        *bus.Bus
	ServerName string
	// Key signs the list of our keys.
	Key pdu.Signer
	// Version is told to other servers.
	Version string
	Log     *logrus.Entry
	Metrics prometheus.Registerer // may be nil
	Now     func() time.Time      // nil: time.Now
}

// Server is federationapi at work.
type Server struct {
	deps Deps
	mux  *matrixhttp.Mux
}

// New builds the component; Run must follow.
func New(_ context.Context, d Deps) (*Server, error) {
	if d.Now == nil {
		d.Now = time.Now
	}
	s := &Server{deps: d}
	metrics, err := matrixhttp.NewMetrics(d.Metrics)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	s.mux, err = matrixhttp.New(matrixhttp.Options{Routes: s.routes(), Log: d.Log, Metrics: metrics, Now: d.Now})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Handler serves /_matrix/federation and /_matrix/key.
func (s *Server) Handler() http.Handler { return s.mux }

// Run works until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Close releases what New took.
func (s *Server) Close() error { return nil }
