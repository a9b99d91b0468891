package remoteapi

import (
	"context"
	"encoding/json"

	"hearth/internal/bus"
	"hearth/internal/pduwire"
)

// JoinHeader comes first in the answer to SendJoin.
type JoinHeader struct {
	// Event is the join as the room has it, with another signature for a restricted join;
	// without EventID: as it was sent.
	Event pduwire.PDU
	// MembersOmitted: the state lacks members; ServersInRoom lists servers then.
	MembersOmitted bool
	ServersInRoom  []string
}

// Kinds of PDUs in the answers of SendJoin and State.
const (
	KindState = 's'
	KindAuth  = 'a'
	kindHead  = 'h'
)

// JoinWriter writes the answer to SendJoin or State.
type JoinWriter struct{ pdus *pduwire.Writer }

// NewJoinWriter returns a writer that hands its chunks to send.
func NewJoinWriter(send func([]byte) error) *JoinWriter {
	return &JoinWriter{pduwire.NewWriter(send)}
}

// Head writes the header; it must come first, and only for SendJoin.
func (w *JoinWriter) Head(h *JoinHeader) error {
	b, err := json.Marshal(h)
	if err != nil {
		return err
	}
	return w.pdus.Write(kindHead, pduwire.PDU{JSON: b})
}

// State writes an event of the state.
func (w *JoinWriter) State(p pduwire.PDU) error { return w.pdus.Write(KindState, p) }

// Auth writes an event of the auth chain.
func (w *JoinWriter) Auth(p pduwire.PDU) error { return w.pdus.Write(KindAuth, p) }

// Flush sends what is buffered.
func (w *JoinWriter) Flush() error { return w.pdus.Flush() }

// ReadJoin sends a join and reads the answer: head is called once, before each. The kind is
// KindState or KindAuth.
func ReadJoin(ctx context.Context, b *bus.Bus, req *SendJoinRequest, head func(*JoinHeader) error, each func(kind byte, p pduwire.PDU) error) error {
	return SendJoin.Do(ctx, b, req, func(chunk []byte) error {
		return pduwire.Read(chunk, func(kind byte, p pduwire.PDU) error {
			if kind != kindHead {
				return each(kind, p)
			}
			var h JoinHeader
			if err := json.Unmarshal(p.JSON, &h); err != nil {
				return err
			}
			return head(&h)
		})
	})
}

// ReadState reads the answer of State.
func ReadState(ctx context.Context, b *bus.Bus, req *StateIDsRequest, each func(kind byte, p pduwire.PDU) error) error {
	return State.Do(ctx, b, req, func(chunk []byte) error { return pduwire.Read(chunk, each) })
}

// ReadEvents reads the answer of Events.
func ReadEvents(ctx context.Context, b *bus.Bus, req *EventsRequest, each func(p pduwire.PDU) error) error {
	return Events.Do(ctx, b, req, func(chunk []byte) error {
		return pduwire.Read(chunk, func(_ byte, p pduwire.PDU) error { return each(p) })
	})
}

// ReadEventAuth reads the answer of EventAuth.
func ReadEventAuth(ctx context.Context, b *bus.Bus, req *EventAuthRequest, each func(p pduwire.PDU) error) error {
	return EventAuth.Do(ctx, b, req, func(chunk []byte) error {
		return pduwire.Read(chunk, func(_ byte, p pduwire.PDU) error { return each(p) })
	})
}
