package roomserver

import (
	"context"

	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
)

// forwardExtremities lists the forward extremities of a room.
func (s *Server) forwardExtremities(ctx context.Context, req *roomapi.RoomRequest) (*roomapi.ForwardExtremitiesResponse, error) {
	r, h, done, err := s.view(ctx, req.RoomID)
	if err != nil {
		return nil, err
	}
	defer done()
	resp := &roomapi.ForwardExtremitiesResponse{Extremities: []roomapi.ForwardExtremity{}}
	for _, x := range h.extremities {
		e, err := s.event(ctx, r, x.nid)
		if err != nil {
			return nil, err
		}
		resp.Extremities = append(resp.Extremities, roomapi.ForwardExtremity{
			EventID: x.id, StateGroup: x.snap, Depth: x.depth, ReceivedTS: e.ev.OriginServerTS,
		})
	}
	return resp, nil
}

// joinExtremities lets a dummy event follow all forward extremities.
func (s *Server) joinExtremities(ctx context.Context, req *roomapi.RoomRequest) (*roomapi.JoinExtremitiesResponse, error) {
	lr, err := s.lockRoom(ctx, req.RoomID)
	if err != nil {
		return nil, err
	}
	defer lr.unlock()
	before := len(lr.staged.extremities)
	if before < 2 {
		return &roomapi.JoinExtremitiesResponse{}, nil
	}
	wait, err := s.dummy(ctx, lr)
	if err != nil {
		return nil, err
	}
	if wait == nil {
		return nil, merr.New(400, "M_UNKNOWN", "No user of this server in the room may send the event that follows all")
	}
	gone := before - len(lr.staged.extremities)
	return &roomapi.JoinExtremitiesResponse{Gone: gone}, wait(ctx)
}
