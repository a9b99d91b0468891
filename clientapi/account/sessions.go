package account

import (
	"context"
	"errors"
	"time"

	"hearth/clientapi/storage"
	"hearth/clientapi/userapi"
	"hearth/internal/merr"
	"hearth/internal/store"
)

// How long tokens of the short-lived kinds are good.
const (
	loginTokenTTL  = 2 * time.Minute
	openIDTokenTTL = time.Hour
)

// newSession makes a device with its tokens, and the answer that tells them.
func (s *Store) newSession(device, shown string, renewable bool) (*storage.Session, *userapi.Session, error) {
	id, err := deviceID(device)
	if err != nil {
		return nil, nil, err
	}
	answer := &userapi.Session{DeviceID: id}
	session := s.newTokens(answer, renewable)
	session.Device, session.DisplayName, session.MaxDevices = id, displayName(shown), userapi.MaxDevices
	return session, answer, nil
}

// newTokens makes the tokens of a session.
func (s *Store) newTokens(answer *userapi.Session, renewable bool) *storage.Session {
	answer.Token = newToken("hrt_")
	session := &storage.Session{Token: Hash(answer.Token)}
	if renewable {
		answer.RefreshToken, answer.ExpiresInMS = newToken("hrr_"), s.lifetime.Milliseconds()
		session.Refresh, session.Expires = Hash(answer.RefreshToken), s.now().Add(s.lifetime).UnixMilli()
	}
	return session
}

func (s *Store) refresh(ctx context.Context, req *userapi.RefreshRequest) (*userapi.Session, error) {
	answer := &userapi.Session{}
	done, err := s.users.Refresh(ctx, Hash(req.Token), *s.newTokens(answer, true))
	if errors.Is(err, store.ErrNoRows) {
		return nil, merr.UnknownToken(false) // the device is gone
	}
	if err != nil {
		return nil, err
	}
	s.revoke(done.Revoked)
	if done.Stolen {
		return nil, merr.UnknownToken(true)
	}
	answer.UserID, answer.DeviceID = s.userID(done.Localpart), done.Device
	return answer, nil
}

func (s *Store) issueLoginToken(ctx context.Context, req *userapi.IssueTokenRequest) (*userapi.IssuedToken, error) {
	return s.issue(ctx, req.UserID, storage.TicketLogin, "hrl_", loginTokenTTL)
}

func (s *Store) issueOpenIDToken(ctx context.Context, req *userapi.IssueTokenRequest) (*userapi.IssuedToken, error) {
	return s.issue(ctx, req.UserID, storage.TicketOpenID, "hro_", openIDTokenTTL)
}

func (s *Store) issue(ctx context.Context, userID string, kind int64, prefix string, ttl time.Duration) (*userapi.IssuedToken, error) {
	localpart, err := s.local(userID)
	if err != nil {
		return nil, err
	}
	token := newToken(prefix)
	if err := s.users.IssueTicket(ctx, kind, Hash(token), localpart, s.now().Add(ttl).UnixMilli()); err != nil {
		return nil, err
	}
	return &userapi.IssuedToken{Token: token, ExpiresInMS: ttl.Milliseconds()}, nil
}

func (s *Store) loginToken(ctx context.Context, req *userapi.LoginTokenRequest) (*userapi.Session, error) {
	session, answer, err := s.newSession(req.DeviceID, req.DeviceDisplayName, req.RefreshToken)
	if err != nil {
		return nil, err
	}
	localpart, revoked, ok, err := s.users.TicketSession(ctx, Hash(req.Token), *session)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, merr.Forbidden("The login token is not valid")
	}
	s.revoke(revoked)
	answer.UserID = s.userID(localpart)
	return answer, nil
}

func (s *Store) loginAs(ctx context.Context, req *userapi.LoginAsRequest) (*userapi.Session, error) {
	localpart, err := s.local(req.UserID)
	if err != nil {
		return nil, err
	}
	session, answer, err := s.newSession(req.DeviceID, req.DeviceDisplayName, req.RefreshToken)
	if err != nil {
		return nil, err
	}
	revoked, err := s.users.StartSession(ctx, localpart, *session)
	if err != nil {
		return nil, err
	}
	s.revoke(revoked)
	answer.UserID = s.userID(localpart)
	return answer, nil
}

func (s *Store) openIDUser(ctx context.Context, req *userapi.OpenIDRequest) (*userapi.UserRequest, error) {
	localpart, err := s.users.Ticket(ctx, storage.TicketOpenID, Hash(req.Token), s.now().UnixMilli())
	if errors.Is(err, store.ErrNoRows) {
		return nil, merr.UnknownToken(false)
	}
	if err != nil {
		return nil, err
	}
	return &userapi.UserRequest{UserID: s.userID(localpart)}, nil
}

// seen stores when and, if wanted, from where devices were used.
func (s *Store) seen(ctx context.Context, req *userapi.SeenRequest) (*userapi.Empty, error) {
	if len(req.Devices) > userapi.MaxSeen {
		return nil, merr.InvalidParam("More than %d devices", userapi.MaxSeen)
	}
	list := make([]storage.Seen, 0, len(req.Devices))
	for _, d := range req.Devices {
		localpart, err := s.local(d.UserID)
		if err != nil {
			continue // a user of nobody here has no devices here
		}
		one := storage.Seen{Localpart: localpart, Device: d.DeviceID, At: d.TS - d.TS%time.Minute.Milliseconds()}
		if s.seenFor > 0 && plain(d.IP, maxIP) {
			one.IP = d.IP
		}
		list = append(list, one)
	}
	return &userapi.Empty{}, s.users.SetSeen(ctx, list, s.now().Add(-s.seenFor).UnixMilli())
}

// maxIP is the length of the longest text of an address, one with a zone left out.
const maxIP = 45
