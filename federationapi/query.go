package federationapi

import (
	"encoding/json"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// queryDirectory is GET /_matrix/federation/v1/query/directory (server-server API,
// "Querying for information"): the room of one of our aliases.
func (s *Server) queryDirectory(r *matrixhttp.Request) (any, error) {
	alias := r.HTTP.URL.Query().Get("room_alias")
	if alias == "" {
		return nil, merr.MissingParam("room_alias")
	}
	room, err := roomapi.ResolveAlias.Do(r.Context(), s.deps.Bus, &roomapi.AliasRequest{Alias: alias})
	if err != nil {
		return nil, err
	}
	return map[string]any{"room_id": room.RoomID, "servers": room.Servers}, nil
}

// queryProfile is GET /_matrix/federation/v1/query/profile: what one of our users says of
// themselves, or one field of it.
func (s *Server) queryProfile(r *matrixhttp.Request) (any, error) {
	query := r.HTTP.URL.Query()
	userID, field := query.Get("user_id"), query.Get("field")
	if userID == "" {
		return nil, merr.MissingParam("user_id")
	}
	if _, domain, err := pdu.ParseUserID(userID); err != nil || domain != s.deps.ServerName {
		return nil, merr.NotFound("There is no such user here")
	}
	profile, err := userapi.GetProfile.Do(r.Context(), s.deps.Bus, &userapi.UserRequest{UserID: userID})
	if err != nil {
		return nil, err
	}
	if field != "" {
		value, ok := profile.Fields[field]
		if !ok {
			return nil, merr.NotFound("The profile has no such field")
		}
		return map[string]json.RawMessage{field: value}, nil
	}
	if profile.Fields == nil {
		return map[string]any{}, nil
	}
	return profile.Fields, nil
}
