package roomserver

import (
	"context"
	"time"

	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// maxProfileUpdates bounds how many users' profile changes wait.
const maxProfileUpdates = 1000

// updateProfile queues a profile change for the rooms of the user.
func (s *Server) updateProfile(_ context.Context, req *roomapi.UpdateProfileRequest) (*roomapi.Empty, error) {
	select {
	case s.profiles <- *req:
		return &roomapi.Empty{}, nil
	default:
		return nil, merr.Busy(time.Second)
	}
}

func (s *Server) runProfiles(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case req := <-s.profiles:
			if err := s.spreadProfile(ctx, &req); err != nil && ctx.Err() == nil {
				s.log.WithError(err).Warn("a profile change did not reach all rooms")
			}
		}
	}
}

// spreadProfile writes a new member event into each room that the user has joined.
func (s *Server) spreadProfile(ctx context.Context, req *roomapi.UpdateProfileRequest) error {
	for after := ""; ; {
		page, err := s.memberships(ctx, &roomapi.MembershipsRequest{UserID: req.UserID, Memberships: []string{"join"}, After: after})
		if err != nil {
			return err
		}
		for _, m := range page.Rooms {
			after = m.RoomID
			if err := s.updateMember(ctx, m.RoomID, req); err != nil && ctx.Err() == nil {
				s.log.WithError(err).WithField("room", m.RoomID).Warn("profile change refused by a room")
			}
		}
		if !page.More || ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func (s *Server) updateMember(ctx context.Context, roomID string, req *roomapi.UpdateProfileRequest) error {
	return s.update(ctx, roomID, func(b *batch) error {
		membership, e, err := b.membership(ctx, req.UserID)
		if err != nil || membership != "join" {
			return err
		}
		// The rest of the content stays, but not what belonged to the act of joining.
		content := e.ev.Content
		for _, key := range []string{"reason", "is_direct", "third_party_invite"} {
			content, _ = pdu.Delete(content, key)
		}
		for key, value := range map[string]string{"displayname": req.Profile.DisplayName, "avatar_url": req.Profile.AvatarURL} {
			if value == "" {
				content, _ = pdu.Delete(content, key)
			} else {
				content, _ = pdu.Set(content, key, pdu.AppendString(nil, value))
			}
		}
		_, err = b.send(ctx, draft{typ: memberType, sender: req.UserID, stateKey: &req.UserID, content: content})
		return err
	})
}
