package clientapi

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"hearth/internal/bus"
	"hearth/internal/merr"
)

const (
	testRoom  = "!room:test"
	testEvent = "$event:test"
	password  = "canary-password"
)

// buffer is a log that many goroutines write.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// clock is a time that a test sets.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// server is a gateway with a user store and a fake of the other components.
type server struct {
	*Server
	t     *testing.T
	rooms *fakeRooms
	clock *clock
	log   *buffer
	stop  context.CancelFunc
}

func start(t *testing.T, local bool, change func(*Deps)) *server {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	b, err := bus.Connect(ctx, bus.Options{Local: local})
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, log: &buffer{}, clock: &clock{at: time.UnixMilli(1_700_000_000_000)}, stop: cancel}
	logger := logrus.New()
	logger.SetOutput(s.log)
	logger.SetFormatter(&logrus.JSONFormatter{})
	logger.SetLevel(logrus.TraceLevel)
	d := Deps{
		Bus: b, ServerName: "test", DataDir: t.TempDir(), Log: logrus.NewEntry(logger), Now: s.clock.now,
		RegistrationMode: "open", MinPasswordLength: 8,
	}
	if change != nil {
		change(&d)
	}
	if s.Server, err = New(ctx, d); err != nil {
		t.Fatal(err)
	}
	s.rooms = fake(t, b)
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		b.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// each runs a test with direct calls and with everything over NATS.
func each(t *testing.T, test func(s *server)) {
	t.Run("local", func(t *testing.T) { test(start(t, true, nil)) })
	t.Run("nats", func(t *testing.T) { test(start(t, false, nil)) })
}

type answer struct {
	status int
	header http.Header
	body   map[string]any
	raw    string
}

func (a answer) text(key string) string {
	s, _ := a.body[key].(string)
	return s
}

// do sends a request; paths that begin with a slash but no /_ are of v3.
func (s *server) do(method, path, token, body string) answer {
	s.t.Helper()
	if !strings.HasPrefix(path, "/_") && !strings.HasPrefix(path, "/.") {
		path = "/_matrix/client/v3" + path
	}
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	handler := s.ClientHandler()
	if strings.HasPrefix(path, "/_synapse") && !s.options.AdminOnClient {
		handler = s.AdminHandler()
	}
	handler.ServeHTTP(w, r)
	a := answer{status: w.Code, header: w.Header(), raw: w.Body.String()}
	if !json.Valid(w.Body.Bytes()) {
		s.t.Errorf("%s %s: not JSON: %q", method, path, a.raw)
	}
	_ = json.Unmarshal(w.Body.Bytes(), &a.body)
	return a
}

// must sends a request that has to succeed.
func (s *server) must(method, path, token, body string) answer {
	s.t.Helper()
	a := s.do(method, path, token, body)
	if a.status != 200 {
		s.t.Fatalf("%s %s: %d %s", method, path, a.status, a.raw)
	}
	return a
}

// refuse sends a request that has to fail.
func (s *server) refuse(status int, code, method, path, token, body string) answer {
	s.t.Helper()
	a := s.do(method, path, token, body)
	if a.status != status || a.text("errcode") != code {
		s.t.Errorf("%s %s %s: %d %s, want %d %s", method, path, body, a.status, a.raw, status, code)
	}
	return a
}

// user registers a user and returns the access token.
func (s *server) user(name string) string {
	s.t.Helper()
	return s.must("POST", "/register", "", `{"username":"`+name+`","password":"`+password+`","auth":{"type":"m.login.dummy"}}`).text("access_token")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// same compares JSON.
func same(t *testing.T, what, got, want string) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		t.Errorf("%s: %q: %v", what, got, err)
		return
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(g)
	b, _ := json.Marshal(w)
	if !bytes.Equal(a, b) {
		t.Errorf("%s:\n got %s\nwant %s", what, a, b)
	}
}

// asked compares a request with the fields that it should have; those that are not
// named must be empty.
func asked(t *testing.T, what, got, want string) {
	t.Helper()
	var g, w map[string]any
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		t.Errorf("%s: %q: %v", what, got, err)
		return
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatal(err)
	}
	prune(g)
	prune(w)
	a, _ := json.Marshal(g)
	b, _ := json.Marshal(w)
	if !bytes.Equal(a, b) {
		t.Errorf("%s:\n got %s\nwant %s", what, a, b)
	}
}

// prune removes empty values from objects, but not empty content, types and keys,
// which mean something.
func prune(object map[string]any) {
	for key, value := range object {
		switch v := value.(type) {
		case map[string]any:
			if prune(v); len(v) == 0 && key != "Content" {
				delete(object, key)
			}
		case nil, bool, float64:
			if v == nil || v == false || v == 0.0 {
				delete(object, key)
			}
		case string:
			if v == "" && key != "StateKey" {
				delete(object, key)
			}
		}
	}
}

// readBody reads a whole answer.
func readBody(resp *http.Response) (string, error) {
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

var errForbidden = merr.Forbidden("You may not do this")

// serve asks a handler and returns the status.
func serve(h http.Handler, method, path, token string) int {
	r := httptest.NewRequest(method, path, nil)
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code
}
