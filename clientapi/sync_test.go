package clientapi

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"hearth/internal/merr"
	"hearth/syncapi/viewapi"
)

func TestSync(t *testing.T) {
	each(t, func(s *server) {
		token := s.user("alice")
		device := s.must("GET", "/account/whoami", token, "").text("device_id")
		same(s.t, "answer", s.must("GET", "/sync?since=s0&timeout=999999999&full_state=true&use_state_after=true&set_presence=offline&filter=%7B%22room%22%3A%7B%7D%7D", token, "").raw,
			`{"next_batch":"s1_1_0"}`)
		asked(s.t, "request", s.rooms.took("sync"), `{"UserID":"@alice:test","DeviceID":"`+device+`","Since":"s0","TimeoutMS":300000,"Filter":{"room":{}},"FullState":true,"SetPresence":"offline","UseStateAfter":true}`)
		s.rooms.failWith(merr.InvalidParam("Invalid sync token"))
		s.refuse(400, "M_INVALID_PARAM", "GET", "/sync?since=x", token, "")
		s.rooms.failWith(nil)

		web := httptest.NewServer(s.ClientHandler())
		defer web.Close()
		get := func(ctx context.Context) (*http.Response, error) {
			r, _ := http.NewRequestWithContext(ctx, "GET", web.URL+"/_matrix/client/v3/sync?timeout=30000", nil)
			r.Header.Set("Authorization", "Bearer "+token)
			return http.DefaultClient.Do(r)
		}
		ended := make(chan error, 1)
		entered := make(chan struct{}, 1)
		s.rooms.mu.Lock()
		s.rooms.sync = func(ctx context.Context, _ *viewapi.SyncRequest, send func([]byte) error) error {
			entered <- struct{}{}
			<-ctx.Done()
			ended <- ctx.Err()
			return ctx.Err()
		}
		s.rooms.mu.Unlock()
		// The client goes away: the wait ends.
		ctx, cancel := context.WithCancel(context.Background())
		go func() { <-entered; cancel() }()
		if resp, err := get(ctx); err == nil {
			resp.Body.Close()
			s.t.Error("an answer after the client left")
		}
		wait(s.t, ended)
		// The server stops: the client is told at once to come back.
		go func() { <-entered; s.stop() }()
		resp, err := get(context.Background())
		if err != nil {
			s.t.Fatal(err)
		}
		if body, err := readBody(resp); resp.StatusCode != 503 || err != nil || !strings.Contains(body, "M_UNAVAILABLE") {
			s.t.Errorf("%d %s %v", resp.StatusCode, body, err)
		}
		wait(s.t, ended)
	})
}

func TestLargeSyncIsStreamed(t *testing.T) {
	each(t, func(s *server) {
		token := s.user("alice")
		s.rooms.mu.Lock()
		s.rooms.sync = func(_ context.Context, _ *viewapi.SyncRequest, send func([]byte) error) error {
			if err := send([]byte(`{"x":"`)); err != nil {
				return err
			}
			for range 40 {
				if err := send([]byte(strings.Repeat("y", 100<<10))); err != nil {
					return err
				}
			}
			return send([]byte(`"}`))
		}
		s.rooms.mu.Unlock()
		if a := s.must("GET", "/sync", token, ""); len(a.text("x")) != 40*100<<10 {
			s.t.Errorf("%d bytes", len(a.text("x")))
		}
	})
}

func wait(t *testing.T, ch <-chan error) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(10 * time.Second):
		t.Fatal("nothing happened")
	}
}
