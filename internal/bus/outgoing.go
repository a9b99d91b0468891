package bus

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"hearth/internal/merr"
)

// outcome is one message for a waiting caller.
type outcome struct {
	kind byte
	data []byte
	ack  string      // where to acknowledge a chunk
	err  *merr.Error // not nil: the call failed without an answer
}

// pending is a call or stream that waits for messages. The table's lock guards all
// fields but ch.
type pending struct {
	subject string
	reply   string
	ch      chan outcome // never full: see callTable.push
	final   bool         // nothing more will be delivered
	heard   time.Time
	acked   uint64 // last chunk that was consumed
}

// callTable holds the calls of this process that wait for an answer.
type callTable struct {
	prefix string
	mu     sync.Mutex
	next   uint64
	m      map[uint64]*pending
}

func (t *callTable) init(id string) {
	t.prefix = replyPrefix + id + "."
	t.m = map[uint64]*pending{}
}

// add registers a call that expects at most n messages at a time.
func (t *callTable) add(subject string, n int) (uint64, *pending) {
	p := &pending{subject: subject, ch: make(chan outcome, n), heard: time.Now()}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next++
	p.reply = t.prefix + strconv.FormatUint(t.next, 36)
	t.m[t.next] = p
	return t.next, p
}

func (t *callTable) remove(n uint64) {
	t.mu.Lock()
	delete(t.m, n)
	t.mu.Unlock()
}

// push hands o to the caller. The last place of the channel is kept for the end; a
// chunk that finds no other was sent against the window and breaks the stream.
func (p *pending) push(o outcome) {
	if p.final {
		return
	}
	if o.kind == kindChunk && len(p.ch) >= cap(p.ch)-1 {
		o = outcome{err: silent(p.subject)}
	}
	p.final = o.kind != kindChunk
	p.ch <- o
}

func (t *callTable) failAll(err *merr.Error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.m {
		p.push(outcome{err: err})
	}
}

// failSilent fails the calls from whose handler nothing was heard for d.
func (t *callTable) failSilent(now time.Time, d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.m {
		if now.Sub(p.heard) > d {
			p.push(outcome{err: silent(p.subject)})
		}
	}
}

// consumed notes that the caller is done with chunk n.
func (t *callTable) consumed(p *pending, n uint64) {
	t.mu.Lock()
	p.acked = n
	t.mu.Unlock()
}

// onReply sorts the messages for this process's calls. It never blocks.
func (b *Bus) onReply(m *nats.Msg) {
	n, err := strconv.ParseUint(m.Subject[len(b.calls.prefix):], 36, 64)
	if err != nil {
		return
	}
	if beat, acked := b.calls.receive(n, m); beat && m.Reply != "" {
		b.ack(m.Reply, acked)
	}
}

// receive delivers m; true says that it was a sign of life, which wants an answer.
func (t *callTable) receive(n uint64, m *nats.Msg) (beat bool, acked uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.m[n]
	switch {
	case p == nil:
		return false, 0
	case unheard(m):
		p.push(outcome{err: noResponders(p.subject)})
		return false, 0
	case len(m.Data) == 0:
		return false, 0
	}
	p.heard = time.Now()
	switch kind := m.Data[0]; kind {
	case kindBeat:
		return true, p.acked
	case kindOK, kindError, kindChunk, kindEnd:
		p.push(outcome{kind: kind, data: m.Data[1:], ack: m.Reply})
	}
	return false, 0
}

// unheard reports whether m is the NATS server's word that nobody listens.
func unheard(m *nats.Msg) bool {
	return len(m.Data) == 0 && m.Header.Get("Status") == "503"
}

// ack tells a running handler that this side lives and has consumed n chunks. A
// lost ack is repeated with the answer to the next sign of life.
func (b *Bus) ack(to string, n uint64) {
	e := NewEncoder(make([]byte, 0, 10))
	e.Uint(n)
	if err := b.publish(to, "", e.Buffer()); err != nil {
		b.log.WithError(err).Debug("bus: ack")
	}
}

// cancelRemote tells the handler of a request that its caller has gone.
func (b *Bus) cancelRemote(p *pending) {
	if err := b.publish(cancelSubject, "", []byte(p.reply)); err != nil {
		b.log.WithError(err).Debug("bus: cancel")
	}
}

// send publishes a request.
func (b *Bus) send(p *pending, data []byte) *merr.Error {
	if err := b.publish(callSubject+p.subject, p.reply, data); err != nil {
		return merr.Unavailable("A part of the server cannot be reached, try again").WithCause(err)
	}
	return nil
}

// exchange sends a request and waits for its one answer.
func (b *Bus) exchange(ctx context.Context, subject string, data []byte) ([]byte, *merr.Error) {
	n, p := b.calls.add(subject, 1)
	defer b.calls.remove(n)
	if err := b.send(p, data); err != nil {
		return nil, err
	}
	select {
	case o := <-p.ch:
		switch {
		case o.err != nil:
			return nil, o.err
		case o.kind == kindOK:
			return o.data, nil
		case o.kind == kindError:
			return nil, decodeError(o.data)
		}
		b.cancelRemote(p)
		return nil, merr.Internal(errStreamed(subject))
	case <-ctx.Done():
		b.cancelRemote(p)
		return nil, ended(ctx)
	}
}
