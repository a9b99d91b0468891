package antispam

import (
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

	"hearth/internal/merr"
)

// recorder answers and remembers.
type recorder struct {
	mu     sync.Mutex
	got    []string
	status int
	body   string
	delay  time.Duration
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	r.mu.Lock()
	r.got = append(r.got, req.Method+" "+req.URL.Path+" "+req.Header.Get("Authorization")+" "+string(body))
	status, answer, delay := r.status, r.body, r.delay
	r.mu.Unlock()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-req.Context().Done():
		}
	}
	if strings.HasSuffix(req.URL.Path, "/ping") {
		var id struct{ ID string }
		_ = json.Unmarshal(body, &id)
		_, _ = io.WriteString(w, `{"id":"`+id.ID+`","status":"ok"}`)
		return
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, answer)
}

func (r *recorder) answer(status int, body string, delay time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status, r.body, r.delay = status, body, delay
}

func (r *recorder) took() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.got
	r.got = nil
	return got
}

func quiet() *logrus.Entry {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return logrus.NewEntry(log)
}

func start(t *testing.T, w Webhook) (*recorder, *Client) {
	t.Helper()
	r := &recorder{status: 200, body: "{}"}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	w.URL = server.URL + "/list/"
	if w.Timeout == 0 {
		w.Timeout = 5 * time.Second
	}
	c, err := New([]Webhook{w}, quiet(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return r, c
}

func TestAsk(t *testing.T) {
	r, c := start(t, Webhook{Authorization: "secret", Callbacks: []string{UserMayInvite, CheckEventForSpam}, FailOpen: []string{CheckEventForSpam}})
	ask := func(callback string) error { return c.Ask(t.Context(), callback, map[string]string{"inviter": "@a:x"}) }
	if err := ask(UserMayInvite); err != nil {
		t.Errorf("allowed: %v", err)
	}
	if got := r.took(); len(got) != 1 || got[0] != `POST /list/user_may_invite Bearer secret {"inviter":"@a:x"}` {
		t.Errorf("the request: %q", got)
	}
	if err := ask(UserMayJoinRoom); err != nil || len(r.took()) != 0 {
		t.Errorf("what it is not asked about: %v", err)
	}
	for _, tc := range []struct {
		status       int
		body         string
		wantStatus   int
		wantCode     string
		wantForEvent string
	}{
		{200, "not even JSON", 0, "", ""},
		{204, "", 0, "", ""},
		{403, `{"errcode":"M_SPAM","error":"no","more":1}`, 403, "M_SPAM", "M_SPAM"},
		{400, `{"error":"no"}`, 400, "M_FORBIDDEN", "M_FORBIDDEN"},
		{401, `{"errcode":"M_UNKNOWN_TOKEN"}`, 403, "M_UNKNOWN_TOKEN", "M_UNKNOWN_TOKEN"},
		{500, `{}`, 403, "M_FORBIDDEN", "M_FORBIDDEN"},
		{302, ``, 403, "M_UNKNOWN", ""},
		{502, `<html>`, 403, "M_UNKNOWN", ""},
		{403, `null`, 403, "M_UNKNOWN", ""},
	} {
		r.answer(tc.status, tc.body, 0)
		status, code := 0, ""
		if err := ask(UserMayInvite); err != nil {
			status, code = merr.From(err).Status, merr.From(err).Code
		}
		if status != tc.wantStatus || code != tc.wantCode {
			t.Errorf("%d %s: %d %s, want %d %s", tc.status, tc.body, status, code, tc.wantStatus, tc.wantCode)
		}
		code = ""
		if err := ask(CheckEventForSpam); err != nil {
			code = merr.From(err).Code
		}
		if code != tc.wantForEvent {
			t.Errorf("%d %s for an event: %s, want %s", tc.status, tc.body, code, tc.wantForEvent)
		}
	}
	r.answer(403, `{"errcode":"M_SPAM","error":"no","more":1}`, 0)
	if body := string(merr.From(ask(UserMayInvite)).Body()); !strings.Contains(body, `"more":1`) || !strings.Contains(body, `"error":"no"`) {
		t.Errorf("the error: %s", body)
	}
}

func TestSilence(t *testing.T) {
	r, c := start(t, Webhook{FailOpen: []string{CheckEventForSpam}, Timeout: 50 * time.Millisecond})
	r.answer(200, "{}", 5*time.Second)
	begin := time.Now()
	if err := c.Ask(t.Context(), UserMayInvite, struct{}{}); merr.From(err).Code != "M_UNKNOWN" {
		t.Errorf("closed: %v", err)
	}
	if err := c.Ask(t.Context(), CheckEventForSpam, struct{}{}); err != nil {
		t.Errorf("open: %v", err)
	}
	var work sync.WaitGroup // more than may ask at once: the rest does not wait longer
	for range 3 * maxAtOnce {
		work.Go(func() { _ = c.Ask(t.Context(), CheckEventForSpam, struct{}{}) })
	}
	work.Wait()
	if d := time.Since(begin); d > 3*time.Second {
		t.Errorf("it took %v", d)
	}
}

func TestAsync(t *testing.T) {
	r, c := start(t, Webhook{Async: []string{UserMayJoinRoom}})
	r.answer(403, `{}`, 0)
	if err := c.Ask(t.Context(), UserMayJoinRoom, struct{}{}); err != nil {
		t.Error(err)
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		if len(r.took()) == 1 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("it was not told")
		}
	}
}

func TestPing(t *testing.T) {
	r, c := start(t, Webhook{Ping: true})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	c.Run(ctx)
	if ctx.Err() != nil || len(r.took()) != 1 {
		t.Error("no sign of life")
	}
}

func TestNobodyToAsk(t *testing.T) {
	c, err := New(nil, quiet(), nil)
	if err != nil || c.Asks(UserMayInvite) || c.Ask(t.Context(), UserMayInvite, nil) != nil {
		t.Error("nobody refuses")
	}
	if n := testing.AllocsPerRun(100, func() { _ = c.Ask(context.Background(), CheckEventForSpam, nil) }); n != 0 {
		t.Errorf("%v allocations for nobody", n)
	}
}
