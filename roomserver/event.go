package roomserver

import (
	"context"
	"errors"

	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

// notFoundAs replaces storage.ErrNotFound by what it means to the caller.
func notFoundAs(err, other error) error {
	if errors.Is(err, storage.ErrNotFound) {
		return other
	}
	return err
}

// getEvent returns one event, 404 if the user may not see it.
func (s *Server) getEvent(ctx context.Context, req *roomapi.EventRequest) (*roomapi.Event, error) {
	e, err := s.getRoomEvent(ctx, req)
	if errors.Is(err, merr.NotFound("")) {
		own, ownErr := s.ownOutside(ctx, req)
		if own != nil || ownErr != nil {
			return own, ownErr
		}
	}
	return e, err
}

func (s *Server) getRoomEvent(ctx context.Context, req *roomapi.EventRequest) (*roomapi.Event, error) {
	r, _, done, err := s.view(ctx, req.RoomID)
	if err != nil {
		return nil, err
	}
	defer done()
	v, e, err := s.visibleEvent(ctx, r, req.UserID, req.EventID)
	if err != nil {
		return nil, err
	}
	c := seen(v, e)
	return c, s.bundle(ctx, r, v, req.Ignored, c)
}

// findEvent returns an event of any room, 404 if the user may not see it.
func (s *Server) findEvent(ctx context.Context, req *roomapi.EventRequest) (*roomapi.PlacedEvent, error) {
	unknown := merr.NotFound("Unknown event")
	row, err := s.store.EventByKey(ctx, storage.EventKey(req.EventID))
	if err != nil {
		return nil, notFoundAs(err, unknown)
	}
	rooms, err := s.store.RoomIDs(ctx, []int64{row.Room})
	if err != nil {
		return nil, err
	}
	at := *req
	at.RoomID = rooms[row.Room].ID
	e, err := s.getEvent(ctx, &at)
	if err != nil {
		return nil, err
	}
	return &roomapi.PlacedEvent{RoomID: at.RoomID, Event: e}, nil
}

// visibleEvent finds an event that a user may see: 404 otherwise, whether it exists or not.
func (s *Server) visibleEvent(ctx context.Context, r *room, userID, eventID string) (*visibility, *stored, error) {
	unknown := merr.NotFound("Unknown event")
	e, err := s.eventByID(ctx, r, eventID)
	if err != nil {
		return nil, nil, notFoundAs(err, unknown)
	}
	v, err := s.visibility(ctx, r, userID)
	if err != nil {
		return nil, nil, err
	}
	if !v.sees(e) {
		return nil, nil, unknown
	}
	return v, e, nil
}
