package roomserver

import (
	"bytes"
	"context"
	"errors"
	"time"

	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// profileRooms is how many rooms one call looks at, profileTime how long it goes on.
const (
	profileRooms = 200
	profileTime  = 5 * time.Second
)

// updateProfile writes a new member event into the rooms that the user has joined, for a
// while. What a room refuses is done with: to try again would not help.
func (s *Server) updateProfile(ctx context.Context, req *roomapi.UpdateProfileRequest) (*roomapi.UpdateProfileResponse, error) {
	page, err := s.memberships(ctx, &roomapi.MembershipsRequest{UserID: req.UserID, Memberships: []string{"join"}, After: req.After, Limit: profileRooms})
	if err != nil {
		return nil, err
	}
	answer := &roomapi.UpdateProfileResponse{After: req.After, More: page.More}
	start := time.Now()
	for i, m := range page.Rooms {
		err := s.updateMember(ctx, m.RoomID, req)
		var refused *merr.Error
		switch {
		case err == nil:
		case errors.As(err, &refused) && !refused.Temporary && refused.Status < 500:
			s.log.WithError(err).WithField("room", m.RoomID).Warn("profile change refused by a room")
		default:
			return nil, err
		}
		answer.After = m.RoomID
		if time.Since(start) > profileTime && i+1 < len(page.Rooms) {
			answer.More = true
			break
		}
	}
	return answer, nil
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
		if bytes.Equal(content, e.ev.Content) { // it was told before
			return nil
		}
		_, err = b.send(ctx, draft{typ: memberType, sender: req.UserID, stateKey: &req.UserID, content: content})
		return err
	})
}
