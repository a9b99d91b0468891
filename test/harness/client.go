package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// requestTimeout is how long a request may take beyond what it waits for.
const requestTimeout = 30 * time.Second

// maxAnswer bounds what the client reads of an answer.
const maxAnswer = 64 << 20

// Client is a user's device. It may be used by several goroutines.
type Client struct {
	UserID, DeviceID, Token string

	base string
	http *http.Client
}

// MatrixError is an answer other than 2xx, or none: then Status is 0 and Err says why.
type MatrixError struct {
	Status       int    `json:"-"`
	Code         string `json:"errcode"`
	Message      string `json:"error"`
	RetryAfterMS int64  `json:"retry_after_ms"`
	// Body is the answer as it came.
	Body []byte `json:"-"`
	// Err is set if there was no whole answer.
	Err error `json:"-"`
}

// Error returns status, code and text.
func (e *MatrixError) Error() string {
	if e.Err != nil {
		return e.Err.Error()
	}
	return fmt.Sprintf("%d %s: %s", e.Status, e.Code, e.Message)
}

// Unwrap returns Err.
func (e *MatrixError) Unwrap() error { return e.Err }

// NewClient returns a client of the server at a URL without a log-in.
func NewClient(base string) *Client {
	return &Client{base: base, http: &http.Client{Transport: &http.Transport{
		MaxIdleConns: 64, MaxIdleConnsPerHost: 64, IdleConnTimeout: 30 * time.Second, DisableCompression: true,
	}}}
}

// Client returns a client without a log-in.
func (s *Server) Client() *Client { return NewClient(s.URL()) }

// Register makes an account with the password "password of <name>" and logs in.
func (s *Server) Register(t testing.TB, name string) *Client {
	t.Helper()
	c := s.Client()
	var session struct {
		UserID      string `json:"user_id"`
		DeviceID    string `json:"device_id"`
		AccessToken string `json:"access_token"`
	}
	if _, err := c.Do(http.MethodPost, "/_matrix/client/v3/register", map[string]any{
		"username": name, "password": "password of " + name, "auth": map[string]string{"type": "m.login.dummy"},
	}, &session); err != nil {
		t.Fatalf("register %s: %v", name, err)
	}
	c.UserID, c.DeviceID, c.Token = session.UserID, session.DeviceID, session.AccessToken
	return c
}

// Do sends body as JSON (nil: no body) and decodes a 2xx answer into out, unless that
// is nil. The path may have a query.
func (c *Client) Do(method, path string, body, out any) (status int, err *MatrixError) {
	return c.DoContext(context.Background(), method, path, body, out)
}

// DoContext is Do with a context.
func (c *Client) DoContext(ctx context.Context, method, path string, body, out any) (status int, err *MatrixError) {
	return c.do(ctx, requestTimeout, method, path, body, out)
}

func (c *Client) do(ctx context.Context, timeout time.Duration, method, path string, body, out any) (int, *MatrixError) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	status, answer, err := c.exchange(ctx, method, path, body)
	if err != nil {
		return 0, &MatrixError{Err: fmt.Errorf("%s %s: %w", method, path, err)}
	}
	if status < 200 || status > 299 {
		e := &MatrixError{Body: answer}
		_ = json.Unmarshal(answer, e) // an answer that is no Matrix error has no code
		e.Status = status
		return status, e
	}
	if out != nil {
		if err := json.Unmarshal(answer, out); err != nil {
			return status, &MatrixError{Status: status, Body: answer, Err: fmt.Errorf("%s %s: answer: %w", method, path, err)}
		}
	}
	return status, nil
}

func (c *Client) exchange(ctx context.Context, method, path string, body any) (int, []byte, error) {
	var payload io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		payload = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, payload)
	if err != nil {
		return 0, nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return 0, nil, fmt.Errorf("read the answer: %w", err)
	}
	return resp.StatusCode, answer, nil
}

// Path joins elements to a path of the client-server API, each escaped:
// Path("rooms", id, "leave").
func Path(elements ...string) string {
	var b strings.Builder
	b.WriteString("/_matrix/client/v3")
	for _, e := range elements {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(e))
	}
	return b.String()
}

// orNil keeps a nil *MatrixError from becoming an error that is not nil.
func orNil(err *MatrixError) error {
	if err == nil {
		return nil
	}
	return err
}

// Base is the URL of the server.
func (c *Client) Base() string { return c.base }
