package bus

import (
	"context"
	"fmt"
	"time"

	"hearth/internal/merr"
)

// Subjects. Every one starts with hearth, so that a NATS account can be limited to
// hearth.>; two deployments on one NATS need an account each.
const (
	callSubject   = "hearth.call."  // + Call.Subject or Stream.Subject: requests
	replyPrefix   = "hearth.re."    // + bus id + "." + number: answers
	ackPrefix     = "hearth.ack."   // + bus id + "." + number: to a running handler
	cancelSubject = "hearth.cancel" // the payload is the reply subject of the request
	logSubject    = "hearth.log."   // + Log.Name: entries, doorbells, heads
	topicSubject  = "hearth.topic." // + Topic.Subject
)

// Kinds of answers; the first byte of each message on a reply subject.
const (
	kindOK    = 1 // the answer of a call
	kindError = 2 // a merr.Error as JSON; the end
	kindBeat  = 3 // the handler still runs
	kindChunk = 4 // number (from 1), bytes
	kindEnd   = 5 // the number of chunks; the end
)

// requestVersion is the first byte of a request.
const requestVersion = 1

// request is the head of every request. It holds the time that is left, not a
// moment: clocks of two machines differ and jump.
type request struct {
	timeout time.Duration
	trace   string
}

func (r request) append(buf []byte) []byte {
	e := NewEncoder(append(buf, requestVersion))
	e.Uint(uint64(max(r.timeout, 0).Microseconds()))
	e.String(r.trace)
	return e.Buffer()
}

// parseRequest returns the head and the body of a request.
func parseRequest(data []byte) (request, []byte, error) {
	if len(data) == 0 || data[0] != requestVersion {
		return request{}, nil, ErrWire
	}
	d := NewDecoder(data[1:])
	micros := d.Uint()
	trace := d.String()
	if err := d.Err(); err != nil {
		return request{}, nil, err
	}
	const day = 24 * time.Hour
	if micros > uint64(day.Microseconds()) {
		micros = uint64(day.Microseconds())
	}
	if len(trace) > maxTrace {
		trace = trace[:maxTrace]
	}
	return request{timeout: time.Duration(micros) * time.Microsecond, trace: trace}, d.Rest(), nil
}

// encodeRequest writes head and body of a request for subject into a buffer that
// the caller releases.
func encodeRequest[Req any](ctx context.Context, b *Bus, subject string, req *Req) (*buffer, *merr.Error) {
	deadline, _ := ctx.Deadline()
	buf := b.buffer()
	buf.b = request{timeout: time.Until(deadline), trace: Trace(ctx)}.append(buf.b)
	var err error
	if buf.b, err = appendValue(buf.b, req); err != nil {
		buf.release()
		return nil, merr.Internal(fmt.Errorf("bus: request to %s: %w", subject, err))
	}
	if n, limit := len(buf.b), b.limit(); n > limit {
		buf.release()
		return nil, merr.TooLarge("The request is too large").
			WithCause(fmt.Errorf("bus: request to %s has %d bytes, at most %d can be sent", subject, n, limit))
	}
	return buf, nil
}

// bounded gives ctx a deadline if it has none.
func bounded(ctx context.Context, d, otherwise time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	if d <= 0 {
		d = otherwise
	}
	return context.WithTimeout(ctx, d)
}
