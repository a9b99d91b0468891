package matrixhttp

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"hearth/internal/merr"
	"hearth/internal/pdu"
)

// maxParams bounds the parameters of a path.
const maxParams = 6

// bodyTimeout is how long a client may take to send a body.
const bodyTimeout = 30 * time.Second

// firstBuffer is for how much of an announced body there is memory before it comes.
const firstBuffer = 64 << 10

// Identity is who sent a request: a user with a device, or a server.
type Identity struct {
	UserID, DeviceID string
	Admin, Guest     bool
	// Role is what the user may do with the admin API.
	Role string
	// Suspended and ShadowBanned users may not do everything, the latter without being told.
	Suspended, ShadowBanned bool
	// Service is the id of the application service that asks on behalf of the user.
	Service string
	// Server is set on federation requests.
	Server string
}

// Request is a request on its way through a handler.
type Request struct {
	HTTP     *http.Request
	Identity Identity
	// Time is when the request arrived.
	Time time.Time

	ctx    context.Context
	w      http.ResponseWriter
	route  *route
	values []string // of the path's parameters
	store  [maxParams]string
	body   []byte
	read   bool
	object json.RawMessage // the body in canonical form; nil: not made yet
	after  []func()
}

// Answered calls f when the answer was handed to the network, or could not be.
func (r *Request) Answered(f func()) { r.after = append(r.after, f) }

// Context ends when the client goes away; it carries the trace id for the bus.
func (r *Request) Context() context.Context { return r.ctx }

// Route returns the pattern of the route that matched, of alternatives the last.
func (r *Request) Route() string { return r.route.label }

// Param returns a parameter of the path, decoded once.
func (r *Request) Param(name string) string {
	for i, n := range r.route.params {
		if n == name && i < len(r.values) {
			return r.values[i]
		}
	}
	return ""
}

// Bytes returns the body as it came, at most as long as the route allows; an
// empty one is {} if the route says so.
func (r *Request) Bytes() ([]byte, error) {
	if r.read {
		return r.body, nil
	}
	limit := r.route.Body.Max
	if r.HTTP.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	control := http.NewResponseController(r.w)
	deadline := control.SetReadDeadline(time.Now().Add(bodyTimeout)) == nil
	body, err := readAll(r.HTTP.Body, r.HTTP.ContentLength, limit)
	if err != nil {
		return nil, err
	}
	if deadline { // a handler that waits must not lose the connection
		_ = control.SetReadDeadline(time.Time{})
	}
	if len(body) == 0 && r.route.Body.MayBeEmpty {
		body = []byte("{}")
	}
	r.body, r.read = body, true
	return body, nil
}

func readAll(src io.Reader, length, limit int64) ([]byte, error) {
	if src == nil {
		return nil, nil
	}
	size := min(max(length, 0)+1, limit+1, firstBuffer)
	if length < 0 {
		size = min(512, limit+1)
	}
	buf := make([]byte, 0, size)
	for {
		n, err := src.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if int64(len(buf)) > limit {
			return nil, tooLarge(limit)
		}
		if errors.Is(err, io.EOF) {
			return buf, nil
		}
		if err != nil {
			return nil, merr.New(http.StatusBadRequest, "M_UNKNOWN", "The request body could not be read").WithCause(err)
		}
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
	}
}

func tooLarge(limit int64) error {
	return merr.TooLarge("The request body is larger than %d bytes", limit)
}

// RawObject returns the body after a check that it is a JSON object and no more.
// It is for content that its owner passes through the strict gate anyway.
func (r *Request) RawObject() (json.RawMessage, error) {
	body, err := r.Bytes()
	if err != nil {
		return nil, err
	}
	if !json.Valid(body) {
		return nil, merr.NotJSON("The request body is not valid JSON")
	}
	for _, c := range body {
		switch c {
		case ' ', '\t', '\n', '\r':
			continue
		case '{':
			return body, nil
		}
		break
	}
	return nil, merr.BadJSON("The request body must be a JSON object")
}

// Object returns the body as canonical JSON, after the strict gate (package pdu):
// one object, UTF-8, no key twice, bounded depth.
func (r *Request) Object() (json.RawMessage, error) {
	if r.object != nil {
		return r.object, nil
	}
	body, err := r.RawObject()
	if err != nil {
		return nil, err
	}
	return pdu.Canonical(body, false)
}

// SetObject gives the body its canonical form, which Object returns then: for an Auth
// that has had to make it.
func (r *Request) SetObject(canonical json.RawMessage) { r.object = canonical }
