package roomserver

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/auth"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

// join makes a user of this server a member of a room, by way of another server if we
// are not in the room or cannot let the user in. Joining twice changes nothing.
func (s *Server) join(ctx context.Context, req *roomapi.JoinRequest) (*roomapi.MembershipResponse, error) {
	roomID, servers, err := s.find(ctx, req.RoomIDOrAlias)
	if err != nil {
		return nil, err
	}
	if err := s.refuseBlocked(roomID); err != nil {
		return nil, err
	}
	via := append(slices.Clone(req.Via), servers...)
	here, err := s.isHere(ctx, roomID)
	if err != nil {
		return nil, err
	}
	if !here {
		return s.joinElsewhere(ctx, roomID, via, req)
	}
	resp, err := s.joinHere(ctx, roomID, req)
	if errors.Is(err, errCannotVouch) {
		return s.joinElsewhere(ctx, roomID, via, req)
	}
	return resp, err
}

// joinHere makes a user of this server a member of a room that we are in.
func (s *Server) joinHere(ctx context.Context, roomID string, req *roomapi.JoinRequest) (*roomapi.MembershipResponse, error) {
	resp := &roomapi.MembershipResponse{RoomID: roomID}
	err := s.update(ctx, roomID, func(b *batch) error {
		before, e, err := b.membership(ctx, req.UserID)
		if err != nil {
			return err
		}
		if before == "join" {
			resp.EventID = e.ev.EventID
			return nil
		}
		if req.IsGuest {
			if err := b.allowsGuests(ctx); err != nil {
				return err
			}
		}
		m := memberContent{membership: "join", profile: req.Profile, reason: req.Reason}
		if before != "invite" {
			if m.authorisedBy, err = b.authorisedBy(ctx, req.UserID); err != nil {
				return err
			}
		}
		resp.EventID, err = b.setMembership(ctx, req.UserID, req.UserID, m)
		return err
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// allowsGuests refuses guests where the room does not say that they may join ("Guest
// Access"). It is a rule between users of one server, so no auth rule knows it.
func (b *batch) allowsGuests(ctx context.Context) error {
	e, err := b.stateEvent(ctx, "m.room.guest_access", "")
	if err != nil {
		return err
	}
	if e != nil {
		if access, _ := pdu.GetString(e.ev.Content, "guest_access"); access == "can_join" {
			return nil
		}
	}
	return merr.New(http.StatusForbidden, "M_GUEST_ACCESS_FORBIDDEN", "Guests may not join this room")
}

// knock asks to be let in.
func (s *Server) knock(ctx context.Context, req *roomapi.JoinRequest) (*roomapi.MembershipResponse, error) {
	roomID, servers, err := s.find(ctx, req.RoomIDOrAlias)
	if err != nil {
		return nil, err
	}
	if err := s.refuseBlocked(roomID); err != nil {
		return nil, err
	}
	here, err := s.isHere(ctx, roomID)
	if err != nil {
		return nil, err
	}
	if !here {
		return s.knockElsewhere(ctx, roomID, append(slices.Clone(req.Via), servers...), req)
	}
	resp := &roomapi.MembershipResponse{RoomID: roomID}
	err = s.update(ctx, roomID, func(b *batch) error {
		before, e, err := b.membership(ctx, req.UserID)
		if err != nil {
			return err
		}
		if before == "knock" {
			resp.EventID = e.ev.EventID
			return nil
		}
		resp.EventID, err = b.setMembership(ctx, req.UserID, req.UserID,
			memberContent{membership: "knock", profile: req.Profile, reason: req.Reason})
		return err
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// authorisedBy finds the member who vouches for a join to a restricted room
// ("Restricted rooms"): a local member with the power to invite, if the user is in
// one of the rooms that the join rules name. It returns "" where the room does not
// ask for it, and lets the auth rules refuse a join that nobody can vouch for.
func (b *batch) authorisedBy(ctx context.Context, userID string) (string, error) {
	by, err := b.vouch(ctx, userID)
	if err == nil {
		return by, nil
	}
	switch e := merr.From(err); e.Code {
	case "M_UNABLE_TO_AUTHORISE_JOIN":
		err = merr.Forbidden("You are not in any of the rooms whose members may join this one").WithCause(errCannotVouch)
	case "M_UNABLE_TO_GRANT_JOIN":
		err = merr.Forbidden("No member of this server may let you in").WithCause(errCannotVouch)
	}
	return "", err
}

// errCannotVouch is the cause of refusing a join that another server may allow.
var errCannotVouch = errors.New("roomserver: nobody here may let the user in")

// allowedRooms reads the rooms that a restricted join rule names.
func allowedRooms(content []byte) []string {
	var ids []string
	allow, _ := pdu.Get(content, "allow")
	pdu.Elements(allow, func(condition []byte) bool {
		if kind, _ := pdu.GetString(condition, "type"); kind == "m.room_membership" {
			if id, ok := pdu.GetString(condition, "room_id"); ok {
				ids = append(ids, id)
			}
		}
		return true
	})
	return ids
}

// inOneOf reports whether a user is joined to one of the rooms.
func (s *Server) inOneOf(ctx context.Context, userID string, roomIDs []string) (bool, error) {
	for _, id := range roomIDs {
		r, h, done, err := s.view(ctx, id)
		if errors.Is(err, errNoRoom) {
			continue
		}
		if err != nil {
			return false, err
		}
		e, err := s.committedState(ctx, r, h, memberType, userID)
		done()
		if err != nil {
			return false, err
		}
		if e != nil && e.client.Membership == "join" {
			return true, nil
		}
	}
	return false, nil
}

// inviter finds a joined user of this server who may invite: those whom the room
// gives power by name first, then any member.
func (b *batch) inviter(ctx context.Context) (string, error) {
	st := &authState{ctx: ctx, b: b}
	levels := auth.LevelsOf(b.room.version, st)
	named := namedUsers(st)
	if st.err != nil {
		return "", st.err
	}
	others, err := b.someMembers(ctx)
	if err != nil {
		return "", err
	}
	for _, userID := range append(named, others...) {
		if !b.s.isLocal(userID) || levels.User(userID) < levels.Invite {
			continue
		}
		membership, _, err := b.membership(ctx, userID)
		if err != nil {
			return "", err
		}
		if membership == "join" {
			return userID, nil
		}
	}
	return "", merr.Forbidden("No member of this server may let you in")
}

// namedUsers lists the creators and the users in the power levels.
func namedUsers(st auth.State) []string {
	var users []string
	if create := st.Event("m.room.create", ""); create != nil {
		users = auth.Creators(create)
	}
	if levels := st.Event("m.room.power_levels", ""); levels != nil {
		byUser, _ := pdu.Get(levels.Content, "users")
		pdu.Members(byUser, func(userID string, _ []byte) bool {
			users = append(users, userID)
			return true
		})
	}
	return users
}

// maxVouchers is how many ordinary members are looked at for one who may invite.
const maxVouchers = 50

func (b *batch) someMembers(ctx context.Context) ([]string, error) {
	nids, err := b.s.store.Heroes(ctx, b.room.nid, 0, []int64{storage.MembershipJoin}, maxVouchers)
	if err != nil {
		return nil, err
	}
	texts, err := b.s.names.texts(ctx, nids)
	if err != nil {
		return nil, err
	}
	users := make([]string, len(nids))
	for i, nid := range nids {
		users[i] = texts[nid]
	}
	return users, nil
}
