package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/sirupsen/logrus"

	"hearth/internal/merr"
)

const busyRetry = time.Second

// timeout is the error of a call whose answer did not come in time.
func timeout() *merr.Error {
	e := merr.New(http.StatusGatewayTimeout, "M_UNAVAILABLE", "The server took too long to answer, try again")
	e.Temporary = true
	return e.WithCause(context.DeadlineExceeded)
}

// canceled is the error of a call that its caller gave up.
func canceled() *merr.Error {
	return merr.Unavailable("The request was canceled").WithCause(context.Canceled)
}

// ended translates the end of ctx.
func ended(ctx context.Context) *merr.Error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return timeout()
	}
	return canceled()
}

// shown makes a *merr.Error of what a handler returned: an error that comes from
// the end of its context is no internal error.
func shown(ctx context.Context, err error) *merr.Error {
	var e *merr.Error
	if errors.As(err, &e) {
		return merr.From(err)
	}
	if ctx.Err() != nil && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
		return ended(ctx)
	}
	return merr.Internal(err)
}

// recovered makes an error of a handler's panic and logs where it was.
func recovered(log *logrus.Entry, subject string, p any) *merr.Error {
	log.WithFields(logrus.Fields{"subject": subject, "stack": string(debug.Stack())}).
		Errorf("bus: handler panicked: %v", p)
	return merr.Internal(fmt.Errorf("panic in the handler of %s: %v", subject, p))
}

func encodeError(buf []byte, e *merr.Error) []byte {
	data, err := json.Marshal(e)
	if err != nil { // Extra held something that is not JSON.
		plain := *e
		plain.Extra = nil
		if data, err = json.Marshal(&plain); err != nil {
			data = []byte(`{}`)
		}
	}
	return append(buf, data...)
}

func decodeError(data []byte) *merr.Error {
	e := new(merr.Error)
	if err := json.Unmarshal(data, e); err != nil {
		return merr.Internal(fmt.Errorf("bus: malformed error: %w", err))
	}
	if e.Status < 400 || e.Status > 599 || e.Code == "" {
		return merr.Internal(fmt.Errorf("bus: error with status %d and code %q", e.Status, e.Code))
	}
	if e.Status == http.StatusGatewayTimeout { // the handler's clock may be the first
		return e.WithCause(context.DeadlineExceeded)
	}
	return e
}

func noResponders(subject string) *merr.Error {
	return merr.Unavailable("A part of the server is not available, try again").
		WithCause(fmt.Errorf("nothing answers on %s", subject))
}

func silent(subject string) *merr.Error {
	return merr.Unavailable("A part of the server stopped answering, try again").
		WithCause(fmt.Errorf("no sign of life from the handler of %s", subject))
}
