package account

import (
	"context"
	"encoding/json"
	"errors"

	"hearth/clientapi/storage"
	"hearth/clientapi/userapi"
	"hearth/internal/merr"
)

func (s *Store) register(ctx context.Context, req *userapi.RegisterRequest) (*userapi.Session, error) {
	name := req.Username
	if name == "" {
		name = randomText("abcdefghijklmnopqrstuvwxyz234567", 12)
	}
	localpart, err := s.username(name)
	if err != nil {
		return nil, err
	}
	account := storage.Account{Localpart: localpart, Admin: req.Admin, Guest: req.Guest, Unapproved: req.Unapproved}
	if req.Password != "" {
		if err := s.password(req.Password); err != nil {
			return nil, err
		}
		if !req.UpgradeGuest { // before the expensive part
			if err := s.free(ctx, localpart); err != nil {
				return nil, err
			}
		}
		if account.Password, err = s.passwords.hash(ctx, req.Password); err != nil {
			return nil, err
		}
	}
	shown := req.DisplayName
	if shown == "" {
		shown = localpart
	}
	field, err := json.Marshal(shown)
	if err != nil {
		return nil, err
	}
	also, err := s.newcomer(req)
	if err != nil {
		return nil, err
	}
	var session *storage.Session
	answer := &userapi.Session{}
	if !req.InhibitLogin && !req.Unapproved {
		if session, answer, err = s.newSession(req.DeviceID, req.DeviceDisplayName, req.RefreshToken); err != nil {
			return nil, err
		}
	}
	answer.UserID = s.userID(localpart)
	if req.UpgradeGuest {
		revoked, err := s.users.UpgradeGuest(ctx, account, session, also...)
		s.revoke(revoked)
		return answer, err
	}
	return answer, s.users.CreateAccount(ctx, account, field, session, also...)
}

// newcomer lists what belongs to a registration besides the account.
func (s *Store) newcomer(req *userapi.RegisterRequest) ([]storage.Step, error) {
	var also []storage.Step
	if req.RegistrationToken != "" {
		also = append(also, storage.SpendToken(req.RegistrationToken))
	}
	for _, t := range req.ThreePIDs {
		medium, address, err := threePID(t.Medium, t.Address)
		if err != nil {
			return nil, err
		}
		also = append(also, storage.OwnThreePID(storage.ThreePID{
			Medium: medium, Address: address, Validated: t.ValidatedTS,
		}, userapi.MaxThreePIDs))
	}
	if id := req.External; id != nil {
		if err := external(id); err != nil {
			return nil, err
		}
		also = append(also, storage.OwnExternalID(id.Provider, id.Subject))
	}
	return also, nil
}

func (s *Store) checkUsername(ctx context.Context, req *userapi.UsernameRequest) (*userapi.Empty, error) {
	localpart, err := s.username(req.Username)
	if err != nil {
		return nil, err
	}
	return &userapi.Empty{}, s.free(ctx, localpart)
}

// free returns 400 M_USER_IN_USE if the account exists.
func (s *Store) free(ctx context.Context, localpart string) error {
	_, err := s.users.Account(ctx, localpart)
	switch {
	case err == nil:
		return storage.UserInUse()
	case errors.Is(err, merr.NotFound("")):
		return nil
	default:
		return err
	}
}
