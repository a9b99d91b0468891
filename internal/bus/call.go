package bus

import (
	"context"
	"fmt"
	"time"

	"hearth/internal/merr"
)

// defaultTimeout bounds a call whose context has no deadline.
const defaultTimeout = 30 * time.Second

// Call is the name and the types of a request with one answer. It is declared as a
// value in the contract of the component that answers.
type Call[Req, Resp any] struct {
	// Subject names the call, such as "roomserver.send".
	Subject string
	// Timeout bounds a call whose context has no deadline; 0 means 30 s.
	Timeout time.Duration
	// Limit bounds the handlers that run at once in one process; 0 means 1,024.
	Limit int
}

// Do calls the handler and returns its answer, never nil without an error. Every
// error is a *merr.Error: the handler's, 503 if nobody answers or the other side
// died, 503 with a retry time if it is busy, 504 if the time is over, 413 if the
// request is larger than a message. After 503 or 504 the handler may have done its
// work all the same. A handler in this process (with Options.Local) is called on
// the caller's goroutine; its ctx is the caller's.
func (c Call[Req, Resp]) Do(ctx context.Context, b *Bus, req *Req) (*Resp, error) {
	start := b.metrics.start()
	resp, err := c.do(ctx, b, req)
	b.metrics.called(c.Subject, start, err)
	if err != nil {
		return nil, err
	}
	return resp, nil
}

func (c Call[Req, Resp]) do(ctx context.Context, b *Bus, req *Req) (*Resp, *merr.Error) {
	if ctx.Err() != nil {
		return nil, ended(ctx)
	}
	if b.closed.Load() {
		return nil, merr.Unavailable("The server is shutting down")
	}
	if req == nil {
		req = new(Req)
	}
	ctx, cancel := bounded(ctx, c.Timeout, defaultTimeout)
	defer cancel()
	if e := b.local(c.Subject); e != nil {
		return callLocal[Req, Resp](ctx, e, req)
	}
	buf, failed := encodeRequest(ctx, b, c.Subject, req)
	if failed != nil {
		return nil, failed
	}
	data, failed := b.exchange(ctx, c.Subject, buf.b)
	buf.release()
	if failed != nil {
		return nil, failed
	}
	resp, err := parseValue[Resp](data)
	if err != nil {
		return nil, merr.Internal(fmt.Errorf("answer of %s: %w", c.Subject, err))
	}
	return resp, nil
}

// local returns the handler of this process for subject, if it may be called
// directly.
func (b *Bus) local(subject string) *endpoint {
	if !b.opts.Local {
		return nil
	}
	e, ok := b.endpoints.Load(subject)
	if !ok {
		return nil
	}
	return e.(*endpoint)
}

func callLocal[Req, Resp any](ctx context.Context, e *endpoint, req *Req) (resp *Resp, failed *merr.Error) {
	h, ok := e.direct.(func(context.Context, *Req) (*Resp, error))
	if !ok {
		return nil, merr.Internal(fmt.Errorf("%s has a handler of type %T", e.subject, e.direct))
	}
	if !e.enter() {
		return nil, merr.Busy(busyRetry)
	}
	defer func() {
		if p := recover(); p != nil {
			resp, failed = nil, recovered(e.bus.log, e.subject, p)
		}
		e.leave()
	}()
	resp, err := h(ctx, req)
	if err != nil {
		return nil, shown(ctx, err)
	}
	if resp == nil {
		resp = new(Resp)
	}
	return resp, nil
}

// Handle makes h the handler of c in this process; other processes that handle it
// too share the requests. h runs on many goroutines at a time, at most 1,024; its
// ctx ends when the caller gives up, dies or runs out of time. An error that is not
// a *merr.Error becomes 500, a panic too; nil without an error is an empty answer.
// It fails if this process handles the subject already.
func Handle[Req, Resp any](b *Bus, c Call[Req, Resp], h func(context.Context, *Req) (*Resp, error)) error {
	e := &endpoint{bus: b, subject: c.Subject, direct: h, limit: b.atOnce(c.Limit)}
	e.serve = func(ctx context.Context, f *flight, body []byte) {
		req, err := parseValue[Req](body)
		if err != nil {
			e.fail(ctx, f, err)
			return
		}
		resp, err := h(ctx, req)
		if err != nil {
			e.fail(ctx, f, err)
			return
		}
		if resp == nil {
			resp = new(Resp)
		}
		buf := b.buffer()
		defer buf.release()
		if buf.b, err = appendValue(append(buf.b, kindOK), resp); err != nil {
			e.fail(ctx, f, err)
			return
		}
		if n, limit := len(buf.b), b.limit(); n > limit {
			e.fail(ctx, f, fmt.Errorf("answer has %d bytes, at most %d can be sent", n, limit))
			return
		}
		b.answer(f.reply, buf.b)
	}
	return b.register(e)
}
