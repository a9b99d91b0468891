package roomserver

import (
	"context"
	"errors"
	"slices"

	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/auth"
	"hearth/roomserver/roomapi"
)

// handleMembership registers what other servers ask and send about members.
func (s *Server) handleMembership() error {
	b := s.bus
	return errors.Join(
		bus.Handle(b, roomapi.MakeMembership, s.makeMembership),
		bus.HandleStream(b, roomapi.AcceptJoin, s.acceptJoin),
		bus.Handle(b, roomapi.AcceptMembership, s.acceptMembership),
		bus.Handle(b, roomapi.AcceptInvite, s.acceptInvite),
		bus.Handle(b, roomapi.AcceptExchange, s.acceptExchange),
	)
}

// resident locks a room that we are in for a server that may not be in it: 404 if we are
// not, 403 if the room's ACL denies the server.
func (s *Server) resident(ctx context.Context, roomID, origin string) (*lockedRoom, error) {
	lr, err := s.lockRoom(ctx, roomID)
	if err != nil {
		return nil, err
	}
	if !lr.staged.hosts.local() {
		lr.unlock()
		return nil, merr.NotFound("Unknown room").WithCause(errNoRoom)
	}
	if err := s.checkACL(ctx, lr.room, lr.committed.Load(), origin); err != nil {
		lr.unlock()
		return nil, err
	}
	return lr, nil
}

// makeMembership makes the template of a join, a knock or a leave.
func (s *Server) makeMembership(ctx context.Context, req *roomapi.MakeMembershipRequest) (*roomapi.MakeMembershipResponse, error) {
	if _, domain, err := pdu.ParseUserID(req.UserID); err != nil || domain != req.Origin {
		return nil, merr.Forbidden("The user is not of your server")
	}
	if req.Membership != "leave" {
		if err := s.refuseBlocked(req.RoomID); err != nil {
			return nil, err
		}
	}
	lr, err := s.resident(ctx, req.RoomID, req.Origin)
	if err != nil {
		return nil, err
	}
	defer lr.unlock()
	if req.Membership != "leave" && !slices.Contains(req.Versions, lr.version.ID) {
		return nil, merr.New(400, "M_INCOMPATIBLE_ROOM_VERSION", "Your server does not support the version of this room").
			With("room_version", lr.version.ID)
	}
	b := lr.begin()
	m := memberContent{membership: req.Membership}
	switch req.Membership {
	case "join":
		if m.authorisedBy, err = b.vouch(ctx, req.UserID); err != nil {
			return nil, err
		}
	case "knock", "leave":
	default:
		return nil, merr.InvalidParam("Unknown membership")
	}
	content, err := m.canonical()
	if err != nil {
		return nil, err
	}
	it, err := b.build(ctx, draft{typ: memberType, sender: req.UserID, stateKey: &req.UserID, content: content})
	if err != nil {
		return nil, err
	}
	if err := b.permits(ctx, it.ev); err != nil {
		return nil, err
	}
	template := it.ev.JSON
	for _, key := range []string{"hashes", "signatures", "event_id"} {
		template, _ = pdu.Delete(template, key)
	}
	template, _ = pdu.Set(template, "origin", pdu.AppendString(nil, s.serverName))
	return &roomapi.MakeMembershipResponse{RoomVersion: lr.version.ID, Event: template}, nil
}

// permits refuses, 403 M_FORBIDDEN, an event that the batch's state forbids.
func (b *batch) permits(ctx context.Context, ev *pdu.Event) error {
	st := &authState{ctx: ctx, b: b}
	err := auth.Check(ev, st)
	if st.err != nil {
		return st.err
	}
	var rejection *auth.Rejection
	if errors.As(err, &rejection) {
		return merr.Forbidden("%s", rejection.Reason).WithCause(err)
	}
	return err
}

// vouch finds the user of ours who lets a user of another server into a restricted room
// ("Restricted rooms"); "" if nobody need do so. 400 M_UNABLE_TO_AUTHORISE_JOIN if we cannot tell
// whether the user fulfils a condition, 400 M_UNABLE_TO_GRANT_JOIN if we can but have nobody to
// let the user in, 403 if the user fulfils none.
func (b *batch) vouch(ctx context.Context, userID string) (string, error) {
	restricted, rooms, err := b.restriction(ctx, userID)
	if err != nil || !restricted {
		return "", err
	}
	unknown := len(rooms) == 0
	for _, id := range rooms {
		here, err := b.s.isMemberOf(ctx, id, userID)
		switch {
		case errors.Is(err, errNoRoom):
			unknown = true
		case err != nil:
			return "", err
		case here:
			by, err := b.inviter(ctx)
			if errors.Is(err, merr.Forbidden("")) {
				return "", merr.New(400, "M_UNABLE_TO_GRANT_JOIN", "No user of this server may let you in")
			}
			return by, err
		}
	}
	if unknown && len(rooms) > 0 {
		return "", merr.New(400, "M_UNABLE_TO_AUTHORISE_JOIN", "This server cannot tell whether you may join")
	}
	return "", merr.Forbidden("You are not in any of the rooms whose members may join this one")
}

// restriction returns the rooms whose members may join, if it is those rules that decide
// about the user.
func (b *batch) restriction(ctx context.Context, userID string) (restricted bool, rooms []string, err error) {
	if !b.room.version.RestrictedJoins {
		return false, nil, nil
	}
	rules, err := b.stateEvent(ctx, "m.room.join_rules", "")
	if err != nil || rules == nil {
		return false, nil, err
	}
	rule, _ := pdu.GetString(rules.ev.Content, "join_rule")
	if rule != "restricted" && (rule != "knock_restricted" || !b.room.version.KnockRestricted) {
		return false, nil, nil
	}
	before, _, err := b.membership(ctx, userID)
	if err != nil || before == "join" || before == "invite" {
		return false, nil, err
	}
	return true, allowedRooms(rules.ev.Content), nil
}

// isMemberOf reports whether a user is joined to a room; an error that is errNoRoom says that
// we are not in it, so that we cannot tell.
func (s *Server) isMemberOf(ctx context.Context, roomID, userID string) (bool, error) {
	r, h, done, err := s.view(ctx, roomID)
	if err != nil {
		return false, err
	}
	defer done()
	if !h.here() {
		return false, errNoRoom
	}
	e, err := s.committedState(ctx, r, h, memberType, userID)
	return e != nil && e.client.Membership == "join", err
}
