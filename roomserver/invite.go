package roomserver

import (
	"context"

	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// invite invites a user.
func (s *Server) invite(ctx context.Context, req *roomapi.MembershipRequest) (*roomapi.MembershipResponse, error) {
	if _, _, err := pdu.ParseUserID(req.Target); err == nil && !s.isLocal(req.Target) {
		m := memberContent{membership: "invite", profile: req.Profile, reason: req.Reason, isDirect: req.IsDirect}
		eventID, err := s.inviteUser(ctx, req.RoomID, req.Sender, req.Target, m)
		return &roomapi.MembershipResponse{RoomID: req.RoomID, EventID: eventID}, err
	}
	return s.change(ctx, req, func(b *batch, before string, e *stored) (string, error) {
		if eventID, err := b.mayInvite(ctx, req.Sender, req.Target); err != nil || eventID != "" {
			return eventID, err
		}
		return b.invite(ctx, req.Sender, roomapi.Invitee{UserID: req.Target, Profile: req.Profile}, req.IsDirect, req.Reason)
	})
}

func (b *batch) invite(ctx context.Context, sender string, who roomapi.Invitee, isDirect bool, reason string) (string, error) {
	if _, _, err := pdu.ParseUserID(who.UserID); err != nil {
		return "", merr.InvalidParam("Invalid user id")
	}
	return b.setMembership(ctx, sender, who.UserID, memberContent{
		membership: "invite", profile: who.Profile, reason: reason, isDirect: isDirect,
	})
}
