package sso

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"hearth/internal/merr"
)

const (
	// requestTimeout bounds a request to a provider.
	requestTimeout = 30 * time.Second
	// maxAnswer bounds an answer of a provider in bytes.
	maxAnswer = 1 << 20
	// knownFor is how long what a provider says of itself is believed.
	knownFor = 24 * time.Hour
	// retryAfter is how long a provider that did not answer is left alone.
	retryAfter = 10 * time.Second
	// maxSubject and maxName are in bytes; a subject has at most 255 (Core, 2).
	maxSubject = 255
	maxName    = 255
)

// provider is a provider with what it said of itself.
type provider struct {
	ProviderOptions
	http *http.Client
	now  func() time.Time

	gate  chan struct{} // guards the rest: holds a value while somebody has it
	known *oidc.Provider
	at    time.Time // of known
	// failed and failedAt keep a provider that does not answer from holding everybody up.
	failed   error
	failedAt time.Time
}

// discover returns what the provider says of itself (OpenID Connect Discovery 1.0).
func (p *provider) discover(ctx context.Context) (*oidc.Provider, error) {
	select {
	case p.gate <- struct{}{}:
		defer func() { <-p.gate }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	now := p.now()
	if p.known != nil && recent(now, p.at, knownFor) {
		return p.known, nil
	}
	if p.failed == nil || !recent(now, p.failedAt, retryAfter) {
		found, err := oidc.NewProvider(oidc.ClientContext(ctx, p.http), p.Issuer)
		if err == nil {
			p.known, p.at, p.failed = found, now, nil
			return found, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		p.failed, p.failedAt = err, now
	}
	if p.known != nil { // it was right a day ago
		return p.known, nil
	}
	return nil, p.failed
}

func recent(now, at time.Time, within time.Duration) bool {
	return now.Sub(at) < within && !now.Before(at)
}

func (p *provider) config(ctx context.Context, callback string) (*oauth2.Config, *oidc.Provider, error) {
	found, err := p.discover(ctx)
	if err != nil {
		return nil, nil, err
	}
	endpoint := found.Endpoint()
	if p.ClientSecret == "" {
		endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	return &oauth2.Config{
		ClientID: p.ClientID, ClientSecret: p.ClientSecret, Endpoint: endpoint, RedirectURL: callback,
		Scopes: append([]string{oidc.ScopeOpenID}, p.Scopes...),
	}, found, nil
}

// redeem exchanges a code for the identity of a person. Errors of 502 are the provider's.
func (p *provider) redeem(ctx context.Context, callback, code string, f *flow) (*Person, error) {
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, p.http), requestTimeout)
	defer cancel()
	config, found, err := p.config(ctx, callback)
	if err != nil {
		return nil, merr.Unavailable("%s cannot be reached now", p.Name).WithCause(err)
	}
	token, err := config.Exchange(ctx, code, oauth2.VerifierOption(f.Verifier))
	if err != nil {
		return nil, p.refused(errText("the code was not accepted", err))
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return nil, p.refused(errors.New("there is no ID token"))
	}
	id, err := found.Verifier(&oidc.Config{ClientID: p.ClientID, Now: p.now}).Verify(ctx, raw)
	switch {
	case err != nil:
		return nil, p.refused(errText("the ID token", err))
	case subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(f.Nonce)) != 1:
		return nil, p.refused(errors.New("the ID token answers another question"))
	case len(id.Audience) > 1 && !slices.Contains(id.Audience, p.ClientID):
		return nil, p.refused(errors.New("the ID token is for others"))
	case id.Subject == "" || len(id.Subject) > maxSubject:
		return nil, p.refused(errors.New("the ID token has no subject"))
	}
	if id.AccessTokenHash != "" {
		if err := id.VerifyAccessToken(token.AccessToken); err != nil {
			return nil, p.refused(errText("the access token", err))
		}
	}
	return p.describe(ctx, found, id, token)
}

// describe reads the claims of an ID token, and those that it lacks from the userinfo
// endpoint.
func (p *provider) describe(ctx context.Context, found *oidc.Provider, id *oidc.IDToken, token *oauth2.Token) (*Person, error) {
	claims := map[string]any{}
	if err := id.Claims(&claims); err != nil {
		return nil, p.refused(errText("the claims", err))
	}
	person := &Person{Provider: p.ProviderOptions, Subject: id.Subject}
	person.Name, person.DisplayName = text(claims[p.UserClaim]), text(claims[p.NameClaim])
	if person.Name != "" && person.DisplayName != "" || found.UserInfoEndpoint() == "" {
		return person, nil
	}
	info, err := found.UserInfo(ctx, oauth2.StaticTokenSource(token))
	if err != nil {
		return nil, p.refused(errText("the user info", err))
	}
	if info.Subject != id.Subject { // Core, 5.3.2
		return nil, p.refused(errors.New("the user info is about somebody else"))
	}
	if err := info.Claims(&claims); err != nil {
		return nil, p.refused(errText("the user info", err))
	}
	if person.Name == "" {
		person.Name = text(claims[p.UserClaim])
	}
	if person.DisplayName == "" {
		person.DisplayName = text(claims[p.NameClaim])
	}
	return person, nil
}

// text returns a claim that is a text of fair length.
func text(claim any) string {
	s, _ := claim.(string)
	if len(s) > maxName || !utf8.ValidString(s) {
		return ""
	}
	return s
}

// refused is the error for an answer that is not as it should be. What was wrong is for
// the log: oauth2 puts bodies into its errors, which may hold secrets, so it drops them.
func (p *provider) refused(err error) error {
	return merr.New(http.StatusForbidden, "M_FORBIDDEN", "%s gave no valid answer. Try again.", p.Name).WithCause(err)
}

func errText(what string, err error) error {
	var answer *oauth2.RetrieveError
	if errors.As(err, &answer) {
		status := 0
		if answer.Response != nil {
			status = answer.Response.StatusCode
		}
		return fmt.Errorf("%s: status %d, %q", what, status, answer.ErrorCode)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// bounded returns a client that reads no more than maxAnswer of an answer.
func bounded(c *http.Client) *http.Client {
	next := c.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	out := *c
	out.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(r)
		if err == nil {
			resp.Body = struct {
				io.Reader
				io.Closer
			}{io.LimitReader(resp.Body, maxAnswer), resp.Body}
		}
		return resp, err
	})
	return &out
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip calls f.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
