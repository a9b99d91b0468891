package account

import (
	"context"

	"hearth/clientapi/userapi"
	"hearth/internal/merr"
)

func (s *Store) externalUser(ctx context.Context, req *userapi.ExternalID) (*userapi.UserRequest, error) {
	localpart, err := s.users.ExternalUser(ctx, req.Provider, req.Subject)
	if err != nil {
		return nil, err
	}
	return &userapi.UserRequest{UserID: s.userID(localpart)}, nil
}

func (s *Store) externalIDs(ctx context.Context, req *userapi.UserRequest) (*userapi.ExternalIDsResponse, error) {
	localpart, err := s.local(req.UserID)
	if err != nil {
		return nil, err
	}
	answer := &userapi.ExternalIDsResponse{}
	err = s.users.ExternalIDs(ctx, localpart, func(provider, subject string) {
		answer.IDs = append(answer.IDs, userapi.ExternalID{Provider: provider, Subject: subject})
	})
	return answer, err
}

// external checks an id that is to be stored.
func external(id *userapi.ExternalID) error {
	if id.Provider == "" || id.Subject == "" || !plain(id.Provider, userapi.MaxKey) || !plain(id.Subject, userapi.MaxKey) {
		return merr.InvalidParam("Invalid id of a provider of single sign-on")
	}
	return nil
}
