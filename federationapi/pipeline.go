package federationapi

import (
	"context"
	"encoding/json"

	"hearth/federationapi/transport"
	"hearth/federationapi/verify"
	"hearth/internal/pdu"
)

// Bounds of a pipeline.
const (
	batchEvents = 100
	batchBytes  = 1 << 20
	maxFlying   = 8 // batches
	// maxStreamed bounds the events of one answer.
	maxStreamed = 1_000_000
)

// pipeline checks the events of a long answer while it comes: batches are verified at
// the same time, and what is good goes on in the order in which it came.
type pipeline struct {
	ctx     context.Context
	ring    verify.Ring
	version *pdu.RoomVersion
	room    string
	// stateOnly leaves out what is no state event.
	stateOnly bool
	emit      func(kind byte, e *pdu.Event) error

	kind   byte
	batch  []json.RawMessage
	bytes  int
	flying []chan verified
	total  int
	bad    int // events that were left out
}

// verified is a batch that was checked.
type verified struct {
	kind byte
	good []*pdu.Event
	bad  []verify.Failure
}

// add takes one event. Errors are those of emit, or say that there are too many.
func (p *pipeline) add(kind byte, raw json.RawMessage) error {
	if p.total++; p.total > maxStreamed {
		return transport.Malformed("more than %d events", maxStreamed)
	}
	if len(p.batch) > 0 && (kind != p.kind || len(p.batch) == batchEvents || p.bytes+len(raw) > batchBytes) {
		if err := p.launch(); err != nil {
			return err
		}
	}
	p.kind = kind
	p.batch = append(p.batch, raw)
	p.bytes += len(raw)
	return nil
}

// launch has the batch checked, and hands on the oldest one if there are too many.
func (p *pipeline) launch() error {
	done := make(chan verified, 1)
	batch, kind := p.batch, p.kind
	p.batch, p.bytes = nil, 0
	go func() {
		good, bad := verify.Events(p.ctx, p.ring, p.version, batch)
		done <- verified{kind, good, bad}
	}()
	p.flying = append(p.flying, done)
	if len(p.flying) < maxFlying {
		return nil
	}
	return p.land()
}

// land hands on the oldest batch.
func (p *pipeline) land() error {
	var v verified
	select {
	case v = <-p.flying[0]:
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
	p.flying = p.flying[1:]
	p.bad += len(v.bad)
	for _, e := range v.good {
		if e.RoomID != p.room || p.stateOnly && !e.IsState() {
			p.bad++
			continue
		}
		if err := p.emit(v.kind, e); err != nil {
			return err
		}
	}
	return nil
}

// finish hands on what is left.
func (p *pipeline) finish() error {
	if len(p.batch) > 0 {
		if err := p.launch(); err != nil {
			return err
		}
	}
	for len(p.flying) > 0 {
		if err := p.land(); err != nil {
			return err
		}
	}
	return nil
}
