package account

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/http"

	"hearth/clientapi/userapi"
	"hearth/internal/merr"
)

func (s *Store) getProfile(ctx context.Context, req *userapi.UserRequest) (*userapi.Profile, error) {
	localpart, err := s.local(req.UserID)
	if err != nil {
		return nil, err
	}
	fields, err := s.users.Profile(ctx, localpart)
	return &userapi.Profile{Fields: fields}, err
}

func (s *Store) setProfile(ctx context.Context, req *userapi.SetProfileRequest) (*userapi.Profile, error) {
	localpart, err := s.local(req.UserID)
	if err != nil {
		return nil, err
	}
	if len(req.Key) > userapi.MaxKey {
		return nil, merr.New(http.StatusBadRequest, "M_KEY_TOO_LARGE", "The profile key is longer than %d bytes", userapi.MaxKey)
	}
	if req.Key == "" || !plain(req.Key, userapi.MaxKey) {
		return nil, merr.InvalidParam("Invalid profile key")
	}
	fields, err := s.users.SetProfile(ctx, localpart, req.Key, req.Value, userapi.MaxProfile)
	if err == nil {
		select {
		case s.news <- struct{}{}:
		default: // is rung already
		}
	}
	return &userapi.Profile{Fields: fields}, err
}

func (s *Store) setAccountData(ctx context.Context, req *userapi.SetAccountDataRequest) (*userapi.Empty, error) {
	localpart, err := s.local(req.UserID)
	if err != nil {
		return nil, err
	}
	data := req.Data
	if data.Type == "" || !plain(data.Type, userapi.MaxKey) || !plain(data.RoomID, userapi.MaxKey) {
		return nil, merr.InvalidParam("Invalid type of account data")
	}
	return &userapi.Empty{}, s.users.SetAccountData(ctx, localpart, data, userapi.MaxAccountData)
}

func (s *Store) getAccountData(ctx context.Context, req *userapi.AccountDataRequest) (*userapi.AccountData, error) {
	localpart, err := s.local(req.UserID)
	if err != nil {
		return nil, err
	}
	data, err := s.users.AccountData(ctx, localpart, req.RoomID, req.Type)
	return &data, err
}

func (s *Store) changedAccountData(ctx context.Context, req *userapi.ChangedAccountDataRequest) (*userapi.ChangedAccountDataResponse, error) {
	localpart, err := s.local(req.UserID)
	if err != nil {
		return nil, err
	}
	return s.users.ChangedAccountData(ctx, localpart, req.Room, req.After, req.UpTo)
}

func (s *Store) putFilter(ctx context.Context, req *userapi.PutFilterRequest) (*userapi.FilterResponse, error) {
	localpart, err := s.local(req.UserID)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(req.Filter)
	id := base64.RawURLEncoding.EncodeToString(sum[:12])
	if err := s.users.PutFilter(ctx, localpart, id, req.Filter, userapi.MaxFilters); err != nil {
		return nil, err
	}
	return &userapi.FilterResponse{FilterID: id, Filter: req.Filter}, nil
}

func (s *Store) getFilter(ctx context.Context, req *userapi.FilterRequest) (*userapi.FilterResponse, error) {
	localpart, err := s.local(req.UserID)
	if err != nil {
		return nil, err
	}
	definition, err := s.users.Filter(ctx, localpart, req.FilterID)
	return &userapi.FilterResponse{FilterID: req.FilterID, Filter: definition}, err
}
