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
	account := storage.Account{Localpart: localpart, Admin: req.Admin}
	if req.Password != "" {
		if err := s.password(req.Password); err != nil {
			return nil, err
		}
		if err := s.free(ctx, localpart); err != nil { // before the expensive part
			return nil, err
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
	answer := &userapi.Session{UserID: s.userID(localpart)}
	if req.InhibitLogin {
		return answer, s.users.CreateAccount(ctx, account, field, nil)
	}
	session, token, err := newSession(req.DeviceID, req.DeviceDisplayName)
	if err != nil {
		return nil, err
	}
	answer.DeviceID, answer.Token = session.Device, token
	return answer, s.users.CreateAccount(ctx, account, field, session)
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

func newSession(device, shown string) (*storage.Session, string, error) {
	id, err := deviceID(device)
	if err != nil {
		return nil, "", err
	}
	token := newToken()
	return &storage.Session{
		Device: id, DisplayName: displayName(shown), Token: Hash(token), MaxDevices: userapi.MaxDevices,
	}, token, nil
}
