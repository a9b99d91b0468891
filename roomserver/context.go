package roomserver

import (
	"context"

	"hearth/roomserver/roomapi"
)

const maxContext = 200

// context returns an event with what stands around it.
func (s *Server) context(ctx context.Context, req *roomapi.ContextRequest) (*roomapi.ContextResponse, error) {
	r, h, done, err := s.view(ctx, req.RoomID)
	if err != nil {
		return nil, err
	}
	defer done()
	v, e, err := s.visibleEvent(ctx, r, req.UserID, req.EventID)
	if err != nil {
		return nil, err
	}
	limit := clamp(req.Limit, 0, maxContext, 10)
	before, after, err := s.around(ctx, r, v, e, req, limit)
	if err != nil {
		return nil, err
	}
	resp := &roomapi.ContextResponse{
		Event: seen(v, e), Before: before.events, After: after.events,
		Start: roomapi.Point{Ord: before.at}, End: roomapi.Point{Ord: after.at},
	}
	last := e
	if n := len(after.events); n > 0 {
		if last, err = s.event(ctx, r, after.events[n-1].Pos); err != nil {
			return nil, err
		}
	}
	all := append(append([]*roomapi.Event{resp.Event}, resp.Before...), resp.After...)
	if err := s.bundle(ctx, r, v, req.Ignored, all...); err != nil {
		return nil, err
	}
	resp.State, err = s.contextState(ctx, r, h, last, resp, req.LazyMembers)
	return resp, err
}

// around pages half of the limit before and half after the event.
func (s *Server) around(ctx context.Context, r *room, v *visibility, e *stored, req *roomapi.ContextRequest, limit int) (before, after *pager, err error) {
	page := func(backwards bool, from int64, n int) (*pager, error) {
		p, err := s.newPager(ctx, r, v, &roomapi.MessagesRequest{
			From: roomapi.Point{Ord: from}, Backwards: backwards, Limit: max(n, 1), Filter: req.Filter,
		})
		if err != nil {
			return nil, err
		}
		p.bytes = maxPageBytes / 2 // both pages and the state share one answer
		if n == 0 {
			return p, nil
		}
		return p, p.run(ctx)
	}
	if before, err = page(true, e.ord-1, limit/2); err != nil {
		return nil, nil, err
	}
	after, err = page(false, e.ord, limit-limit/2)
	return before, after, err
}

// contextState is the state at an event, as far as it fits the answer. With lazy
// loading it holds the member events of the senders only.
func (s *Server) contextState(ctx context.Context, r *room, h *head, e *stored, resp *roomapi.ContextResponse, lazy bool) ([]*roomapi.Event, error) {
	if e.snap == 0 {
		return nil, nil
	}
	view, err := s.snapshotView(ctx, h, e.snap)
	if err != nil {
		return nil, err
	}
	members, ok, err := s.names.lookup(ctx, memberType)
	if err != nil {
		return nil, err
	}
	wanted := map[int64]bool{}
	if lazy {
		if wanted, err = s.senders(ctx, resp); err != nil {
			return nil, err
		}
	}
	var nids []int64
	for entry := range view.All() {
		if lazy && ok && entry.Type == members && !wanted[entry.StateKey] {
			continue
		}
		nids = append(nids, entry.Event)
	}
	x, err := s.expiryOf(ctx, r, h)
	if err != nil {
		return nil, err
	}
	return s.boundedEvents(ctx, r, x, nids)
}

func (s *Server) senders(ctx context.Context, resp *roomapi.ContextResponse) (map[int64]bool, error) {
	wanted := map[int64]bool{}
	lists := [][]*roomapi.Event{{resp.Event}, resp.Before, resp.After}
	for _, list := range lists {
		for _, e := range list {
			nid, ok, err := s.names.lookup(ctx, e.Sender)
			if err != nil {
				return nil, err
			}
			if ok {
				wanted[nid] = true
			}
		}
	}
	return wanted, nil
}

// boundedEvents reads events until they fill what is left of one answer.
func (s *Server) boundedEvents(ctx context.Context, r *room, x *expiry, nids []int64) (events []*roomapi.Event, err error) {
	bytes := 0
	full := false
	err = s.eachEvent(ctx, r, nids, func(e *stored) error {
		bytes += len(e.client.JSON) + 300
		if full = full || bytes > maxPageBytes/2; !full {
			events = append(events, x.client(ctx, e))
		}
		return nil
	})
	return events, err
}
