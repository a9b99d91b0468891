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
	"hearth/roomserver/roomapi"
	"hearth/syncapi/viewapi"
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

// fakeRooms answers the calls of roomserver and syncapi and remembers the last
// request of each subject as JSON.
type fakeRooms struct {
	mu   sync.Mutex
	last map[string]string
	fail error
	sync func(ctx context.Context, req *viewapi.SyncRequest, send func([]byte) error) error
}

// took returns the last request of a subject and forgets it.
func (f *fakeRooms) took(subject string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer delete(f.last, subject)
	return f.last[subject]
}

func (f *fakeRooms) failWith(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = err
}

func (f *fakeRooms) note(subject string, req any) error {
	body, err := json.Marshal(req)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last[subject] = string(body)
	return f.fail
}

func answers[Req, Resp any](t *testing.T, b *bus.Bus, f *fakeRooms, c bus.Call[Req, Resp], resp Resp) {
	t.Helper()
	err := bus.Handle(b, c, func(_ context.Context, req *Req) (*Resp, error) {
		if err := f.note(c.Subject, req); err != nil {
			return nil, err
		}
		r := resp
		return &r, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func testMessage(id string) *roomapi.Event {
	return &roomapi.Event{
		EventID: id, Type: "m.room.message", Sender: "@alice:test", OriginServerTS: 1_700_000_000_000 - 5000, Ord: 3, Pos: 3,
		JSON: json.RawMessage(`{"content":{"body":"<hi>"},"event_id":"` + id + `","origin_server_ts":1,"sender":"@alice:test","type":"m.room.message"}`),
	}
}

func testMember(user, content string) *roomapi.Event {
	return &roomapi.Event{
		EventID: "$m", Type: "m.room.member", Sender: user, StateKey: &user,
		JSON: json.RawMessage(`{"content":` + content + `,"event_id":"$m","sender":"` + user + `","state_key":"` + user + `","type":"m.room.member"}`),
	}
}

func fake(t *testing.T, b *bus.Bus) *fakeRooms {
	t.Helper()
	f := &fakeRooms{last: map[string]string{}}
	member := roomapi.MembershipResponse{RoomID: testRoom, EventID: testEvent}
	answers(t, b, f, roomapi.Create, roomapi.CreateResponse{RoomID: testRoom})
	answers(t, b, f, roomapi.Send, roomapi.SendResponse{EventID: testEvent})
	answers(t, b, f, roomapi.Redact, roomapi.SendResponse{EventID: testEvent})
	answers(t, b, f, roomapi.Join, member)
	answers(t, b, f, roomapi.Knock, member)
	answers(t, b, f, roomapi.Leave, member)
	answers(t, b, f, roomapi.Invite, member)
	answers(t, b, f, roomapi.Kick, member)
	answers(t, b, f, roomapi.Ban, member)
	answers(t, b, f, roomapi.Unban, member)
	answers(t, b, f, roomapi.Forget, roomapi.Empty{})
	answers(t, b, f, roomapi.UpdateProfile, roomapi.Empty{})
	answers(t, b, f, roomapi.SetTyping, roomapi.Empty{})
	answers(t, b, f, roomapi.SetReceipt, roomapi.Empty{})
	answers(t, b, f, roomapi.SetAlias, roomapi.Empty{})
	answers(t, b, f, roomapi.DeleteAlias, roomapi.Empty{})
	answers(t, b, f, roomapi.ResolveAlias, roomapi.AliasResponse{RoomID: testRoom, Servers: []string{"test"}})
	answers(t, b, f, roomapi.Aliases, roomapi.AliasesResponse{})
	answers(t, b, f, roomapi.GetEvent, *testMessage(testEvent))
	answers(t, b, f, roomapi.GetStateEvent, *testMember("@alice:test", `{"membership":"join"}`))
	answers(t, b, f, roomapi.Messages, roomapi.MessagesResponse{
		Start: roomapi.Point{Ord: 9}, End: roomapi.Point{Ord: 2}, Events: []*roomapi.Event{testMessage("$a"), testMessage("$b")},
		State: []*roomapi.Event{testMember("@alice:test", `{}`)},
	})
	answers(t, b, f, roomapi.Relations, roomapi.MessagesResponse{End: roomapi.Point{Ord: 2}, Events: []*roomapi.Event{testMessage("$a")}})
	answers(t, b, f, roomapi.Threads, roomapi.MessagesResponse{})
	answers(t, b, f, roomapi.Context, roomapi.ContextResponse{
		Start: roomapi.Point{Ord: 1}, End: roomapi.Point{Pos: 7}, Event: testMessage(testEvent),
	})
	pages := map[string]roomapi.MembershipsResponse{
		"":     {Rooms: []roomapi.Membership{{RoomID: "!a:t"}, {RoomID: "!b:t"}}, More: true},
		"!b:t": {Rooms: []roomapi.Membership{{RoomID: "!c:t"}}},
	}
	must(t, bus.Handle(b, roomapi.Memberships, func(_ context.Context, req *roomapi.MembershipsRequest) (*roomapi.MembershipsResponse, error) {
		page := pages[req.After]
		return &page, f.note("memberships", req)
	}))
	must(t, bus.HandleStream(b, roomapi.StateStream, func(_ context.Context, req *roomapi.StateRequest, send func([]byte) error) error {
		if err := f.note("state", req); err != nil {
			return err
		}
		w := roomapi.NewFrameWriter(send)
		for _, e := range []*roomapi.Event{
			testMember("@alice:test", `{"membership":"join","displayname":"Al","avatar_url":5}`), testMember("@bob:test", `{"membership":"join"}`),
		} {
			if err := w.State(e); err != nil {
				return err
			}
		}
		return w.Flush()
	}))
	must(t, bus.HandleStream(b, viewapi.Sync, func(ctx context.Context, req *viewapi.SyncRequest, send func([]byte) error) error {
		if err := f.note("sync", req); err != nil {
			return err
		}
		f.mu.Lock()
		handler := f.sync
		f.mu.Unlock()
		if handler != nil {
			return handler(ctx, req, send)
		}
		if err := send([]byte(`{"next_batch":`)); err != nil {
			return err
		}
		return send([]byte(`"s1_1_0"}`))
	}))
	return f
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
