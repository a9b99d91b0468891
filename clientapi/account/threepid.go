package account

import (
	"context"
	"net/mail"
	"net/url"
	"strings"
	"time"

	"hearth/clientapi/storage"
	"hearth/clientapi/userapi"
	"hearth/internal/merr"
)

// validationTTL is how long a validation may take, and how long its result is good.
const validationTTL = time.Hour

// threePID checks an identifier and returns the form in which it is compared.
func threePID(medium, address string) (string, string, error) {
	if medium != "email" {
		return "", "", merr.InvalidParam("Only e-mail addresses are supported")
	}
	address = strings.ToLower(strings.TrimSpace(address))
	parsed, err := mail.ParseAddress(address)
	if err != nil || parsed.Address != address || len(address) > userapi.MaxAddress || !plain(address, userapi.MaxAddress) {
		return "", "", merr.InvalidParam("Invalid e-mail address")
	}
	return medium, address, nil
}

func (s *Store) threePIDs(ctx context.Context, req *userapi.UserRequest) (*userapi.ThreePIDsResponse, error) {
	localpart, err := s.local(req.UserID)
	if err != nil {
		return nil, err
	}
	list, err := s.users.ThreePIDs(ctx, localpart)
	if err != nil {
		return nil, err
	}
	answer := &userapi.ThreePIDsResponse{}
	for _, t := range list {
		answer.ThreePIDs = append(answer.ThreePIDs, userapi.ThreePID{
			Medium: t.Medium, Address: t.Address, ValidatedTS: t.Validated, AddedTS: t.Added,
		})
	}
	return answer, nil
}

func (s *Store) threePIDOwner(ctx context.Context, req *userapi.ThreePIDName) (*userapi.UserRequest, error) {
	medium, address, err := threePID(req.Medium, req.Address)
	if err != nil {
		return nil, err
	}
	localpart, err := s.users.ThreePIDOwner(ctx, medium, address)
	if err != nil {
		return nil, err
	}
	return &userapi.UserRequest{UserID: s.userID(localpart)}, nil
}

func (s *Store) addThreePID(ctx context.Context, req *userapi.AddThreePIDRequest) (*userapi.Empty, error) {
	localpart, err := s.local(req.UserID)
	if err != nil {
		return nil, err
	}
	medium, address, err := threePID(req.ThreePID.Medium, req.ThreePID.Address)
	if err != nil {
		return nil, err
	}
	return &userapi.Empty{}, s.users.AddThreePID(ctx, localpart, storage.ThreePID{
		Medium: medium, Address: address, Validated: req.ThreePID.ValidatedTS,
	}, userapi.MaxThreePIDs)
}

func (s *Store) deleteThreePID(ctx context.Context, req *userapi.AddThreePIDRequest) (*userapi.Empty, error) {
	localpart, err := s.local(req.UserID)
	if err != nil {
		return nil, err
	}
	medium, address, err := threePID(req.ThreePID.Medium, req.ThreePID.Address)
	if err != nil {
		return nil, err
	}
	return &userapi.Empty{}, s.users.DeleteThreePID(ctx, localpart, medium, address)
}

func (s *Store) startValidation(ctx context.Context, req *userapi.StartValidationRequest) (*userapi.StartedValidation, error) {
	medium, address, err := threePID(req.Medium, req.Address)
	if err != nil {
		return nil, err
	}
	if err := clientSecret(req.ClientSecret); err != nil {
		return nil, err
	}
	if err := nextLink(req.NextLink); err != nil {
		return nil, err
	}
	token := randomText("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 32)
	sid, send, err := s.users.StartValidation(ctx, storage.Validation{
		Sid: randomText("abcdefghijklmnopqrstuvwxyz234567", 26), Purpose: req.Purpose, Medium: medium, Address: address,
		Secret: req.ClientSecret, Token: Hash(token), Attempt: req.SendAttempt, NextLink: req.NextLink,
		Expires: s.now().Add(validationTTL).UnixMilli(),
	})
	if err != nil {
		return nil, err
	}
	if !send {
		token = ""
	}
	return &userapi.StartedValidation{Sid: sid, Token: token}, nil
}

// clientSecret checks the grammar of the identity service API.
func clientSecret(s string) error {
	ok := s != "" && len(s) <= userapi.MaxClientSecret
	for i := 0; i < len(s); i++ {
		c := s[i]
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(".=_-", c) >= 0)
	}
	if !ok {
		return merr.InvalidParam("Invalid client_secret")
	}
	return nil
}

// nextLink checks where a browser is sent afterwards: web pages only, since other
// schemes can run code.
func nextLink(s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || len(s) > userapi.MaxNextLink || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return merr.InvalidParam("Invalid next_link")
	}
	return nil
}

func (s *Store) validate(ctx context.Context, req *userapi.ValidateRequest) (*userapi.ValidatedAddress, error) {
	v, err := s.users.Validate(ctx, req.Sid, req.ClientSecret, Hash(req.Token))
	return address(v, err)
}

func (s *Store) validated(ctx context.Context, req *userapi.ValidatedRequest) (*userapi.ValidatedAddress, error) {
	v, err := s.users.Validated(ctx, req.Purpose, req.Sid, req.ClientSecret, req.Consume)
	return address(v, err)
}

func address(v storage.Validation, err error) (*userapi.ValidatedAddress, error) {
	if err != nil {
		return nil, err
	}
	return &userapi.ValidatedAddress{Medium: v.Medium, Address: v.Address, ValidatedTS: v.Validated, NextLink: v.NextLink}, nil
}
