package clientapi

import (
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// aliases is GET /rooms/{roomId}/aliases.
func (s *Server) aliases(r *matrixhttp.Request) (any, error) {
	room, err := roomID(r)
	if err != nil {
		return nil, err
	}
	answer, err := roomapi.Aliases.Do(r.Context(), s.bus, &roomapi.RoomRequest{RoomID: room, UserID: r.Identity.UserID})
	if err != nil {
		return nil, err
	}
	list := answer.Aliases
	if list == nil {
		list = []string{}
	}
	return map[string]any{"aliases": list}, nil
}

// alias returns the alias of the path; mine says that only this server's will do.
func (s *Server) alias(r *matrixhttp.Request, mine bool) (string, error) {
	alias := r.Param("roomAlias")
	_, domain, err := pdu.ParseAlias(alias)
	if err != nil {
		return "", merr.InvalidParam("Invalid room alias")
	}
	if mine && domain != s.serverName {
		return "", merr.InvalidParam("The alias belongs to another server")
	}
	return alias, nil
}

// resolveAlias is GET /directory/room/{roomAlias}.
func (s *Server) resolveAlias(r *matrixhttp.Request) (any, error) {
	alias, err := s.alias(r, false)
	if err != nil {
		return nil, err
	}
	answer, err := roomapi.ResolveAlias.Do(r.Context(), s.bus, &roomapi.AliasRequest{Alias: alias})
	if err != nil {
		if err := s.unknownAlias(r.Context(), alias, err); err != nil {
			return nil, err
		}
		if answer, err = roomapi.ResolveAlias.Do(r.Context(), s.bus, &roomapi.AliasRequest{Alias: alias}); err != nil {
			return nil, err
		}
	}
	return map[string]any{"room_id": answer.RoomID, "servers": answer.Servers}, nil
}

// setAlias is PUT /directory/room/{roomAlias}.
func (s *Server) setAlias(r *matrixhttp.Request) (any, error) {
	alias, err := s.alias(r, true)
	if err != nil {
		return nil, err
	}
	req, err := matrixhttp.Decode[struct {
		RoomID string `json:"room_id"`
	}](r)
	if err != nil {
		return nil, err
	}
	if req.RoomID == "" {
		return nil, merr.MissingParam("room_id")
	}
	if _, _, err := pdu.ParseRoomID(req.RoomID); err != nil {
		return nil, merr.InvalidParam("Invalid room id")
	}
	if err := s.mayHaveAlias(r, alias); err != nil {
		return nil, err
	}
	if err := s.policy.MayAlias(r.Context(), r.Identity.UserID, req.RoomID, alias); err != nil {
		return nil, err
	}
	_, err = roomapi.SetAlias.Do(r.Context(), s.bus, &roomapi.AliasRequest{Alias: alias, RoomID: req.RoomID, UserID: r.Identity.UserID})
	s.services.AliasChanged(req.RoomID)
	return nil, err
}

// deleteAlias is DELETE /directory/room/{roomAlias}.
func (s *Server) deleteAlias(r *matrixhttp.Request) (any, error) {
	alias, err := s.alias(r, true)
	if err != nil {
		return nil, err
	}
	if err := s.mayHaveAlias(r, alias); err != nil {
		return nil, err
	}
	_, err = roomapi.DeleteAlias.Do(r.Context(), s.bus, &roomapi.AliasRequest{
		Alias: alias, UserID: r.Identity.UserID, Manages: r.Identity.Service != "",
	})
	return nil, err
}
