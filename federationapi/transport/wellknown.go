package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"hearth/internal/pdu"
)

// Limits of /.well-known/matrix/server.
const (
	maxWellKnown     = 50 << 10 // bytes
	maxRedirects     = 5
	wellKnownTimeout = 15 * time.Second
)

// How long its answers are believed (server-server API, "Resolving server names").
const (
	usualLifetime = 24 * time.Hour
	minLifetime   = 5 * time.Minute
	maxLifetime   = 48 * time.Hour
	firstBackOff  = time.Minute
	maxBackOff    = time.Hour
)

// wellKnownClient fetches from the usual HTTPS port of the name, with the usual checks
// of certificates.
func wellKnownClient(o Options) *http.Client {
	t := &http.Transport{
		DialContext: o.Dial, TLSClientConfig: tlsConfig(o.CAs), TLSHandshakeTimeout: tlsTimeout,
		DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxAnswerHeader,
		ResponseHeaderTimeout: wellKnownTimeout, ForceAttemptHTTP2: true,
	}
	return &http.Client{Transport: t, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects {
			return errors.New("too many redirects")
		}
		if r.URL.Scheme != "https" || r.URL.User != nil {
			return errors.New("redirect to something that is not plain https")
		}
		return nil
	}}
}

// fetchWellKnown asks a host who speaks for it and for how long that holds.
func (d *discovery) fetchWellKnown(ctx context.Context, host string) (delegate string, lifetime time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, wellKnownTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+"/.well-known/matrix/server", nil)
	if err != nil {
		return "", 0, err
	}
	req.Header.Set("User-Agent", d.userAgent)
	resp, err := d.wellKnown.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Encoding") != "" {
		return "", 0, fmt.Errorf("status %d, content encoding %q", resp.StatusCode, resp.Header.Get("Content-Encoding"))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxWellKnown+1))
	if err != nil {
		return "", 0, err
	}
	if delegate, err = parseWellKnown(body); err != nil {
		return "", 0, err
	}
	return delegate, lifetimeOf(resp.Header, d.now()), nil
}

// parseWellKnown returns the server name in the answer.
func parseWellKnown(body []byte) (string, error) {
	if len(body) > maxWellKnown {
		return "", errors.New("the answer is too large")
	}
	object, err := pdu.Canonical(body, false)
	if err != nil {
		return "", err
	}
	name, ok := pdu.GetString(object, "m.server")
	if !ok {
		return "", errors.New("the answer has no m.server")
	}
	if _, _, err := pdu.ParseServerName(name); err != nil {
		return "", errors.New("m.server is not a server name")
	}
	return name, nil
}

// lifetimeOf reads the cache headers of an answer.
func lifetimeOf(h http.Header, now time.Time) time.Duration {
	return min(max(statedLifetime(h, now), minLifetime), maxLifetime)
}

func statedLifetime(h http.Header, now time.Time) time.Duration {
	for directive := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(directive)), "=")
		switch name {
		case "no-store", "no-cache":
			return 0
		case "max-age":
			// A number that is too large is as good as the greatest one.
			n, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
			if err == nil || errors.Is(err, strconv.ErrRange) {
				return time.Duration(min(n, 1<<31)) * time.Second
			}
		}
	}
	if expires := h.Get("Expires"); expires != "" {
		at, err := http.ParseTime(expires)
		if err != nil { // such as "0": it has expired
			return 0
		}
		return at.Sub(now)
	}
	return usualLifetime
}
