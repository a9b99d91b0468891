package policy

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"hearth/clientapi/antispam"
	"hearth/clientapi/userapi"
	"hearth/internal/invitefilter"
	"hearth/internal/merr"
)

func (g *Guard) local(userID string) bool { return strings.HasSuffix(userID, ":"+g.d.ServerName) }

// MayInvite judges an invite, the cheapest question first: the rules, what the invitee wants if
// local, how many invites there were, and the webhooks.
func (g *Guard) MayInvite(ctx context.Context, req *userapi.MayInviteRequest) (*userapi.MayInviteResponse, error) {
	if err := g.Allow(&userapi.PolicyQuery{Op: userapi.OpInvite, User: req.Inviter, Target: req.Invitee, Room: req.RoomID}); err != nil {
		return nil, err
	}
	resp := &userapi.MayInviteResponse{}
	if g.local(req.Invitee) {
		verdict, err := g.wants(ctx, req.Inviter, req.Invitee)
		if err != nil {
			return nil, err
		}
		switch verdict {
		case invitefilter.Block:
			return nil, merr.New(http.StatusForbidden, "M_INVITE_BLOCKED", "%s wants no invitations", req.Invitee)
		case invitefilter.Ignore:
			resp.Hidden = true
		}
	}
	if err := g.countInvite(ctx, req); err != nil {
		return nil, err
	}
	if req.Event == nil {
		return resp, g.d.Webhooks.Ask(ctx, antispam.UserMayInvite, map[string]string{
			"inviter": req.Inviter, "invitee": req.Invitee, "room_id": req.RoomID,
		})
	}
	return resp, g.d.Webhooks.Ask(ctx, antispam.FederatedUserMayInvite, map[string]any{"event": req.Event})
}

// wants says what a user of this server wants of another one's invites.
func (g *Guard) wants(ctx context.Context, inviter, invitee string) (invitefilter.Verdict, error) {
	ignored, err := g.Ignores(ctx, invitee, inviter)
	switch {
	case err != nil:
		return invitefilter.Allow, err
	case ignored && g.d.TwoWay:
		return invitefilter.Block, nil
	case ignored:
		return invitefilter.Ignore, nil
	}
	for _, typ := range []string{invitefilter.Permission, invitefilter.Filter} {
		content, err := g.accountData(ctx, invitee, typ)
		if err != nil {
			return invitefilter.Allow, err
		}
		if v := invitefilter.Parse(content).Decide(inviter); v != invitefilter.Allow {
			return v, nil
		}
	}
	return invitefilter.Allow, nil
}

// Ignores reports whether a user of this server ignores another user.
func (g *Guard) Ignores(ctx context.Context, userID, other string) (bool, error) {
	content, err := g.accountData(ctx, userID, invitefilter.Ignored)
	return err == nil && invitefilter.Ignores(content, other), err
}

// HidesFrom reports whether a user of this server is hidden from another one, whom it ignores:
// where blocking goes both ways.
func (g *Guard) HidesFrom(ctx context.Context, userID, viewer string) (bool, error) {
	if !g.d.TwoWay || viewer == "" || userID == viewer || !g.local(userID) {
		return false, nil
	}
	return g.Ignores(ctx, userID, viewer)
}

// accountData returns the content, nil if there is none.
func (g *Guard) accountData(ctx context.Context, userID, typ string) (json.RawMessage, error) {
	data, err := userapi.GetAccountData.Do(ctx, g.d.Bus, &userapi.AccountDataRequest{UserID: userID, Type: typ})
	if errors.Is(err, merr.NotFound("")) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return data.Content, nil
}

// countInvite bounds invites by a user, to one of ours, and from another server.
func (g *Guard) countInvite(ctx context.Context, req *userapi.MayInviteRequest) error {
	if g.free(req.Inviter) {
		return nil
	}
	if g.local(req.Inviter) {
		err := g.probation(ctx, req.Inviter, userapi.OpInvite, func(t *trial) error {
			return t.daily(req.Inviter, "invite people", t.Invites)
		})
		if err != nil {
			return err
		}
	} else if err := g.limits.origin.take(serverOf(req.Inviter), originLimit); err != nil {
		return err
	}
	if err := g.limits.inviter.take(req.Inviter, inviterLimit); err != nil {
		return err
	}
	if !g.local(req.Invitee) {
		return nil
	}
	return g.limits.invitee.take(req.Invitee, inviteeLimit)
}

// AsksAboutJoins reports whether a webhook wants to know of joins.
func (g *Guard) AsksAboutJoins() bool { return g.d.Webhooks.Asks(antispam.UserMayJoinRoom) }

// MayJoin judges a join of one of our users, or that of another server's which asks us for it.
func (g *Guard) MayJoin(ctx context.Context, req *userapi.MayJoinRequest) (*userapi.Empty, error) {
	if err := g.Allow(&userapi.PolicyQuery{Op: userapi.OpJoin, User: req.UserID, Room: req.RoomID}); err != nil {
		return nil, err
	}
	if !g.local(req.UserID) {
		if err := g.limits.joinOrigin.take(serverOf(req.UserID), joinOriginLimit); err != nil {
			return nil, err
		}
		if !req.Asked {
			return &userapi.Empty{}, nil
		}
		return &userapi.Empty{}, g.d.Webhooks.Ask(ctx, antispam.AcceptMakeJoin, map[string]string{"user": req.UserID, "room": req.RoomID})
	}
	if !g.free(req.UserID) {
		if err := g.probation(ctx, req.UserID, userapi.OpJoin, func(t *trial) error {
			return t.daily(req.UserID, "join rooms", t.Joins)
		}); err != nil {
			return nil, err
		}
		if err := g.limits.joiner.take(req.UserID, joinerLimit); err != nil {
			return nil, err
		}
	}
	return &userapi.Empty{}, g.d.Webhooks.Ask(ctx, antispam.UserMayJoinRoom, map[string]any{
		"user": req.UserID, "room": req.RoomID, "is_invited": req.Invited,
	})
}
