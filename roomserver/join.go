package roomserver

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/auth"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

// join makes a user of this server a member of a room. Joining twice changes nothing.
func (s *Server) join(ctx context.Context, req *roomapi.JoinRequest) (*roomapi.MembershipResponse, error) {
	roomID, err := s.roomOf(ctx, req.RoomIDOrAlias)
	if err != nil {
		return nil, err
	}
	resp := &roomapi.MembershipResponse{RoomID: roomID}
	err = s.update(ctx, roomID, func(b *batch) error {
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
	roomID, err := s.roomOf(ctx, req.RoomIDOrAlias)
	if err != nil {
		return nil, err
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

// roomOf translates an alias of this server; a room id stays as it is.
func (s *Server) roomOf(ctx context.Context, idOrAlias string) (string, error) {
	if !strings.HasPrefix(idOrAlias, "#") {
		if _, _, err := pdu.ParseRoomID(idOrAlias); err != nil {
			return "", merr.InvalidParam("Invalid room id or alias")
		}
		return idOrAlias, nil
	}
	found, err := s.resolveAlias(ctx, &roomapi.AliasRequest{Alias: idOrAlias})
	if err != nil {
		return "", err
	}
	return found.RoomID, nil
}

// authorisedBy finds the member who vouches for a join to a restricted room
// ("Restricted rooms"): a local member with the power to invite, if the user is in
// one of the rooms that the join rules name. It returns "" where the room does not
// ask for it, and lets the auth rules refuse a join that nobody can vouch for.
func (b *batch) authorisedBy(ctx context.Context, userID string) (string, error) {
	if !b.room.version.RestrictedJoins {
		return "", nil
	}
	rules, err := b.stateEvent(ctx, "m.room.join_rules", "")
	if err != nil || rules == nil {
		return "", err
	}
	rule, _ := pdu.GetString(rules.ev.Content, "join_rule")
	if rule != "restricted" && rule != "knock_restricted" {
		return "", nil
	}
	member, err := b.s.inOneOf(ctx, userID, allowedRooms(rules.ev.Content))
	if err != nil {
		return "", err
	}
	if !member {
		return "", merr.Forbidden("You are not in any of the rooms whose members may join this one")
	}
	return b.inviter(ctx)
}

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
