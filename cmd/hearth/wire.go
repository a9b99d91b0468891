package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"hearth/clientapi"
	"hearth/clientapi/antispam"
	"hearth/clientapi/mail"
	"hearth/clientapi/policy"
	"hearth/clientapi/sso"
	"hearth/config"
	"hearth/federationapi"
	"hearth/federationapi/peers"
	"hearth/internal/safedial"
	"hearth/roomserver"
	"hearth/roomserver/roomapi"
	"hearth/syncapi"
)

// builder makes one component and leaves its handlers in the app.
type builder struct {
	name  string
	build func(ctx context.Context, a *app, log *logrus.Entry) (component, error)
}

// builders lists the components in the order in which they start; they end in the
// other.
func builders() []builder {
	return []builder{
		{"roomserver", buildRoomserver},
		{"federationapi", buildFederationAPI},
		{"clientapi", buildClientAPI},
		{"syncapi", buildSyncAPI},
	}
}

func buildRoomserver(ctx context.Context, a *app, log *logrus.Entry) (component, error) {
	c := a.opts.config
	return roomserver.New(ctx, roomserver.Deps{
		Bus: a.bus, ServerName: c.ServerName, Key: a.key, DataDir: a.dataDir, DatabaseURL: c.Database.URL,
		Retention: retentionPolicy(c.Retention), PurgeEvery: time.Duration(c.Retention.PurgeInterval), OverwriteEvery: time.Duration(c.Retention.OverwriteInterval),
		Log: log, Metrics: a.metrics, Now: a.opts.now,
	})
}

func retentionPolicy(r config.Retention) roomapi.RetentionPolicy {
	ms := func(d config.Duration) int64 { return time.Duration(d).Milliseconds() }
	return roomapi.RetentionPolicy{
		DefaultMaxLifetime: ms(r.DefaultMaxLifetime), AllowedLifetimeMin: ms(r.AllowedLifetimeMin), AllowedLifetimeMax: ms(r.AllowedLifetimeMax),
		Direct: ms(r.Direct), Private: ms(r.Private), Public: ms(r.Public), Encrypted: ms(r.Encrypted), Forgotten: ms(r.Forgotten),
		IgnoreRooms: !r.RoomPolicies,
	}
}

func buildFederationAPI(ctx context.Context, a *app, log *logrus.Entry) (component, error) {
	c := a.opts.config
	if !c.Federation.Enabled {
		return idle{}, nil
	}
	dialer, err := outbound(c)
	if err != nil {
		return nil, err
	}
	s, err := federationapi.New(ctx, federationapi.Deps{
		Bus: a.bus, ServerName: c.ServerName, Key: a.key, Version: version(), DataDir: a.dataDir, DatabaseURL: c.Database.URL,
		Dialer: dialer, CAFile: c.Federation.CAFile, NotaryServers: c.Federation.NotaryServers, RetryFirst: time.Duration(c.Federation.RetryFirst), RetryLongest: time.Duration(c.Federation.RetryLongest),
		BannedKeys: c.Federation.BannedKeys,
		Servers:    peers.List{Deny: c.Federation.DenyServers, Allow: c.Federation.AllowServers},
		Log:        log, Metrics: a.metrics, Now: a.opts.now,
	})
	if err != nil {
		return nil, err
	}
	a.handlers["federation"] = s.Handler()
	return s, nil
}

// idle is a component that is switched off.
type idle struct{}

func (idle) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func (idle) Close() error { return nil }

