package outbound

import (
	"context"
	"encoding/json"

	"hearth/federationapi/storage"
	"hearth/roomserver/roomapi"
)

// build makes the next transaction of a server; nil if there is nothing to send.
func (q *Queues) build(ctx context.Context, s *server) (*transaction, error) {
	txn := &transaction{id: q.ids.next()}
	pdus, err := q.catchUp(ctx, s, txn)
	if err != nil {
		return nil, err
	}
	room := maxBody
	for _, p := range pdus {
		room -= len(p)
	}
	q.mu.Lock()
	if len(pdus) == 0 && (s.state != behind && s.catchup == nil || s.catchup != nil && s.catchup.done) {
		n := 0
		for n < len(s.queue) && n < s.most() && room > len(s.queue[n].pdu) {
			room -= len(s.queue[n].pdu)
			pdus = append(pdus, s.queue[n].pdu)
			n++
		}
		txn.items = append(txn.items, s.queue[:n]...)
		s.queue = append(s.queue[:0:0], s.queue[n:]...)
	}
	stored := s.edus > 0
	// From here on the events are the transaction's.
	s.txn = txn
	q.mu.Unlock()
	edus, err := q.edus(ctx, s, txn, stored, room)
	if err != nil {
		q.mu.Lock()
		defer q.mu.Unlock()
		s.txn = nil
		if len(txn.items) == 0 && len(pdus) > 0 { // of the catching up, which has gone on meanwhile
			s.fallBack()
			s.catchup = nil
		} else {
			s.queue = append(txn.items, s.queue...)
		}
		return nil, err
	}
	if len(pdus) == 0 && len(edus) == 0 {
		q.mu.Lock()
		defer q.mu.Unlock()
		s.txn = nil
		return nil, nil
	}
	txn.pdus = len(pdus)
	txn.body = q.encode(pdus, edus)
	return txn, nil
}

