package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/sirupsen/logrus"

	"hearth/config"
	"hearth/internal/store"
)

// lines is a log that tests read while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// testConfig is a server with everything on, at free ports.
func testConfig(t *testing.T) *config.Config {
	t.Helper()
	c := config.Defaults()
	c.ServerName = "localhost"
	c.DataDir = filepath.Join(t.TempDir(), "data")
	c.Listeners.Client.Address = "127.0.0.1:0"
	c.Listeners.Federation.Address = "127.0.0.1:0"
	c.Listeners.Admin.Address = "127.0.0.1:0"
	c.Listeners.Metrics.Address = "127.0.0.1:0"
	c.Registration.SharedSecret = "secret"
	return c
}

func testOptions(c *config.Config) (options, *lines) {
	out := &lines{}
	log := logrus.New()
	log.SetOutput(out)
	return options{config: c, components: componentNames(), log: log}, out
}

// start runs an app until stop is called, which returns what run returned.
func start(t *testing.T, o options) (a *app, stop func() error) {
	t.Helper()
	ready := make(chan struct{})
	o.ready = func(*app) { close(ready) }
	a, err := newApp(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.run(ctx) }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatalf("ended: %v", err)
	}
	stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(15 * time.Second):
			return errors.New("does not stop")
		}
	})
	t.Cleanup(func() { _ = stop() })
	return a, stop
}

