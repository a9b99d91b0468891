package roomserver

import (
	"context"
	"time"

	"hearth/federationapi/remoteapi"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

// eventAt finds the visible event nearest to a time, in one direction.
func (s *Server) eventAt(ctx context.Context, req *roomapi.EventAtRequest) (*roomapi.Event, error) {
	r, h, done, err := s.view(ctx, req.RoomID)
	if err != nil {
		return nil, notAMember(err)
	}
	defer done()
	v, err := s.visibility(ctx, r, req.UserID)
	if err != nil {
		return nil, err
	}
	if err := s.mayPage(ctx, r, h, v); err != nil {
		return nil, err
	}
	e, err := s.nearest(ctx, r, v, req)
	if err != nil {
		return nil, err
	}
	if far := s.eventAtElsewhere(ctx, h, v, req); far != nil && (e == nil || abs(far.OriginServerTS-req.TS) < abs(e.OriginServerTS-req.TS)) {
		e = far
	}
	if e == nil {
		return nil, merr.NotFound("There is no event in that direction")
	}
	return e, nil
}

// nearest finds the event among those that we have; nil if there is none.
func (s *Server) nearest(ctx context.Context, r *room, v *visibility, req *roomapi.EventAtRequest) (*roomapi.Event, error) {
	ts, ord := req.TS, int64(minOrd)
	if req.Backwards {
		ord = maxOrd
	}
	for scanned := 0; scanned < maxScan; {
		rows, err := s.store.NearestInTime(ctx, r.nid, ts, ord, req.Backwards, 64)
		if err != nil {
			return nil, err
		}
		e, err := s.firstVisible(ctx, r, v, rows)
		if e != nil || err != nil {
			return e, err
		}
		if len(rows) < 64 {
			break
		}
		last := rows[len(rows)-1]
		ts, ord, scanned = last.TS, last.Ord, scanned+len(rows)
	}
	return nil, nil
}

func abs(n int64) int64 { return max(n, -n) }

// eventAtTime bounds how long other servers are asked for an event in what we do not have of a room.
const eventAtTime = 5 * time.Second

// eventAtElsewhere asks other servers if we lack a part of the room's history that its members may
// see; nil if they know of none. Only the id and the time of the event are known.
func (s *Server) eventAtElsewhere(ctx context.Context, h *head, v *visibility, req *roomapi.EventAtRequest) *roomapi.Event {
	setting := at(v.settings, maxOrd, true, shared)
	if len(h.gaps) == 0 || h.hosts.count() == 0 || v.current() != "join" || setting != shared && setting != worldReadable {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, eventAtTime)
	defer cancel()
	servers := h.hosts.list()
	resp, err := remoteapi.EventAt.Do(ctx, s.bus, &remoteapi.EventAtRequest{
		Destinations: servers[:min(len(servers), maxDestinations)], RoomID: req.RoomID, TS: req.TS, Backwards: req.Backwards,
	})
	if err != nil {
		s.log.WithError(err).Debug("no other server knows an event at that time")
		return nil
	}
	if _, _, err := pdu.ParseEventID(resp.EventID); err != nil || (resp.TS < req.TS) != req.Backwards && resp.TS != req.TS {
		return nil
	}
	return &roomapi.Event{EventID: resp.EventID, OriginServerTS: resp.TS, JSON: []byte("{}")}
}

func (s *Server) firstVisible(ctx context.Context, r *room, v *visibility, rows []*storage.Event) (*roomapi.Event, error) {
	events, err := s.finish(ctx, r.version, rows)
	if err != nil {
		return nil, err
	}
	for _, e := range events {
		if v.sees(e) {
			return seen(v, e), nil
		}
	}
	return nil, nil
}
