// Package peers says which other servers we talk with at all, and asks them: over the
// transport, with respect for those that do not answer.
package peers

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"

	"hearth/federationapi/health"
	"hearth/federationapi/transport"
	"hearth/internal/glob"
	"hearth/internal/merr"
)

// List says which servers we talk with. Its patterns have * for any text and ? for any
// character, as those of m.room.server_acl, and match the name with and without its port, whatever
// the case. Deny wins; an empty Allow allows all.
type List struct {
	Deny, Allow []string
	// Live holds the rules that change while the server works; nil: there are none. It denies
	// further servers, and allows none that Deny and Allow do not.
	Live *Live
}

// Allows reports whether we talk with a server.
func (l List) Allows(server string) bool {
	if matches(l.Deny, server) || l.Live.denies(server) {
		return false
	}
	return len(l.Allow) == 0 || matches(l.Allow, server)
}

func matches(patterns []string, server string) bool {
	server = strings.ToLower(server)
	host := server
	if h, _, err := net.SplitHostPort(server); err == nil {
		host = h
	}
	for _, p := range patterns {
		p = strings.ToLower(p)
		if pattern := glob.New(p); pattern.Match(server) || pattern.Match(host) {
			return true
		}
	}
	return false
}

// Client asks other servers.
type Client struct {
	// Transport carries the requests.
	Transport *transport.Client
	Health    *health.Book
	Servers   List
}

// Only asks servers that we talk with, whether or not they answered lately. It is for who keeps
// account of that by itself.
type Only struct {
	Transport *transport.Client
	Servers   List
}

// Do is [transport.Client.Do] for servers that we talk with.
func (o Only) Do(ctx context.Context, r transport.Request) (status int, answer json.RawMessage, err error) {
	if !o.Servers.Allows(r.Destination) {
		return 0, nil, Denied()
	}
	return o.Transport.Do(ctx, r)
}

// Denied is the error for a server that we do not talk with: 403 M_FORBIDDEN.
func Denied() error { return merr.Forbidden("This server does not talk with the other server") }

// Open is [transport.Client.Open] for servers that we talk with and that answer. Eager
// asks also those that did not answer lately.
func (c *Client) Open(ctx context.Context, r transport.Request, eager bool) (*transport.Answer, error) {
	if !c.Servers.Allows(r.Destination) {
		return nil, Denied()
	}
	if !eager {
		if err := c.Health.Check(r.Destination); err != nil {
			return nil, err
		}
	}
	a, err := c.Transport.Open(ctx, r)
	c.note(r.Destination, err)
	return a, err
}

// Do is [transport.Client.Do], as Open is its Open.
func (c *Client) Do(ctx context.Context, r transport.Request, eager bool) (json.RawMessage, error) {
	a, err := c.Open(ctx, r, eager)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	return a.Object()
}

// note tells the book whether the server is there. An answer that refuses is one.
func (c *Client) note(server string, err error) {
	var silent *transport.NoAnswer
	var peer *transport.PeerError
	switch {
	case err == nil:
		c.Health.Succeeded(server)
	case errors.As(err, &silent):
		c.Health.Failed(server, 0)
	case errors.As(err, &peer) && peer.Code == "" && (peer.Status == http.StatusBadGateway || peer.Status == http.StatusServiceUnavailable):
		c.Health.Failed(server, 0) // a proxy says that there is nobody behind it
	}
}
