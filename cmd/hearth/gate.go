package main

import (
	"log"
	"net/http"
	"sync/atomic"

	"github.com/sirupsen/logrus"

	"hearth/internal/merr"
)

// State of a process, as /health tells it.
type state int32

const (
	starting state = iota
	running
	stopping
)

func (s state) String() string {
	return [...]string{"starting", "ok", "stopping"}[s]
}

// gate stands before the handler of a listener: it answers /health, and 503 for
// everything else until the components run.
type gate struct {
	state   atomic.Int32
	handler http.Handler // set before state is running
}

func (g *gate) open(h http.Handler) {
	g.handler = h
	g.state.Store(int32(running))
}

func (g *gate) close() { g.state.CompareAndSwap(int32(running), int32(stopping)) }

// ServeHTTP serves a request. A request that arrives on an open connection while
// the server stops is still served.
func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := state(g.state.Load())
	switch {
	case r.URL.Path == "/health" && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		status := http.StatusOK
		if now != running {
			status = http.StatusServiceUnavailable
		}
		writeJSON(w, status, []byte(`{"status":"`+now.String()+`"}`))
	case now == starting:
		e := merr.Unavailable("The server is starting")
		writeJSON(w, e.Status, e.Body())
	default:
		g.handler.ServeHTTP(w, r)
	}
}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that went away needs no answer
}

func serverLog(entry *logrus.Entry) *log.Logger { return log.New(logWriter{entry}, "", 0) }
