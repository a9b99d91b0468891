package transport

import (
	"compress/gzip"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hearth/federationapi/internal/peertest"
	"hearth/federationapi/xmatrix"
	"hearth/internal/merr"
	"hearth/internal/safedial"
)

// one returns a client and the only server of its network.
func one(t *testing.T) (*Client, *peertest.Peer, *peertest.Net) {
	t.Helper()
	n := peertest.NewNet(t)
	peer := peertest.New(t, n, "a.example:99", "a.example:99", "a.example")
	c, _ := newClient(t, n)
	return c, peer, n
}

// TestSigned: what arrives is what was signed, byte by byte.
func TestSigned(t *testing.T) {
	c, peer, _ := one(t)
	peer.Answer("/_matrix/x/!r:a b/$e", 200, ` { "b": 1.50, "a": 2 } `)
	status, answer, err := c.Do(context.Background(), Request{
		Destination: "a.example:99", Method: http.MethodPut, Path: "/_matrix/x/" + url.PathEscape("!r:a b") + "/$e",
		Query: url.Values{"v": {"1", "2"}, "x": {`a"&b`}}, Body: []byte(`{ "z": "é", "a\"b": {} }`),
	})
	if err != nil || status != 200 || string(answer) != `{"a":2,"b":1.50}` {
		t.Fatalf("%d %s %v", status, answer, err)
	}
	seen := peer.Last()
	h, err := xmatrix.Parse(seen.Header.Get("Authorization"))
	if err != nil {
		t.Fatal(err)
	}
	r := xmatrix.Request{Method: "PUT", URI: seen.URI, Destination: "a.example:99", Content: seen.Body}
	if err := h.Verify(r, c.o.Signer.Key.Public().(ed25519.PublicKey)); err != nil || h.Destination != "a.example:99" || h.Origin != "we.example" {
		t.Errorf("%+v: %v", h, err)
	}
	if string(seen.Body) != `{"a\"b":{},"z":"é"}` || seen.Header.Get("Content-Type") != "application/json" {
		t.Errorf("it got %s, %v", seen.Body, seen.Header)
	}
	if _, _, err = c.Do(context.Background(), Request{Destination: "a.example:99", Method: "GET", Path: "/_matrix/x/!r:a%20b/$e", Unsigned: true}); err != nil {
		t.Error(err)
	}
	if seen := peer.Last(); seen.Header.Get("Authorization") != "" || len(seen.Body) != 0 {
		t.Errorf("it got %v", seen)
	}
}

