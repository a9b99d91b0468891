package roomserver

import (
	"context"

	"hearth/internal/merr"
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
		if err != nil {
			return nil, err
		}
		if e != nil {
			return e, nil
		}
		if len(rows) < 64 {
			break
		}
		last := rows[len(rows)-1]
		ts, ord, scanned = last.TS, last.Ord, scanned+len(rows)
	}
	return nil, merr.NotFound("There is no event in that direction")
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
