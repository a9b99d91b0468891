package clientapi

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"hearth/clientapi/identity"
	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/internal/safedial"
)

// IdentityOptions name the identity servers that users may use through this server;
// none: there are no bindings.
type IdentityOptions struct {
	Servers []string
	// Key signs requests to them.
	Key pdu.Signer
	// Transport connects to them; nil: over TLS, to what Deps allow.
	Transport http.RoundTripper
}

// newIdentity returns nil if there are no identity servers.
func newIdentity(d *Deps) (*identity.Client, error) {
	o := d.Identity
	if len(o.Servers) == 0 {
		return nil, nil
	}
	if o.Transport == nil {
		dialer, err := safedial.New(d.DenyNetworks, d.AllowNetworks)
		if err != nil {
			return nil, err
		}
		o.Transport = &http.Transport{DialContext: dialer.DialContext, ForceAttemptHTTP2: true, MaxIdleConns: 4, IdleConnTimeout: time.Minute}
	}
	return identity.New(o.Servers, o.Transport, o.Key), nil
}

// maxBindText bounds each member of a bindRequest in bytes.
const maxBindText = 2000

type bindRequest struct {
	ClientSecret string `json:"client_secret"`
	IDServer     string `json:"id_server"`
	IDToken      string `json:"id_access_token"`
	Sid          string `json:"sid"`
}

// bindThreePID is POST /account/3pid/bind.
func (s *Server) bindThreePID(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[bindRequest](r)
	if err != nil {
		return nil, err
	}
	for _, p := range []struct{ name, value string }{
		{"client_secret", req.ClientSecret}, {"id_server", req.IDServer}, {"id_access_token", req.IDToken}, {"sid", req.Sid},
	} {
		if p.value == "" {
			return nil, merr.MissingParam(p.name)
		}
		if len(p.value) > maxBindText || strings.ContainsFunc(p.value, func(c rune) bool { return c < ' ' || c == 0x7f }) {
			return nil, merr.InvalidParam("Invalid %s", p.name)
		}
	}
	if !s.identity.Trusts(req.IDServer) {
		return nil, identity.NotTrusted()
	}
	if err := s.limits.search.take(r.Identity.UserID); err != nil {
		return nil, err
	}
	medium, address, err := s.identity.Bind(r.Context(), identity.Session{
		Server: req.IDServer, Token: req.IDToken, Sid: req.Sid, ClientSecret: req.ClientSecret,
	}, r.Identity.UserID)
	if err != nil {
		return nil, err
	}
	_, err = userapi.AddBinding.Do(r.Context(), s.bus, &userapi.Binding{
		UserID: r.Identity.UserID, Medium: medium, Address: address, Server: req.IDServer,
	})
	return nil, err
}

// unbindAnswer is what clients hear of identity servers.
func unbindAnswer(done bool) any {
	result := "no-support"
	if done {
		result = "success"
	}
	return map[string]string{"id_server_unbind_result": result}
}

// unbind ends bindings of a user: those that match, at the server that is named or at
// all. done is false if there is none, or an identity server does not take part. Errors
// that such a server gives are returned.
func (s *Server) unbind(ctx context.Context, userID, server string, match func(b userapi.Binding) bool) (done bool, err error) {
	if s.identity == nil {
		return false, nil
	}
	known, err := userapi.Bindings.Do(ctx, s.bus, &userapi.UserRequest{UserID: userID})
	if err != nil {
		return false, err
	}
	for _, b := range known.Bindings {
		if server != "" && b.Server != server || !match(b) {
			continue
		}
		if !s.identity.Trusts(b.Server) { // any more
			return false, nil
		}
		if err := s.identity.Unbind(ctx, b.Server, userID, b.Medium, b.Address); err != nil {
			return false, err
		}
		if _, err := userapi.DeleteBinding.Do(ctx, s.bus, &b); err != nil {
			return false, err
		}
		done = true
	}
	return done, nil
}

// unbindFor is unbind for a request about one identifier.
func (s *Server) unbindFor(r *matrixhttp.Request, req *threePIDRequest) (any, error) {
	done, err := s.unbind(r.Context(), r.Identity.UserID, req.IDServer, func(b userapi.Binding) bool {
		return b.Medium == req.Medium && b.Address == req.Address
	})
	var e *merr.Error
	if errors.As(err, &e) && e.Status == http.StatusBadGateway { // it has no such thing
		return unbindAnswer(false), nil
	}
	if err != nil {
		return nil, err
	}
	return unbindAnswer(done), nil
}

// unbindTime bounds how long the end of an account waits for identity servers.
const unbindTime = 10 * time.Second

// unbindAll ends all bindings of an account that ends, as far as that works now.
func (s *Server) unbindAll(ctx context.Context, userID string) bool {
	ctx, cancel := context.WithTimeout(ctx, unbindTime)
	defer cancel()
	if s.identity == nil {
		return true // there are none
	}
	for range userapi.MaxBindings {
		done, err := s.unbind(ctx, userID, "", func(userapi.Binding) bool { return true })
		if err != nil || ctx.Err() != nil {
			return false
		}
		if !done {
			left, err := userapi.Bindings.Do(ctx, s.bus, &userapi.UserRequest{UserID: userID})
			return err == nil && len(left.Bindings) == 0
		}
	}
	return false
}