func TestRefusesToSend(t *testing.T) {
	c, peer, _ := one(t)
	for name, r := range map[string]Request{
		"to ourselves":       {Destination: "we.example", Path: "/_matrix/x"},
		"a path elsewhere":   {Destination: "a.example:99", Path: "/x"},
		"an unescaped path":  {Destination: "a.example:99", Path: "/_matrix/a b"},
		"a query in a path":  {Destination: "a.example:99", Path: "/_matrix/x#y"},
		"a body of no JSON":  {Destination: "a.example:99", Path: "/_matrix/x", Body: []byte(`{"a":1,"a":1}`)},
		"to no server name":  {Destination: "a.example/..", Path: "/_matrix/x"},
		"to an empty name":   {Path: "/_matrix/x"},
		"a malformed method": {Destination: "a.example:99", Path: "/_matrix/x", Method: "a b"},
	} {
		var e *merr.Error
		if _, _, err := c.Do(context.Background(), r); !errors.As(err, &e) || peer.Last() != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestHostileAnswers: each is an error after bounded work.
func TestHostileAnswers(t *testing.T) {
	endless := func(w io.Writer, part string) {
		for chunk := []byte(strings.Repeat(part, 10_000)); ; {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}
	for name, h := range map[string]http.HandlerFunc{
		"endless JSON": func(w http.ResponseWriter, _ *http.Request) { endless(w, `{"a":`) },
		"gzip of zeros": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			endless(gzip.NewWriter(w), "\x00")
		},
		"announced as huge": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "99999999999")
			_, _ = w.Write([]byte("{}"))
		},
		"a redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, ping, http.StatusFound) },
		"huge headers": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 2*maxAnswerHeader))
			_, _ = w.Write([]byte("{}"))
		},
		"cut off": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"a":1}`))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
		"silence":      func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"no JSON":      func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"an array":     func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("[]")) },
		"nothing":      func(http.ResponseWriter, *http.Request) {},
		"deep nesting": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(strings.Repeat(`{"a":`, 9900))) },
		"an endless error": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(403)
			endless(w, "[")
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, peer, _ := one(t)
			peer.Handle(ping, h)
			begin := time.Now()
			_, answer, err := c.Do(context.Background(), Request{Destination: "a.example:99", Method: "GET", Path: ping, Timeout: 500 * time.Millisecond})
			var e *merr.Error
			if !errors.As(err, &e) || e.Status != http.StatusBadGateway || e.Code != "M_UNKNOWN" || answer != nil {
				t.Errorf("%s %v", answer, err)
			}
			if took := time.Since(begin); took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
			if peer.Requests(ping) > 1 {
				t.Errorf("it was asked %d times", peer.Requests(ping))
			}
		})
	}
}

// TestMemoryIsFlat: many endless answers cost no more than the limit each.
func TestMemoryIsFlat(t *testing.T) {
	c, peer, _ := one(t)
	peer.Handle(ping, func(w http.ResponseWriter, _ *http.Request) {
		for chunk := make([]byte, 1<<20); ; {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 20 {
		if _, err := get(c, "a.example:99"); err == nil {
			t.Fatal("it was taken")
		}
	}
	runtime.ReadMemStats(&after)
	if grown := after.Sys - before.Sys; grown > 64<<20 {
		t.Errorf("the process grew by %d bytes", grown)
	}
}

// TestErrorsOfPeers: what they say about us is not what we say about our client.
func TestErrorsOfPeers(t *testing.T) {
	c, peer, _ := one(t)
	for _, tc := range []struct {
		status   int
		body     string
		wantCode string
		want     int
	}{
		{401, `{"errcode":"M_UNKNOWN_TOKEN","error":"x","soft_logout":false}`, "M_UNKNOWN", 502},
		{403, `{"errcode":"M_UNKNOWN_TOKEN","error":"x"}`, "M_UNKNOWN", 502},
		{401, `{"errcode":"M_FORBIDDEN","error":"x"}`, "M_UNKNOWN", 502},
		{401, `{"errcode":"M_UNAUTHORIZED","error":"x"}`, "M_UNKNOWN", 502},
		{403, `{"errcode":"M_USER_DEACTIVATED","error":"x"}`, "M_UNKNOWN", 502},
		{403, `{"errcode":"M_USER_LOCKED","error":"x","soft_logout":true}`, "M_UNKNOWN", 502},
		{403, `{"errcode":"M_CONSENT_NOT_GIVEN","error":"x","consent_uri":"https://evil.example"}`, "M_UNKNOWN", 502},
		{200 + 104, ``, "M_UNKNOWN", 502},
		{500, `{"errcode":"M_FORBIDDEN","error":"x"}`, "M_UNKNOWN", 502},
		{404, `not JSON`, "M_UNKNOWN", 502},
		{403, `{"errcode":"M_FORBIDDEN","error":"You are\u0000 not\nwelcome"}`, "M_FORBIDDEN", 403},
		{404, `{"errcode":"M_NOT_FOUND"}`, "M_NOT_FOUND", 404},
		{400, `{"errcode":"M_INCOMPATIBLE_ROOM_VERSION","error":"x","room_version":"12","soft_logout":true}`, "M_INCOMPATIBLE_ROOM_VERSION", 400},
		{429, `{"errcode":"M_LIMIT_EXCEEDED","retry_after_ms":99999999999}`, "M_LIMIT_EXCEEDED", 429},
	} {
		peer.Answer(ping, tc.status, tc.body)
		_, _, err := c.Do(context.Background(), Request{Destination: "a.example:99", Method: "GET", Path: ping})
		var e *merr.Error
		var p *PeerError
		if !errors.As(err, &e) || !errors.As(err, &p) || p.Status != tc.status {
			t.Errorf("%d %s: %v", tc.status, tc.body, err)
			continue
		}
		body := string(e.Body())
		if e.Code != tc.wantCode || e.Status != tc.want || strings.Contains(body, "soft_logout") || strings.Contains(body, "evil") {
			t.Errorf("%d %s: %d %s", tc.status, tc.body, e.Status, body)
		}
		if strings.ContainsAny(e.Message, "\x00\n") || e.RetryAfter > maxRetryAfter {
			t.Errorf("%q %v", e.Message, e.RetryAfter)
		}
		if e.Code == "M_INCOMPATIBLE_ROOM_VERSION" && e.Extra["room_version"] != "12" {
			t.Errorf("the room version is lost: %s", body)
		}
	}
}

// TestDeniedAddresses: names and addresses of the inside are not connected to.
func TestDeniedAddresses(t *testing.T) {
	n := peertest.NewNet(t)
	peer := peertest.New(t, n, "x", "x:1", "127.0.0.1", "localhost")
	peer.Answer(ping, 200, `{}`)
	_, port, _ := strings.Cut(peer.Address(), ":")
	for _, allow := range [][]netip.Prefix{nil, {netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}} {
		guard, err := safedial.New(nil, allow)
		if err != nil {
			t.Fatal(err)
		}
		c, _ := newClient(t, n)
		c = New(Options{Signer: c.o.Signer, Dial: guard.DialContext, LookupSRV: n.LookupSRV, CAs: n.CA.Pool(), Now: time.Now})
		// The hosts file knows localhost.
		for _, server := range []string{"127.0.0.1:" + port, "localhost:" + port} {
			if _, err := get(c, server); (err == nil) != (allow != nil) || err != nil && !errors.Is(err, safedial.ErrDenied) {
				t.Errorf("%s with %v allowed: %v", server, allow, err)
			}
		}
		c.Close()
		if allow != nil {
			continue
		}
		for _, server := range []string{"169.254.169.254", "[::ffff:10.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "0.0.0.0:80", "[::1]:" + port} {
			if _, err := get(c, server); !errors.Is(err, safedial.ErrDenied) {
				t.Errorf("%s: %v", server, err)
			}
		}
	}
}

// TestConnectionsAreKept: one after the other needs one connection.
func TestConnectionsAreKept(t *testing.T) {
	c, peer, n := one(t)
	peer.Answer(ping, 200, `{}`)
	for range 20 {
		if _, err := get(c, "a.example:99"); err != nil {
			t.Fatal(err)
		}
	}
	if dials, _ := n.Dials(); len(dials) != 1 {
		t.Errorf("%d connections", len(dials))
	}
}

// TestOneServerCannotTakeAll: a server that hangs has its share, others are served.
func TestOneServerCannotTakeAll(t *testing.T) {
	c, peer, n := one(t)
	var now, most atomic.Int64
	peer.Handle(ping, func(_ http.ResponseWriter, r *http.Request) {
		for at := now.Add(1); at > most.Load(); {
			most.Store(at)
		}
		<-r.Context().Done()
		now.Add(-1)
	})
	peertest.New(t, n, "b.example:99", "b.example:99", "b.example").Answer(ping, 200, `{}`)
	ctx, cancel := context.WithCancel(context.Background())
	results := make(chan error, 300)
	for range cap(results) {
		go func() {
			_, _, err := c.Do(ctx, Request{Destination: "a.example:99", Method: "GET", Path: ping})
			results <- err
		}()
	}
	for range cap(results) - maxPerServer - maxWaiting { // these come back at once
		if err := <-results; !errors.Is(err, merr.Busy(0)) {
			t.Errorf("error %v", err)
		}
	}
	begin := time.Now()
	if _, err := get(c, "b.example:99"); err != nil || time.Since(begin) > time.Second {
		t.Errorf("the other server: %v after %v", err, time.Since(begin))
	}
	cancel()
	for range maxPerServer + maxWaiting {
		if err := <-results; err == nil {
			t.Error("it answered")
		}
	}
	if most.Load() > maxPerServer {
		t.Errorf("%d requests at the same time", most.Load())
	}
	c.slots.mu.Lock()
	defer c.slots.mu.Unlock()
	if len(c.slots.server) != 0 || len(c.slots.all) != 0 {
		t.Errorf("%d servers and %d slots are still taken", len(c.slots.server), len(c.slots.all))
	}
}

// TestHTTP1: a server that does not know HTTP/2 is spoken to all the same.
func TestHTTP1(t *testing.T) {
	n := peertest.NewNet(t)
	var proto atomic.Value
	old := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proto.Store(r.Proto + " " + r.Host)
		_, _ = w.Write([]byte("{}"))
	}))
	old.TLS = &tls.Config{Certificates: []tls.Certificate{n.CA.Leaf("a.example")}, MinVersion: tls.VersionTLS12}
	old.StartTLS()
	t.Cleanup(old.Close)
	n.Place("a.example:99", old.Listener.Addr().String())
	c, _ := newClient(t, n)
	for range 5 {
		if _, err := get(c, "a.example:99"); err != nil {
			t.Fatal(err)
		}
	}
	if dials, _ := n.Dials(); proto.Load() != "HTTP/1.1 a.example:99" || len(dials) != 1 {
		t.Errorf("%v, %d connections", proto.Load(), len(dials))
	}
	c.Close()
}
