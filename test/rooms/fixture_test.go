// Package rooms tests the endpoints of rooms through HTTP handlers over a real
// roomserver, user store and syncapi, in one process: what a client sees of all together.
package rooms

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"hearth/clientapi"
	"hearth/internal/bus"
	"hearth/internal/pdu"
	"hearth/roomserver"
	"hearth/syncapi"
)

const name = "test.example"

// server is a gateway with what it needs.
type server struct {
	t       testing.TB
	handler http.Handler
}

// each runs a test with direct calls and with calls over NATS.
func each(t *testing.T, test func(t *testing.T, s *server)) {
	t.Run("direct calls", func(t *testing.T) { test(t, start(t, true)) })
	t.Run("calls over NATS", func(t *testing.T) { test(t, start(t, false)) })
}

func start(t testing.TB, local bool) *server {
	t.Helper()
	log := logrus.New()
	log.SetOutput(t.Output())
	log.SetLevel(logrus.ErrorLevel)
	entry := logrus.NewEntry(log)
	b, err := bus.Connect(t.Context(), bus.Options{Local: local, Log: entry})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	key := pdu.Signer{ServerName: name, KeyID: "ed25519:1", Key: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}
	rooms, err := roomserver.New(t.Context(), roomserver.Deps{Bus: b, ServerName: name, Key: key, DataDir: dir, Log: entry, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	d := clientapi.Deps{Bus: b, ServerName: name, DataDir: dir, Log: entry, Now: time.Now, MinPasswordLength: 8}
	d.RegistrationMode, d.Registration.Guests = "open", true
	clients, err := clientapi.New(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	syncs, err := syncapi.New(t.Context(), syncapi.Deps{Bus: b, ServerName: name, Log: entry, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{rooms.Run, clients.Run, syncs.Run} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		running.Wait()
		for _, end := range []func() error{syncs.Close, clients.Close, rooms.Close} {
			if err := end(); err != nil {
				t.Error(err)
			}
		}
		b.Close()
	})
	return &server{t, clients.ClientHandler()}
}

// user is somebody who asks.
type user struct {
	*server
	id, token string
}

func (s *server) user(localpart string) *user {
	s.t.Helper()
	return s.register("/register", `{"username":"`+localpart+`","password":"long enough","auth":{"type":"m.login.dummy"}}`)
}

func (s *server) guest() *user {
	s.t.Helper()
	return s.register("/register?kind=guest", `{}`)
}

func (s *server) register(path, body string) *user {
	s.t.Helper()
	a := (&user{server: s}).must("POST", path, body)
	return &user{s, a.text("user_id"), a.text("access_token")}
}

// answer is what a client gets.
type answer struct {
	t      testing.TB
	status int
	raw    string
	body   any
}

func (u *user) do(method, path, body string) *answer {
	u.t.Helper()
	if !strings.HasPrefix(path, "/_matrix") {
		path = "/_matrix/client/v3" + path
	}
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+u.token)
	w := httptest.NewRecorder()
	u.handler.ServeHTTP(w, r)
	a := &answer{t: u.t, status: w.Code, raw: w.Body.String()}
	if err := json.Unmarshal(w.Body.Bytes(), &a.body); err != nil {
		u.t.Fatalf("%s %s: %d %q: %v", method, path, w.Code, a.raw, err)
	}
	return a
}

func (u *user) must(method, path, body string) *answer {
	u.t.Helper()
	a := u.do(method, path, body)
	if a.status != http.StatusOK {
		u.t.Fatalf("%s %s: %d %s", method, path, a.status, a.raw)
	}
	return a
}

func (u *user) refused(status int, code, method, path, body string) {
	u.t.Helper()
	if a := u.do(method, path, body); a.status != status || a.text("errcode") != code {
		u.t.Errorf("%s %s: %d %s, want %d %s", method, path, a.status, a.raw, status, code)
	}
}

// at follows keys and indexes; nil if there is nothing.
func (a *answer) at(keys ...any) any {
	v := a.body
	for _, key := range keys {
		switch k := key.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[k]
		case int:
			l, _ := v.([]any)
			if k >= len(l) {
				return nil
			}
			v = l[k]
		}
	}
	return v
}

func (a *answer) text(keys ...any) string {
	s, _ := a.at(keys...).(string)
	return s
}

func (a *answer) list(keys ...any) []any {
	l, _ := a.at(keys...).([]any)
	return l
}

// bodies are the bodies of the messages in a list of events.
func (a *answer) bodies(keys ...any) []string {
	found := []string{}
	for _, e := range a.list(keys...) {
		event, _ := e.(map[string]any)
		content, _ := event["content"].(map[string]any)
		if body, ok := content["body"].(string); ok {
			found = append(found, body)
		}
	}
	return found
}

func (u *user) create(body string) string {
	u.t.Helper()
	return u.must("POST", "/createRoom", body).text("room_id")
}

func (u *user) send(room, txn, body string) string {
	u.t.Helper()
	content, err := json.Marshal(map[string]string{"msgtype": "m.text", "body": body})
	if err != nil {
		u.t.Fatal(err)
	}
	return u.must("PUT", in(room)+"/send/m.room.message/"+txn, string(content)).text("event_id")
}

func (u *user) join(room string) {
	u.t.Helper()
	u.must("POST", in(room)+"/join", `{}`)
}

func (u *user) leave(room string) {
	u.t.Helper()
	u.must("POST", in(room)+"/leave", `{}`)
}

// in is the path of a room.
func in(room string) string { return "/rooms/" + url.PathEscape(room) }
