package federationapi

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"hearth/internal/bus"
	"hearth/internal/pdu"
	"hearth/internal/safedial"
	"hearth/internal/testkit/testca"
)

// clock is a clock that the test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func testServer(t *testing.T) (*Server, time.Time) {
	t.Helper()
	c := &clock{now: time.UnixMilli(1_700_000_000_000)}
	return openServer(t, c, nil, nil), c.now
}

// openServer returns example.org, which may connect to networks.
func openServer(t testing.TB, c *clock, ca *testca.CA, networks []netip.Prefix) *Server {
	t.Helper()
	dialer, err := safedial.New(nil, networks)
	if err != nil {
		t.Fatal(err)
	}
	b, err := bus.Connect(context.Background(), bus.Options{Local: true, Log: logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	d := Deps{
		Bus: b, ServerName: "example.org", Version: "1.2.3", Now: c.Now, Dialer: dialer, Log: logger(t), DataDir: t.TempDir(),
		Key: pdu.Signer{ServerName: "example.org", KeyID: "ed25519:a_1", Key: ed25519.NewKeyFromSeed(make([]byte, 32))},
	}
	if ca != nil {
		d.CAFile, _, _ = ca.Files(t.TempDir())
	}
	s, err := New(context.Background(), d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func logger(t testing.TB) *logrus.Entry {
	l := logrus.New()
	l.SetOutput(t.Output())
	return logrus.NewEntry(l)
}

func get(t *testing.T, s *Server, method, path string) (status int, body []byte) {
	t.Helper()
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest(method, path, nil))
	if ct := w.Header().Get("Content-Type"); ct != "application/json" {
		t.Errorf("%s is %q", path, ct)
	}
	if origin := w.Header().Get("Access-Control-Allow-Origin"); origin != "" {
		t.Errorf("%s may be read by web pages of %q", path, origin)
	}
	return w.Code, w.Body.Bytes()
}

func TestVersion(t *testing.T) {
	s, _ := testServer(t)
	status, body := get(t, s, "GET", "/_matrix/federation/v1/version")
	if want := `{"server":{"name":"Hearth","version":"1.2.3"}}`; status != 200 || string(body) != want {
		t.Errorf("%d %s", status, body)
	}
}

func TestServerKeys(t *testing.T) {
	s, now := testServer(t)
	status, body := get(t, s, "GET", "/_matrix/key/v2/server")
	var keys struct {
		ServerName string                       `json:"server_name"`
		ValidUntil int64                        `json:"valid_until_ts"`
		Verify     map[string]map[string]string `json:"verify_keys"`
		Old        map[string]any               `json:"old_verify_keys"`
	}
	if err := json.Unmarshal(body, &keys); err != nil || status != http.StatusOK {
		t.Fatalf("%d %s: %v", status, body, err)
	}
	if keys.ServerName != "example.org" || keys.Old == nil || len(keys.Old) != 0 || len(keys.Verify) != 1 {
		t.Errorf("got %s", body)
	}
	until := time.UnixMilli(keys.ValidUntil)
	if until.Before(now.Add(time.Hour)) || until.After(now.Add(7*24*time.Hour)) {
		t.Errorf("valid until %v, now is %v", until, now)
	}
	public, err := base64.RawStdEncoding.DecodeString(keys.Verify["ed25519:a_1"]["key"])
	if err != nil {
		t.Fatal(err)
	}
	if err := pdu.VerifyJSON(body, "example.org", "ed25519:a_1", public); err != nil {
		t.Errorf("the signature does not hold: %v", err)
	}
}

func TestOnlyExactPaths(t *testing.T) {
	s, _ := testServer(t)
	for _, tc := range []struct {
		method, path string
		status       int
	}{
		{"POST", "/_matrix/key/v2/server", 405},
		{"GET", "/_matrix/key/v2/server/", 404},
		{"GET", "/_matrix/key/v2//server", 404},
		{"GET", "/_matrix/key/v2/%73erver", 404},
		{"GET", "/_matrix/key/v2/x/%2e%2e/server", 404},
		{"GET", "/_matrix/federation/v1/version/extra", 404},
		{"GET", "/_matrix/client/versions", 404},
		{"GET", "/", 404},
	} {
		status, body := get(t, s, tc.method, tc.path)
		var e struct{ Errcode string }
		if err := json.Unmarshal(body, &e); err != nil || status != tc.status || e.Errcode != "M_UNRECOGNIZED" {
			t.Errorf("%s %s: %d %s", tc.method, tc.path, status, body)
		}
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	s, _ := testServer(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
