package transport

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"hearth/internal/merr"
)

func TestArrays(t *testing.T) {
	c, peer, _ := one(t)
	get := func(answer string) ([]string, error) {
		peer.Answer("/_matrix/x", 200, answer)
		a, err := c.Open(context.Background(), Request{Destination: "a.example:99", Method: http.MethodGet, Path: "/_matrix/x"})
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		list, err := a.Array()
		var out []string
		for _, e := range list {
			out = append(out, string(e))
		}
		return out, err
	}
	if got, err := get(` [ 200 , {"b":1, "a":[]} ] `); err != nil || strings.Join(got, "|") != `200|{"a":[],"b":1}` {
		t.Errorf("%q %v", got, err)
	}
	if got, err := get(`[]`); err != nil || len(got) != 0 {
		t.Errorf("%q %v", got, err)
	}
	for _, answer := range []string{`{}`, ``, `[`, `[1`, `1`, `[],"b":[]`, `[]}`, `[]]`, `[1,]`, `[{"a":1,"a":2}]`, "[\"\xff\"]"} {
		if got, err := get(answer); err == nil {
			t.Errorf("%s gives %q", answer, got)
		}
	}
}

// An answer that does not begin, or that pauses, ends; one that keeps coming does not.
func TestSlowAnswers(t *testing.T) {
	c, peer, _ := one(t)
	c.idle = 300 * time.Millisecond
	ask := func(wait time.Duration) (string, error) {
		a, err := c.Open(context.Background(), Request{Destination: "a.example:99", Method: http.MethodGet, Path: "/_matrix/x", Timeout: time.Minute, Wait: wait})
		if err != nil {
			return "", err
		}
		defer a.Close()
		body, err := io.ReadAll(a)
		return string(body), err
	}
	begin := time.Now()
	peer.Handle("/_matrix/x", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	var silent *NoAnswer
	if _, err := ask(100 * time.Millisecond); !errors.As(err, &silent) || !merr.From(err).Temporary {
		t.Errorf("no answer: %v", err)
	}
	write := func(pause time.Duration) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			for range 10 {
				_, _ = w.Write([]byte("x"))
				_ = http.NewResponseController(w).Flush()
				select {
				case <-time.After(pause):
				case <-r.Context().Done():
					return
				}
			}
		}
	}
	peer.Handle("/_matrix/x", write(50*time.Millisecond))
	if body, err := ask(10 * time.Second); err != nil || body != "xxxxxxxxxx" {
		t.Errorf("%q %v", body, err)
	}
	peer.Handle("/_matrix/x", write(time.Minute))
	if body, err := ask(10 * time.Second); err == nil || body != "x" || merr.From(err).Status != 502 {
		t.Errorf("%q %v", body, err)
	}
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
}

// A reader that takes its time is not the server's fault.
func TestSlowReaders(t *testing.T) {
	c, peer, _ := one(t)
	c.idle = 50 * time.Millisecond
	peer.Answer("/_matrix/x", 200, strings.Repeat("x", 100_000))
	a, err := c.Open(context.Background(), Request{Destination: "a.example:99", Method: http.MethodGet, Path: "/_matrix/x"})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	time.Sleep(200 * time.Millisecond)
	if body, err := io.ReadAll(a); err != nil || len(body) != 100_000 {
		t.Errorf("%d %v", len(body), err)
	}
}

// A reserved request does not wait for others, and takes no place from them.
func TestReserved(t *testing.T) {
	c, peer, _ := one(t)
	hang := make(chan struct{})
	defer close(hang)
	peer.Handle("/_matrix/hang", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	})
	peer.Answer("/_matrix/x", 200, `{}`)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for range maxPerServer {
		go func() {
			_, _, _ = c.Do(ctx, Request{Destination: "a.example:99", Method: http.MethodGet, Path: "/_matrix/hang"})
		}()
	}
	for end := time.Now().Add(10 * time.Second); peer.Requests("/_matrix/hang") < maxPerServer; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the others are not on their way")
		}
	}
	r := Request{Destination: "a.example:99", Method: http.MethodGet, Path: "/_matrix/x", Timeout: 300 * time.Millisecond}
	if _, _, err := c.Do(context.Background(), r); err == nil {
		t.Error("a usual request goes out beside the others")
	}
	r.Reserved, r.Timeout = true, 10*time.Second
	if _, _, err := c.Do(context.Background(), r); err != nil {
		t.Error(err)
	}
}
