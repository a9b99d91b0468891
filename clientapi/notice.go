package clientapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"hearth/clientapi/userapi"
	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
)

// NoticeOptions say who sends the notices of the server; an empty Localpart: nobody.
type NoticeOptions struct {
	Localpart, DisplayName string
	RoomName               string
}

const tagNotices = "m.server_notice"

// noticeUser is the user who sends notices.
func (s *Server) noticeUser() string { return "@" + s.options.Notices.Localpart + ":" + s.serverName }

// sendNotice sends a message of the server to one of its users (client-server API,
// "Server Notices"). content is that of an m.room.message; its msgtype becomes
// m.server_notice if it has none. txnID, if not empty, makes a repetition harmless.
func (s *Server) sendNotice(ctx context.Context, userID, txnID string, content json.RawMessage) (eventID string, err error) {
	if s.options.Notices.Localpart == "" {
		return "", merr.New(http.StatusBadRequest, "M_UNKNOWN", "Server notices are not enabled on this server")
	}
	if content, err = noticeContent(content); err != nil {
		return "", err
	}
	user, err := userapi.GetUser.Do(ctx, s.bus, &userapi.UserRequest{UserID: userID})
	if err != nil {
		return "", err
	}
	if user.Deactivated {
		return "", merr.NotFound("The account has been deactivated")
	}
	if err := s.ensureNoticeUser(ctx); err != nil {
		return "", err
	}
	room, err := s.noticeRoom(ctx, userID)
	if err != nil {
		return "", err
	}
	sent, err := roomapi.Send.Do(ctx, s.bus, &roomapi.SendRequest{
		RoomID: room, Sender: s.noticeUser(), DeviceID: "", TxnID: txnID, Type: "m.room.message", Content: content,
	})
	if err != nil {
		return "", err
	}
	return sent.EventID, nil
}

func noticeContent(content json.RawMessage) (json.RawMessage, error) {
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(content, &fields); err != nil || fields == nil {
		return nil, merr.BadJSON("content must be an object")
	}
	if _, ok := fields["msgtype"]; !ok {
		fields["msgtype"] = json.RawMessage(`"m.server_notice"`)
	}
	if _, ok := fields["body"]; !ok {
		return nil, merr.MissingParam("body")
	}
	return json.Marshal(fields)
}

// ensureNoticeUser makes the account of the sender, which nobody can log in to. An
// account with a password is a person's and is left alone.
func (s *Server) ensureNoticeUser(ctx context.Context) error {
	user, err := userapi.GetUser.Do(ctx, s.bus, &userapi.UserRequest{UserID: s.noticeUser()})
	if errors.Is(err, merr.NotFound("")) {
		_, err = userapi.Register.Do(ctx, s.bus, &userapi.RegisterRequest{
			Username: s.options.Notices.Localpart, InhibitLogin: true, DisplayName: s.options.Notices.DisplayName,
		})
		var e *merr.Error
		if errors.As(err, &e) && e.Code == "M_USER_IN_USE" { // made at the same time
			return nil
		}
		return err
	}
	if err != nil {
		return err
	}
	if user.HasPassword || user.Deactivated {
		return fmt.Errorf("the account %s for server notices belongs to somebody", user.UserID)
	}
	return nil
}

// noticeRoom finds or makes the room of a user, and sees to it that the user is
// invited to it and has it tagged.
func (s *Server) noticeRoom(ctx context.Context, userID string) (string, error) {
	known, err := userapi.NoticeRoom.Do(ctx, s.bus, &userapi.UserRequest{UserID: userID})
	if err == nil {
		return known.RoomID, s.inviteToNotices(ctx, known.RoomID, userID)
	}
	if !errors.Is(err, merr.NotFound("")) {
		return "", err
	}
	profile, err := s.memberProfile(ctx, userID)
	if err != nil {
		return "", err
	}
	sender, err := s.memberProfile(ctx, s.noticeUser())
	if err != nil {
		return "", err
	}
	room, err := roomapi.Create.Do(ctx, s.bus, &roomapi.CreateRequest{
		Creator: s.noticeUser(), Profile: sender, Preset: "private_chat", Name: s.options.Notices.RoomName,
		Invite:             []roomapi.Invitee{{UserID: userID, Profile: profile}},
		PowerLevelOverride: json.RawMessage(`{"users_default":-10}`),
	})
	if err != nil {
		return "", err
	}
	if _, err := userapi.SetNoticeRoom.Do(ctx, s.bus, &userapi.RoomOfUser{UserID: userID, RoomID: room.RoomID}); err != nil {
		return "", err
	}
	_, err = userapi.SetTag.Do(ctx, s.bus, &userapi.SetTagRequest{
		UserID: userID, RoomID: room.RoomID, Tag: tagNotices, Content: json.RawMessage(`{}`),
	})
	return room.RoomID, err
}

// inviteToNotices invites a user who has left the room again.
func (s *Server) inviteToNotices(ctx context.Context, room, userID string) error {
	profile, err := s.memberProfile(ctx, userID)
	if err != nil {
		return err
	}
	member, err := roomapi.GetStateEvent.Do(ctx, s.bus, &roomapi.StateEventRequest{
		RoomID: room, UserID: s.noticeUser(), Type: "m.room.member", StateKey: userID,
	})
	if err != nil && !errors.Is(err, merr.NotFound("")) {
		return err
	}
	if member != nil && (member.Membership == "join" || member.Membership == "invite") {
		return nil
	}
	_, err = roomapi.Invite.Do(ctx, s.bus, &roomapi.MembershipRequest{RoomID: room, Sender: s.noticeUser(), Target: userID, Profile: profile})
	return err
}

// keepNotices refuses to reject the invitation to the room of the server's notices.
func (s *Server) keepNotices(ctx context.Context, userID, room string) error {
	if s.options.Notices.Localpart == "" {
		return nil
	}
	known, err := userapi.NoticeRoom.Do(ctx, s.bus, &userapi.UserRequest{UserID: userID})
	if errors.Is(err, merr.NotFound("")) || err == nil && known.RoomID != room {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = roomapi.InviteState.Do(ctx, s.bus, &roomapi.InviteStateRequest{RoomID: room, UserID: userID})
	var e *merr.Error
	if errors.As(err, &e) && e.Status < 500 && !e.Temporary {
		return nil // a member, who may leave
	}
	if err != nil {
		return err
	}
	return merr.New(http.StatusForbidden, "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM", "The invitation to the room of the server's notices cannot be rejected")
}
