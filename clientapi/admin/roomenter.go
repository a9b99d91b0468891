package admin

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

type userBody struct {
	UserID string `json:"user_id"`
}

// makeRoomAdmin is POST /v1/rooms/{roomIdOrAlias}/make_room_admin.
func (s *Server) makeRoomAdmin(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[userBody](r)
	if err != nil {
		return nil, err
	}
	target := req.UserID
	if target == "" {
		target = r.Identity.UserID
	}
	if _, _, err := pdu.ParseUserID(target); err != nil {
		return nil, merr.InvalidParam("Invalid user id")
	}
	id, err := s.resolve(r)
	if err != nil {
		return nil, err
	}
	if err := s.record(r, "room.make_admin", id, "", nil, userBody{target}); err != nil {
		return nil, err
	}
	profile, err := s.memberProfile(r.Context(), target)
	if err != nil {
		return nil, err
	}
	_, err = roomapi.MakeRoomAdmin.Do(r.Context(), s.Bus, &roomapi.MembershipRequest{RoomID: id, Target: target, Profile: profile})
	return nil, err
}

// joinRoom is POST /v1/join/{roomIdOrAlias}: a user of this server joins, invited if need be.
func (s *Server) joinRoom(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[userBody](r)
	if err != nil {
		return nil, err
	}
	if req.UserID == "" {
		return nil, merr.MissingParam("user_id")
	}
	if !strings.HasSuffix(req.UserID, ":"+s.ServerName) {
		return nil, merr.New(400, "M_UNKNOWN", "This endpoint can only be used with local users")
	}
	if _, err := userapi.GetUser.Do(r.Context(), s.Bus, &userapi.UserRequest{UserID: req.UserID}); err != nil {
		return nil, err
	}
	target := r.Param("roomIdOrAlias")
	if err := s.record(r, "room.join", target, "", nil, req); err != nil {
		return nil, err
	}
	via := slices.Concat(r.Query().All("server_name"), r.Query().All("via"))
	joined, err := s.bringIn(r.Context(), target, req.UserID, via)
	if err != nil {
		return nil, err
	}
	return map[string]string{"room_id": joined}, nil
}

// bringIn lets a user join a room. Where the room's rules do not let them, somebody who may do so
// invites them first.
func (s *Server) bringIn(ctx context.Context, target, userID string, via []string) (roomID string, err error) {
	profile, err := s.memberProfile(ctx, userID)
	if err != nil {
		return "", err
	}
	req := &roomapi.JoinRequest{RoomIDOrAlias: target, UserID: userID, Via: via, Profile: profile}
	joined, err := roomapi.Join.Do(ctx, s.Bus, req)
	if err == nil {
		return joined.RoomID, nil
	}
	if !errors.Is(err, merr.Forbidden("")) {
		return "", err
	}
	room := target
	if strings.HasPrefix(room, "#") {
		found, err := roomapi.ResolveAlias.Do(ctx, s.Bus, &roomapi.AliasRequest{Alias: room})
		if err != nil {
			return "", err
		}
		room = found.RoomID
	}
	if _, inviteErr := roomapi.InviteBy.Do(ctx, s.Bus, &roomapi.MembershipRequest{RoomID: room, Target: userID, Profile: profile}); inviteErr != nil {
		return "", err // why the user could not join says more
	}
	if joined, err = roomapi.Join.Do(ctx, s.Bus, req); err != nil {
		return "", err
	}
	return joined.RoomID, nil
}

// memberProfile is what a member event says of a user; nothing for one whom we do not know.
func (s *Server) memberProfile(ctx context.Context, userID string) (p roomapi.Profile, err error) {
	if !strings.HasSuffix(userID, ":"+s.ServerName) {
		return p, nil
	}
	profile, err := userapi.GetProfile.Do(ctx, s.Bus, &userapi.UserRequest{UserID: userID})
	if errors.Is(err, merr.NotFound("")) {
		return p, nil
	}
	if err != nil {
		return p, err
	}
	// A field that is no string is left out; json leaves the zero value.
	_ = json.Unmarshal(profile.Fields["displayname"], &p.DisplayName)
	_ = json.Unmarshal(profile.Fields["avatar_url"], &p.AvatarURL)
	return p, nil
}
