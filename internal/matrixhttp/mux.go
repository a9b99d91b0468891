package matrixhttp

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"hearth/internal/bus"
	"hearth/internal/merr"
)

// DefaultMaxInFlight is the number of requests, long-polls among them, that a Mux
// serves at the same time unless Options say otherwise.
const DefaultMaxInFlight = 20_000

// Options say how to build a Mux.
type Options struct {
	Routes []Route
	// CORS lists path prefixes whose answers web pages of any origin may read
	// (client-server API, "Web Browser Clients"). OPTIONS below them is 204.
	CORS []string
	// MaxInFlight: more requests at the same time are 503. 0: DefaultMaxInFlight.
	MaxInFlight int
	// Log may be nil: no lines.
	Log *logrus.Entry
	// Metrics may be nil.
	Metrics *Metrics
	// Now may be nil: time.Now.
	Now func() time.Time
}

// Mux is an http.Handler for a table of routes.
type Mux struct {
	root     node
	cors     []string
	max      int64
	log      *logrus.Entry
	metrics  *Metrics
	now      func() time.Time
	inFlight atomic.Int64
	jsonType []string // shared value of a header; net/http only reads it
}

// New builds a Mux; a malformed or doubled route is an error.
func New(o Options) (*Mux, error) {
	m := &Mux{
		cors: o.CORS, max: int64(o.MaxInFlight), log: o.Log, metrics: o.Metrics, now: o.Now,
		jsonType: []string{"application/json"},
	}
	if m.max == 0 {
		m.max = DefaultMaxInFlight
	}
	if m.now == nil {
		m.now = time.Now
	}
	for _, r := range o.Routes {
		if err := m.root.add(r); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// ServeHTTP serves one request.
func (m *Mux) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	trace := newTrace()
	x := &exchange{mux: m, w: w}
	x.req = Request{HTTP: hr, w: w, Time: m.now(), ctx: bus.WithTrace(hr.Context(), trace)}
	defer m.finish(x, trace)
	busy := m.inFlight.Add(1) > m.max
	m.metrics.start()
	if m.allowOrigin(w, hr) {
		x.status = http.StatusNoContent
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if busy {
		x.fail(merr.Busy(time.Second))
		return
	}
	result, err := m.serve(x)
	x.render(result, err)
}

// allowOrigin writes the CORS headers and reports whether the request is a
// preflight, which they answer.
func (m *Mux) allowOrigin(w http.ResponseWriter, hr *http.Request) bool {
	if !slices.ContainsFunc(m.cors, func(prefix string) bool { return strings.HasPrefix(hr.URL.Path, prefix) }) {
		return false
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	if hr.Method != http.MethodOptions {
		return false
	}
	h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE, OPTIONS")
	h.Set("Access-Control-Allow-Headers", "X-Requested-With, Content-Type, Authorization")
	h.Set("Access-Control-Max-Age", "86400")
	return true
}

// serve finds the route and runs it.
func (m *Mux) serve(x *exchange) (any, error) {
	hr := x.req.HTTP
	var space [maxSegments]string
	segments, ok := split(hr.URL.EscapedPath(), space[:0])
	if !ok {
		return nil, merr.Unrecognized()
	}
	at, values := m.root.find(segments, x.req.store[:0])
	if at == nil {
		return nil, merr.Unrecognized()
	}
	r := at.methods[hr.Method]
	if r == nil {
		x.w.Header().Set("Allow", allowed(at))
		return nil, merr.New(http.StatusMethodNotAllowed, "M_UNRECOGNIZED", "Unrecognized method for this path")
	}
	x.req.route, x.req.values = r, values
	for _, v := range values {
		if !cleanText(v) {
			return nil, merr.InvalidParam("The path is not valid text")
		}
	}
	if r.Auth != nil {
		if err := r.Auth(&x.req); err != nil {
			return nil, err
		}
	}
	return r.Handle(&x.req)
}

func allowed(at *node) string {
	methods := make([]string, 0, len(at.methods))
	for method := range at.methods {
		methods = append(methods, method)
	}
	slices.Sort(methods)
	return strings.Join(methods, ", ")
}

// finish turns a panic into a 500 and reports on the request.
func (m *Mux) finish(x *exchange, trace string) {
	if p := recover(); p != nil {
		if p == http.ErrAbortHandler {
			x.aborted = true
		} else {
			x.fail(fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}
	x.answered()
	m.inFlight.Add(-1)
	took := m.now().Sub(x.req.Time)
	label, method := "unknown", "other"
	if x.req.route != nil {
		label, method = x.req.route.label, x.req.route.Method
	}
	m.metrics.done(label, method, x.status, took)
	m.line(x, label, method, trace, took)
	if x.aborted {
		panic(http.ErrAbortHandler) // net/http cuts the connection and logs nothing
	}
}

// line writes the log line of a request. It names the pattern of the path, never
// the path, whose parts may be private, nor the query string.
func (m *Mux) line(x *exchange, label, method, trace string, took time.Duration) {
	if m.log == nil {
		return
	}
	level := logrus.InfoLevel
	if x.status >= 500 || x.aborted {
		level = logrus.WarnLevel
	}
	if !m.log.Logger.IsLevelEnabled(level) {
		return
	}
	fields := make(logrus.Fields, 8)
	fields["method"], fields["route"], fields["status"] = method, label, x.status
	fields["ms"] = float64(took.Microseconds()) / 1000
	fields["trace"] = trace
	if id := x.req.Identity; id.UserID != "" {
		fields["user"] = id.UserID
	} else if id.Server != "" {
		fields["server"] = id.Server
	}
	var e *merr.Error
	switch {
	case x.err == nil:
	case x.req.ctx.Err() != nil:
		fields["cause"] = "the client went away"
		level = logrus.InfoLevel
	case level == logrus.WarnLevel:
		fields["cause"] = x.err.Error()
	case errors.As(x.err, &e):
		fields["errcode"] = e.Code
	}
	m.log.WithFields(fields).Log(level, "request")
}

// newTrace returns the id that joins the log lines of all components for a request.
func newTrace() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
