package transport

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"hearth/internal/merr"
	"hearth/internal/pdu"
)

const (
	maxErrorBody  = 64 << 10 // bytes
	maxErrorText  = 200      // bytes
	maxRetryAfter = time.Hour
)

// PeerError is the answer of another server that is not 2xx.
type PeerError struct {
	Status int
	// Code is the errcode, "" if there is none. It comes from the other server.
	Code string
}

// Error returns the status and the code, quoted.
func (e *PeerError) Error() string { return fmt.Sprintf("the server answered %d %q", e.Status, e.Code) }

// passed are the errcodes that mean the same for our client as for us. None of them is
// about tokens, sessions or accounts: clients end sessions for those.
var passed = []string{
	"M_INVITE_BLOCKED", "M_FORBIDDEN", "M_NOT_FOUND", "M_BAD_STATE", "M_INVALID_PARAM", "M_MISSING_PARAM", "M_TOO_LARGE",
	"M_UNSUPPORTED_ROOM_VERSION", "M_INCOMPATIBLE_ROOM_VERSION", "M_UNABLE_TO_AUTHORISE_JOIN",
	"M_UNABLE_TO_GRANT_JOIN", "M_LIMIT_EXCEEDED", "M_NOT_YET_UPLOADED",
}

var errTooLarge = errors.New("the answer is too large")

// NoAnswer is the cause of the error for a server that was not found, cannot be
// connected to, or did not answer in time, though whoever asked was still waiting.
type NoAnswer struct{ Err error }

// Error says what happened.
func (e *NoAnswer) Error() string { return "no answer: " + e.Err.Error() }

// Unwrap returns what happened.
func (e *NoAnswer) Unwrap() error { return e.Err }

// StatusOf is the status with which another server answered, 0 if it did not.
func StatusOf(err error) int {
	var peer *PeerError
	if errors.As(err, &peer) {
		return peer.Status
	}
	return 0
}

// Unrecognized reports whether an error says that the other server does not have the
// endpoint (server-server API, "Unsupported endpoints").
func Unrecognized(err error) bool {
	var peer *PeerError
	if !errors.As(err, &peer) {
		return false
	}
	switch peer.Status {
	case http.StatusNotFound:
		return peer.Code == "M_UNRECOGNIZED" || peer.Code == ""
	case http.StatusMethodNotAllowed:
		return true
	case http.StatusBadRequest:
		return peer.Code == "M_UNRECOGNIZED"
	}
	return false
}

// peerError is the error for an answer; object is its body, nil if that is no JSON.
func peerError(status int, object []byte) *merr.Error {
	code, _ := pdu.GetString(object, "errcode")
	if len(code) > 64 {
		code = ""
	}
	cause := &PeerError{Status: status, Code: code}
	if status < 400 || status > 499 || status == http.StatusUnauthorized || !slices.Contains(passed, code) {
		e := merr.New(http.StatusBadGateway, "M_UNKNOWN", "The other server refused the request")
		e.Temporary = status >= 500 || status == http.StatusTooManyRequests
		return e.WithCause(cause)
	}
	text, _ := pdu.GetString(object, "error")
	e := merr.New(status, code, "The other server refused the request: %s", plain(text))
	if code == "M_INCOMPATIBLE_ROOM_VERSION" {
		if version, ok := pdu.GetString(object, "room_version"); ok && len(version) <= 32 {
			e = e.With("room_version", version)
		}
	}
	if code == "M_LIMIT_EXCEEDED" {
		e.Temporary = true
		wait, _ := pdu.GetInt(object, "retry_after_ms")
		e.RetryAfter = time.Duration(min(max(wait, 0), maxRetryAfter.Milliseconds())) * time.Millisecond
	}
	return e.WithCause(cause)
}

// plain makes a foreign text fit to be shown: short and without control characters.
func plain(s string) string {
	if len(s) > maxErrorText {
		s = strings.ToValidUTF8(s[:maxErrorText], "")
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

// unreachable is the error for a server that did not answer somebody who waits with ctx.
func unreachable(ctx context.Context, err error) error {
	var known *merr.Error
	if errors.As(err, &known) {
		return known
	}
	if ctx.Err() == nil {
		err = &NoAnswer{err}
	}
	return waited(err)
}

// waited is the error for a request that was not answered, whoever is to blame.
func waited(err error) error {
	var known *merr.Error
	if errors.As(err, &known) {
		return known
	}
	e := merr.New(http.StatusBadGateway, "M_UNKNOWN", "The other server cannot be reached").WithCause(err)
	e.Temporary = true
	return e
}

// malformed is the error for an answer that is not one.
func malformed(err error) error {
	e := merr.New(http.StatusBadGateway, "M_UNKNOWN", "The other server gave an answer that is not valid").WithCause(err)
	e.Temporary = true
	return e
}
