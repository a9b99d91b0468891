package outbound

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"hearth/federationapi/storage"
	"hearth/internal/bus"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

const (
	outgoingBatch = 100
	pauseMin      = 100 * time.Millisecond
	pauseMax      = 5 * time.Second
)

// follow reads the room log until ctx ends.
func (q *Queues) follow(ctx context.Context) {
	after := int64(-1)
	for ctx.Err() == nil {
		var err error
		if after < 0 {
			after, err = q.begin(ctx)
		}
		if err == nil {
			err = bus.Follow(ctx, q.o.Bus, roomapi.Log, after, q.apply)
			q.mu.Lock()
			after = q.track.handed()
			q.mu.Unlock()
		}
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, bus.ErrLog) {
			q.o.Log.WithError(err).Error("the room log is older than what was sent; going on at its present end")
			if err = q.reset(ctx); err == nil {
				after = -1
			}
		}
		if err != nil {
			q.o.Log.WithError(err).Warn("sending to other servers: the room log cannot be read, trying again")
			pause(ctx, time.Second)
		}
	}
}

// begin returns where to read on; without a cursor that is the end of the log.
func (q *Queues) begin(ctx context.Context) (int64, error) {
	pos, known, err := q.o.DB.Cursor(ctx)
	if err != nil {
		return -1, err
	}
	if !known {
		if pos, err = bus.Head(ctx, q.o.Bus, roomapi.Log); err != nil {
			return -1, err
		}
		if err := q.o.DB.WriteProgress(ctx, storage.Progress{Cursor: &pos}); err != nil {
			return -1, err
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.track.start(pos)
	q.stored = pos
	return pos, nil
}

// reset gives up what waits and goes to the end of the log, which was put back.
func (q *Queues) reset(ctx context.Context) error {
	head, err := bus.Head(ctx, q.o.Bus, roomapi.Log)
	if err != nil {
		return err
	}
	progress := storage.Progress{Cursor: &head, Behind: map[string]int64{}}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, s := range q.servers {
		if s.state != current {
			progress.Behind[s.name] = storage.Current
		}
		s.state, s.queue, s.catchup = current, nil, nil
	}
	return q.o.DB.WriteProgress(ctx, progress)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// insist does something until it succeeds or ctx ends.
func (q *Queues) insist(ctx context.Context, what string, do func() error) error {
	for wait := pauseMin; ; wait = min(2*wait, pauseMax) {
		err := do()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		q.o.Log.WithError(err).Warn(what)
		pause(ctx, wait)
	}
}

// apply hands the events and receipts of a batch to the queues.
func (q *Queues) apply(ctx context.Context, batch []bus.Positioned[roomapi.Entry]) error {
	var positions []int64
	for _, e := range batch {
		if e.Entry.Reset || e.Entry.Event != nil && e.Entry.Event.Type == "m.room.member" {
			q.hosts.drop(e.Entry.RoomID)
		}
		if e.Entry.Federate && e.Entry.Kind == roomapi.KindEvent {
			positions = append(positions, e.Pos)
		}
	}
	events, err := q.outgoing(ctx, positions)
	if err != nil {
		return err
	}
	for _, e := range batch {
		if e.Entry.Federate && e.Entry.Kind == roomapi.KindReceipt && e.Entry.Receipt != nil {
			q.receipt(ctx, e.Entry.RoomID, e.Entry.Receipt)
		}
	}
	return q.hand(ctx, batch, events)
}

// outgoing asks for events and where they go. An answer may be cut.
func (q *Queues) outgoing(ctx context.Context, positions []int64) (map[int64]roomapi.OutgoingEvent, error) {
	out := make(map[int64]roomapi.OutgoingEvent, len(positions))
	for len(positions) > 0 {
		part := positions[:min(outgoingBatch, len(positions))]
		var resp *roomapi.OutgoingResponse
		err := q.insist(ctx, "sending to other servers: events cannot be read, trying again", func() (err error) {
			resp, err = roomapi.Outgoing.Do(ctx, q.o.Bus, &roomapi.OutgoingRequest{Positions: part})
			return err
		})
		if err != nil {
			return nil, err
		}
		if len(resp.Events) == 0 {
			positions = positions[len(part):]
			continue
		}
		last := int64(0)
		for _, e := range resp.Events {
			out[e.Pos] = e
			last = max(last, e.Pos)
		}
		n, _ := slices.BinarySearch(positions, last+1)
		if n == 0 { // an answer that has nothing to do with the question
			n = len(part)
		}
		positions = positions[n:]
	}
	return out, nil
}

// hand queues events, in order, and notes all the positions.
func (q *Queues) hand(ctx context.Context, batch []bus.Positioned[roomapi.Entry], events map[int64]roomapi.OutgoingEvent) error {
	now := q.o.Now()
	var extra []storage.ServerEvent
	full := map[string]bool{}
	touched := map[*server]bool{}
	q.mu.Lock()
	for _, entry := range batch {
		e, ok := events[entry.Pos]
		if !ok {
			q.track.add(0)
			continue
		}
		ending := endsMembership(e.PDU.JSON)
		held := int32(0)
		for _, name := range e.Hosts {
			if name == q.o.ServerName || !q.o.Ask.Servers.Allows(name) {
				continue
			}
			s := q.server(name)
			touched[s] = true
			switch s.state {
			case behind:
			case catching:
				s.queue = append(s.queue, item{pos: e.Pos, pdu: e.PDU.JSON, at: now, ending: ending})
				if len(s.queue) > q.o.Tune.Queue {
					s.fallBack()
				}
			default:
				s.queue = append(s.queue, item{pos: e.Pos, pdu: e.PDU.JSON, at: now, ending: ending, held: true})
				held++
				full[name] = full[name] || len(s.queue) > q.o.Tune.Queue
			}
			if ending && (s.state == behind || s.state == catching) {
				extra = append(extra, storage.ServerEvent{Server: name, Pos: e.Pos})
				s.unwritten++
			}
		}
		if len(extra) > 0 && extra[len(extra)-1].Pos == e.Pos {
			held++ // until it is written
		}
		q.track.add(held)
	}
	for s := range touched {
		q.wake(s)
	}
	q.mu.Unlock()
	q.metrics.queued(len(events))
	if err := q.remember(ctx, extra); err != nil {
		return err
	}
	for name, is := range full {
		if is {
			q.fallBehind(ctx, name)
		}
	}
	return nil
}

// remember stores events that end a membership for servers that are behind.
func (q *Queues) remember(ctx context.Context, extra []storage.ServerEvent) error {
	if len(extra) == 0 {
		return nil
	}
	err := q.insist(ctx, "sending to other servers: what they miss cannot be stored, trying again", func() error {
		return q.o.DB.WriteProgress(ctx, storage.Progress{Extra: extra})
	})
	if err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	last := int64(0)
	for _, e := range extra {
		q.servers[e.Server].unwritten-- // who has some is not forgotten
		if e.Pos != last {
			q.track.release(e.Pos)
		}
		last = e.Pos
	}
	return nil
}

// endsMembership reports whether an event takes somebody out of a room.
func endsMembership(event json.RawMessage) bool {
	if kind, _ := pdu.GetString(event, "type"); kind != "m.room.member" {
		return false
	}
	content, _ := pdu.Get(event, "content")
	membership, _ := pdu.GetString(content, "membership")
	return membership == "leave" || membership == "ban"
}
