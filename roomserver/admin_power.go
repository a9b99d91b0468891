package roomserver

import (
	"context"
	"slices"
	"strconv"

	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/auth"
	"hearth/roomserver/roomapi"
)

// privilegedLevel is what a creator with infinite power gives, if nobody has more.
const privilegedLevel = 100

// makeRoomAdmin gives a user power in a room.
func (s *Server) makeRoomAdmin(ctx context.Context, req *roomapi.MembershipRequest) (*roomapi.Empty, error) {
	if _, _, err := pdu.ParseUserID(req.Target); err != nil {
		return nil, merr.InvalidParam("Invalid user id")
	}
	var wanted bool // an invite
	err := s.update(ctx, req.RoomID, func(b *batch) error {
		st := &authState{ctx: ctx, b: b}
		levels := auth.LevelsOf(b.room.version, st)
		if st.err != nil {
			return st.err
		}
		giver, err := b.mightiest(ctx, st, &levels)
		if err != nil {
			return err
		}
		if err := b.givePower(ctx, st, &levels, giver, req.Target); err != nil {
			return err
		}
		wanted, err = b.needsInvite(ctx, req.Target)
		return err
	})
	if err != nil || !wanted {
		return &roomapi.Empty{}, err
	}
	return s.inviteBy(ctx, req)
}

// mightiest finds the user of this server with the greatest power who may change the power levels.
func (b *batch) mightiest(ctx context.Context, st *authState, levels *auth.PowerLevels) (string, error) {
	best, most := "", levels.ForEvent("m.room.power_levels", true)-1
	for _, user := range namedUsers(st) {
		level := levels.User(user)
		if !b.s.isLocal(user) || level <= most {
			continue
		}
		membership, _, err := b.membership(ctx, user)
		if err != nil {
			return "", err
		}
		if membership == "join" {
			best, most = user, level
		}
	}
	if best == "" {
		return "", merr.New(400, "M_UNKNOWN", "No local admin user in room with power to update power levels.")
	}
	return best, nil
}

// givePower writes a user's new level.
func (b *batch) givePower(ctx context.Context, st *authState, levels *auth.PowerLevels, giver, target string) error {
	level := levels.User(giver)
	content := []byte("{}")
	e := st.Event("m.room.power_levels", "")
	if st.err != nil {
		return st.err
	}
	if e != nil {
		content = e.Content
	}
	users, ok := pdu.Get(content, "users")
	if !ok {
		users = []byte("{}")
		if !slices.Contains([]string{giver, ""}, target) && level != auth.Infinite {
			users, _ = pdu.Set(users, giver, strconv.AppendInt(nil, level, 10)) // who had it by default keeps it
		}
	}
	if level == auth.Infinite {
		level = privilegedLevel
		pdu.Members(users, func(user string, _ []byte) bool {
			level = max(level, levels.User(user))
			return true
		})
	}
	if levels.User(target) >= level {
		return nil
	}
	users, ok = pdu.Set(users, target, strconv.AppendInt(nil, level, 10))
	if ok {
		content, ok = pdu.Set(content, "users", users)
	}
	if !ok {
		return merr.Internal(nil)
	}
	content, err := pdu.Canonical(content, true)
	if err != nil {
		return err
	}
	key := ""
	_, err = b.send(ctx, draft{typ: "m.room.power_levels", sender: giver, stateKey: &key, content: content})
	return err
}

// needsInvite reports whether a user can enter the room only if they are invited.
func (b *batch) needsInvite(ctx context.Context, userID string) (bool, error) {
	membership, _, err := b.membership(ctx, userID)
	if err != nil || membership == "join" || membership == "invite" || membership == "ban" {
		return false, err
	}
	rules, err := b.stateEvent(ctx, "m.room.join_rules", "")
	if err != nil || rules == nil {
		return true, err
	}
	rule, _ := pdu.GetString(rules.ev.Content, "join_rule")
	return rule != "public", nil
}

// inviteBy lets some user of ours invite a user.
func (s *Server) inviteBy(ctx context.Context, req *roomapi.MembershipRequest) (*roomapi.Empty, error) {
	if _, _, err := pdu.ParseUserID(req.Target); err != nil {
		return nil, merr.InvalidParam("Invalid user id")
	}
	var sender string
	err := s.update(ctx, req.RoomID, func(b *batch) error {
		membership, _, err := b.membership(ctx, req.Target)
		if err != nil || membership == "join" || membership == "invite" {
			return err
		}
		sender, err = b.inviter(ctx)
		return err
	})
	if err != nil || sender == "" {
		return &roomapi.Empty{}, err
	}
	by := *req
	by.Sender = sender
	_, err = s.invite(ctx, &by)
	return &roomapi.Empty{}, err
}