func buildClientAPI(ctx context.Context, a *app, log *logrus.Entry) (component, error) {
	c := a.opts.config
	previews, err := outbound(c)
	if err != nil {
		return nil, err
	}
	if !c.URLPreviews.Enabled {
		previews = nil
	}
	sender, err := mailSender(a, log)
	if err != nil {
		return nil, err
	}
	r := c.Registration
	p := c.Probation
	s, err := clientapi.New(ctx, clientapi.Deps{
		Webhooks: webhooks(c), TwoWayBlocking: c.Blocking.TwoWay,
		Probation: policy.Probation{
			For: time.Duration(p.For), Invites: p.Invites, Joins: p.Joins, Rooms: p.Rooms, Media: p.Media, Links: p.Links,
		},
		Bus: a.bus, ServerName: c.ServerName, Version: version(), DataDir: a.dataDir, DatabaseURL: c.Database.URL,
		Log: log, Metrics: a.metrics, Now: a.opts.now,
		RegistrationMode: c.Registration.Mode, SharedSecret: c.Registration.SharedSecret,
		MinPasswordLength: c.Registration.MinPasswordLength, PublicBaseURL: a.publicURL(),
		Encryption: clientapi.EncryptionOptions{
			Private: slices.Contains(c.Encryption.RequiredFor, "private"), Direct: slices.Contains(c.Encryption.RequiredFor, "dm"),
			All: slices.Contains(c.Encryption.RequiredFor, "all"),
		},
		Federation: c.Federation.Enabled, Delegate: c.Federation.Delegate, AdminOnClient: c.Listeners.Admin.AlsoOnClient, RateLimits: c.RateLimits.Enabled,
		MaxUpload: int64(c.Media.MaxUpload), Reserve: int64(c.DataReserve), Appservices: a.services, Previews: previews,
		DenyNetworks: denied(c), AllowNetworks: c.Outbound.AllowNetworks,
		Presence: c.Presence.Enabled, SSO: singleSignOn(c),
		Identity:       clientapi.IdentityOptions{Servers: c.IdentityServers, Key: a.key},
		OverwriteEvery: time.Duration(c.Retention.OverwriteInterval),
		UserBytes:      int64(c.Media.UserBytes), UserFiles: int64(c.Media.UserFiles),
		Mail: sender, TrustedProxies: c.TrustedProxies,
		AccessTokenLifetime: time.Duration(c.Sessions.AccessTokenLifetime), SeenFor: time.Duration(c.Sessions.KeepAddresses),
		Registration: clientapi.RegistrationOptions{
			RequireEmail: r.RequireEmail, Guests: r.Guests,
			TermsURL: r.TermsURL, PrivacyURL: r.PrivacyURL, TermsVersion: r.TermsVersion,
			RecaptchaPublicKey: r.RecaptchaPublicKey, RecaptchaPrivateKey: r.RecaptchaPrivateKey, RecaptchaVerifyURL: r.RecaptchaVerifyURL,
		},
		Turn: clientapi.TurnOptions{
			URIs: c.Turn.URIs, SharedSecret: c.Turn.Secret, Username: c.Turn.Username, Password: c.Turn.Password,
			TTL: time.Duration(c.Turn.Lifetime),
		},
		Calls: clientapi.CallOptions{LiveKit: c.Calls.LiveKit},
		Support: clientapi.SupportOptions{
			AdminUserID: c.Support.AdminUser, AdminEmail: c.Support.AdminEmail,
			SecurityUserID: c.Support.SecurityUser, SecurityEmail: c.Support.SecurityEmail, Page: c.Support.Page,
		},
		Notices: clientapi.NoticeOptions{
			Localpart: c.ServerNotices.Localpart, DisplayName: c.ServerNotices.DisplayName, RoomName: c.ServerNotices.RoomName,
		},
	})
	if err != nil {
		return nil, err
	}
	a.handlers["client"], a.handlers["admin"] = s.ClientHandler(), s.AdminHandler()
	return s, nil
}

func webhooks(c *config.Config) (list []antispam.Webhook) {
	for _, w := range c.Antispam {
		list = append(list, antispam.Webhook{
			URL: w.URL, Authorization: w.Authorization, Callbacks: w.Callbacks, Async: w.Async, FailOpen: w.FailOpen,
			Timeout: time.Duration(w.Timeout), Ping: w.Ping,
		})
	}
	return list
}

func singleSignOn(c *config.Config) clientapi.SSOOptions {
	o := clientapi.SSOOptions{TrustedRedirects: c.SSO.TrustedRedirects}
	for _, p := range c.SSO.Providers {
		o.Providers = append(o.Providers, sso.ProviderOptions(p))
	}
	return o
}

// mailSender sends mail, nil if no server for it is configured.
func mailSender(a *app, log *logrus.Entry) (*mail.Sender, error) {
	e := a.opts.config.Email
	if e.Server == "" {
		return nil, nil
	}
	return mail.New(mail.Options{
		Server: e.Server, Security: e.Security, Username: e.Username, Password: e.Password, From: e.From,
		Log: log, Now: a.opts.now,
	})
}

// outbound connects to addresses that others choose.
func outbound(c *config.Config) (*safedial.Dialer, error) {
	d, err := safedial.New(denied(c), c.Outbound.AllowNetworks)
	if err != nil {
		return nil, fmt.Errorf("outbound: %w", err)
	}
	return d, nil
}

// denied is what the configuration denies; nil is the default.
func denied(c *config.Config) []netip.Prefix {
	if c.Outbound.DenyNetworks == nil {
		return nil
	}
	return append([]netip.Prefix{}, *c.Outbound.DenyNetworks...)
}

func buildSyncAPI(ctx context.Context, a *app, log *logrus.Entry) (component, error) {
	return syncapi.New(ctx, syncapi.Deps{
		Bus: a.bus, ServerName: a.opts.config.ServerName, Log: log, Metrics: a.metrics, Now: a.opts.now,
	})
}

// publicURL is what clients are told by discovery: only localhost is where we think
// it is, any other name may be behind a proxy.
func (a *app) publicURL() string {
	c := a.opts.config
	host, _, _ := strings.Cut(c.ServerName, ":")
	if c.PublicBaseURL == "" && host == "localhost" && a.address("client") != "" {
		return a.localURL()
	}
	return c.PublicBaseURL
}

// clientURL is the URL to give to a client.
func (a *app) clientURL() string {
	if url := a.publicURL(); url != "" {
		return url
	}
	return a.localURL()
}

// localURL is the client listener as this machine sees it.
func (a *app) localURL() string {
	scheme := "http"
	if a.opts.config.Listeners.Client.TLSCert != "" {
		scheme = "https"
	}
	_, port, err := net.SplitHostPort(a.address("client"))
	if err != nil {
		return ""
	}
	return scheme + "://" + net.JoinHostPort("localhost", port)
}
