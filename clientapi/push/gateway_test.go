package push

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// fakeGateway is a push gateway.
type fakeGateway struct {
	*httptest.Server
	mu      sync.Mutex
	got     []map[string]any
	answer  func(n map[string]any) (status int, body string) // nil: takes everything
	block   chan struct{}                                    // if set, requests wait for it
	arrived chan struct{}
}

func newGateway(t *testing.T) *fakeGateway {
	g := &fakeGateway{arrived: make(chan struct{}, 10_000)}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var req struct{ Notification map[string]any }
		if err == nil {
			err = json.Unmarshal(body, &req)
		}
		if err != nil || r.URL.Path != notifyPath || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("request to %s: %v, %s", r.URL, err, body)
		}
		g.mu.Lock()
		g.got = append(g.got, req.Notification)
		status, answer := 200, `{"rejected":[]}`
		if g.answer != nil {
			status, answer = g.answer(req.Notification)
		}
		block := g.block
		g.mu.Unlock()
		g.arrived <- struct{}{}
		if block != nil {
			select {
			case <-block:
			case <-r.Context().Done():
			}
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer) // the other side may be gone
	}))
	t.Cleanup(g.Close)
	return g
}

func (g *fakeGateway) with(f func(*fakeGateway)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f(g)
}

func (g *fakeGateway) take() []map[string]any {
	g.mu.Lock()
	defer g.mu.Unlock()
	got := g.got
	g.got = nil
	return got
}

// wait waits for n more requests and returns them.
func (g *fakeGateway) wait(t *testing.T, n int) []map[string]any {
	t.Helper()
	for range n {
		select {
		case <-g.arrived:
		case <-time.After(10 * time.Second):
			t.Fatal("the gateway hears nothing")
		}
	}
	return g.take()
}

// none waits a moment in which nothing may come.
func (g *fakeGateway) none(t *testing.T, what string) {
	t.Helper()
	select {
	case <-g.arrived:
		t.Errorf("%s: %v", what, g.take())
	case <-time.After(150 * time.Millisecond):
	}
}
