package roomserver

import (
	"context"

	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// invite invites a user of this server.
func (s *Server) invite(ctx context.Context, req *roomapi.MembershipRequest) (*roomapi.MembershipResponse, error) {
	return s.change(ctx, req, func(b *batch, before string, e *stored) (string, error) {
		if err := b.mustBeJoined(ctx, req.Sender); err != nil {
			return "", err
		}
		switch before {
		case "join":
			return "", merr.Forbidden("The user is already in this room")
		case "ban":
			return "", merr.Forbidden("The user is banned from this room")
		case "invite":
			return e.ev.EventID, nil
		}
		return b.invite(ctx, req.Sender, roomapi.Invitee{UserID: req.Target, Profile: req.Profile}, req.IsDirect, req.Reason)
	})
}

func (b *batch) invite(ctx context.Context, sender string, who roomapi.Invitee, isDirect bool, reason string) (string, error) {
	if _, _, err := pdu.ParseUserID(who.UserID); err != nil {
		return "", merr.InvalidParam("Invalid user id")
	}
	if !b.s.isLocal(who.UserID) {
		return "", errRemoteInvite
	}
	return b.setMembership(ctx, sender, who.UserID, memberContent{
		membership: "invite", profile: who.Profile, reason: reason, isDirect: isDirect,
	})
}