func fetch(t *testing.T, address, path string) (status int, body string) {
	t.Helper()
	res, err := http.Get("http://" + address + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

func TestAppServesAllListeners(t *testing.T) {
	o, log := testOptions(testConfig(t))
	o.listenersFile = filepath.Join(t.TempDir(), "listeners.json")
	a, stop := start(t, o)
	for _, tc := range []struct{ listener, path, want string }{
		{"client", "/health", `{"status":"ok"}`},
		{"admin", "/health", `{"status":"ok"}`},
		{"metrics", "/health", `{"status":"ok"}`},
		{"client", "/_matrix/client/versions", `"versions":[`},
		{"client", "/.well-known/matrix/client", `{"m.homeserver":{"base_url":"http://localhost:`},
		{"admin", "/_synapse/admin/v1/register", `{"nonce":"`},
		{"federation", "/_matrix/key/v2/server", `"server_name":"localhost"`},
		{"metrics", "/metrics", `hearth_http_requests_total{class="2xx",method="GET",route="/_matrix/client/versions"} 1`},
	} {
		if status, body := fetch(t, a.address(tc.listener), tc.path); status != 200 || !strings.Contains(body, tc.want) {
			t.Errorf("%s %s: %d %.300s", tc.listener, tc.path, status, body)
		}
	}
	if status, _ := fetch(t, a.address("client"), "/_synapse/admin/v1/register"); status != 404 {
		t.Errorf("the admin API is on the client listener: %d", status)
	}
	addresses, err := os.ReadFile(o.listenersFile)
	if err != nil {
		t.Error(err)
	}
	for _, name := range []string{"client", "federation", "admin", "metrics"} {
		if !strings.Contains(string(addresses), fmt.Sprintf("%q:%q", name, a.address(name))) {
			t.Errorf("%s is not in %s", name, addresses)
		}
		if want := fmt.Sprintf("address=%q listener=%s", a.address(name), name); !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %s", want)
		}
	}
	begin := time.Now()
	if err := stop(); err != nil || time.Since(begin) > 5*time.Second {
		t.Errorf("stopped after %v: %v", time.Since(begin), err)
	}
	if conn, err := net.Dial("tcp", a.address("client")); err == nil {
		conn.Close()
		t.Error("still listens")
	}
}

func TestAppStartsAgainWithItsKey(t *testing.T) {
	c := testConfig(t)
	var keys [2]string
	for i := range keys {
		o, _ := testOptions(c)
		a, stop := start(t, o)
		keys[i] = a.key.KeyID
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	}
	if keys[0] != keys[1] {
		t.Errorf("first %s, then %s", keys[0], keys[1])
	}
}

// refused checks that a start fails with one line and changes nothing in dir.
func refused(t *testing.T, c *config.Config, dir, want string) {
	t.Helper()
	before := contents(t, dir)
	o, log := testOptions(c)
	a, err := newApp(t.Context(), o)
	if err == nil {
		a.abandon()
		t.Fatal("started")
	}
	if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if after := contents(t, dir); after != before {
		t.Errorf("changed on disk:\n%s\nbefore:\n%s\nlog:\n%s", after, before, log)
	}
}

// contents describes a directory: names, sizes, modes.
func contents(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		switch {
		case err != nil || d.IsDir():
		case strings.HasSuffix(path, "-wal"): // grows by itself where a server is at work
			fmt.Fprintln(&b, path, info.Mode())
		default:
			fmt.Fprintln(&b, path, info.Size(), info.Mode())
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return b.String()
}

func TestPortTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	c := testConfig(t)
	c.Listeners.Admin.Address = taken.Addr().String()
	refused(t, c, filepath.Dir(c.DataDir), "listeners.admin.address: "+taken.Addr().String()+" is in use")
	if _, err := os.Stat(c.DataDir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the data directory was made: %v", err)
	}
}

func TestForeignAddress(t *testing.T) {
	c := testConfig(t)
	c.Listeners.Client.Address = "192.0.2.1:80"
	refused(t, c, filepath.Dir(c.DataDir), "listeners.client.address: 192.0.2.1:80 is not an address of this machine")
}

func TestDataDirInUse(t *testing.T) {
	c := testConfig(t)
	o, _ := testOptions(c)
	a, _ := start(t, o)
	refused(t, c, c.DataDir, "is in use by another hearth process")
	if status, _ := fetch(t, a.address("client"), "/health"); status != 200 {
		t.Errorf("the first one suffered: %d", status)
	}
}

func TestUnusableKey(t *testing.T) {
	c := testConfig(t)
	if err := config.WriteNew(c.SigningKeyPath(), []byte("ed25519 a_1 short\n")); err != nil {
		t.Fatal(err)
	}
	refused(t, c, c.DataDir, "is damaged")
	if err := os.Chmod(c.SigningKeyPath(), 0o644); err != nil {
		t.Fatal(err)
	}
	refused(t, c, c.DataDir, "run: chmod 600 "+c.SigningKeyPath())
}

func TestBadCertificate(t *testing.T) {
	c := testConfig(t)
	c.Listeners.Client.TLSCert, c.Listeners.Client.TLSKey = "/nonexistent/c.pem", "/nonexistent/k.pem"
	refused(t, c, filepath.Dir(c.DataDir), "listeners.client: tls_cert /nonexistent/c.pem")
}

func TestNewerDatabase(t *testing.T) {
	c := testConfig(t)
	o, _ := testOptions(c)
	_, stop := start(t, o)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	known, err := filepath.Glob("../../roomserver/storage/migrations/*.sql")
	if err != nil || len(known) == 0 {
		t.Fatal(err)
	}
	files := fstest.MapFS{fmt.Sprintf("%04d_later.sql", len(known)+1): {Data: []byte("CREATE TABLE later (x BIGINT);")}}
	for _, path := range known {
		sql, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(path)] = &fstest.MapFile{Data: sql}
	}
	db, err := store.Open(t.Context(), store.Options{Component: "roomserver", DataDir: c.DataDir, Migrations: files})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	refused(t, c, c.DataDir, "newer")
}

// fake is a component that tests control.
type fake struct {
	run    func(ctx context.Context) error
	closed chan struct{}
	lost   chan struct{}
	ready  chan struct{}
}

func newFake(run func(ctx context.Context) error) *fake {
	return &fake{run: run, closed: make(chan struct{}), lost: make(chan struct{}), ready: make(chan struct{})}
}

func (f *fake) Run(ctx context.Context) error { return f.run(ctx) }
func (f *fake) Close() error                  { close(f.closed); return nil }
func (f *fake) Lost() <-chan struct{}         { return f.lost }
func (f *fake) Ready() <-chan struct{}        { return f.ready }

