package preview

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"hearth/internal/safedial"
)

const (
	maxPage      = 1 << 20  // bytes that are read of a page; the head of it is at its begin
	maxImage     = 10 << 20 // bytes of an image
	maxRedirects = 3
	maxHeader    = 64 << 10
)

// newClient returns a client that connects only through the dialer: no proxy, no
// cookies, no connection that outlives a request.
func newClient(d *safedial.Dialer) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext: d.DialContext, DisableKeepAlives: true, ForceAttemptHTTP2: true,
			TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 10 * time.Second,
			MaxResponseHeaderBytes: maxHeader,
		},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return errors.New("too many redirects")
			}
			r.Header.Del("Referer")
			return checkURL(r.URL)
		},
		Timeout: budget,
	}
}

// response is an answer with status 200.
type response struct {
	*http.Response
	url    *url.URL // after redirects
	kind   string   // media type
	header string   // Content-Type as it came
	size   int64    // -1: unknown
}

func (p *Previewer) get(ctx context.Context, u *url.URL, accept string) (*response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", accept)
	r.Header.Set("Accept-Language", "en;q=0.9, *;q=0.5")
	r.Header.Set("User-Agent", "Mozilla/5.0 (compatible; Hearth link preview)")
	resp, err := p.client.Do(r)
	if err != nil {
		return nil, blame(err)
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("status %d", resp.StatusCode)
	}
	header := resp.Header.Get("Content-Type")
	kind, _, err := mime.ParseMediaType(header)
	if err != nil {
		kind = ""
	}
	return &response{Response: resp, url: resp.Request.URL, kind: kind, header: header, size: resp.ContentLength}, nil
}

// blame says what went wrong without the URL, which is private to the user and would
// be in the log.
func blame(err error) error {
	var slow net.Error
	switch {
	case errors.Is(err, safedial.ErrDenied):
		return safedial.ErrDenied
	case errors.As(err, &slow) && slow.Timeout():
		return errors.New("it took too long")
	}
	return errors.New("no answer, or one that is not HTTP, or a redirect that is not followed")
}

// text is the begin of the body; the rest is not needed.
func (r *response) text() io.Reader { return io.LimitReader(r.Body, maxPage) }

// limited fails when the body is longer than n bytes: a part of an image is none.
func (r *response) limited(n int64) io.Reader { return &cutter{src: r.Body, left: n} }

type cutter struct {
	src  io.Reader
	left int64
}

var errTooLong = errors.New("the answer is too long")

func (c *cutter) Read(p []byte) (int, error) {
	n, err := c.src.Read(p[:min(int64(len(p)), c.left+1)])
	if c.left -= int64(n); c.left < 0 {
		return 0, errTooLong
	}
	return n, err
}

func isHTML(kind string) bool { return kind == "text/html" || kind == "application/xhtml+xml" }

func isImage(kind string) bool { return strings.HasPrefix(kind, "image/") }
