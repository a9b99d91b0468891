package roomserver

import (
	"context"

	"hearth/roomserver/roomapi"
)

// serverRooms lists the rooms that a server is in.
func (s *Server) serverRooms(ctx context.Context, req *roomapi.ServerRoomsRequest) (*roomapi.ServerRoomsResponse, error) {
	resp := &roomapi.ServerRoomsResponse{RoomIDs: []string{}}
	server, ok, err := s.names.lookup(ctx, req.Server)
	if err != nil || !ok {
		return resp, err
	}
	rooms, total, err := s.store.RoomsOfServer(ctx, server, req.Backwards, max(req.From, 0), clamp(req.Limit, 1, maxRoomsPage, 100))
	if err != nil {
		return nil, err
	}
	resp.Total = total
	for _, room := range rooms {
		resp.RoomIDs, resp.LastEvents = append(resp.RoomIDs, room.ID), append(resp.LastEvents, room.Last)
	}
	return resp, nil
}
