package roomserver

import (
	"context"

	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
)

// leave ends the sender's membership, rejects an invite or withdraws a knock.
// Leaving twice changes nothing.
func (s *Server) leave(ctx context.Context, req *roomapi.MembershipRequest) (*roomapi.MembershipResponse, error) {
	if eventID, done, err := s.leaveElsewhere(ctx, req); done || err != nil {
		return &roomapi.MembershipResponse{RoomID: req.RoomID, EventID: eventID}, err
	}
	return s.change(ctx, req, func(b *batch, before string, e *stored) (string, error) {
		switch before {
		case "leave":
			return e.ev.EventID, nil
		case "":
			return "", merr.Forbidden("You are not in this room")
		}
		return b.setMembership(ctx, req.Sender, req.Sender, memberContent{membership: "leave", reason: req.Reason})
	})
}

// kick removes a member, an invitee or a knocking user.
func (s *Server) kick(ctx context.Context, req *roomapi.MembershipRequest) (*roomapi.MembershipResponse, error) {
	return s.change(ctx, req, func(b *batch, before string, _ *stored) (string, error) {
		if err := b.mustBeJoined(ctx, req.Sender); err != nil {
			return "", err
		}
		switch before {
		case "", "leave", "ban":
			return "", merr.Forbidden("The user is not in this room")
		}
		return b.setMembership(ctx, req.Sender, req.Target, memberContent{membership: "leave", reason: req.Reason})
	})
}

// ban bans a user, who need not be in the room.
func (s *Server) ban(ctx context.Context, req *roomapi.MembershipRequest) (*roomapi.MembershipResponse, error) {
	return s.change(ctx, req, func(b *batch, _ string, _ *stored) (string, error) {
		if err := b.mustBeJoined(ctx, req.Sender); err != nil {
			return "", err
		}
		return b.setMembership(ctx, req.Sender, req.Target, memberContent{membership: "ban", reason: req.Reason})
	})
}

// unban lifts a ban.
func (s *Server) unban(ctx context.Context, req *roomapi.MembershipRequest) (*roomapi.MembershipResponse, error) {
	return s.change(ctx, req, func(b *batch, before string, _ *stored) (string, error) {
		if err := b.mustBeJoined(ctx, req.Sender); err != nil {
			return "", err
		}
		if before != "ban" {
			return "", merr.Forbidden("The user is not banned")
		}
		return b.setMembership(ctx, req.Sender, req.Target, memberContent{membership: "leave", reason: req.Reason})
	})
}
