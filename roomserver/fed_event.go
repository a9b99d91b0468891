package roomserver

import (
	"context"
	"errors"

	"hearth/internal/merr"
	"hearth/internal/pduwire"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

// federationEvent is GET /event: one event of a room that the server is in; to others it
// is as if we did not have it.
func (s *Server) federationEvent(ctx context.Context, req *roomapi.FederationEventRequest) (*pduwire.PDU, error) {
	roomID := req.RoomID
	if roomID == "" {
		row, err := s.store.EventByKey(ctx, storage.EventKey(req.EventID))
		if err != nil {
			return nil, notFoundAs(err, unknownEvent())
		}
		rooms, err := s.store.RoomIDs(ctx, []int64{row.Room})
		if err != nil {
			return nil, err
		}
		roomID = rooms[row.Room].ID // empty: a room that we know nothing else of
	}
	r, _, done, err := s.admit(ctx, roomID, req.Origin)
	if errors.Is(err, errNoRoom) || errors.Is(err, merr.Forbidden("")) {
		return nil, unknownEvent()
	}
	if err != nil {
		return nil, err
	}
	defer done()
	e, err := s.eventByID(ctx, r, req.EventID)
	if err != nil {
		return nil, notFoundAs(err, unknownEvent())
	}
	sight, err := s.newSight(ctx, r, req.Origin)
	if err != nil {
		return nil, err
	}
	ev, err := sight.shown(ctx, e)
	if err != nil {
		return nil, err
	}
	p := pduwire.Of(ev)
	return &p, nil
}

// federationEventAt is timestamp_to_event for a server.
func (s *Server) federationEventAt(ctx context.Context, req *roomapi.FederationEventAtRequest) (*roomapi.FederationEventAtResponse, error) {
	r, _, done, err := s.admit(ctx, req.RoomID, req.Origin)
	if err != nil {
		return nil, err
	}
	defer done()
	sight, err := s.newSight(ctx, r, req.Origin)
	if err != nil {
		return nil, err
	}
	const batch = 64
	ts, ord := req.TS, int64(minOrd)
	if req.Backwards {
		ord = maxOrd
	}
	for scanned := 0; scanned < maxScan; {
		rows, err := s.store.NearestInTime(ctx, r.nid, ts, ord, req.Backwards, batch)
		if err != nil {
			return nil, err
		}
		events, err := s.finish(ctx, r.version, rows)
		if err != nil {
			return nil, err
		}
		for _, e := range events {
			if e.hidden() || sight.expiry.gone(ctx, e) {
				continue
			}
			if ok, err := sight.sees(ctx, e); err != nil {
				return nil, err
			} else if ok {
				return &roomapi.FederationEventAtResponse{EventID: e.ev.EventID, TS: e.ev.OriginServerTS}, nil
			}
		}
		if len(rows) < batch {
			break
		}
		last := rows[len(rows)-1]
		ts, ord, scanned = last.TS, last.Ord, scanned+len(rows)
	}
	return nil, merr.NotFound("There is no event in that direction")
}
