package account

import (
	"context"

	"hearth/clientapi/storage"
	"hearth/clientapi/userapi"
	"hearth/internal/merr"
)

// page is how many rows a listing gives at once.
const page = 500

func (s *Store) checkRegistrationToken(ctx context.Context, req *userapi.RegistrationTokenRequest) (*userapi.Validity, error) {
	valid, err := s.users.RegistrationTokenValid(ctx, req.Token, s.now().UnixMilli())
	return &userapi.Validity{Valid: valid}, err
}

func (s *Store) registrationTokens(ctx context.Context, req *userapi.RegistrationTokensRequest) (*userapi.RegistrationTokensResponse, error) {
	list, err := s.users.RegistrationTokens(ctx, req.After, page+1)
	if err != nil {
		return nil, err
	}
	answer := &userapi.RegistrationTokensResponse{More: len(list) > page}
	for _, t := range list[:min(page, len(list))] {
		answer.Tokens = append(answer.Tokens, describeToken(t))
	}
	return answer, nil
}

func describeToken(t storage.RegistrationToken) userapi.RegistrationToken {
	return userapi.RegistrationToken{Token: t.Token, Uses: t.Uses, Completed: t.Completed, ExpiresTS: t.Expires, CreatedTS: t.Created}
}

// maxRegistrationToken is the greatest length of a token (client-server API,
// "Token-authenticated registration").
const maxRegistrationToken = 64

func (s *Store) setRegistrationToken(ctx context.Context, req *userapi.SetRegistrationTokenRequest) (*userapi.RegistrationToken, error) {
	token := req.Token
	if token == "" && !req.Update {
		token = randomText("abcdefghijklmnopqrstuvwxyz234567", 16)
	}
	if !opaque(token, maxRegistrationToken) {
		return nil, merr.InvalidParam("A registration token has up to %d of the characters A-Z, a-z, 0-9 and . _ ~ -", maxRegistrationToken)
	}
	if req.Uses < -1 || req.ExpiresTS < -1 {
		return nil, merr.InvalidParam("The limits of a registration token must not be negative")
	}
	t, err := s.users.SetRegistrationToken(ctx, token, req.Uses, req.ExpiresTS, req.Update)
	if err != nil {
		return nil, err
	}
	answer := describeToken(t)
	return &answer, nil
}

func (s *Store) deleteRegistrationToken(ctx context.Context, req *userapi.RegistrationTokenRequest) (*userapi.Empty, error) {
	return &userapi.Empty{}, s.users.DeleteRegistrationToken(ctx, req.Token)
}

func (s *Store) approve(ctx context.Context, req *userapi.UserRequest) (*userapi.Empty, error) {
	localpart, err := s.local(req.UserID)
	if err != nil {
		return nil, err
	}
	return &userapi.Empty{}, s.users.Approve(ctx, localpart)
}

func (s *Store) unapproved(ctx context.Context, req *userapi.UserRequest) (*userapi.UserList, error) {
	after := ""
	if req.UserID != "" {
		var err error
		if after, err = s.local(req.UserID); err != nil {
			return nil, err
		}
	}
	list, err := s.users.Unapproved(ctx, after, page+1)
	if err != nil {
		return nil, err
	}
	answer := &userapi.UserList{More: len(list) > page}
	for _, localpart := range list[:min(page, len(list))] {
		answer.UserIDs = append(answer.UserIDs, s.userID(localpart))
	}
	return answer, nil
}

// opaque reports whether s is an opaque identifier (appendices) of at most limit bytes.
func opaque(s string, limit int) bool {
	if s == "" || len(s) > limit {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '~' || c == '-') {
			return false
		}
	}
	return true
}
