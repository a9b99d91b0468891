package roomserver

import (
	"context"
	"errors"

	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/state"
	"hearth/roomserver/storage"
)

// maxAuthChain bounds the events of one auth chain that is served.
const maxAuthChain = 200_000

// federationState streams the body of /state or /state_ids: the state before an event and
// its auth chain. 404 if we do not know the event or its state.
func (s *Server) federationState(ctx context.Context, req *roomapi.FederationStateRequest, send func([]byte) error) error {
	r, h, done, err := s.admit(ctx, req.RoomID, req.Origin)
	if err != nil {
		return err
	}
	defer done()
	e, err := s.eventByID(ctx, r, req.EventID)
	if err != nil {
		return notFoundAs(err, unknownEvent())
	}
	nids, err := s.stateBefore(ctx, h, e)
	if err != nil {
		return notFoundAs(err, unknownEvent())
	}
	chain, err := s.authChain(ctx, nids)
	if err != nil {
		return err
	}
	x, err := s.expiryOf(ctx, r, h)
	if err != nil {
		return err
	}
	w := &listWriter{s: s, version: r.version, send: send, expiry: x}
	if req.IDs {
		return w.ids(ctx, []eventList{{`{"auth_chain_ids":[`, chain}, {`],"pdu_ids":[`, nids}})
	}
	return w.events(ctx, []eventList{{`{"auth_chain":[`, chain}, {`],"pdus":[`, nids}})
}

// federationEventAuth streams the body of /event_auth: the auth chain of an event.
func (s *Server) federationEventAuth(ctx context.Context, req *roomapi.FederationEventRequest, send func([]byte) error) error {
	r, h, done, err := s.admit(ctx, req.RoomID, req.Origin)
	if err != nil {
		return err
	}
	defer done()
	e, err := s.eventByID(ctx, r, req.EventID)
	if err != nil {
		return notFoundAs(err, unknownEvent())
	}
	chain, err := s.authChain(ctx, []int64{e.nid})
	if err != nil {
		return err
	}
	x, err := s.expiryOf(ctx, r, h)
	if err != nil {
		return err
	}
	w := &listWriter{s: s, version: r.version, send: send, expiry: x}
	return w.events(ctx, []eventList{{`{"auth_chain":[`, chain}})
}

// stateBefore lists the events of the state before an event: storage.ErrNotFound if that
// is not known.
func (s *Server) stateBefore(ctx context.Context, h *head, e *stored) ([]int64, error) {
	if e.snap == 0 {
		return nil, storage.ErrNotFound
	}
	snaps, err := h.chain.Load(ctx, []int64{e.snap})
	if err != nil {
		return nil, err
	}
	if snaps[0] == nil {
		return nil, storage.ErrNotFound
	}
	snap := snaps[0]
	if e.ev.IsState() {
		key, ok, err := s.stateKey(ctx, e.ev.Type, *e.ev.StateKey)
		if err != nil {
			return nil, err
		}
		var holder int64
		if ok {
			if holder, err = state.Get(ctx, h.chain, snap, key); err != nil {
				return nil, err
			}
		}
		if holder == e.nid { // the snapshot is the one after it
			if snap.Prev == 0 {
				return []int64{}, nil
			}
			if snaps, err = h.chain.Load(ctx, []int64{snap.Prev}); err != nil {
				return nil, err
			}
			if snap = snaps[0]; snap == nil {
				return nil, errors.New("the state before an event is not in the store")
			}
		}
	}
	view := h.view
	if snap.ID != h.snap.ID {
		if view, err = state.Resolve(ctx, h.chain, snap); err != nil {
			return nil, err
		}
	}
	nids := make([]int64, 0, view.Len())
	for entry := range view.All() {
		nids = append(nids, entry.Event)
	}
	return nids, nil
}

// authChain lists the auth events of events, and theirs, and so on: each once, and those of the
// events themselves only which others of them name.
func (s *Server) authChain(ctx context.Context, nids []int64) ([]int64, error) {
	seen := make(map[int64]bool, len(nids))
	walked := make(map[int64]bool, len(nids))
	var chain []int64
	for next := nids; len(next) > 0; {
		unwalked := next[:0:0]
		for _, nid := range next {
			if !walked[nid] {
				walked[nid] = true
				unwalked = append(unwalked, nid)
			}
		}
		rows, err := s.store.Linked(ctx, unwalked)
		if err != nil {
			return nil, err
		}
		next = nil
		for _, row := range rows {
			for _, nid := range row.Links.Auth {
				if !seen[nid] && len(chain) < maxAuthChain {
					seen[nid] = true
					chain = append(chain, nid)
					next = append(next, nid)
				}
			}
		}
	}
	return chain, nil
}

// eventList is an array of events in a body; head is what stands before it.
type eventList struct {
	head string
	nids []int64
}

// listWriter writes bodies that are lists of events, in parts.
type listWriter struct {
	s       *Server
	version *pdu.RoomVersion
	send    func([]byte) error
	expiry  *expiry
	buf     []byte
}

const (
	listChunk = 128 << 10 // bytes that are sent at once
	listRead  = 64        // events that are read at once
)

// flush sends what is written, all of it only at the end. Nothing is read from the
// store meanwhile: whoever takes the parts may be slow.
func (w *listWriter) flush(end bool) error {
	rest := w.buf
	for len(rest) >= listChunk || end && len(rest) > 0 {
		n := min(len(rest), listChunk)
		if err := w.send(rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	w.buf = append(w.buf[:0], rest...)
	return nil
}

// events writes whole events. The body ends with the last list.
func (w *listWriter) events(ctx context.Context, lists []eventList) error {
	return w.each(lists, func(nids []int64, sep func()) error {
		return w.s.store.Bodies(ctx, nids, func(nid int64, json []byte) error {
			json, err := w.expiry.body(w.version, nid, json)
			if err != nil {
				return err
			}
			sep()
			w.buf = append(w.buf, json...)
			return nil
		})
	})
}

// ids writes the ids of events.
func (w *listWriter) ids(ctx context.Context, lists []eventList) error {
	return w.each(lists, func(nids []int64, sep func()) error {
		keys, err := w.s.store.EventKeys(ctx, nids)
		if err != nil {
			return err
		}
		for _, nid := range nids {
			if key, ok := keys[nid]; ok {
				sep()
				w.buf = pdu.AppendString(w.buf, storage.EventID(key, w.version.URLSafeEventIDs))
			}
		}
		return nil
	})
}

func (w *listWriter) each(lists []eventList, write func(nids []int64, sep func()) error) error {
	for _, l := range lists {
		w.buf = append(w.buf, l.head...)
		first := true
		sep := func() {
			if !first {
				w.buf = append(w.buf, ',')
			}
			first = false
		}
		for rest := l.nids; len(rest) > 0; rest = rest[min(len(rest), listRead):] {
			if err := write(rest[:min(len(rest), listRead)], sep); err != nil {
				return err
			}
			if err := w.flush(false); err != nil {
				return err
			}
		}
	}
	w.buf = append(w.buf, "]}"...)
	return w.flush(true)
}
