// Package transport sends requests to other servers: it finds them, connects to them,
// signs what it sends and bounds what comes back.
package transport

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"hearth/federationapi/xmatrix"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

const (
	usualTimeout = 30 * time.Second
	usualWait    = 60 * time.Second
	usualAnswer  = 1 << 20 // bytes
)

// Options say how to build a Client.
type Options struct {
	// Signer signs requests; its name is that of our server.
	Signer pdu.Signer
	// Dial connects over TCP to host:port and refuses addresses of the inside, as
	// safedial does.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// LookupSRV is [net.Resolver.LookupSRV]; nil: of the system's resolver.
	LookupSRV func(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
	// CAs are trusted to name servers; nil: those of the system.
	CAs       *x509.CertPool
	UserAgent string
	Now       func() time.Time
}

// Client talks to other servers. It may be used by many goroutines.
type Client struct {
	o         Options
	discovery *discovery
	http      *http.Transport
	downloads *http.Client
	slots     *slots
	idle      time.Duration // how long an answer may pause
}

// New returns a client without connections.
func New(o Options) *Client {
	if o.LookupSRV == nil {
		o.LookupSRV = net.DefaultResolver.LookupSRV
	}
	return &Client{o: o, discovery: newDiscovery(o), http: newRoundTripper(o), downloads: newDownloader(o), slots: newSlots(), idle: idleBody}
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Request is a request to another server.
type Request struct {
	// Destination is the server name.
	Destination string
	Method      string
	// Path is escaped and begins with /_matrix/.
	Path  string
	Query url.Values
	// Body is a JSON object; nil: none.
	Body []byte
	// Unsigned leaves the signature away, for the endpoints that need none.
	Unsigned bool
	// Timeout bounds everything; 0: 30 s. The context may end it earlier.
	Timeout time.Duration
	// Wait bounds the time until the answer begins; 0: 60 s, or Timeout if that is less.
	Wait time.Duration
	// MaxAnswer bounds the answer, in bytes; 0: 1 MiB. Answers that are read whole have at
	// most [pdu.MaxJSON].
	MaxAnswer int64
	// Reserved lets the request go out beside the usual ones, which wait for one another.
	// Whoever sets it has one such request to a server at a time.
	Reserved bool
}

// Do sends a request and returns the answer, a JSON object in canonical form, with its
// status, which is 2xx. Redirects are not followed.
//
// All errors are *merr.Error and can be shown to users: what the other server says
// about its request is never an error about theirs. The cause is a *[PeerError] if the
// other server answered with an error, a *[NoAnswer] if it did not answer. Temporary is
// set if it may do better later.
func (c *Client) Do(ctx context.Context, r Request) (status int, answer json.RawMessage, err error) {
	a, err := c.Open(ctx, r)
	if err != nil {
		return StatusOf(err), nil, err
	}
	defer a.Close()
	answer, err = a.Object()
	return a.Status, answer, err
}

// Open sends a request and returns the answer, whose status is 2xx, before its body has
// come. Errors are those of [Client.Do].
func (c *Client) Open(ctx context.Context, r Request) (*Answer, error) {
	if r.Destination == c.o.Signer.ServerName {
		return nil, merr.Internal(errors.New("a request to ourselves"))
	}
	if r.Timeout == 0 {
		r.Timeout = usualTimeout
	}
	asked, cancel := context.WithTimeout(ctx, r.Timeout)
	a, err := c.send(ctx, asked, cancel, r)
	if err != nil {
		cancel()
		return nil, err
	}
	return a, nil
}

// send does the work of Open; asked is ctx with the timeout of the request, and cancel
// ends it.
func (c *Client) send(ctx, asked context.Context, cancel func(), r Request) (_ *Answer, err error) {
	free := func() {}
	if !r.Reserved {
		if free, err = c.slots.take(asked, r.Destination); err != nil {
			return nil, waited(err)
		}
	}
	defer func() {
		if err != nil {
			free()
		}
	}()
	t, err := c.discovery.resolve(asked, r.Destination)
	if err != nil {
		return nil, unreachable(ctx, err)
	}
	req, err := c.request(asked, r, t)
	if err != nil {
		return nil, err
	}
	if r.Wait == 0 {
		r.Wait = usualWait
	}
	late := time.AfterFunc(r.Wait, cancel)
	resp, err := c.http.RoundTrip(req)
	if !late.Stop() && err == nil {
		err = errLate
		_ = resp.Body.Close() // it was cancelled as it came
	}
	if err != nil {
		return nil, unreachable(ctx, err)
	}
	a := newAnswer(resp, r.MaxAnswer, c.idle, func() { cancel(); free() }, cancel)
	if a.Status < 200 || a.Status > 299 {
		err = a.refusal()
		cancel()
		_ = resp.Body.Close() // nothing more is wanted of it
		return nil, err
	}
	return a, nil
}

var errLate = errors.New("the answer did not begin in time")

// request builds the HTTP request with its signature.
func (c *Client) request(ctx context.Context, r Request, t *target) (*http.Request, error) {
	if !strings.HasPrefix(r.Path, "/_matrix/") {
		return nil, merr.Internal(errors.New("a request outside of /_matrix/"))
	}
	content := r.Body
	if content != nil {
		var err error
		if content, err = pdu.Canonical(content, false); err != nil {
			return nil, err
		}
	}
	uri := r.Path
	if len(r.Query) > 0 {
		uri += "?" + r.Query.Encode()
	}
	req, err := http.NewRequestWithContext(context.WithValue(ctx, targetKey{}, t), r.Method, "https://"+t.pool()+uri, nil)
	if err != nil {
		return nil, merr.Internal(err)
	}
	if req.URL.RequestURI() != uri { // it would not be what is signed
		return nil, merr.Internal(errors.New("the path of a request is not escaped as it should be"))
	}
	req.Host = t.host
	req.Header.Set("User-Agent", c.o.UserAgent)
	if content != nil {
		req.Header.Set("Content-Type", "application/json")
		req.ContentLength = int64(len(content))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
		req.Body, _ = req.GetBody() // never fails
	}
	if r.Unsigned {
		return req, nil
	}
	header, err := xmatrix.Sign(xmatrix.Request{Method: r.Method, URI: uri, Destination: r.Destination, Content: content}, c.o.Signer)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", header)
	return req, nil
}
