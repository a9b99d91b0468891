package clientapi

import (
	"context"
	"encoding/json"
	"time"

	"hearth/clientapi/userapi"
	"hearth/federationapi/remoteapi"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// profileTime bounds how long an invite waits for what it says of the invited, who may be of
// another server.
const profileTime = 5 * time.Second

// profileElsewhere asks another server for a profile; field "" is all of it.
func (s *Server) profileElsewhere(ctx context.Context, id, field string) (*userapi.Profile, error) {
	answer, err := remoteapi.Profile.Do(ctx, s.bus, &remoteapi.ProfileRequest{UserID: id, Field: field})
	if err != nil {
		return nil, err
	}
	profile := &userapi.Profile{Fields: map[string]json.RawMessage{}}
	pdu.Members(answer.JSON, func(key string, value []byte) bool {
		if field == "" || key == field {
			profile.Fields[key] = json.RawMessage(value)
		}
		return true
	})
	return profile, nil
}

// inviteeProfile is what an invite says of the invited. Of a user of another server that cannot
// be asked in time it says nothing.
func (s *Server) inviteeProfile(ctx context.Context, id string) (roomapi.Profile, error) {
	if s.isLocal(id) {
		return s.memberProfile(ctx, id)
	}
	limited, cancel := context.WithTimeout(ctx, profileTime)
	defer cancel()
	profile, err := s.profileElsewhere(limited, id, "")
	if err != nil {
		return roomapi.Profile{}, ctx.Err()
	}
	p := asMember(profile)
	if len(p.DisplayName) > maxMemberField || len(p.AvatarURL) > maxMemberField {
		return roomapi.Profile{}, nil
	}
	return p, nil
}

// directoryElsewhere asks another server for its public rooms.
func (s *Server) directoryElsewhere(ctx context.Context, server string, req *roomapi.PublicRoomsRequest) (json.RawMessage, error) {
	if _, _, err := pdu.ParseServerName(server); err != nil {
		return nil, merr.InvalidParam("Invalid server name")
	}
	body := map[string]any{"limit": req.Limit}
	if req.Since != "" {
		body["since"] = req.Since
	}
	filter := map[string]any{}
	if req.Term != "" {
		filter["generic_search_term"] = req.Term
	}
	if !req.AnyType {
		types := make([]*string, len(req.RoomTypes))
		for i := range req.RoomTypes {
			if req.RoomTypes[i] != "" { // none, which is null
				types[i] = &req.RoomTypes[i]
			}
		}
		filter["room_types"] = types
	}
	if len(filter) > 0 {
		body["filter"] = filter
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, merr.Internal(err)
	}
	answer, err := remoteapi.PublicRooms.Do(ctx, s.bus, &remoteapi.PublicRoomsRequest{Destination: server, Body: raw})
	if err != nil {
		return nil, err
	}
	return answer.JSON, nil
}
