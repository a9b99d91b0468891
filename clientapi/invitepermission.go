package clientapi

import (
	"context"
	"errors"
	"net/http"

	"hearth/clientapi/userapi"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

// mayInvite refuses to invite a user of this server who wants no invites ("Invite
// permission").
func (s *Server) mayInvite(ctx context.Context, target string) error {
	if !s.isLocal(target) {
		return nil // their server knows
	}
	data, err := userapi.GetAccountData.Do(ctx, s.bus, &userapi.AccountDataRequest{UserID: target, Type: userapi.InvitePermissionType})
	if errors.Is(err, merr.NotFound("")) {
		return nil
	}
	if err != nil {
		return err
	}
	if userapi.BlocksInvites(data.Content) {
		return merr.New(http.StatusForbidden, "M_INVITE_BLOCKED", "%s wants no invitations", target)
	}
	return nil
}

// maySet refuses a member event that invites somebody who wants no invites.
func (s *Server) maySet(ctx context.Context, typ, stateKey string, content []byte) error {
	if typ != "m.room.member" {
		return nil
	}
	canonical, err := pdu.Canonical(content, true)
	if err != nil {
		return err
	}
	if membership, _ := pdu.GetString(canonical, "membership"); membership != "invite" {
		return nil
	}
	return s.mayInvite(ctx, stateKey)
}
