package push

import (
	"context"
	"encoding/json"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"hearth/internal/bus"
	"hearth/internal/store"
	"hearth/internal/store/storetest"
)

const (
	server     = "h"
	alice, bob = "@alice:h", "@bob:h"
	roomID     = "!room:h"
	phone      = "PHONE"
)

// fixture is a push server among fakes.
type fixture struct {
	t       *testing.T
	options store.Options
	bus     *bus.Bus
	owners  *owners
	gateway *fakeGateway
	s       *Server
	stop    func()
	mu      sync.Mutex
	offset  time.Duration // of the clock
}

func each(t *testing.T, test func(t *testing.T, f *fixture)) {
	storetest.EachEngine(t, func(t *testing.T, e storetest.Engine) {
		log := logrus.New()
		log.SetOutput(t.Output())
		log.SetLevel(logrus.DebugLevel)
		b, err := bus.Connect(t.Context(), bus.Options{Local: e.Options.URL == "", Log: logrus.NewEntry(log)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		f := &fixture{t: t, options: e.Options, bus: b, owners: newOwners(), gateway: newGateway(t)}
		f.owners.serve(t, b)
		f.start()
		t.Cleanup(func() { f.stop() })
		test(t, f)
	})
}

func (f *fixture) now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Now().Add(f.offset)
}

func (f *fixture) start() {
	f.t.Helper()
	s, err := New(context.Background(), Deps{
		Bus: f.bus, ServerName: server, DataDir: f.options.DataDir, DatabaseURL: f.options.URL, Log: f.options.Log, Now: f.now,
		Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Backoff: 20 * time.Millisecond,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	f.s = s
	f.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			f.t.Errorf("run: %v", err)
		}
		if err := s.Close(); err != nil {
			f.t.Errorf("close: %v", err)
		}
	})
	f.begun()
}

// begun waits until the log is followed.
func (f *fixture) begun() {
	f.t.Helper()
	for range 500 {
		if _, known, err := f.s.db.progress(f.t.Context()); err == nil && known {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	f.t.Fatal("the log is not followed")
}

// badge waits until the pushers' number is n.
func (f *fixture) badge(n int) {
	f.t.Helper()
	for range 500 {
		badges, err := f.s.db.badges(f.t.Context())
		if err != nil {
			f.t.Fatal(err)
		}
		sum := 0
		for _, b := range badges {
			sum += b
		}
		if sum == n {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	f.t.Fatalf("the badge does not become %d", n)
}

// set stores a pusher of alice's.
func (f *fixture) set(userID, device, key, format string) {
	f.t.Helper()
	text := func(s string) *string { return &s }
	data, _ := json.Marshal(map[string]string{"url": f.gateway.URL + notifyPath, "format": format, "custom": "x"})
	if format == "" {
		data, _ = json.Marshal(map[string]string{"url": f.gateway.URL + notifyPath, "custom": "x"})
	}
	p, _, err := f.s.check(userID, device, &setRequest{
		PushKey: &key, Kind: json.RawMessage(`"http"`), AppID: text("app"), AppName: text("App"), DeviceName: text("Phone"), Lang: text("en"),
		Data: canonical(data),
	})
	if err != nil {
		f.t.Fatal(err)
	}
	f.owners.locked(func() { p.since = int64(len(f.owners.log)) })
	now, gone, err := f.s.db.set(f.t.Context(), *p, false)
	if err != nil {
		f.t.Fatal(err)
	}
	f.s.users.drop(gone...)
	f.s.users.put(now)
}

func canonical(data []byte) []byte {
	var m map[string]any
	_ = json.Unmarshal(data, &m) // the test has made it
	out, _ := json.Marshal(m)
	return out
}

// eventIDs of notifications.
func eventIDs(list []map[string]any) (out []string) {
	for _, n := range list {
		id, _ := n["event_id"].(string)
		out = append(out, id)
	}
	return out
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}
