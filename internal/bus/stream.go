package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"hearth/internal/merr"
)

// defaultStreamTimeout bounds a stream whose context has no deadline.
const defaultStreamTimeout = 10 * time.Minute

// Stream is the name and the request type of a request that is answered with bytes
// of any total size. The sender waits for the receiver, so neither keeps more than
// a few chunks.
type Stream[Req any] struct {
	// Subject names the stream; calls and streams share one name space.
	Subject string
	// Timeout bounds a stream whose context has no deadline, from its start to its
	// end; 0 means 10 min.
	Timeout time.Duration
	// Limit bounds the handlers that run at once in one process; 0 means 1,024.
	Limit int
}

// Do calls the handler and gives its chunks to recv, in order, on the caller's
// goroutine; a chunk is valid during recv only. It returns nil only if all chunks
// came. An error may come after chunks. An error of recv ends the stream and is
// returned as it is; all others are as with Call.Do.
func (s Stream[Req]) Do(ctx context.Context, b *Bus, req *Req, recv func(chunk []byte) error) error {
	start := b.metrics.start()
	var own error // recv's
	failed := s.do(ctx, b, req, func(chunk []byte) error {
		own = recv(chunk)
		return own
	})
	b.metrics.called(s.Subject, start, failed)
	switch {
	case own != nil:
		return own
	case failed != nil:
		return failed
	}
	return nil
}

func (s Stream[Req]) do(ctx context.Context, b *Bus, req *Req, recv func([]byte) error) *merr.Error {
	if ctx.Err() != nil {
		return ended(ctx)
	}
	if b.closed.Load() {
		return merr.Unavailable("The server is shutting down")
	}
	if req == nil {
		req = new(Req)
	}
	ctx, cancel := bounded(ctx, s.Timeout, defaultStreamTimeout)
	defer cancel()
	if e := b.local(s.Subject); e != nil {
		return streamLocal(ctx, e, req, recv)
	}
	buf, failed := encodeRequest(ctx, b, s.Subject, req)
	if failed != nil {
		return failed
	}
	n, p := b.calls.add(s.Subject, b.tune.window+2)
	defer b.calls.remove(n)
	failed = b.send(p, buf.b)
	buf.release()
	if failed != nil {
		return failed
	}
	failed, over := b.consume(ctx, p, recv)
	if !over {
		b.cancelRemote(p)
	}
	return failed
}

// consume receives the chunks of p; over says that the handler has ended too.
func (b *Bus) consume(ctx context.Context, p *pending, recv func([]byte) error) (failed *merr.Error, over bool) {
	lost := func() *merr.Error {
		return merr.Unavailable("A part of the answer was lost, try again").
			WithCause(fmt.Errorf("stream %s lost a chunk", p.subject))
	}
	for count := uint64(0); ; {
		var o outcome
		select {
		case o = <-p.ch:
		case <-ctx.Done():
			return ended(ctx), false
		}
		if o.err != nil {
			return o.err, false
		}
		d := NewDecoder(o.data)
		switch o.kind {
		case kindError:
			return decodeError(o.data), true
		case kindEnd:
			if d.Uint() != count || d.Done() != nil {
				return lost(), true
			}
			return nil, true
		case kindChunk:
			number := d.Uint()
			if number <= count && d.Err() == nil {
				continue // repeated
			}
			if number != count+1 {
				return lost(), false
			}
			count++
			if err := recv(d.Rest()); err != nil {
				return merr.From(err), false
			}
			b.calls.consumed(p, count)
			b.ack(o.ack, count)
		default:
			return merr.Internal(fmt.Errorf("%s answers a stream with kind %d", p.subject, o.kind)), false
		}
	}
}

