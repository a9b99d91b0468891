// Package sso lets people log in at OpenID providers (OpenID Connect Core 1.0,
// authorization code flow with PKCE). It sends browsers there and finds out who comes
// back; what that person is here, the caller decides.
//
// Nothing is kept between the two: what has to be remembered is in a sealed cookie of
// the browser, so that an answer counts only where its question was asked.
package sso

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"hearth/internal/merr"
)

// Options of New.
type Options struct {
	Providers []ProviderOptions
	// Callback is the address to which providers send people back.
	Callback string
	// HTTP makes the requests to providers; nil: one that waits 30 seconds at most.
	HTTP *http.Client
	Log  *logrus.Entry
	Now  func() time.Time
}

// ProviderOptions describe a provider.
type ProviderOptions struct {
	// ID stands for it in addresses and in the database.
	ID, Name    string
	Icon, Brand string // may be empty
	Issuer      string
	ClientID    string
	// ClientSecret is empty for a client that has none.
	ClientSecret string
	// Scopes besides openid.
	Scopes []string
	// UserClaim and NameClaim are where user name and display name stand.
	UserClaim, NameClaim string
	// Newcomers may make an account by logging in.
	Newcomers bool
}

// Client knows the providers.
type Client struct {
	providers []*provider
	callback  string
	sealer    *sealer
	now       func() time.Time
	log       *logrus.Entry
}

// New returns a client. Providers are asked about themselves when the first person
// wants to go there.
func New(o Options) (*Client, error) {
	if o.Callback == "" {
		return nil, errors.New("single sign-on needs the public address of this server")
	}
	if o.HTTP == nil {
		o.HTTP = &http.Client{Timeout: requestTimeout}
	}
	c := &Client{callback: o.Callback, now: o.Now, log: o.Log, sealer: newSealer()}
	outside := bounded(o.HTTP)
	for _, p := range o.Providers {
		if slices.ContainsFunc(c.providers, func(other *provider) bool { return other.ID == p.ID }) {
			return nil, fmt.Errorf("there are two providers of single sign-on with the id %s", p.ID)
		}
		c.providers = append(c.providers, &provider{ProviderOptions: p, http: outside, now: o.Now, gate: make(chan struct{}, 1)})
	}
	return c, nil
}

// Providers lists the providers.
func (c *Client) Providers() []ProviderOptions {
	list := make([]ProviderOptions, len(c.providers))
	for i, p := range c.providers {
		list[i] = p.ProviderOptions
	}
	return list
}

func (c *Client) provider(id string) (*provider, error) {
	for _, p := range c.providers {
		if p.ID == id {
			return p, nil
		}
	}
	return nil, merr.NotFound("This server does not know that provider")
}

// Person is who came back from a provider.
type Person struct {
	Provider ProviderOptions
	// Subject is the name that never changes; it means something to the provider alone.
	Subject string
	// Name is what UserClaim says, DisplayName what NameClaim says; both may be empty.
	Name, DisplayName string
	// Purpose is what Begin was given.
	Purpose Purpose
}

// Purpose is why somebody goes to a provider: to log in for the client at RedirectURL, or
// to pass a stage of the user-interactive authentication Session.
type Purpose struct {
	RedirectURL string `json:"r,omitempty"`
	Session     string `json:"s,omitempty"`
}

// Finish finds out who came back with a request to the callback. The cookie to delete
// is returned in any case in which there is one.
func (c *Client) Finish(ctx context.Context, r *http.Request) (*Person, *http.Cookie, error) {
	query := r.URL.Query()
	flow, gone, err := c.open(r, query.Get("state"))
	if err != nil {
		return nil, gone, err
	}
	p, err := c.provider(flow.Provider)
	if err != nil {
		return nil, gone, err
	}
	if iss := query.Get("iss"); iss != "" && iss != p.Issuer { // RFC 9207
		return nil, gone, merr.Forbidden("The answer comes from another provider")
	}
	if query.Get("error") != "" {
		return nil, gone, merr.Forbidden("%s did not let you in", p.Name)
	}
	code := query.Get("code")
	if code == "" || len(code) > maxCode {
		return nil, gone, merr.MissingParam("code")
	}
	person, err := p.redeem(ctx, c.callback, code, flow)
	if err != nil {
		c.log.WithError(err).WithField("provider", p.ID).Warn("single sign-on: an answer of the provider was refused")
		return nil, gone, err
	}
	person.Purpose = flow.Purpose
	return person, gone, nil
}
