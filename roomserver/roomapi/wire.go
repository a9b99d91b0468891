package roomapi

import (
	"bytes"
	"encoding/json"

	"hearth/internal/bus"
)

// The codec of what travels most: events and log entries. Fields are only ever
// added at the end, and a reader ignores what follows the fields that it knows.

// AppendWire appends the encoded event to dst.
func (e *Event) AppendWire(dst []byte) []byte {
	enc := bus.NewEncoder(dst)
	enc.String(e.EventID)
	enc.String(e.Type)
	enc.String(e.Sender)
	enc.OptString(e.StateKey)
	enc.Int(e.OriginServerTS)
	enc.Int(e.Pos)
	enc.Int(e.Ord)
	enc.Bytes(e.JSON)
	enc.String(e.Membership)
	enc.String(e.DeviceID)
	enc.String(e.TxnID)
	enc.String(e.ReplacesState)
	enc.Bytes(e.PrevContent)
	enc.String(e.PrevSender)
	enc.Bytes(e.RedactedBecause)
	enc.String(e.UserMembership)
	enc.Bytes(e.Relations)
	enc.Int(e.Expires)
	return enc.Buffer()
}

// ParseWire decodes what AppendWire wrote. It keeps nothing of b.
func (e *Event) ParseWire(b []byte) error {
	dec := bus.NewDecoder(bytes.Clone(b)) // one copy for all JSON members
	e.EventID = dec.String()
	e.Type = dec.String()
	e.Sender = dec.String()
	e.StateKey = dec.OptString()
	e.OriginServerTS = dec.Int()
	e.Pos = dec.Int()
	e.Ord = dec.Int()
	e.JSON = json.RawMessage(dec.Bytes())
	e.Membership = dec.String()
	e.DeviceID = dec.String()
	e.TxnID = dec.String()
	e.ReplacesState = dec.String()
	e.PrevContent = json.RawMessage(dec.Bytes())
	e.PrevSender = dec.String()
	e.RedactedBecause = json.RawMessage(dec.Bytes())
	e.UserMembership = dec.String()
	e.Relations = json.RawMessage(dec.Bytes())
	if dec.Len() > 0 {
		e.Expires = dec.Int()
	}
	if dec.Err() == nil && len(e.JSON) < 2 {
		return bus.ErrWire // AppendJSON relies on the braces
	}
	return dec.Err()
}

// AppendWire appends the encoded entry to dst.
func (e *Entry) AppendWire(dst []byte) []byte {
	enc := bus.NewEncoder(dst)
	enc.Uint(uint64(e.Kind))
	enc.String(e.RoomID)
	enc.String(e.UserID)
	appendEvent(&enc, e.Event)
	appendEvent(&enc, e.Redacted)
	enc.Bool(e.Receipt != nil)
	if r := e.Receipt; r != nil {
		enc.String(r.UserID)
		enc.String(r.Kind)
		enc.String(r.EventID)
		enc.String(r.ThreadID)
		enc.Int(r.TS)
		enc.Int(r.Pos)
	}
	appendEvents(&enc, e.State)
	enc.Uint(uint64(len(e.Gone)))
	for _, k := range e.Gone {
		enc.String(k.Type)
		enc.String(k.StateKey)
	}
	enc.Bool(e.Reset)
	enc.Bool(e.Federate)
	return enc.Buffer()
}

// ParseWire decodes what AppendWire wrote. It keeps nothing of b.
func (e *Entry) ParseWire(b []byte) error {
	dec := bus.NewDecoder(b)
	e.Kind = Kind(dec.Uint())
	e.RoomID = dec.String()
	e.UserID = dec.String()
	var err error
	if e.Event, err = parseEvent(&dec); err != nil {
		return err
	}
	if e.Redacted, err = parseEvent(&dec); err != nil {
		return err
	}
	if dec.Bool() {
		e.Receipt = &Receipt{
			UserID: dec.String(), Kind: dec.String(), EventID: dec.String(), ThreadID: dec.String(),
			TS: dec.Int(), Pos: dec.Int(),
		}
	}
	if e.State, err = parseEvents(&dec); err != nil {
		return err
	}
	for range dec.Count() {
		e.Gone = append(e.Gone, StateKey{dec.String(), dec.String()})
	}
	e.Reset, e.Federate = dec.Bool(), dec.Bool()
	return dec.Err()
}

// AppendWire appends the encoded page to dst.
func (m *MessagesResponse) AppendWire(dst []byte) []byte {
	enc := bus.NewEncoder(dst)
	appendPoint(&enc, m.Start)
	appendPoint(&enc, m.End)
	appendEvents(&enc, m.Events)
	appendEvents(&enc, m.State)
	return enc.Buffer()
}

// ParseWire decodes what AppendWire wrote. It keeps nothing of b.
func (m *MessagesResponse) ParseWire(b []byte) (err error) {
	dec := bus.NewDecoder(b)
	m.Start, m.End = parsePoint(&dec), parsePoint(&dec)
	if m.Events, err = parseEvents(&dec); err != nil {
		return err
	}
	m.State, err = parseEvents(&dec)
	return err
}

// AppendWire appends the encoded answer to dst.
func (c *ContextResponse) AppendWire(dst []byte) []byte {
	enc := bus.NewEncoder(dst)
	appendPoint(&enc, c.Start)
	appendPoint(&enc, c.End)
	appendEvent(&enc, c.Event)
	appendEvents(&enc, c.Before)
	appendEvents(&enc, c.After)
	appendEvents(&enc, c.State)
	return enc.Buffer()
}

// ParseWire decodes what AppendWire wrote. It keeps nothing of b.
func (c *ContextResponse) ParseWire(b []byte) (err error) {
	dec := bus.NewDecoder(b)
	c.Start, c.End = parsePoint(&dec), parsePoint(&dec)
	if c.Event, err = parseEvent(&dec); err != nil {
		return err
	}
	for _, list := range []*[]*Event{&c.Before, &c.After, &c.State} {
		if *list, err = parseEvents(&dec); err != nil {
			return err
		}
	}
	return dec.Err()
}

func appendPoint(enc *bus.Encoder, p Point) {
	enc.Int(p.Ord)
	enc.Int(p.Pos)
}

func parsePoint(dec *bus.Decoder) Point { return Point{Ord: dec.Int(), Pos: dec.Int()} }

func appendEvents(enc *bus.Encoder, events []*Event) {
	enc.Uint(uint64(len(events)))
	for _, e := range events {
		appendEvent(enc, e)
	}
}

func parseEvents(dec *bus.Decoder) ([]*Event, error) {
	n := dec.Count()
	if n == 0 {
		return nil, dec.Err()
	}
	events := make([]*Event, n)
	for i := range events {
		e, err := parseEvent(dec)
		if err != nil {
			return nil, err
		}
		if e == nil {
			return nil, bus.ErrWire
		}
		events[i] = e
	}
	return events, nil
}

func appendEvent(enc *bus.Encoder, e *Event) {
	if e == nil {
		enc.Bytes(nil)
		return
	}
	enc.Bytes(e.AppendWire(nil))
}

func parseEvent(dec *bus.Decoder) (*Event, error) {
	b := dec.Bytes()
	if len(b) == 0 {
		return nil, dec.Err()
	}
	e := new(Event)
	return e, e.ParseWire(b)
}
