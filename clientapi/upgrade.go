package clientapi

import (
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// upgrade is POST /rooms/{roomId}/upgrade.
func (s *Server) upgrade(r *matrixhttp.Request) (any, error) {
	room, err := roomID(r)
	if err != nil {
		return nil, err
	}
	body, err := matrixhttp.Decode[struct {
		Version  string   `json:"new_version"`
		Creators []string `json:"additional_creators"`
	}](r)
	if err != nil {
		return nil, err
	}
	if body.Version == "" {
		return nil, merr.MissingParam("new_version")
	}
	for _, userID := range body.Creators {
		if _, _, err := pdu.ParseUserID(userID); err != nil {
			return nil, merr.InvalidParam("Invalid user id in additional_creators")
		}
	}
	if err := s.limits.send.take(r.Identity.UserID); err != nil {
		return nil, err
	}
	profile, err := s.memberProfile(r.Context(), r.Identity.UserID)
	if err != nil {
		return nil, err
	}
	answer, err := roomapi.Upgrade.Do(r.Context(), s.bus, &roomapi.UpgradeRequest{
		RoomID: room, UserID: r.Identity.UserID, Version: body.Version, AdditionalCreators: body.Creators, Profile: profile,
	})
	if err != nil {
		return nil, err
	}
	s.succeed(r.Context(), r.Identity.UserID, answer.RoomID)
	s.services.AliasChanged(answer.RoomID)
	return map[string]string{"replacement_room": answer.RoomID}, nil
}

// eventAt is GET /rooms/{roomId}/timestamp_to_event.
func (s *Server) eventAt(r *matrixhttp.Request) (any, error) {
	room, err := roomID(r)
	if err != nil {
		return nil, err
	}
	query := r.Query()
	if !query.Has("ts") {
		return nil, merr.MissingParam("ts")
	}
	if !query.Has("dir") {
		return nil, merr.MissingParam("dir")
	}
	req := &roomapi.EventAtRequest{
		RoomID: room, UserID: r.Identity.UserID,
		TS: query.Int("ts", 0, 0, 1<<53), Backwards: query.Enum("dir", "f", "f", "b") == "b",
	}
	if err := query.Err(); err != nil {
		return nil, err
	}
	e, err := roomapi.EventAt.Do(r.Context(), s.bus, req)
	if err != nil {
		return nil, err
	}
	return map[string]any{"event_id": e.EventID, "origin_server_ts": e.OriginServerTS}, nil
}
