// Package account is the user store at work: it answers the calls of package
// userapi and writes the user log.
package account

import (
	"cmp"
	"context"
	"crypto/sha256"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"

	"hearth/clientapi/devicekeys"
	"hearth/clientapi/storage"
	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/internal/store"
)

// Deps is what the store needs.
type Deps struct {
	Bus                  *bus.Bus
	ServerName           string
	DataDir, DatabaseURL string
	Log                  *logrus.Entry
	Metrics              prometheus.Registerer // may be nil
	Now                  func() time.Time
	MinPasswordLength    int // bytes
	// AccessTokenLifetime is how long an access token that can be renewed is good; 0:
	// an hour. Others have no end.
	AccessTokenLifetime time.Duration
	// SeenFor is how long the address from which a device was used is kept; 0: it is
	// never stored.
	SeenFor time.Duration
}

// Store is the user store. It answers from New until Close.
type Store struct {
	users      *storage.Users
	bus        *bus.Bus
	log        *bus.Publisher[userapi.Entry]
	serverName string
	minLength  int
	lifetime   time.Duration
	seenFor    time.Duration
	now        func() time.Time
	passwords  *hasher
	notes      *logrus.Entry
	news       chan struct{} // rings when a profile was changed
	keys       *devicekeys.Keys
}

// New opens the database and registers the handlers.
func New(ctx context.Context, d Deps) (*Store, error) {
	s := &Store{bus: d.Bus, serverName: d.ServerName, minLength: d.MinPasswordLength, now: d.Now,
		lifetime: cmp.Or(d.AccessTokenLifetime, time.Hour), seenFor: d.SeenFor, passwords: newHasher(), notes: d.Log, news: make(chan struct{}, 1)}
	var err error
	s.users, err = storage.Open(ctx, store.Options{
		DataDir: d.DataDir, URL: d.DatabaseURL, Log: d.Log, Metrics: d.Metrics, Now: d.Now,
	}, s.tell)
	if err != nil {
		s.passwords.close()
		return nil, err
	}
	s.log = bus.NewPublisher(d.Bus, userapi.Log, s.users.Head)
	if err := s.handle(d.Log, d.Metrics); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// tell publishes a committed entry of the log.
func (s *Store) tell(l storage.Line) {
	l.Entry.UserID = s.userID(l.Localpart)
	s.log.Publish(l.Pos, &l.Entry)
}

// Close commits what is queued and releases the database.
func (s *Store) Close() error {
	s.passwords.close()
	if s.keys != nil {
		s.keys.Close()
	}
	return s.users.Close()
}

// Lost is closed when another process took the database over: this one must stop.
func (s *Store) Lost() <-chan struct{} { return s.users.Lost() }

// handle registers a handler for each call.
func (s *Store) handle(log *logrus.Entry, metrics prometheus.Registerer) error {
	for _, register := range []func() error{
		on(s, userapi.Register, s.register),
		on(s, userapi.CheckUsername, s.checkUsername),
		on(s, userapi.Login, s.login),
		on(s, userapi.CheckPassword, s.checkPassword),
		on(s, userapi.SetPassword, s.setPassword),
		on(s, userapi.Authenticate, s.authenticate),
		on(s, userapi.Logout, s.logout),
		on(s, userapi.Deactivate, s.deactivate),
		on(s, userapi.GetUser, s.getUser),
		on(s, userapi.Restrict, s.restrict),
		on(s, userapi.ListUsers, s.listUsers),
		on(s, userapi.AllAccountData, s.allAccountData),
		on(s, userapi.Devices, s.devices),
		on(s, userapi.GetDevice, s.getDevice),
		on(s, userapi.SetDevice, s.setDevice),
		on(s, userapi.GetProfile, s.getProfile),
		on(s, userapi.SetProfile, s.setProfile),
		on(s, userapi.SetAccountData, s.setAccountData),
		on(s, userapi.GetAccountData, s.getAccountData),
		on(s, userapi.ChangedAccountData, s.changedAccountData),
		on(s, userapi.PutFilter, s.putFilter),
		on(s, userapi.GetFilter, s.getFilter),
		s.handlePeople,
		s.handlePushRules,
		s.handleThreads,
	} {
		if err := register(); err != nil {
			return err
		}
	}
	keys, err := devicekeys.Handle(devicekeys.Deps{Bus: s.bus, Users: s.users, ServerName: s.serverName, Log: log, Now: s.now, Metrics: metrics})
	if err != nil {
		return err
	}
	s.keys = keys
	return bus.ServeLog(s.bus, userapi.Log, func(ctx context.Context, after int64, limit int) ([]bus.Positioned[userapi.Entry], int64, error) {
		return s.users.ReadLog(ctx, after, limit, s.userID)
	})
}

func on[Req, Resp any](s *Store, c bus.Call[Req, Resp], h func(context.Context, *Req) (*Resp, error)) func() error {
	return func() error { return bus.Handle(s.bus, c, h) }
}

// userID is the id of a local user. The log is also about users of other servers, who
// have their full id instead of a localpart.
func (s *Store) userID(localpart string) string {
	if strings.HasPrefix(localpart, "@") {
		return localpart
	}
	return "@" + localpart + ":" + s.serverName
}

// Resync keeps what is known of the devices of users of other servers up to date until
// ctx ends.
func (s *Store) Resync(ctx context.Context) error { return s.keys.Resync(ctx) }

// Federate is Resync, tells other servers of changes of our users' devices, and notices
// when theirs are told to us no longer.
func (s *Store) Federate(ctx context.Context) error { return s.keys.Federate(ctx) }

// local returns the localpart of one of our users, 404 M_NOT_FOUND for any other.
func (s *Store) local(userID string) (string, error) {
	localpart, ok := strings.CutPrefix(userID, "@")
	if ok {
		localpart, ok = strings.CutSuffix(localpart, ":"+s.serverName)
	}
	if !ok || localpart == "" || !plain(localpart, userapi.MaxKey) {
		return "", merr.NotFound("User not found")
	}
	return localpart, nil
}

// revoke tells the gateways that access tokens are gone.
func (s *Store) revoke(hashes [][]byte) *userapi.Revoked {
	revoked := &userapi.Revoked{Tokens: hashes}
	if len(hashes) > 0 {
		userapi.RevokedTopic.Publish(s.bus, revoked)
	}
	return revoked
}

// Hash is what is kept of an access token.
func Hash(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}
