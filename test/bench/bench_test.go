package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestConn has the small HTTP client talk to a real HTTP server.
func TestConn(t *testing.T) {
	long := strings.Repeat("0123456789", 20_000)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		switch r.URL.Path {
		case "/short":
			var body bytes.Buffer
			_, _ = body.ReadFrom(r.Body) // what came is compared
			_, _ = w.Write([]byte(r.Method + " " + body.String()))
		case "/long":
			for i := 0; i < len(long); i += 10_000 {
				_, _ = w.Write([]byte(long[i : i+10_000]))
				w.(http.Flusher).Flush()
			}
		default:
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	defer server.Close()
	c, err := dial(server.URL, "secret")
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	for range 2 { // one connection for all
		for _, step := range []struct {
			method, path, body string
			status             int
			answer             string
		}{
			{"PUT", "/short", "hello", 200, "PUT hello"},
			{"GET", "/short", "", 200, "GET "},
			{"GET", "/long", "", 200, long},
			{"GET", "/other", "", 418, ""},
		} {
			var body []byte
			if step.body != "" {
				body = []byte(step.body)
			}
			status, answer, err := c.do(step.method, step.path, body)
			if err != nil || status != step.status || string(answer) != step.answer {
				t.Fatalf("%s %s: %d, %d bytes, %v", step.method, step.path, status, len(answer), err)
			}
		}
	}
	if err := c.expect(200, "GET", "/other", nil); err == nil || !strings.Contains(err.Error(), "418") {
		t.Errorf("an unexpected status gave %v", err)
	}
	server.CloseClientConnections()
	if _, _, err := c.do("GET", "/short", nil); err == nil {
		t.Error("a closed connection answered")
	}
}

func TestNextBatch(t *testing.T) {
	if token, err := nextBatch([]byte(`{"next_batch":"s1_2_3","rooms":{}}`)); err != nil || token != "s1_2_3" {
		t.Errorf("%q, %v", token, err)
	}
	if _, err := nextBatch([]byte(`{}`)); err == nil {
		t.Error("no token, no error")
	}
}

func TestQuantile(t *testing.T) {
	var times []time.Duration
	for i := range 100 {
		times = append(times, time.Duration(i+1))
	}
	for q, want := range map[float64]time.Duration{0: 1, 0.5: 51, 0.99: 100, 1: 100} {
		if got := quantile(times, q); got != want {
			t.Errorf("quantile %v is %d, not %d", q, got, want)
		}
	}
}

func TestTable(t *testing.T) {
	var out strings.Builder
	print(&out, []figure{atLeast("sends", "/s", 2100, 2000), below("latency", "ms", 40, 40), plain("other", "", 1.234)})
	want := "figure       measured  aim\n" +
		"sends         2100 /s  ≥ 2000   met\n" +
		"latency       40.0 ms  < 40     missed\n" +
		"other            1.23  \n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestGuarded(t *testing.T) {
	var order []string
	code := guarded(func(t *shim) {
		t.Cleanup(func() { order = append(order, "first") })
		t.Cleanup(func() { order = append(order, "second") })
		t.Fatal("a failure, as the test wants it")
		order = append(order, "not reached")
	})
	if code != 1 || strings.Join(order, " ") != "second first" {
		t.Errorf("exit code %d after %v", code, order)
	}
	if code := guarded(func(*shim) {}); code != 0 {
		t.Errorf("exit code %d of a success", code)
	}
}
