package roomserver

import (
	"context"
	"strings"

	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

const (
	memberType    = "m.room.member"
	authorisedVia = "join_authorised_via_users_server"
)

// memberContent writes the content of an m.room.member event.
type memberContent struct {
	membership   string
	profile      roomapi.Profile
	reason       string
	isDirect     bool
	authorisedBy string
}

func (m memberContent) canonical() ([]byte, error) {
	dst := []byte(`{"membership":`)
	dst = pdu.AppendString(dst, m.membership)
	for _, field := range []struct{ key, value string }{
		{"displayname", m.profile.DisplayName},
		{"avatar_url", m.profile.AvatarURL},
		{"reason", m.reason},
		{authorisedVia, m.authorisedBy},
	} {
		if field.value != "" {
			dst = append(dst, `,"`+field.key+`":`...)
			dst = pdu.AppendString(dst, field.value)
		}
	}
	if m.isDirect {
		dst = append(dst, `,"is_direct":true`...)
	}
	return pdu.Canonical(append(dst, '}'), true)
}

// membership returns a user's membership in the batch's state; "" if there is none.
func (b *batch) membership(ctx context.Context, userID string) (string, *stored, error) {
	e, err := b.stateEvent(ctx, memberType, userID)
	if err != nil || e == nil {
		return "", nil, err
	}
	membership, _ := pdu.GetString(e.ev.Content, "membership")
	return membership, e, nil
}

// setMembership adds a member event. Where the same one is already there, it answers.
func (b *batch) setMembership(ctx context.Context, sender, target string, m memberContent) (eventID string, err error) {
	content, err := m.canonical()
	if err != nil {
		return "", err
	}
	return b.send(ctx, draft{typ: memberType, sender: sender, stateKey: &target, content: content})
}

// isLocal reports whether a user is of this server.
func (s *Server) isLocal(userID string) bool {
	_, domain, ok := strings.Cut(userID, ":")
	return ok && domain == s.serverName
}

// change is the common shape of kick, ban, unban and leave: one member event.
func (s *Server) change(ctx context.Context, req *roomapi.MembershipRequest, f func(b *batch, before string, e *stored) (eventID string, err error)) (*roomapi.MembershipResponse, error) {
	if _, _, err := pdu.ParseUserID(req.Target); err != nil {
		return nil, merr.InvalidParam("Invalid user id")
	}
	resp := &roomapi.MembershipResponse{RoomID: req.RoomID}
	err := s.update(ctx, req.RoomID, func(b *batch) error {
		before, e, err := b.membership(ctx, req.Target)
		if err != nil {
			return err
		}
		resp.EventID, err = f(b, before, e)
		return err
	})
	if err != nil {
		return nil, notAMember(err)
	}
	return resp, nil
}

// checkMember is for member events that clients send as plain state. It keeps what
// the server decides from being decided by clients: who vouches for a restricted join.
func checkMember(ctx context.Context, b *batch, d *draft) error {
	content, _ := pdu.Delete(d.content, authorisedVia)
	membership, _ := pdu.GetString(content, "membership")
	if membership == "join" {
		before, _, err := b.membership(ctx, *d.stateKey)
		if err != nil {
			return err
		}
		if before != "join" && before != "invite" && d.sender == *d.stateKey {
			voucher, err := b.authorisedBy(ctx, d.sender)
			if err != nil {
				return err
			}
			if voucher != "" {
				content, _ = pdu.Set(content, authorisedVia, pdu.AppendString(nil, voucher))
			}
		}
	}
	d.content = content
	return nil
}

// mustBeJoined refuses a sender who is not in the room.
func (b *batch) mustBeJoined(ctx context.Context, userID string) error {
	membership, _, err := b.membership(ctx, userID)
	if err != nil {
		return err
	}
	if membership != "join" {
		return merr.Forbidden("You are not in this room")
	}
	return nil
}
