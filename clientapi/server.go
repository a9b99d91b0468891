// Package clientapi serves the client-server API and owns the user store.
//
// It has two parts, which need not be in one process: the gateway (this package)
// turns HTTP requests into calls on the bus and answers into JSON; the user store
// (package account) answers the calls of package userapi. The gateway decides
// nothing about rooms or users, and keeps nothing that may not be lost.
//
// routes.go is the table of endpoints. Each file is named by what a client wants.
package clientapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"hearth/clientapi/account"
	"hearth/clientapi/admin"
	"hearth/clientapi/antispam"
	"hearth/clientapi/appservice"
	"hearth/clientapi/delayed"
	"hearth/clientapi/identity"
	"hearth/clientapi/jobs"
	"hearth/clientapi/mail"
	"hearth/clientapi/media"
	"hearth/clientapi/moderation"
	"hearth/clientapi/policy"
	"hearth/clientapi/presence"
	"hearth/clientapi/push"
	"hearth/clientapi/sso"
	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/lru"
	"hearth/internal/matrixhttp"
	"hearth/internal/safedial"
)

// Deps is what clientapi needs from the program.
type Deps struct {
	Bus        *bus.Bus
	ServerName string
	// Version is told to administrators.
	Version string
	// DataDir holds the SQLite file unless DatabaseURL names a PostgreSQL database.
	DataDir, DatabaseURL string
	Log                  *logrus.Entry
	Metrics              prometheus.Registerer // may be nil
	Now                  func() time.Time      // nil: time.Now
	// RegistrationMode is "open" or anything else for closed.
	RegistrationMode string
	// SharedSecret allows registration through the admin API; empty: off.
	SharedSecret string
	// MinPasswordLength is in bytes.
	MinPasswordLength int
	// PublicBaseURL is the URL that clients use; empty: not announced.
	PublicBaseURL string
	// Delegate is where other servers find this one; empty: not announced.
	Delegate string
	// AdminOnClient serves the admin API on the client handler too.
	AdminOnClient bool
	// RateLimits turns limits for each user and address on.
	RateLimits   bool
	Registration RegistrationOptions
	Turn         TurnOptions
	Calls        CallOptions
	Support      SupportOptions
	Notices      NoticeOptions
	SSO          SSOOptions
	Identity     IdentityOptions
	// Encryption says where messages must be encrypted.
	Encryption EncryptionOptions
	// Federation says that there are other servers.
	Federation bool
	// Presence tells users who else is online.
	Presence bool
	// Mail sends e-mail; nil: this server sends none.
	Mail *mail.Sender
	// TrustedProxies are those whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
	// AccessTokenLifetime and SeenFor are as in account.Deps.
	AccessTokenLifetime, SeenFor time.Duration
	// Outside makes requests to services that the configuration names; nil: a client
	// that waits 30 seconds at most.
	Outside *http.Client
	// Appservices are the application services; nil: none.
	Appservices *appservice.Registrations
	// DenyNetworks and AllowNetworks bound where push gateways may be, as in safedial.New.
	DenyNetworks, AllowNetworks []netip.Prefix
	// MaxUpload bounds an upload to the content repository, in bytes; 0: as in media.Deps.
	MaxUpload int64
	// Reserve is left to the databases on the disk, in bytes; see media.Deps.
	Reserve int64
	// UserFiles and UserBytes are as in media.Deps.
	UserFiles, UserBytes int64
	// Webhooks judge what is done here before it is; none: nobody is asked.
	Webhooks []antispam.Webhook
	// TwoWayBlocking hides users from those whom they ignore.
	TwoWayBlocking bool
	// Probation is what new accounts may not do yet.
	Probation policy.Probation
	// OverwriteEvery is how often what was deleted is overwritten; 0: only when it is asked for.
	OverwriteEvery time.Duration
	// Previews connects to pages that users name; nil: no previews of links.
	Previews *safedial.Dialer
}

