// Package pduwire carries PDUs between components: a form for calls, and streams of any
// length in bounded chunks.
package pduwire

import (
	"encoding/json"
	"fmt"

	"hearth/internal/bus"
	"hearth/internal/pdu"
)

// PDU is an event as servers exchange it, behind the gate of package pdu.
type PDU struct {
	// EventID has been computed from JSON (or read, in room versions 1 and 2).
	EventID string
	// JSON is canonical, with hashes and signatures, without unsigned.
	JSON json.RawMessage
	// Redacted says that the content hash did not match, so that this is the redacted form.
	Redacted bool `json:",omitempty"`
}

// Of returns the form of an event.
func Of(e *pdu.Event) PDU { return PDU{EventID: e.EventID, JSON: e.JSON, Redacted: e.Redacted} }

// Load reads the event back. It does not check again what the gate has checked.
func (p *PDU) Load(v *pdu.RoomVersion) (*pdu.Event, error) {
	e, err := pdu.Load(v, p.JSON, p.EventID)
	if err != nil {
		return nil, err
	}
	if e.Redacted == p.Redacted {
		return e, nil
	}
	c := *e
	c.Redacted = p.Redacted
	return &c, nil
}

// chunkSize is the number of bytes after which a chunk is sent.
const chunkSize = 128 << 10

// Writer packs PDUs, each with a kind, into chunks.
type Writer struct {
	send func(chunk []byte) error
	buf  []byte
}

// NewWriter returns a writer that hands its chunks to send.
func NewWriter(send func(chunk []byte) error) *Writer { return &Writer{send: send} }

// Write adds a PDU. What kind means is up to the two ends.
func (w *Writer) Write(kind byte, p PDU) error {
	enc := bus.NewEncoder(w.buf)
	enc.Uint(uint64(kind))
	enc.String(p.EventID)
	enc.Bytes(p.JSON)
	enc.Bool(p.Redacted)
	w.buf = enc.Buffer()
	if len(w.buf) < chunkSize {
		return nil
	}
	return w.Flush()
}

// Flush sends what is left.
func (w *Writer) Flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	err := w.send(w.buf)
	w.buf = w.buf[:0]
	return err
}

// Read hands the PDUs of a chunk to each; they stay valid after it.
func Read(chunk []byte, each func(kind byte, p PDU) error) error {
	dec := bus.NewDecoder(chunk)
	for dec.Len() > 0 {
		kind := dec.Uint()
		p := PDU{EventID: dec.String()}
		p.JSON = append(p.JSON, dec.Bytes()...)
		p.Redacted = dec.Bool()
		if err := dec.Err(); err != nil {
			return fmt.Errorf("read PDUs: %w", err)
		}
		if err := each(byte(kind), p); err != nil {
			return err
		}
	}
	return nil
}
