package roomserver

import (
	"context"
	"errors"

	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/state"
	"hearth/roomserver/storage"
)

// getStateEvent returns one event of the state that the user may see.
func (s *Server) getStateEvent(ctx context.Context, req *roomapi.StateEventRequest) (*roomapi.Event, error) {
	r, h, done, err := s.view(ctx, req.RoomID)
	if err != nil {
		return nil, notAMember(err)
	}
	defer done()
	a, err := s.access(ctx, r, h, req.UserID)
	if err != nil {
		return nil, err
	}
	missing := merr.NotFound("The room has no such state")
	key, ok, err := s.stateKey(ctx, req.Type, req.StateKey)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, missing
	}
	nid := h.view.Get(key)
	if a.state != h.snap.ID {
		snaps, err := h.chain.Load(ctx, []int64{a.state})
		if err != nil {
			return nil, err
		}
		if nid, err = state.Get(ctx, h.chain, snaps[0], key); err != nil {
			return nil, err
		}
	}
	if nid == 0 {
		return nil, missing
	}
	e, err := s.event(ctx, r, nid)
	if err != nil {
		return nil, err
	}
	return seen(a.visibility, e), nil
}

// notAMember hides whether a room exists from those who may not read it.
func notAMember(err error) error {
	if errors.Is(err, errNoRoom) {
		return merr.Forbidden("You are not in this room").WithCause(err)
	}
	return err
}

// seen is an event with the membership that the reader had at it.
func seen(v *visibility, e *stored) *roomapi.Event {
	c := *v.expiry.client(context.Background(), e)
	c.UserMembership = v.membership(e)
	return &c
}

// stateChunk is how many events of a state are read at once.
const stateChunk = 256

// streamState sends the state that the user may see.
func (s *Server) streamState(ctx context.Context, req *roomapi.StateRequest, send func([]byte) error) error {
	r, h, done, err := s.view(ctx, req.RoomID)
	if err != nil {
		return notAMember(err)
	}
	defer done()
	if req.MembersOnly {
		if err := s.mustBeMember(ctx, r, h, req.UserID); err != nil {
			return err
		}
	}
	a, err := s.access(ctx, r, h, req.UserID)
	if err != nil {
		return err
	}
	view, err := s.stateAt(ctx, r, h, a, req.At)
	if err != nil {
		return err
	}
	nids, err := s.selectState(ctx, view, req.Types)
	if err != nil {
		return err
	}
	w := roomapi.NewFrameWriter(send)
	err = s.eachEvent(ctx, r, nids, func(e *stored) error {
		if !wantedMember(e, req) {
			return nil
		}
		return w.State(seen(a.visibility, e))
	})
	if err != nil {
		return err
	}
	return w.Flush()
}

// stateAt is the state at a place in the timeline, but never later than what the user may see.
func (s *Server) stateAt(ctx context.Context, r *room, h *head, a *access, place roomapi.Point) (state.View, error) {
	id := a.state
	if ord := ordOf(place); !place.IsZero() && ord < a.ord {
		snap, _, err := s.store.SnapAt(ctx, r.nid, ord)
		if err != nil {
			return state.View{}, notFoundAs(err, merr.InvalidParam("There is no state at that place"))
		}
		id = snap
	}
	return s.snapshotView(ctx, h, id)
}

// ordOf is the order of a place; its event is before it.
func ordOf(p roomapi.Point) int64 {
	if p.Pos != 0 {
		return storage.OrdAfter(p.Pos)
	}
	return p.Ord
}

// selectState lists the events of a state, of the given types if there are any.
func (s *Server) selectState(ctx context.Context, view state.View, types []string) ([]int64, error) {
	var nids []int64
	if len(types) == 0 {
		nids = make([]int64, 0, view.Len())
		for e := range view.All() {
			nids = append(nids, e.Event)
		}
		return nids, nil
	}
	for _, typ := range types {
		nid, ok, err := s.names.lookup(ctx, typ)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		for e := range view.OfType(nid) {
			nids = append(nids, e.Event)
		}
	}
	return nids, nil
}

func wantedMember(e *stored, req *roomapi.StateRequest) bool {
	if e.ev.Type != memberType {
		return true
	}
	membership := e.client.Membership
	return (req.Membership == "" || membership == req.Membership) && (req.NotMembership == "" || membership != req.NotMembership)
}

// eachEvent reads events in parts, so that a large state is never in memory as a whole.
func (s *Server) eachEvent(ctx context.Context, r *room, nids []int64, f func(*stored) error) error {
	for len(nids) > 0 {
		n := min(len(nids), stateChunk)
		events, err := s.events(ctx, r, nids[:n])
		if err != nil {
			return err
		}
		for _, e := range events {
			if err := f(e); err != nil {
				return err
			}
		}
		nids = nids[n:]
	}
	return nil
}

// stateIn returns one event of a snapshot; nil if it holds no such state.
func (s *Server) stateIn(ctx context.Context, r *room, snap int64, key state.Key) (*stored, error) {
	h := r.committed.Load()
	var nid int64
	if snap == h.snap.ID {
		nid = h.view.Get(key)
	} else {
		snaps, err := h.chain.Load(ctx, []int64{snap})
		if err != nil {
			return nil, err
		}
		if snaps[0] == nil {
			return nil, storage.ErrNotFound
		}
		if nid, err = state.Get(ctx, h.chain, snaps[0], key); err != nil {
			return nil, err
		}
	}
	if nid == 0 {
		return nil, nil
	}
	return s.event(ctx, r, nid)
}
