package clientapi

import (
	"strings"

	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// hierarchy is GET /rooms/{roomId}/hierarchy.
func (s *Server) hierarchy(r *matrixhttp.Request) (any, error) {
	room, err := roomID(r)
	if err != nil {
		return nil, err
	}
	query := r.Query()
	req := &roomapi.HierarchyRequest{
		RoomID: room, UserID: r.Identity.UserID, SuggestedOnly: query.Bool("suggested_only"),
		Limit: int(query.Int("limit", 50, 1, 100)), From: query.String("from"),
	}
	if query.Has("max_depth") {
		req.MaxDepth = int(query.Int("max_depth", 0, 0, 1000))
		if req.MaxDepth == 0 {
			req.MaxDepth = -1 // the room itself only
		}
	}
	if err := query.Err(); err != nil {
		return nil, err
	}
	page, err := roomapi.Hierarchy.Do(r.Context(), s.bus, req)
	if err != nil {
		return nil, err
	}
	body := map[string]any{"rooms": page.Rooms}
	if page.Rooms == nil {
		body["rooms"] = []roomapi.Summary{}
	}
	if page.Next != "" {
		body["next_batch"] = page.Next
	}
	return body, nil
}

// roomSummary is GET /room_summary/{roomIdOrAlias} and its forms before the spec.
func (s *Server) roomSummary(r *matrixhttp.Request) (any, error) {
	target := r.Param("roomIdOrAlias")
	var err error
	if strings.HasPrefix(target, "#") {
		_, _, err = pdu.ParseAlias(target)
	} else {
		_, _, err = pdu.ParseRoomID(target)
	}
	if err != nil {
		return nil, merr.InvalidParam("Invalid room id or alias")
	}
	if r.Identity.UserID == "" {
		if err := s.limits.nobody.take(address(r)); err != nil {
			return nil, err
		}
	}
	query := r.Query()
	via := query.All("via")
	if err := query.Err(); err != nil {
		return nil, err
	}
	return roomapi.GetSummary.Do(r.Context(), s.bus, &roomapi.SummaryRequest{RoomIDOrAlias: target, UserID: r.Identity.UserID, Via: via[:min(len(via), maxVia)]})
}
