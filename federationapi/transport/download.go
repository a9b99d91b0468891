package transport

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"
)

// downloadHeaders is how long a server may think before it answers with headers.
const downloadHeaders = 60 * time.Second

// newDownloader fetches from addresses that other servers name, with the usual checks of
// certificates and addresses.
func newDownloader(o Options) *http.Client {
	c := wellKnownClient(o)
	if t, ok := c.Transport.(*http.Transport); ok {
		t.ResponseHeaderTimeout = downloadHeaders
	}
	return c
}

// Download fetches a file from an address that another server has named: https, without
// credentials, with at most 5 redirects. The request is not signed. ctx bounds all of it,
// maxBytes the body. Errors are those of [Client.Do].
func (c *Client) Download(ctx context.Context, address string, maxBytes int64) (*Answer, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, malformed(errors.New("the file is said to be at an address that is not plain https"))
	}
	asked, cancel := context.WithCancel(ctx)
	req, err := http.NewRequestWithContext(asked, http.MethodGet, u.String(), nil)
	if err != nil {
		cancel()
		return nil, malformed(err)
	}
	req.Header.Set("User-Agent", c.o.UserAgent)
	resp, err := c.downloads.Do(req)
	if err != nil {
		cancel()
		return nil, waited(err) // nothing is said about the server that sent us there
	}
	a := newAnswer(resp, maxBytes, c.idle, cancel, cancel)
	if a.Status != http.StatusOK {
		err := a.refusal()
		a.Close()
		return nil, err
	}
	return a, nil
}
