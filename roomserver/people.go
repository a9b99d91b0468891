package roomserver

import (
	"context"
	"errors"
	"strings"

	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

// Bounds of one search for users.
const (
	maxMutualRooms = 500
	maxNearRows    = 20_000 // memberships in the rooms of who asks
	maxNearUsers   = 2_000  // users of other servers among them
	maxOwnRooms    = 20     // rooms of a candidate that may be open to all
	maxOpenRooms   = 400    // rooms looked into for all candidates together
)

func (s *Server) mutualRooms(ctx context.Context, req *roomapi.MutualRoomsRequest) (*roomapi.MutualRoomsResponse, error) {
	resp := &roomapi.MutualRoomsResponse{}
	user, other, ok, err := s.two(ctx, req.UserID, req.Other)
	if err != nil || !ok {
		return resp, err
	}
	limit := clamp(req.Limit, 1, maxMutualRooms, maxMutualRooms)
	ids, total, err := s.store.MutualRooms(ctx, user, other, req.After, limit+1)
	if err != nil {
		return nil, err
	}
	resp.Total, resp.More = int(total), len(ids) > limit
	resp.RoomIDs = ids[:min(limit, len(ids))]
	return resp, nil
}

// two finds the numbers of two users; ok is false if one of them was never in a room.
func (s *Server) two(ctx context.Context, one, other string) (a, b int64, ok bool, err error) {
	a, ok, err = s.names.lookup(ctx, one)
	if err != nil || !ok {
		return 0, 0, false, err
	}
	b, ok, err = s.names.lookup(ctx, other)
	return a, b, ok, err
}

// findUsers applies the rule of the user directory: users who share a room with the
// one who asks, and those in rooms that everybody may join or read.
func (s *Server) findUsers(ctx context.Context, req *roomapi.FindUsersRequest) (*roomapi.FindUsersResponse, error) {
	if len(req.Candidates) > roomapi.MaxCandidates {
		return nil, merr.InvalidParam("More than %d candidates", roomapi.MaxCandidates)
	}
	resp := &roomapi.FindUsersResponse{}
	open := &openRooms{s: s, known: map[string]bool{}}
	for _, candidate := range req.Candidates {
		visible, err := s.mayFind(ctx, req.UserID, candidate, open)
		if err != nil {
			return nil, err
		}
		if visible {
			resp.Visible = append(resp.Visible, candidate)
		}
	}
	return resp, s.findOthers(ctx, req, resp)
}

func (s *Server) mayFind(ctx context.Context, userID, candidate string, open *openRooms) (bool, error) {
	if userID == candidate {
		return true, nil
	}
	other, ok, err := s.names.lookup(ctx, candidate)
	if err != nil || !ok {
		return false, err
	}
	if user, ok, err := s.names.lookup(ctx, userID); err != nil {
		return false, err
	} else if ok {
		if shares, err := s.store.SharesRoom(ctx, user, other); err != nil || shares {
			return shares, err
		}
	}
	rooms, err := s.store.JoinedRooms(ctx, other, maxOwnRooms)
	if err != nil {
		return false, err
	}
	for _, id := range rooms {
		if isOpen, err := open.has(ctx, id); err != nil || isOpen {
			return isOpen, err
		}
	}
	return false, nil
}

// openRooms remembers for one request which rooms everybody may join or read.
type openRooms struct {
	s     *Server
	known map[string]bool
}

func (o *openRooms) has(ctx context.Context, id string) (bool, error) {
	if open, ok := o.known[id]; ok {
		return open, nil
	}
	if len(o.known) >= maxOpenRooms {
		return false, nil
	}
	r, h, done, err := o.s.view(ctx, id)
	if errors.Is(err, errNoRoom) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer done()
	open, err := o.s.worldReadable(ctx, r, h)
	if err != nil {
		return false, err
	}
	if !open {
		rules, err := o.s.committedState(ctx, r, h, "m.room.join_rules", "")
		if err != nil {
			return false, err
		}
		if rules != nil {
			rule, _ := pdu.GetString(rules.ev.Content, "join_rule")
			open = rule == "public"
		}
	}
	o.known[id] = open
	return open, nil
}

// findOthers searches users of other servers by what their member events say.
func (s *Server) findOthers(ctx context.Context, req *roomapi.FindUsersRequest, resp *roomapi.FindUsersResponse) error {
	user, ok, err := s.names.lookup(ctx, req.UserID)
	if err != nil || !ok || req.Limit <= 0 {
		return err
	}
	near, err := s.store.NearUsers(ctx, user, s.serverName, maxNearRows, maxNearUsers)
	if err != nil {
		return err
	}
	term := strings.ToLower(req.Term)
	for _, u := range near {
		profile := profileIn(u)
		if !strings.Contains(strings.ToLower(u.UserID), term) && !strings.Contains(strings.ToLower(profile.DisplayName), term) {
			continue
		}
		if len(resp.Others) == req.Limit {
			resp.Limited = true
			return nil
		}
		resp.Others = append(resp.Others, roomapi.FoundUser{UserID: u.UserID, Profile: profile})
	}
	return nil
}

func profileIn(u storage.NearUser) (p roomapi.Profile) {
	content, _ := pdu.Get(u.JSON, "content")
	p.DisplayName, _ = pdu.GetString(content, "displayname")
	p.AvatarURL, _ = pdu.GetString(content, "avatar_url")
	return p
}

const localPage = 500

// localMembers lists users of this server in a room.
func (s *Server) localMembers(ctx context.Context, req *roomapi.LocalMembersRequest) (*roomapi.LocalMembersResponse, error) {
	ids, err := s.store.LocalMembers(ctx, req.RoomID, s.serverName, req.After, localPage+1)
	if err != nil {
		return nil, err
	}
	return &roomapi.LocalMembersResponse{UserIDs: ids[:min(localPage, len(ids))], More: len(ids) > localPage}, nil
}
