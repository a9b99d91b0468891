package clientapi

import (
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
)

type inviteRequest struct {
	UserID string `json:"user_id"`
	Reason string `json:"reason"`
	// Medium and Address are of an invitation by third-party identifier.
	Medium  string `json:"medium"`
	Address string `json:"address"`
	// This server asks no identity server; these have types all the same.
	IDServer string `json:"id_server"`
	IDToken  string `json:"id_access_token"`
}

// invite is POST /rooms/{roomId}/invite.
func (s *Server) invite(r *matrixhttp.Request) (any, error) {
	id, err := roomID(r)
	if err != nil {
		return nil, err
	}
	req, err := matrixhttp.Decode[inviteRequest](r)
	if err != nil {
		return nil, err
	}
	if req.UserID == "" && (req.Medium != "" || req.Address != "") {
		return nil, merr.Forbidden("Invitations by e-mail address or phone number are not offered")
	}
	if err := userID(req.UserID); err != nil {
		return nil, err
	}
	if err := s.limits.send.take(r.Identity.UserID); err != nil {
		return nil, err
	}
	if s.shadowed(r) {
		return nil, nil
	}
	if err := s.mayInvite(r, id, req.UserID); err != nil {
		return nil, err
	}
	profile, err := s.inviteeProfile(r.Context(), req.UserID)
	if err != nil {
		return nil, err
	}
	_, err = roomapi.Invite.Do(r.Context(), s.bus, &roomapi.MembershipRequest{
		RoomID: id, Sender: r.Identity.UserID, Target: req.UserID, Reason: req.Reason, Profile: profile,
	})
	return nil, err
}