// withFake runs an app that has only f and a listener for metrics. What a test sets
// in it before f is ready is seen by run.
func withFake(t *testing.T, f *fake) (a *app, stop func() error, done chan error) {
	t.Helper()
	o, _ := testOptions(testConfig(t))
	o.components = nil
	a, err := newApp(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	a.parts = append(a.parts, &part{component: f, name: "fake", done: make(chan error, 1)})
	ctx, cancel := context.WithCancel(context.Background())
	done = make(chan error, 1)
	go func() { done <- a.run(ctx) }()
	return a, func() error { cancel(); return <-done }, done
}

func TestAFailedPartEndsTheApp(t *testing.T) {
	for name, f := range map[string]*fake{
		"fake: broken": newFake(func(context.Context) error { return errors.New("broken") }),
		"fake: ended":  newFake(func(context.Context) error { return nil }),
	} {
		_, _, done := withFake(t, f)
		if err := <-done; err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want %s", err, name)
		}
		<-f.closed
	}
}

func TestALostDatabaseEndsTheApp(t *testing.T) {
	f := newFake(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	_, _, done := withFake(t, f)
	close(f.lost)
	if err := <-done; err == nil || !strings.Contains(err.Error(), "another process has taken over") {
		t.Errorf("got %v", err)
	}
	<-f.closed
}

func TestStopWaitsForRequestsBeforeComponents(t *testing.T) {
	inside, finish := make(chan struct{}), make(chan struct{})
	f := newFake(func(ctx context.Context) error { <-ctx.Done(); return nil })
	a, stop, _ := withFake(t, f)
	if status, body := fetch(t, a.address("metrics"), "/health"); status != 503 || body != `{"status":"starting"}` {
		t.Errorf("before it is ready: %d %s", status, body)
	}
	a.handlers["metrics"] = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(inside)
		<-finish
		select {
		case <-f.closed:
			w.WriteHeader(http.StatusInternalServerError)
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	})
	close(f.ready)
	waitHealthy(t, a.address("metrics"))
	status := make(chan int, 1)
	go func() {
		got, _ := fetch(t, a.address("metrics"), "/slow")
		status <- got
	}()
	<-inside
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	select {
	case err := <-stopped:
		t.Fatalf("did not wait for the request: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	close(finish)
	if got := <-status; got != http.StatusNoContent {
		t.Errorf("the request ended with %d", got)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestStopLetsLongPollsAnswer(t *testing.T) {
	polls := make(chan struct{})
	f := newFake(func(ctx context.Context) error {
		<-ctx.Done()
		close(polls) // as syncapi does
		return nil
	})
	a, stop, _ := withFake(t, f)
	a.parts[0].name = "syncapi"
	inside := make(chan struct{})
	a.handlers["metrics"] = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(inside)
		<-polls
		w.WriteHeader(http.StatusNoContent)
	})
	close(f.ready)
	waitHealthy(t, a.address("metrics"))
	status := make(chan int, 1)
	go func() {
		got, _ := fetch(t, a.address("metrics"), "/poll")
		status <- got
	}()
	<-inside
	begin := time.Now()
	if err := stop(); err != nil || time.Since(begin) > 3*time.Second {
		t.Errorf("stopped after %v: %v", time.Since(begin), err)
	}
	if got := <-status; got != http.StatusNoContent {
		t.Errorf("the long-poll ended with %d", got)
	}
}

func TestStopCutsWhatDoesNotEnd(t *testing.T) {
	f := newFake(func(ctx context.Context) error { <-ctx.Done(); return nil })
	a, stop, _ := withFake(t, f)
	inside, left := make(chan struct{}), make(chan struct{})
	a.handlers["metrics"] = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(inside)
		<-r.Context().Done()
		close(left)
	})
	close(f.ready)
	waitHealthy(t, a.address("metrics"))
	go func() { _, _ = http.Get("http://" + a.address("metrics") + "/for-ever") }()
	<-inside
	begin := time.Now()
	if err := stop(); err != nil || time.Since(begin) > 10*time.Second {
		t.Errorf("stopped after %v: %v", time.Since(begin), err)
	}
	<-left
	<-f.closed
}

func TestStopBeforeReady(t *testing.T) {
	f := newFake(func(ctx context.Context) error { <-ctx.Done(); return nil })
	_, stop, _ := withFake(t, f)
	if err := stop(); err != nil {
		t.Error(err)
	}
	<-f.closed
}

func waitHealthy(t *testing.T, address string) {
	t.Helper()
	for range 500 {
		if status, _ := fetch(t, address, "/health"); status == 200 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("not healthy")
}
