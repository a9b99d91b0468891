package clientapi

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
)

type createRequest struct {
	Visibility         string            `json:"visibility"`
	AliasName          string            `json:"room_alias_name"`
	Name               string            `json:"name"`
	Topic              string            `json:"topic"`
	Invite             []string          `json:"invite"`
	Invite3PID         []json.RawMessage `json:"invite_3pid"`
	RoomVersion        string            `json:"room_version"`
	CreationContent    *rawObject        `json:"creation_content"`
	InitialState       []initialState    `json:"initial_state"`
	Preset             string            `json:"preset"`
	IsDirect           bool              `json:"is_direct"`
	PowerLevelOverride *rawObject        `json:"power_level_content_override"`
}

type initialState struct {
	Type     string     `json:"type"`
	StateKey string     `json:"state_key"`
	Content  *rawObject `json:"content"`
}

// rawObject is a JSON object that is passed on as it is.
type rawObject json.RawMessage

// UnmarshalJSON keeps the object.
func (o *rawObject) UnmarshalJSON(b []byte) error {
	if len(b) == 0 || b[0] != '{' {
		return errors.New("not an object")
	}
	*o = append((*o)[:0], b...)
	return nil
}

func (o *rawObject) bytes() json.RawMessage {
	if o == nil {
		return nil
	}
	return json.RawMessage(*o)
}

// maxInvites bounds the invitations of one createRoom.
const maxInvites = 200

// createRoom is POST /createRoom.
func (s *Server) createRoom(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[createRequest](r)
	if err != nil {
		return nil, err
	}
	if err := s.limits.send.take(r.Identity.UserID); err != nil {
		return nil, err
	}
	create, err := req.check()
	if err != nil {
		return nil, err
	}
	if err := s.policy.MayCreate(r.Context(), r.Identity.UserID); err != nil {
		return nil, err
	}
	if req.AliasName != "" {
		alias := "#" + req.AliasName + ":" + s.serverName
		if err := s.mayHaveAlias(r, alias); err != nil {
			return nil, err
		}
		if err := s.policy.MayAlias(r.Context(), r.Identity.UserID, "", alias); err != nil {
			return nil, err
		}
	}
	if req.Visibility == "public" {
		if err := s.policy.MayPublish(r.Context(), r.Identity.UserID, ""); err != nil {
			return nil, err
		}
	}
	s.options.Encryption.encrypt(create)
	create.Creator = r.Identity.UserID
	if create.Profile, err = s.memberProfile(r.Context(), r.Identity.UserID); err != nil {
		return nil, err
	}
	if s.shadowed(r) {
		req.Invite = nil
	}
	limited, cancel := context.WithTimeout(r.Context(), profileTime) // for all of them together
	defer cancel()
	for _, invitee := range req.Invite {
		if err := s.mayInvite(r, "", invitee); err != nil {
			return nil, err
		}
		ctx := limited
		if s.isLocal(invitee) {
			ctx = r.Context()
		}
		profile, err := s.inviteeProfile(ctx, invitee)
		if err != nil && ctx.Err() != nil && r.Context().Err() == nil {
			profile, err = roomapi.Profile{}, nil
		}
		if err != nil {
			return nil, err
		}
		create.Invite = append(create.Invite, roomapi.Invitee{UserID: invitee, Profile: profile})
	}
	answer, err := roomapi.Create.Do(r.Context(), s.bus, create)
	if err != nil {
		return nil, err
	}
	return map[string]string{"room_id": answer.RoomID}, nil
}

func (req *createRequest) check() (*roomapi.CreateRequest, error) {
	if !slices.Contains([]string{"", "public", "private"}, req.Visibility) {
		return nil, merr.InvalidParam("Invalid visibility")
	}
	if !slices.Contains([]string{"", "private_chat", "public_chat", "trusted_private_chat"}, req.Preset) {
		return nil, merr.InvalidParam("Invalid preset")
	}
	if len(req.Invite3PID) > 0 {
		return nil, merr.Forbidden("Invitations by e-mail address or phone number are not offered")
	}
	if len(req.Invite) > maxInvites {
		return nil, merr.InvalidParam("More than %d invitations", maxInvites)
	}
	for _, id := range req.Invite {
		if err := userID(id); err != nil {
			return nil, err
		}
	}
	create := &roomapi.CreateRequest{
		RoomVersion: req.RoomVersion, Preset: req.Preset, Public: req.Visibility == "public",
		Name: req.Name, Topic: req.Topic, AliasLocalpart: req.AliasName, IsDirect: req.IsDirect,
		CreationContent: req.CreationContent.bytes(), PowerLevelOverride: req.PowerLevelOverride.bytes(),
	}
	for _, e := range req.InitialState {
		if e.Type == "" || e.Content == nil {
			return nil, merr.BadJSON("Each event of initial_state must have a type and a content")
		}
		create.InitialState = append(create.InitialState, roomapi.StateEvent{Type: e.Type, StateKey: e.StateKey, Content: e.Content.bytes()})
	}
	return create, nil
}

// memberProfile is what a member event says of a user. Of users that we do not
// have it says nothing.
func (s *Server) memberProfile(ctx context.Context, id string) (roomapi.Profile, error) {
	profile, err := userapi.GetProfile.Do(ctx, s.bus, &userapi.UserRequest{UserID: id})
	if err != nil {
		profile, err = s.unknownUser(ctx, id, err)
	}
	if errors.Is(err, merr.NotFound("")) {
		return roomapi.Profile{}, nil
	}
	if err != nil {
		return roomapi.Profile{}, err
	}
	return asMember(profile), nil
}

func asMember(profile *userapi.Profile) roomapi.Profile {
	var p roomapi.Profile
	// A field that is no string is left out; json leaves the zero value.
	_ = json.Unmarshal(profile.Fields["displayname"], &p.DisplayName)
	_ = json.Unmarshal(profile.Fields["avatar_url"], &p.AvatarURL)
	return p
}