// streamLocal runs the handler on the caller's goroutine. Chunks have the same
// bounds as over NATS.
func streamLocal[Req any](ctx context.Context, e *endpoint, req *Req, recv func([]byte) error) (failed *merr.Error) {
	h, ok := e.direct.(func(context.Context, *Req, func([]byte) error) error)
	if !ok {
		return merr.Internal(fmt.Errorf("%s has a handler of type %T", e.subject, e.direct))
	}
	if !e.enter() {
		return merr.Busy(busyRetry)
	}
	defer func() {
		if p := recover(); p != nil {
			failed = recovered(e.bus.log, e.subject, p)
		}
		e.leave()
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var broken error
	err := h(ctx, req, func(data []byte) error {
		if broken == nil {
			broken = split(data, e.bus.tune.chunk, func(chunk []byte) error {
				if ctx.Err() != nil {
					return ended(ctx)
				}
				return recv(chunk)
			})
		}
		if broken != nil {
			cancel()
		}
		return broken
	})
	if err = cmp.Or(err, broken); err != nil {
		return shown(ctx, err)
	}
	return nil
}

// split calls f for parts of data of at most n bytes; for empty data not at all.
func split(data []byte, n int, f func([]byte) error) error {
	for len(data) > 0 {
		part := data[:min(n, len(data))]
		data = data[len(part):]
		if err := f(part); err != nil {
			return err
		}
	}
	return nil
}

// HandleStream makes h the handler of s in this process, as Handle does for calls.
// h calls send from one goroutine at a time; send keeps nothing of chunk, cuts what
// is larger than 256 KiB, skips what is empty, and waits while 8 chunks are not
// consumed yet. It fails when the receiver has gone or the time is over; h then
// returns that error.
func HandleStream[Req any](b *Bus, s Stream[Req], h func(ctx context.Context, req *Req, send func(chunk []byte) error) error) error {
	e := &endpoint{bus: b, subject: s.Subject, direct: h, limit: b.atOnce(s.Limit)}
	e.serve = func(ctx context.Context, f *flight, body []byte) {
		req, err := parseValue[Req](body)
		if err != nil {
			e.fail(ctx, f, err)
			return
		}
		out := sender{bus: b, flight: f}
		err = h(ctx, req, func(chunk []byte) error { return out.send(ctx, chunk) })
		if err = cmp.Or(err, out.broken); err != nil {
			e.fail(ctx, f, err)
			return
		}
		end := NewEncoder([]byte{kindEnd})
		end.Uint(out.sent)
		b.answer(f.reply, end.Buffer())
	}
	return b.register(e)
}

// sender is the producer's side of a stream.
type sender struct {
	bus    *Bus
	flight *flight
	sent   uint64
	broken error // sticky: after a lost chunk the stream must not look complete
}

// chunkRoom is what a chunk's head and the protocol need of a message, in bytes.
const chunkRoom = 64

func (s *sender) send(ctx context.Context, data []byte) error {
	if s.broken != nil {
		return s.broken
	}
	size := min(s.bus.tune.chunk, max(s.bus.limit()-chunkRoom, 1))
	s.broken = split(data, size, func(chunk []byte) error { return s.sendChunk(ctx, chunk) })
	return s.broken
}

func (s *sender) sendChunk(ctx context.Context, chunk []byte) error {
	f := s.flight
	for s.sent-min(f.acked.Load(), s.sent) >= uint64(s.bus.tune.window) {
		select {
		case <-f.wake:
		case <-ctx.Done():
			return ended(ctx)
		}
	}
	if ctx.Err() != nil {
		return ended(ctx)
	}
	s.sent++
	buf := s.bus.buffer()
	defer buf.release()
	e := NewEncoder(append(buf.b, kindChunk))
	e.Uint(s.sent)
	buf.b = append(e.Buffer(), chunk...)
	if err := s.bus.publish(f.reply, f.ack, buf.b); err != nil {
		return merr.Unavailable("The receiver cannot be reached").WithCause(err)
	}
	return nil
}

func errStreamed(subject string) error {
	return errors.New("a call was answered by a stream: " + subject)
}
