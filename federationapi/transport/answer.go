package transport

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	"M_FORBIDDEN", "M_NOT_FOUND", "M_BAD_STATE", "M_INVALID_PARAM", "M_MISSING_PARAM", "M_TOO_LARGE",
	"M_UNSUPPORTED_ROOM_VERSION", "M_INCOMPATIBLE_ROOM_VERSION", "M_UNABLE_TO_AUTHORISE_JOIN",
	"M_UNABLE_TO_GRANT_JOIN", "M_LIMIT_EXCEEDED", "M_NOT_YET_UPLOADED",
}

// read reads an answer up to a limit.
func read(resp *http.Response, limit int64) (int, json.RawMessage, error) {
	if limit == 0 {
		limit = usualAnswer
	}
	failed := resp.StatusCode < 200 || resp.StatusCode > 299
	if failed {
		limit = maxErrorBody
	}
	body, err := readBody(resp, min(limit, pdu.MaxJSON))
	var object []byte
	if err == nil {
		object, err = pdu.Canonical(body, false)
	}
	if failed {
		return resp.StatusCode, nil, peerError(resp.StatusCode, object)
	}
	if err != nil {
		return resp.StatusCode, nil, malformed(err)
	}
	return resp.StatusCode, object, nil
}

func readBody(resp *http.Response, limit int64) ([]byte, error) {
	// None was asked for, and what it unpacks to has no bound.
	if coding := resp.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return nil, fmt.Errorf("the answer is encoded as %.40q", coding)
	}
	if resp.ContentLength > limit {
		return nil, errTooLarge
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err == nil && int64(len(body)) > limit {
		err = errTooLarge
	}
	return body, err
}

var errTooLarge = errors.New("the answer is too large")

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

// unreachable is the error for a server that did not answer.
func unreachable(err error) error {
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
