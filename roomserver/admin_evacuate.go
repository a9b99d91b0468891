package roomserver

import (
	"context"
	"errors"

	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

// evacuateStep is how many users leave in one call.
const evacuateStep = 50

// evacuate lets users of this server leave a room.
func (s *Server) evacuate(ctx context.Context, req *roomapi.EvacuateRequest) (*roomapi.EvacuateResponse, error) {
	users, err := s.store.OwnMembers(ctx, req.RoomID, s.serverName, req.After, evacuateStep+1)
	if err != nil {
		return nil, err
	}
	resp := &roomapi.EvacuateResponse{After: req.After, More: len(users) > evacuateStep}
	for _, m := range users[:min(evacuateStep, len(users))] {
		resp.After = m.UserID
		if m.Membership == storage.MembershipJoin || m.Membership == storage.MembershipInvite || m.Membership == storage.MembershipKnock {
			_, err := s.leave(ctx, &roomapi.MembershipRequest{RoomID: req.RoomID, Sender: m.UserID, Target: m.UserID, Reason: req.Reason})
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if err != nil {
				if e := merr.From(err); e.Temporary {
					return nil, err
				}
				s.log.WithError(err).WithField("room", req.RoomID).Info("a user could not be let leave")
				resp.Failed = append(resp.Failed, m.UserID)
				continue
			}
			if m.Membership == storage.MembershipJoin {
				resp.Left = append(resp.Left, m.UserID)
			}
		}
		if !req.Forget {
			continue
		}
		if _, err := s.forget(ctx, &roomapi.ForgetRequest{RoomID: req.RoomID, UserID: m.UserID}); err != nil && !errors.Is(err, merr.NotFound("")) {
			return nil, err
		}
	}
	return resp, nil
}
