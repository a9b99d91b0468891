package appservice

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// maxAnswer bounds what is read of an answer of a service, in bytes.
const maxAnswer = 1 << 20

// legacyTime is how long a service that only knows old ways is asked in the old way
// before the new one is tried again.
const legacyTime = time.Hour

// newHTTP returns a client for services. Their URLs come from the operator, so any
// address will do; but an answer cannot send us elsewhere.
func newHTTP() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSHandshakeTimeout:    10 * time.Second,
			MaxIdleConnsPerHost:    4,
			MaxConnsPerHost:        32,
			IdleConnTimeout:        90 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
			DisableCompression:     true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// request is a request to a service. Path and legacy (empty: there was none) are
// escaped and follow the service's URL.
type request struct {
	method, path, legacy string
	query                url.Values
	body                 []byte
	timeout              time.Duration
	// unread says that only the status of the answer matters.
	unread bool
	// once says that the request is made as it is, without old ways.
	once bool
}

// reply is an answer of a service.
type reply struct {
	status int
	body   []byte
}

func (r *reply) ok() bool { return r.status >= 200 && r.status <= 299 }

// errAnswer says that the service answered, but not with HTTP or too much of it.
var errAnswer = errors.New("the answer is not usable")

// habits is what is known of how a service wants to be asked.
type habits struct {
	mu     sync.Mutex
	legacy time.Time // until when it is asked on old paths
	query  time.Time // until when it gets its token in the query string too
}

func (h *habits) get(now time.Time) (legacy, query bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return now.Before(h.legacy), now.Before(h.query)
}

func (h *habits) set(legacy, query bool, until time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if legacy {
		h.legacy = until
	}
	if query {
		h.query = until
	}
}

// ask makes a request. A service of before v1.4 of the spec takes its token from the
// query string only ("Authorisation"), one of before the paths had a version knows
// other paths ("Legacy routes"): who refuses the new way is asked in the old one.
func (p *peer) ask(ctx context.Context, r *request) (*reply, error) {
	if r.once {
		return p.exchange(ctx, r, r.path, false)
	}
	legacy, query := p.habits.get(p.now())
	legacy = legacy && r.legacy != ""
	if !legacy {
		answer, err := p.exchange(ctx, r, r.path, query)
		if err != nil {
			return nil, err
		}
		if !query && (answer.status == http.StatusUnauthorized || answer.status == http.StatusForbidden) {
			old, err := p.exchange(ctx, r, r.path, true)
			if err != nil || !old.ok() {
				return answer, nil
			}
			p.habits.set(false, true, p.now().Add(legacyTime))
			return old, nil
		}
		if r.legacy == "" || !unknownPath(answer) {
			return answer, nil
		}
	}
	answer, err := p.exchange(ctx, r, r.legacy, true)
	if err == nil && answer.ok() && !legacy {
		p.habits.set(true, false, p.now().Add(legacyTime))
	}
	return answer, err
}

// unknownPath reports whether an answer may come from a service that does not know
// the path, and not from one that knows it and has nothing to answer.
func unknownPath(r *reply) bool {
	switch r.status {
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		code := errcode(r.body)
		return code == "" || code == "M_UNRECOGNIZED"
	}
	return false
}

// exchange makes one HTTP request. Errors name no URL, which may hold the token.
func (p *peer) exchange(ctx context.Context, r *request, path string, tokenInQuery bool) (*reply, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	query := url.Values{}
	for k, v := range r.query {
		query[k] = v
	}
	if tokenInQuery {
		query.Set("access_token", p.hsToken)
	} else {
		query.Del("access_token")
	}
	target := p.URL + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	var body io.Reader
	if r.body != nil {
		body = bytes.NewReader(r.body)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, body)
	if err != nil {
		return nil, withoutURL(err)
	}
	req.Header.Set("Authorization", "Bearer "+p.hsToken)
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return nil, withoutURL(err)
	}
	defer resp.Body.Close()
	answer := &reply{status: resp.StatusCode}
	answer.body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case r.unread:
		return answer, nil
	case err != nil:
		return nil, withoutURL(err)
	case len(answer.body) > maxAnswer:
		return nil, fmt.Errorf("%w: more than %d bytes", errAnswer, maxAnswer)
	}
	return answer, nil
}

func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

func timedOut(err error) bool {
	var n net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &n) && n.Timeout()
}
