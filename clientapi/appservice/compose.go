package appservice

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"hearth/internal/bus"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// Bounds of a transaction. One event may be larger than maxBody.
const (
	maxEntries = 100
	maxBody    = 1 << 20 // bytes
	// maxTyping bounds the typing notifications of one transaction.
	maxTyping = 100
)

// next stores that the last transaction (nil: none) was confirmed, and the next one;
// nil if there is nothing to send. After an error of a call before, doubt says that
// the next one may be stored already.
func (p *peer) next(ctx context.Context, last *transaction, doubt bool) (*transaction, error) {
	if doubt {
		t, err := p.s.db.inFlight(ctx, p.nid)
		if err != nil || t != nil && (last == nil || t.id != last.id) {
			return t, err
		}
	}
	for {
		c, err := p.compose(ctx)
		if err != nil {
			if last != nil { // that much is known, whatever comes next
				if _, err := p.s.db.advance(ctx, p.nid, &content{}); err != nil {
					return nil, err
				}
			}
			return nil, err
		}
		if c.upTo == 0 && last == nil && c.empty() {
			return nil, nil
		}
		t, err := p.s.db.advance(ctx, p.nid, c)
		if err == nil {
			p.acknowledge(ctx, c)
		}
		if err != nil || t != nil || c.upTo == 0 {
			return t, err
		}
		last = nil // what waited has nothing to tell any more: there may be more behind it
	}
}

// content is a transaction in the making.
type content struct {
	events, ephemeral []byte // elements of an array with commas between
	stable, unstable  bool   // names under which ephemeral goes out
	upTo              int64  // the last position of the room log that it takes up
	encryption        encryption
}

func (c *content) empty() bool {
	return len(c.events) == 0 && len(c.ephemeral) == 0 && c.encryption.empty()
}

// body returns the JSON of the transaction.
func (c *content) body() ([]byte, error) {
	out := append([]byte(`{"events":[`), c.events...)
	out = append(out, ']')
	put := func(name string, list []byte) { out = append(append(append(out, `,"`+name+`":[`...), list...), ']') }
	if c.stable && len(c.ephemeral) > 0 {
		put("ephemeral", c.ephemeral)
	}
	if c.unstable && len(c.ephemeral) > 0 {
		put("de.sorunome.msc2409.ephemeral", c.ephemeral)
	}
	out, err := c.encryption.put(out)
	return append(out, '}'), err
}

// compose reads what the service waits for.
func (p *peer) compose(ctx context.Context) (*content, error) {
	positions, err := p.s.db.pending(ctx, p.nid, maxEntries)
	if err != nil {
		return nil, err
	}
	c := &content{stable: p.stableEphemeral, unstable: p.unstableEphemeral}
	entries := &entryReader{s: p.s, positions: positions}
	for i, pos := range positions {
		e, err := entries.at(ctx, i)
		if err != nil {
			return nil, err
		}
		events, ephemeral := len(c.events), len(c.ephemeral)
		if err := p.add(c, e); err != nil {
			return nil, err
		}
		if len(c.events)+len(c.ephemeral) > maxBody && i > 0 {
			c.events, c.ephemeral = c.events[:events], c.ephemeral[:ephemeral]
			return c, nil
		}
		c.upTo = pos
	}
	if err := p.addDevices(ctx, c); err != nil {
		return nil, err
	}
	p.addTyping(c)
	return c, nil
}

// expired reports whether an event, which may be nil, must no longer be shown. State goes on to count.
func expired(ev *roomapi.Event, now int64) bool {
	return ev != nil && ev.StateKey == nil && ev.Expires != 0 && ev.Expires <= now
}

// add appends an entry. One that has nothing to tell any more adds nothing.
func (p *peer) add(c *content, e *roomapi.Entry) error {
	switch {
	case expired(e.Event, p.now().UnixMilli()):
	case (e.Kind == roomapi.KindEvent || e.Kind == roomapi.KindOutside) && e.Event != nil:
		render := roomapi.Render{RoomID: e.RoomID, Now: p.now()}
		if p.HasUser(e.Event.Sender) { // the service is the client that sent it
			render.UserID, render.DeviceID = e.Event.Sender, e.Event.DeviceID
		}
		c.events = e.Event.AppendJSON(comma(c.events), render)
	case e.Kind == roomapi.KindReceipt && e.Receipt != nil && p.Ephemeral:
		event, err := json.Marshal(receiptEvent(e.RoomID, e.Receipt))
		if err != nil {
			return fmt.Errorf("receipt: %w", err)
		}
		c.ephemeral = append(comma(c.ephemeral), event...)
	}
	return nil
}

func comma(list []byte) []byte {
	if len(list) > 0 {
		return append(list, ',')
	}
	return list
}

type receiptData struct {
	TS       int64  `json:"ts"`
	ThreadID string `json:"thread_id,omitempty"`
}

func receiptEvent(room string, r *roomapi.Receipt) any {
	return map[string]any{
		"type": "m.receipt", "room_id": room,
		"content": map[string]any{r.EventID: map[string]any{r.Kind: map[string]any{r.UserID: receiptData{r.TS, r.ThreadID}}}},
	}
}

// addTyping appends who types now.
func (p *peer) addTyping(c *content) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for room, t := range p.typing {
		if n++; n > maxTyping {
			p.ring()
			return
		}
		delete(p.typing, room)
		event := pdu.AppendString([]byte(`{"type":"m.typing","room_id":`), room)
		event = append(event, `,"content":{"user_ids":[`...)
		for i, user := range t.UserIDs {
			if i > 0 {
				event = append(event, ',')
			}
			event = pdu.AppendString(event, user)
		}
		c.ephemeral = append(append(comma(c.ephemeral), event...), `]}}`...)
	}
}

// entryReader gets the entries at positions, in their order.
type entryReader struct {
	s         *Service
	positions []int64
	page      []bus.Positioned[roomapi.Entry] // the last part of the log that was read
}

// maxGap is how many entries in between are read along, to save a call.
const maxGap = 8

func (r *entryReader) at(ctx context.Context, i int) (*roomapi.Entry, error) {
	pos := r.positions[i]
	if e, ok := r.s.recent.Get(pos); ok {
		return e, nil
	}
	if len(r.page) == 0 || pos > r.page[len(r.page)-1].Pos {
		last := pos
		for _, next := range r.positions[i+1:] {
			if next-last > maxGap {
				break
			}
			last = next
		}
		var err error
		if r.page, _, err = bus.Read(ctx, r.s.bus, roomapi.Log, pos-1, int(last-pos)+1); err != nil {
			return nil, err
		}
	}
	if len(r.page) > 0 {
		if at := pos - r.page[0].Pos; at >= 0 && at < int64(len(r.page)) && r.page[at].Pos == pos {
			return r.page[at].Entry, nil
		}
	}
	return nil, fmt.Errorf("%w: entry %d is not there", bus.ErrLog, pos)
}

// entrySize is about what an entry takes in memory.
func entrySize(e *roomapi.Entry) int {
	if e.Event == nil {
		return 500
	}
	return 500 + len(e.Event.JSON) + len(e.Event.PrevContent) + len(e.Event.RedactedBecause)
}

// statusError is the status of an answer that is no success.
type statusError int

func (s statusError) Error() string { return "it answered with status " + strconv.Itoa(int(s)) }

func errcode(body []byte) string {
	var e struct {
		Code string `json:"errcode"`
	}
	_ = json.Unmarshal(body, &e) // an answer that is no Matrix error has no code
	return e.Code
}
