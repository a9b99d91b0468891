package transport

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"hearth/internal/merr"
	"hearth/internal/pdu"
)

// idleBody is how long an answer may usually pause.
const idleBody = 30 * time.Second

// Answer is the answer to a request. Its owner reads it on one goroutine and closes it.
type Answer struct {
	Status int
	Header http.Header
	// Size is the length that was announced, in bytes; -1: none.
	Size int64

	body  io.ReadCloser
	limit int64
	left  int64
	pause time.Duration
	idle  *time.Timer // ends the request
	close func()
}

// newAnswer wraps an answer that may pause for a time; stop ends the request, done is called once at
// the end.
func newAnswer(resp *http.Response, limit int64, pause time.Duration, done, stop func()) *Answer {
	if limit == 0 {
		limit = usualAnswer
	}
	a := &Answer{
		Status: resp.StatusCode, Header: resp.Header, Size: resp.ContentLength,
		body: resp.Body, limit: limit, left: limit, pause: pause, idle: time.AfterFunc(pause, stop), close: sync.OnceFunc(done),
	}
	a.idle.Stop()
	return a
}

// Read reads the body. Errors are *merr.Error, but for io.EOF; 502 M_UNKNOWN if the body is larger
// than was allowed, pauses for too long, breaks off, or is encoded.
func (a *Answer) Read(p []byte) (int, error) {
	// No encoding was asked for, and what it unpacks to has no bound.
	if coding := a.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return 0, malformed(fmt.Errorf("the answer is encoded as %.40q", coding))
	}
	if a.Size > a.limit || a.left < 0 {
		return 0, malformed(errTooLarge)
	}
	if int64(len(p)) > a.left+1 {
		p = p[:a.left+1]
	}
	a.idle.Reset(a.pause)
	n, err := a.body.Read(p)
	a.idle.Stop()
	a.left -= int64(n)
	switch {
	case a.left < 0:
		return 0, malformed(errTooLarge)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return n, waited(err)
	case err != nil && err != io.EOF:
		return n, malformed(err)
	}
	return n, err
}

// Close ends the request.
func (a *Answer) Close() {
	_ = a.body.Close() // whatever comes after is not wanted
	a.close()
}

// bytes reads the body whole.
func (a *Answer) bytes() ([]byte, error) {
	a.limit = min(a.limit, pdu.MaxJSON)
	a.left = min(a.left, pdu.MaxJSON)
	return io.ReadAll(a)
}

// Object reads the body whole: a JSON object, canonical.
func (a *Answer) Object() (json.RawMessage, error) {
	body, err := a.bytes()
	if err != nil {
		return nil, err
	}
	object, err := pdu.Canonical(body, false)
	if err != nil {
		return nil, malformed(err)
	}
	return object, nil
}

// Array reads the body whole: a JSON array, whose elements are canonical.
func (a *Answer) Array() ([]json.RawMessage, error) {
	body, err := a.bytes()
	if err != nil {
		return nil, err
	}
	object, err := pdu.Canonical(append(append([]byte(`{"a":`), body...), '}'), false)
	if err != nil {
		return nil, malformed(err)
	}
	array, _ := pdu.Get(object, "a")
	var out []json.RawMessage
	if !pdu.Elements(array, func(val []byte) bool { out = append(out, val); return true }) || len(object) != len(array)+len(`{"a":}`) {
		return nil, malformed(errors.New("the answer is no array"))
	}
	return out, nil
}

// refusal is the error for an answer that is not 2xx.
func (a *Answer) refusal() *merr.Error {
	a.limit, a.left = maxErrorBody, maxErrorBody
	object, err := a.Object()
	if err != nil {
		object = nil
	}
	return peerError(a.Status, object)
}

// Malformed is the error for an answer of another server that is not what its endpoint
// gives: 502 M_UNKNOWN.
func Malformed(format string, args ...any) error { return malformed(fmt.Errorf(format, args...)) }
