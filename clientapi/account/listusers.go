package account

import (
	"cmp"
	"context"
	"encoding/json"
	"strings"

	"hearth/clientapi/storage"
	"hearth/clientapi/userapi"
	"hearth/internal/merr"
)

const (
	usualList = 100
	maxList   = 10_000
)

func (s *Store) listUsers(ctx context.Context, req *userapi.ListUsersRequest) (*userapi.ListUsersResponse, error) {
	order := cmp.Or(req.Order, userapi.ByName)
	if !storage.KnownOrder(order) {
		return nil, merr.InvalidParam("Users cannot be ordered so")
	}
	if req.From < 0 || req.Limit < 0 {
		return nil, merr.InvalidParam("Invalid page")
	}
	part, _, _ := strings.Cut(strings.TrimPrefix(req.UserID, "@"), ":")
	list, total, err := s.users.List(ctx, storage.UserQuery{
		Text: req.Text, Localpart: part, Guests: req.Guests, Deactivated: req.Deactivated, Admins: req.Admins,
		Approved: req.Approved, Locked: req.Locked, Order: order, Backwards: req.Backwards, From: req.From,
		Limit: min(cmp.Or(req.Limit, usualList), maxList),
	})
	if err != nil {
		return nil, err
	}
	resp := &userapi.ListUsersResponse{Users: make([]userapi.ListedUser, len(list)), Total: total}
	for i, a := range list {
		resp.Users[i] = userapi.ListedUser{
			User: *describeUser(s.userID(a.Localpart), a.Account), DisplayName: a.DisplayName, AvatarURL: a.AvatarURL, LastSeenTS: a.Seen,
		}
	}
	return resp, nil
}

func (s *Store) allAccountData(ctx context.Context, req *userapi.UserRequest) (*userapi.AllAccountDataResponse, error) {
	localpart, err := s.local(req.UserID)
	if err != nil {
		return nil, err
	}
	if _, err := s.users.Account(ctx, localpart); err != nil {
		return nil, err
	}
	resp := &userapi.AllAccountDataResponse{Global: map[string]json.RawMessage{}, Rooms: map[string]map[string]json.RawMessage{}}
	err = s.users.AllAccountData(ctx, localpart, func(room, typ string, content []byte) {
		if room == "" {
			resp.Global[typ] = content
			return
		}
		if resp.Rooms[room] == nil {
			resp.Rooms[room] = map[string]json.RawMessage{}
		}
		resp.Rooms[room][typ] = content
	})
	return resp, err
}
