package clientapi

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"hearth/internal/matrixhttp"
)

// sendingServer has a way to send that answers when release is closed, or fails when
// that is sent to, and a sync that has something to tell at once.
func sendingServer(t *testing.T, s *sending, release chan error, told chan<- string) *httptest.Server {
	t.Helper()
	mux, err := matrixhttp.New(matrixhttp.Options{Routes: []matrixhttp.Route{
		{Method: "PUT", Path: "/send/{device}", Handle: func(r *matrixhttp.Request) (any, error) {
			r.Identity.UserID, r.Identity.DeviceID = "@alice:test", r.Param("device")
			s.begin(r)
			told <- "sending"
			return matrixhttp.Raw(`{"event_id":"$x"}`), <-release
		}},
		{Method: "GET", Path: "/sync/{device}", Handle: func(r *matrixhttp.Request) (any, error) {
			r.Identity.UserID, r.Identity.DeviceID = "@alice:test", r.Param("device")
			return matrixhttp.Stream(func(w io.Writer) error {
				w = s.held(r.Context(), r, w)
				for _, part := range []string{`{"a":`, `1}`} {
					if _, err := io.WriteString(w, part); err != nil {
						return err
					}
				}
				return nil
			}), nil
		}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(mux)
	t.Cleanup(web.Close)
	return web
}

func request(t *testing.T, ctx context.Context, method, url string) string {
	r, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		t.Error(err)
		return ""
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err.Error()
	}
	body, err := readBody(resp)
	if err != nil {
		t.Error(err)
	}
	return body
}

func TestSyncWaitsForTheAnswerToASend(t *testing.T) {
	s, release, told := newSending(), make(chan error), make(chan string, 2)
	web := sendingServer(t, s, release, told)
	ctx := context.Background()
	sent, synced := make(chan string, 1), make(chan string, 1)
	go func() { sent <- request(t, ctx, "PUT", web.URL+"/send/A") }()
	<-told
	start := time.Now()
	go func() { synced <- request(t, ctx, "GET", web.URL+"/sync/A") }()
	if got := request(t, ctx, "GET", web.URL+"/sync/B"); got != `{"a":1}` {
		t.Errorf("another device: %s", got)
	}
	select {
	case got := <-synced:
		if took := time.Since(start); took < maxHold {
			t.Errorf("a sync came after %v, before the send was answered: %s", took, got)
		}
		synced <- got
	case <-time.After(maxHold / 4):
	}
	release <- nil
	if got := <-sent; got != `{"event_id":"$x"}` {
		t.Errorf("sent: %s", got)
	}
	if got := <-synced; got != `{"a":1}` {
		t.Errorf("synced: %s", got)
	}
	for deadline := time.Now().Add(5 * time.Second); s.known() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d devices are remembered", s.known())
		}
	}
}

func TestSyncDoesNotWaitForEver(t *testing.T) {
	s, release, told := newSending(), make(chan error), make(chan string, 2)
	web := sendingServer(t, s, release, told)
	ctx := context.Background()
	done := make(chan string, 1)
	go func() { done <- request(t, ctx, "PUT", web.URL+"/send/A") }()
	<-told
	start := time.Now()
	if got := request(t, ctx, "GET", web.URL+"/sync/A"); got != `{"a":1}` || time.Since(start) < maxHold {
		t.Errorf("%s after %v", got, time.Since(start))
	}
	// A failed send is an answer too; a client that left a sync is not waited for.
	gone, cancel := context.WithCancel(ctx)
	time.AfterFunc(10*time.Millisecond, cancel)
	start = time.Now()
	request(t, gone, "GET", web.URL+"/sync/A")
	if took := time.Since(start); took > maxHold/2 {
		t.Errorf("gone after %v", took)
	}
	release <- context.DeadlineExceeded
	<-done
	start = time.Now()
	if request(t, ctx, "GET", web.URL+"/sync/A"); time.Since(start) > maxHold/2 {
		t.Errorf("after a failure it took %v", time.Since(start))
	}
}

// TestSyncAfterTheAnswerWaitsForNothing shows who pays: only a sync that the device made
// before it had the answer.
func TestSyncAfterTheAnswerWaitsForNothing(t *testing.T) {
	s := newSending()
	key, one := deviceKey{"@alice:test", "A"}, &inSending{}
	s.devices[key] = []*inSending{one}
	before := time.Now()
	s.end(key, one)
	after := time.Now()
	s.wait(context.Background(), key, after)
	if took := time.Since(after); took > headStart/2 {
		t.Errorf("a sync that came after the answer waited for %v", took)
	}
	s.wait(context.Background(), key, before)
	if took := time.Since(before); took < headStart {
		t.Errorf("a sync that came before the answer waited for %v", took)
	}
}

// TestAnswerIsOutBeforeTheSync shows the order on the wire: the answer to the send can
// be read when the sync is.
func TestAnswerIsOutBeforeTheSync(t *testing.T) {
	s, release, told := newSending(), make(chan error), make(chan string, 2)
	web := sendingServer(t, s, release, told)
	ctx := context.Background()
	late := 0
	const rounds = 100
	for range rounds {
		order := make(chan string, 2)
		go func() { request(t, ctx, "PUT", web.URL+"/send/A"); order <- "send" }()
		<-told
		go func() { request(t, ctx, "GET", web.URL+"/sync/A"); order <- "sync" }()
		for s.waits() == 0 {
			time.Sleep(50 * time.Microsecond)
		}
		release <- nil
		if first := <-order; first != "send" {
			late++ // two readers on two connections may still change places on a busy machine
		}
		<-order
	}
	if late > 1 {
		t.Errorf("%d of %d syncs came first", late, rounds)
	}
	t.Logf("%d of %d syncs came first", late, rounds)
}

func (s *sending) known() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.devices)
}

// waits counts the sends that a sync waits for.
func (s *sending) waits() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, all := range s.devices {
		for _, one := range all {
			if one.answered != nil && one.at.IsZero() {
				n++
			}
		}
	}
	return n
}
