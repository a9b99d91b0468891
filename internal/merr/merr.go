// Package merr is the one error type that Hearth shows to clients and to other
// servers: a Matrix errcode, an HTTP status, a text that is safe to show, and a
// cause that only the log sees.
//
// An error crosses the bus as JSON. What is lost there is the cause: its text is
// for the log of the process in which it happened.
package merr

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Error is a Matrix standard error response (client-server API, "Standard error
// response").
type Error struct {
	// Code is the errcode, such as M_FORBIDDEN.
	Code string `json:"errcode"`
	// Message is the text for people. It never holds a secret, an address of
	// another user or the text of an internal error.
	Message string `json:"error"`
	// Status is the HTTP status.
	Status int `json:"status"`
	// Extra holds further members of the response body, such as soft_logout.
	Extra map[string]any `json:"extra,omitempty"`
	// Temporary says that the same request may succeed later.
	Temporary bool `json:"temporary,omitempty"`
	// RetryAfter is how long the caller should wait; zero if unknown.
	RetryAfter time.Duration `json:"retry_after,omitempty"`

	cause error
}

// Error returns the code, the text and the cause, for logs.
func (e *Error) Error() string {
	if e.cause != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code, e.Message, e.cause)
	}
	return e.Code + ": " + e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether target is a Matrix error with the same errcode, so that
// errors.Is(err, merr.NotFound("")) works across the bus.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// WithCause returns a copy of e that remembers what went wrong inside.
func (e *Error) WithCause(err error) *Error {
	c := *e
	c.cause = err
	return &c
}

// With returns a copy of e with one more member in the response body.
func (e *Error) With(key string, value any) *Error {
	c := *e
	c.Extra = make(map[string]any, len(e.Extra)+1)
	for k, v := range e.Extra {
		c.Extra[k] = v
	}
	c.Extra[key] = value
	return &c
}

// Body returns the JSON body of the response.
func (e *Error) Body() []byte {
	body := make(map[string]any, len(e.Extra)+3)
	for k, v := range e.Extra {
		body[k] = v
	}
	body["errcode"] = e.Code
	body["error"] = e.Message
	if e.RetryAfter > 0 {
		body["retry_after_ms"] = e.RetryAfter.Milliseconds()
	}
	out, err := json.Marshal(body)
	if err != nil { // Extra held something that is not JSON: a programmer's error.
		return []byte(`{"errcode":"M_UNKNOWN","error":"Internal server error"}`)
	}
	return out
}

// New returns a final error.
func New(status int, code, format string, args ...any) *Error {
	return &Error{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// From returns the Matrix error in err's chain. Any other error becomes a 500
// M_UNKNOWN that keeps err as its cause; nil stays nil.
func From(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		if e.cause == nil && error(e) != err {
			return e.WithCause(err)
		}
		return e
	}
	return Internal(err)
}

// Internal wraps an unexpected error: 500 M_UNKNOWN.
func Internal(err error) *Error {
	return New(http.StatusInternalServerError, "M_UNKNOWN", "Internal server error").WithCause(err)
}

// Busy says that a bounded queue is full: 503 M_LIMIT_EXCEEDED is not in the spec
// for overload of the server itself, so the code is M_UNAVAILABLE, temporary.
func Busy(retryAfter time.Duration) *Error {
	e := New(http.StatusServiceUnavailable, "M_UNAVAILABLE", "The server is busy, try again")
	e.Temporary, e.RetryAfter = true, retryAfter
	return e
}

// Unavailable says that the component that should answer cannot be reached now.
func Unavailable(format string, args ...any) *Error {
	e := New(http.StatusServiceUnavailable, "M_UNAVAILABLE", format, args...)
	e.Temporary = true
	return e
}

// LimitExceeded is 429 M_LIMIT_EXCEEDED.
func LimitExceeded(retryAfter time.Duration) *Error {
	e := New(http.StatusTooManyRequests, "M_LIMIT_EXCEEDED", "Too many requests")
	e.Temporary, e.RetryAfter = true, retryAfter
	return e
}

// Forbidden is 403 M_FORBIDDEN.
func Forbidden(format string, args ...any) *Error {
	return New(http.StatusForbidden, "M_FORBIDDEN", format, args...)
}

// NotFound is 404 M_NOT_FOUND.
func NotFound(format string, args ...any) *Error {
	return New(http.StatusNotFound, "M_NOT_FOUND", format, args...)
}

// Unrecognized is 404 M_UNRECOGNIZED, for a path that the server does not have.
func Unrecognized() *Error {
	return New(http.StatusNotFound, "M_UNRECOGNIZED", "Unrecognized request")
}

// BadJSON is 400 M_BAD_JSON: valid JSON, but not what the endpoint takes.
func BadJSON(format string, args ...any) *Error {
	return New(http.StatusBadRequest, "M_BAD_JSON", format, args...)
}

// NotJSON is 400 M_NOT_JSON.
func NotJSON(format string, args ...any) *Error {
	return New(http.StatusBadRequest, "M_NOT_JSON", format, args...)
}

// InvalidParam is 400 M_INVALID_PARAM.
func InvalidParam(format string, args ...any) *Error {
	return New(http.StatusBadRequest, "M_INVALID_PARAM", format, args...)
}

// MissingParam is 400 M_MISSING_PARAM.
func MissingParam(name string) *Error {
	return New(http.StatusBadRequest, "M_MISSING_PARAM", "Missing parameter %s", name)
}

// TooLarge is 413 M_TOO_LARGE.
func TooLarge(format string, args ...any) *Error {
	return New(http.StatusRequestEntityTooLarge, "M_TOO_LARGE", format, args...)
}

// MissingToken is 401 M_MISSING_TOKEN.
func MissingToken() *Error {
	return New(http.StatusUnauthorized, "M_MISSING_TOKEN", "Missing access token")
}

// UnknownToken is 401 M_UNKNOWN_TOKEN. softLogout tells the client that it may
// log in again and keep its encryption state (client-server API, "Soft logout").
func UnknownToken(softLogout bool) *Error {
	return New(http.StatusUnauthorized, "M_UNKNOWN_TOKEN", "Unknown or expired access token").
		With("soft_logout", softLogout)
}
