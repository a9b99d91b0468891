// Package natsserver runs NATS servers for tests: in the test's process, to stop and
// restart, or as a process of its own, to kill. Both listen on a loopback port that
// stays the same through restarts, and have no JetStream: everything that such a
// server knows is gone when it stops.
package natsserver

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// startTimeout is how long a server may take to listen.
const startTimeout = 10 * time.Second

// Server is a NATS server in the test's process. One goroutine controls it; URL may
// be called by all.
type Server struct {
	t    testing.TB
	port int
	srv  *server.Server // nil while stopped
}

// Start starts a server on a free port and stops it when the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{t: t}
	s.start()
	t.Cleanup(s.Stop)
	return s
}

// URL is where clients connect, the same after a restart.
func (s *Server) URL() string { return fmt.Sprintf("nats://127.0.0.1:%d", s.port) }

// Stop closes all connections and stops the server. A stopped server stays so.
func (s *Server) Stop() {
	if s.srv == nil {
		return
	}
	s.srv.Shutdown()
	s.srv.WaitForShutdown()
	s.srv = nil
}

// Restart stops the server if it runs and starts it on the same port.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	s.start()
}

func (s *Server) start() {
	s.t.Helper()
	srv, err := New(s.port)
	if err != nil {
		s.t.Fatal(err)
	}
	s.srv = srv
	if s.port == 0 { // never written again: URL may be called at any time
		s.port = Port(srv)
	}
}

// New starts a server on a port of 127.0.0.1, 0 for a free one, and waits until it
// listens.
func New(port int) (*server.Server, error) {
	if port == 0 {
		port = server.RANDOM_PORT
	}
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: port, NoSigs: true, NoLog: true, NoSystemAccount: true,
	})
	if err != nil {
		return nil, fmt.Errorf("NATS server: %w", err)
	}
	srv.Start()
	if !srv.ReadyForConnections(startTimeout) {
		srv.Shutdown()
		return nil, fmt.Errorf("NATS server does not listen on port %d", port)
	}
	return srv, nil
}