// Server is clientapi at work.
type Server struct {
	bus        *bus.Bus
	serverName string
	now        func() time.Time
	options    Deps
	store      *account.Store
	services   *appservice.Service // nil: there are none
	ghosts     *ghosts
	media      *media.Server
	push       *push.Server // nil: nobody is pushed to
	moderation *moderation.Server
	jobs       *jobs.Engine
	policy     *policy.Guard
	tokens     *tokenCache
	filters    *lru.Cache[filterKey, []byte]
	limits     *limits
	overrides  *overrides
	nonces     *nonces
	mail       *mail.Sender
	outside    *http.Client
	sso        *sso.Client      // nil: there is none
	identity   *identity.Client // as sso
	seen       *seenDevices
	bell       *roomBell
	pages      *pages
	sending    *sending
	delayed    *delayed.Server   // nil: events are not sent later
	presence   *presenceFeed     // nil: presence is off
	tracker    *presence.Tracker // nil: as presence, or it is elsewhere
	// interactions are the open user-interactive authentications.
	interactions   *interactions
	administration *admin.Server
	client         *matrixhttp.Mux
	admin          *matrixhttp.Mux
	stopping       context.Context // ends with Run, and with it every long-poll
	stop           context.CancelFunc
}

// New opens the user store and builds the handlers; Run must follow.
func New(ctx context.Context, d Deps) (*Server, error) {
	if d.Now == nil {
		d.Now = time.Now
	}
	store, err := account.New(ctx, account.Deps{
		Bus: d.Bus, ServerName: d.ServerName, DataDir: d.DataDir, DatabaseURL: d.DatabaseURL,
		Log: d.Log, Metrics: d.Metrics, Now: d.Now, MinPasswordLength: d.MinPasswordLength,
		AccessTokenLifetime: d.AccessTokenLifetime, SeenFor: d.SeenFor,
	})
	if err != nil {
		return nil, fmt.Errorf("user store: %w", err)
	}
	var servers media.Remote
	if d.Federation {
		servers = media.FromServers(d.Bus, d.MaxUpload)
	}
	guard, err := newGuard(&d)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	repository, err := media.New(ctx, media.Deps{
		Policy:     guard,
		ServerName: d.ServerName, DataDir: d.DataDir, DatabaseURL: d.DatabaseURL, Log: d.Log, Metrics: d.Metrics,
		Now: d.Now, MaxUpload: d.MaxUpload, Reserve: d.Reserve, UserFiles: d.UserFiles, UserBytes: d.UserBytes, Previews: d.Previews,
		Bus: d.Bus, Remote: servers,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("media: %w", err), store.Close())
	}
	pushers, err := push.New(ctx, push.Deps{
		Bus: d.Bus, ServerName: d.ServerName, DataDir: d.DataDir, DatabaseURL: d.DatabaseURL, Log: d.Log, Metrics: d.Metrics,
		Now: d.Now, Deny: d.DenyNetworks, Allow: d.AllowNetworks,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("push: %w", err), repository.Close(), store.Close())
	}
	s, err := newGateway(d, guard, repository, pushers.Routes)
	if err != nil {
		return nil, errors.Join(err, pushers.Close(), repository.Close(), store.Close())
	}
	s.store, s.push = store, pushers
	if s.delayed, err = delayed.New(ctx, delayed.Deps{
		Bus: d.Bus, DataDir: d.DataDir, DatabaseURL: d.DatabaseURL, Log: d.Log, Metrics: d.Metrics, Now: d.Now, Limit: s.limits.send.take,
		Sender: s.delayedSender,
	}); err != nil {
		return nil, errors.Join(fmt.Errorf("delayed events: %w", err), pushers.Close(), repository.Close(), store.Close())
	}
	if s.moderation, err = moderation.New(ctx, moderation.Deps{
		Bus: d.Bus, DataDir: d.DataDir, DatabaseURL: d.DatabaseURL, Log: d.Log, Metrics: d.Metrics, Now: d.Now,
	}); err != nil {
		return nil, errors.Join(fmt.Errorf("moderation: %w", err), pushers.Close(), repository.Close(), store.Close())
	}
	if s.jobs, err = jobs.New(ctx, jobs.Deps{
		DataDir: d.DataDir, DatabaseURL: d.DatabaseURL, Log: d.Log, Metrics: d.Metrics, Now: d.Now, Steps: s.administration.Steps(),
	}); err != nil {
		return nil, errors.Join(fmt.Errorf("jobs: %w", err), s.moderation.Close(), s.delayed.Close(), pushers.Close(), repository.Close(), store.Close())
	}
	// Nothing is allowed before the rules are there.
	if err := errors.Join(guard.Load(ctx), guard.Handle()); err != nil {
		return nil, errors.Join(fmt.Errorf("policy: %w", err), s.Close())
	}
	if d.Presence {
		s.tracker, err = presence.New(presence.Deps{Bus: d.Bus, Now: d.Now, Local: s.isLocal})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("presence: %w", err), s.Close())
		}
	}
	if len(d.Appservices.All()) == 0 {
		return s, nil
	}
	s.services, err = appservice.New(ctx, appservice.Deps{
		Bus: d.Bus, Registrations: d.Appservices, DataDir: d.DataDir, DatabaseURL: d.DatabaseURL,
		Log: d.Log, Metrics: d.Metrics, Now: d.Now,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("application services: %w", err), s.Close())
	}
	return s, nil
}