// edus takes EDUs for a transaction: those that must arrive first.
func (q *Queues) edus(ctx context.Context, s *server, txn *transaction, stored bool, room int) ([]json.RawMessage, error) {
	var out []json.RawMessage
	if stored {
		list, err := q.o.DB.EDUs(ctx, s.name, 0, maxEDUs)
		if err != nil {
			return nil, err
		}
		for _, e := range list {
			if room -= len(e.JSON); room < 0 && len(out) > 0 {
				break
			}
			out = append(out, e.JSON)
			txn.lastEDU = e.Seq
			txn.edus++
		}
		if len(list) == 0 {
			q.mu.Lock()
			s.edus = 0
			q.mu.Unlock()
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return append(out, s.fleeting.take(maxEDUs-len(out))...), nil
}

// most is how many events a transaction may have. Queues.mu is held.
func (s *server) most() int {
	if s.careful {
		return 1
	}
	return maxPDUs
}

// catchUp returns the next events for a server that is behind.
func (q *Queues) catchUp(ctx context.Context, s *server, txn *transaction) ([]json.RawMessage, error) {
	q.mu.Lock()
	if s.state == behind && s.catchup == nil {
		s.state, s.queue = catching, nil
		s.catchup = &catchup{target: q.track.handed(), more: true}
	}
	c := s.catchup
	since, most := s.behind, s.most()
	q.mu.Unlock()
	if c == nil || c.done {
		return nil, nil
	}
	if !c.extras {
		pdus, err := q.extras(ctx, s, c, txn, most)
		if err != nil || len(pdus) > 0 {
			return pdus, err
		}
	}
	var pdus []json.RawMessage
	size := 0
	for len(pdus) < most && size < maxBody/2 {
		room, err := q.nextRoom(ctx, s.name, since, c)
		if err != nil {
			return nil, err
		}
		if room == "" {
			break
		}
		resp, err := roomapi.Extremities.Do(ctx, q.o.Bus, &roomapi.HostsRequest{RoomID: room})
		if err != nil {
			return nil, err
		}
		if len(pdus)+len(resp.PDUs) > most && len(pdus) > 0 {
			break // in the next transaction
		}
		for _, p := range resp.PDUs[:min(len(resp.PDUs), maxPDUs)] {
			pdus = append(pdus, p.JSON)
			size += len(p.JSON)
		}
		c.rooms = c.rooms[1:]
	}
	if len(pdus) > 0 || !c.extras {
		return pdus, nil // what is not on disk yet comes next time
	}
	return nil, q.caughtUp(ctx, s, c)
}

// nextRoom returns the next room with events that a server has not got; it stays the first of
// c.rooms. "" if there is none.
func (q *Queues) nextRoom(ctx context.Context, name string, since int64, c *catchup) (string, error) {
	for {
		for len(c.rooms) > 0 {
			if c.rooms[0].Pos > since {
				return c.rooms[0].RoomID, nil
			}
			c.rooms = c.rooms[1:]
		}
		if !c.more {
			return "", nil
		}
		resp, err := roomapi.HostOf.Do(ctx, q.o.Bus, &roomapi.HostOfRequest{Server: name, After: c.after})
		if err != nil {
			return "", err
		}
		c.rooms, c.more = resp.Rooms, resp.More && len(resp.Rooms) > 0
		if n := len(resp.Rooms); n > 0 {
			c.after = resp.Rooms[n-1].RoomID
		}
	}
}

// extras returns at most so many of the events that are remembered for a server.
func (q *Queues) extras(ctx context.Context, s *server, c *catchup, txn *transaction, most int) ([]json.RawMessage, error) {
	for {
		q.mu.Lock()
		all := s.unwritten == 0
		q.mu.Unlock()
		positions, err := q.o.DB.ExtraEvents(ctx, s.name, most)
		if err != nil {
			return nil, err
		}
		if len(positions) == 0 {
			c.extras = all
			return nil, nil
		}
		events, err := q.outgoing(ctx, positions)
		if err != nil {
			return nil, err
		}
		var pdus []json.RawMessage
		size := 0
		for _, pos := range positions {
			e, ok := events[pos]
			if size += len(e.PDU.JSON); size > maxBody/2 && len(pdus) > 0 {
				break
			}
			txn.extra = append(txn.extra, pos)
			if ok {
				pdus = append(pdus, e.PDU.JSON)
			}
		}
		if len(pdus) > 0 {
			return pdus, nil
		}
		q.drop(ctx, s, txn) // none of them is there any more
		txn.extra = nil
	}
}

// caughtUp notes that a server has got the newest events of all its rooms.
func (q *Queues) caughtUp(ctx context.Context, s *server, c *catchup) error {
	if err := q.o.DB.WriteProgress(ctx, storage.Progress{Behind: map[string]int64{s.name: c.target}}); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	c.done = true
	s.behind = c.target
	if s.state == behind {
		s.catchup = nil // for another round
	}
	return nil
}

// settled removes the row of a server that has got everything.
func (q *Queues) settled(ctx context.Context, s *server) {
	q.mu.Lock()
	if s.state != catching || s.catchup == nil || !s.catchup.done || len(s.queue) > 0 || s.unwritten > 0 {
		wait := s.unwritten > 0
		q.mu.Unlock()
		if wait {
			pause(ctx, q.o.Tune.Scan)
		}
		return
	}
	s.state = clearing
	q.mu.Unlock()
	err := q.o.DB.WriteProgress(ctx, storage.Progress{Behind: map[string]int64{s.name: storage.Current}})
	q.mu.Lock()
	defer q.mu.Unlock()
	s.state, s.catchup, s.careful = current, nil, false
	if err != nil && ctx.Err() == nil {
		// The row says less than is true; after a restart the server gets some events again.
		q.o.Log.WithError(err).WithField("server", s.name).Warn("that a server has caught up cannot be stored")
	}
}
