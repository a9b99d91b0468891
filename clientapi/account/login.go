package account

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"hearth/clientapi/storage"
	"hearth/clientapi/userapi"
	"hearth/internal/merr"
	"hearth/internal/store"
)

func wrongPassword() error { return merr.Forbidden("Invalid username or password") }

func (s *Store) login(ctx context.Context, req *userapi.LoginRequest) (*userapi.Session, error) {
	session, answer, err := s.newSession(req.DeviceID, req.DeviceDisplayName, req.RefreshToken)
	if err != nil {
		return nil, err
	}
	account, err := s.lookupLogin(ctx, req)
	if err != nil {
		return nil, err
	}
	if account.Deactivated {
		return nil, merr.New(http.StatusForbidden, "M_USER_DEACTIVATED", "This account has been deactivated")
	}
	if err := s.verify(ctx, account, req.Password); err != nil {
		return nil, err
	}
	revoked, err := s.users.StartSession(ctx, account.Localpart, *session)
	if err != nil {
		return nil, err
	}
	s.revoke(revoked)
	answer.UserID = s.userID(account.Localpart)
	return answer, nil
}

// lookupLogin finds the account that a log-in names, as lookup.
func (s *Store) lookupLogin(ctx context.Context, req *userapi.LoginRequest) (storage.Account, error) {
	if req.ThreePID == nil {
		return s.lookup(ctx, req.User)
	}
	medium, address, err := threePID(req.ThreePID.Medium, req.ThreePID.Address)
	if err != nil {
		return storage.Account{}, nil
	}
	localpart, err := s.users.ThreePIDOwner(ctx, medium, address)
	if errors.Is(err, merr.NotFound("")) {
		return storage.Account{}, nil
	}
	if err != nil {
		return storage.Account{}, err
	}
	return s.users.Account(ctx, localpart)
}

// lookup finds the account of a user name or id. Whoever is not ours gets the zero
// Account, so that the caller does the same work for all.
func (s *Store) lookup(ctx context.Context, user string) (storage.Account, error) {
	localpart := user
	if strings.HasPrefix(user, "@") {
		var err error
		if localpart, err = s.local(user); err != nil {
			return storage.Account{}, nil
		}
	}
	if !plain(localpart, maxUserID) {
		return storage.Account{}, nil
	}
	// Names have no capitals, but people write them.
	for _, name := range []string{localpart, strings.ToLower(localpart)} {
		account, err := s.users.Account(ctx, name)
		if err == nil || !errors.Is(err, merr.NotFound("")) {
			return account, err
		}
	}
	return storage.Account{}, nil
}

// verify checks a password, M_FORBIDDEN if it is wrong, and renews an old hash.
func (s *Store) verify(ctx context.Context, account storage.Account, password string) error {
	if len(password) > userapi.MaxPassword {
		return wrongPassword()
	}
	ok, old, err := s.passwords.check(ctx, account.Password, password)
	if err != nil {
		return err
	}
	if !ok {
		return wrongPassword()
	}
	if old {
		hash, err := s.passwords.hash(ctx, password)
		if err != nil {
			return err
		}
		_, err = s.users.SetPassword(ctx, account.Localpart, hash, account.Password, false, "")
		return err
	}
	return nil
}

func (s *Store) checkPassword(ctx context.Context, req *userapi.PasswordRequest) (*userapi.Empty, error) {
	account, err := s.lookup(ctx, req.UserID)
	if err != nil {
		return nil, err
	}
	return &userapi.Empty{}, s.verify(ctx, account, req.Password)
}

func (s *Store) setPassword(ctx context.Context, req *userapi.SetPasswordRequest) (*userapi.Revoked, error) {
	localpart, err := s.local(req.UserID)
	if err != nil {
		return nil, err
	}
	if err := s.password(req.Password); err != nil {
		return nil, err
	}
	hash, err := s.passwords.hash(ctx, req.Password)
	if err != nil {
		return nil, err
	}
	revoked, err := s.users.SetPassword(ctx, localpart, hash, "", req.LogoutDevices, req.KeepDevice)
	return s.revoke(revoked), err
}

func (s *Store) authenticate(ctx context.Context, req *userapi.AuthenticateRequest) (*userapi.Identity, error) {
	owner, err := s.users.Authenticate(ctx, req.Token)
	if errors.Is(err, store.ErrNoRows) {
		return nil, merr.UnknownToken(false)
	}
	if err != nil {
		return nil, err
	}
	if owner.Expires != 0 && s.now().UnixMilli() >= owner.Expires {
		return nil, merr.UnknownToken(true)
	}
	if owner.Pending {
		revoked, err := s.users.FirstUse(ctx, req.Token)
		if errors.Is(err, store.ErrNoRows) {
			return nil, merr.UnknownToken(false)
		}
		if err != nil {
			return nil, err
		}
		s.revoke(revoked)
	}
	return &userapi.Identity{
		UserID: s.userID(owner.Localpart), DeviceID: owner.Device, Admin: owner.Admin, Guest: owner.Guest, ExpiresTS: owner.Expires,
		Restrictions: restrictions(owner.Admin, owner.Restrictions),
	}, nil
}