// newGateway builds the part that speaks HTTP. It needs a user store somewhere on the
// bus. repository may be nil: no media. more are the tables of other parts.
func newGateway(d Deps, guard *policy.Guard, repository *media.Server, more ...func(user matrixhttp.Auth) []matrixhttp.Route) (*Server, error) {
	set := newOverrides()
	s := &Server{
		overrides: set,
		media:     repository, policy: guard, bus: d.Bus, serverName: d.ServerName, now: d.Now, options: d,
		tokens:  newTokenCache(d.Bus, d.Now),
		filters: lru.New[filterKey, []byte](maxCachedFilters, nil),
		limits:  newLimits(d.RateLimits, d.Now, d.Appservices.Unlimited, set),
		nonces:  newNonces(d.Now),
		ghosts:  newGhosts(d.Now),
		mail:    d.Mail, outside: d.Outside, pages: newPages(), sending: newSending(),
		presence:     newPresenceFeed(d.Presence, d.Bus, d.Now),
		seen:         newSeenDevices(d.Bus, d.Now, d.Log),
		bell:         newRoomBell(d.Bus),
		interactions: newInteractions(d.Now),
	}
	if s.outside == nil {
		s.outside = &http.Client{Timeout: outsideTimeout}
	}
	var err error
	if s.sso, err = newSSO(&d); err != nil {
		return nil, err
	}
	if s.identity, err = newIdentity(&d); err != nil {
		return nil, err
	}
	if d.Registration.RequireEmail && d.Mail == nil {
		return nil, errors.New("registration asks for e-mail, but there is no mail server")
	}
	if s.options.Registration.RecaptchaVerifyURL == "" {
		s.options.Registration.RecaptchaVerifyURL = googleVerify
	}
	s.stopping, s.stop = context.WithCancel(context.Background())
	s.administration = admin.New(admin.Deps{
		Bus: d.Bus, ServerName: d.ServerName, Version: d.Version, Now: d.Now, User: s.user, Forget: s.tokens.revoke,
		Pushers: func(userID string) []any { return s.push.Of(userID) },
		Jobs:    func() *jobs.Engine { return s.jobs }, Media: repository, Overwrite: s.overwrite,
		Notice: func(r *matrixhttp.Request, userID, txnID string, content json.RawMessage) (string, error) {
			return s.sendNotice(r.Context(), userID, txnID, content)
		},
	})
	metrics, err := matrixhttp.NewMetrics(d.Metrics)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	clientRoutes := append(append(s.clientRoutes(), s.keyRoutes()...), s.callRoutes()...)
	if s.media != nil {
		clientRoutes = append(clientRoutes, s.media.Routes(s.user, s.guest)...)
	}
	for _, routes := range more {
		clientRoutes = append(clientRoutes, routes(s.user)...)
	}
	if d.AdminOnClient {
		clientRoutes = append(clientRoutes, s.adminRoutes()...)
	}
	s.client, err = matrixhttp.New(matrixhttp.Options{
		Routes: s.withLimits(clientRoutes), CORS: []string{"/_matrix/", "/.well-known/matrix/"},
		Log: d.Log, Metrics: metrics, Now: d.Now,
	})
	if err != nil {
		return nil, err
	}
	// Tools log in where they find the admin API, and pages from elsewhere use it.
	if !d.AdminOnClient {
		clientRoutes = append(clientRoutes, s.adminRoutes()...)
	}
	s.admin, err = matrixhttp.New(matrixhttp.Options{
		Routes: clientRoutes, CORS: []string{"/_matrix/", "/_synapse/", "/_hearth/", "/.well-known/matrix/"}, Log: d.Log, Metrics: metrics, Now: d.Now,
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// ClientHandler serves /_matrix/client and /.well-known/matrix/client.
func (s *Server) ClientHandler() http.Handler {
	return behindProxies(s.client, s.options.TrustedProxies)
}

// AdminHandler serves the admin API, and the client API beside it.
func (s *Server) AdminHandler() http.Handler { return behindProxies(s.admin, s.options.TrustedProxies) }

// outsideTimeout bounds a request to a service of others.
const outsideTimeout = 30 * time.Second

// Run listens for revoked access tokens and sends what is to be sent until ctx ends. When it returns, long-polls
// that are still open are answered with 503, so that the process can stop.
func (s *Server) Run(ctx context.Context) error {
	defer s.stop()
	cancel, err := bus.Subscribe(s.bus, userapi.RevokedTopic, s.tokens.revoke)
	if err != nil {
		return fmt.Errorf("subscribe to revoked tokens: %w", err)
	}
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { s.seen.run(ctx); return nil })
	if s.tracker != nil {
		group.Go(func() error { s.tracker.Run(ctx); return nil })
	}
	if s.store != nil {
		group.Go(func() error { return s.store.TellProfiles(ctx) })
	}
	if s.options.Federation && s.store != nil {
		group.Go(func() error { return s.store.Federate(ctx) })
	}
	if s.options.Registration.Guests && s.store != nil {
		group.Go(func() error { return s.store.ExpelGuests(ctx) })
	}
	group.Go(func() error { s.overwriteAtTimes(ctx); return nil })
	group.Go(func() error { return s.media.Run(ctx) })
	group.Go(func() error { return s.push.Run(ctx) })
	group.Go(func() error { return s.delayed.Run(ctx) })
	group.Go(func() error { return s.jobs.Run(ctx) })
	group.Go(func() error { return s.overrides.run(ctx, s.bus) })
	group.Go(func() error { return s.policy.Run(ctx) })
	if s.mail != nil {
		group.Go(func() error { s.mail.Run(ctx); return nil })
	}
	if s.services != nil {
		group.Go(func() error { return s.services.Run(ctx) })
	}
	if s.moderation != nil {
		lists := policy.NewLists(policy.ListDeps{Bus: s.bus, ServerName: s.serverName, Log: s.options.Log, Replace: s.moderation.ReplaceRules})
		group.Go(func() error { return lists.Run(ctx) })
	}
	return group.Wait()
}

// Close releases the databases. The HTTP listeners must be closed before.
func (s *Server) Close() error {
	var err error
	if s.services != nil {
		err = s.services.Close()
	}
	return errors.Join(err, s.jobs.Close(), s.moderation.Close(), s.delayed.Close(), s.push.Close(), s.media.Close(), s.store.Close())
}

// Lost is closed when another process took the user store over: this one must stop.
func (s *Server) Lost() <-chan struct{} { return s.store.Lost() }
