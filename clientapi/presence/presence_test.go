package presence

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/merr"
)

type fixture struct {
	*Tracker
	t    *testing.T
	bus  *bus.Bus
	mu   sync.Mutex // guards at and told
	at   time.Time
	told []userapi.Presence
}

func start(t *testing.T) *fixture {
	t.Helper()
	b, err := bus.Connect(t.Context(), bus.Options{Local: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	f := &fixture{t: t, bus: b, at: time.UnixMilli(1_700_000_000_000)}
	f.Tracker, err = New(Deps{Bus: b, Now: f.clock, Local: func(id string) bool { return strings.HasSuffix(id, ":test") }})
	if err != nil {
		t.Fatal(err)
	}
	cancel, err := bus.Subscribe(b, userapi.PresenceTopic, func(p *userapi.Presence) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.told = append(f.told, *p)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cancel)
	return f
}

func (f *fixture) clock() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at
}

func (f *fixture) pass(d time.Duration) {
	f.mu.Lock()
	f.at = f.at.Add(d)
	f.mu.Unlock()
	f.expire()
}

func (f *fixture) show(user, device, presence string, ttl time.Duration) {
	f.t.Helper()
	if _, err := userapi.SetPresence.Do(f.t.Context(), f.bus, &userapi.SetPresenceRequest{
		UserID: user, DeviceID: device, Presence: presence, TTLMS: ttl.Milliseconds(),
	}); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) is(presence string, active bool, status string) userapi.Presence {
	f.t.Helper()
	p, err := userapi.GetPresence.Do(f.t.Context(), f.bus, &userapi.UserRequest{UserID: "@a:test"})
	if err != nil || p.Presence != presence || p.CurrentlyActive != active || p.StatusMsg != status {
		f.t.Errorf("%+v %v, want %s active %v %q", p, err, presence, active, status)
	}
	return *p
}

func TestStates(t *testing.T) {
	f := start(t)
	const u = "@a:test"
	f.is("offline", false, "")
	f.show(u, "ONE", "online", 5*time.Minute)
	f.is("online", true, "")
	f.pass(activeFor)
	if p := f.is("online", false, ""); p.LastActiveTS != 1_700_000_000_000 {
		t.Errorf("%+v", p)
	}
	f.show(u, "ONE", "online", 10*time.Minute) // goes on syncing
	f.is("online", false, "")
	f.pass(idleAfter - activeFor)
	f.is("unavailable", false, "")
	if _, err := userapi.Active.Do(t.Context(), f.bus, &userapi.ActiveRequest{UserIDs: []string{u, "@nobody:test"}}); err != nil {
		t.Fatal(err)
	}
	f.is("online", true, "")
	f.show(u, "TWO", "unavailable", time.Minute)
	f.is("online", true, "")
	f.show(u, "ONE", "offline", time.Minute)
	f.is("unavailable", false, "")
	if _, err := userapi.Active.Do(t.Context(), f.bus, &userapi.ActiveRequest{UserIDs: []string{u}}); err != nil {
		t.Fatal(err)
	}
	f.is("online", true, "")
	f.pass(time.Minute)
	f.is("offline", false, "")
	status := "away"
	if _, err := userapi.SetPresence.Do(t.Context(), f.bus, &userapi.SetPresenceRequest{
		UserID: u, DeviceID: "ONE", Presence: "online", Status: &status, TTLMS: 1000, Explicit: true,
	}); err != nil {
		t.Fatal(err)
	}
	f.is("online", true, "away")
	f.pass(time.Second)
	f.is("offline", false, "away")
}

func TestChangesAreTold(t *testing.T) {
	f := start(t)
	f.show("@a:test", "ONE", "online", 2*time.Minute)
	f.show("@a:test", "ONE", "online", 2*time.Minute) // nothing new
	f.show("@b:test", "ONE", "unavailable", 2*time.Minute)
	f.pass(activeFor)
	f.pass(activeFor)
	want := "@a:test online true, @b:test unavailable false, @a:test online false, @a:test offline false, @b:test offline false"
	var got []string
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		f.mu.Lock()
		got = nil
		last := int64(0)
		for _, p := range f.told {
			got = append(got, fmt.Sprintf("%s %s %v", p.UserID, p.Presence, p.CurrentlyActive))
			if p.Serial <= last || p.Epoch == 0 {
				t.Errorf("serial %d after %d, epoch %d", p.Serial, last, p.Epoch)
			}
			last = p.Serial
		}
		f.mu.Unlock()
		if len(got) == 5 {
			break
		}
	}
	joined := strings.Join(got, ", ")
	swapped := strings.Replace(want, "@a:test offline false, @b:test offline false", "@b:test offline false, @a:test offline false", 1)
	if joined != want && joined != swapped {
		t.Errorf("%s", joined)
	}
}

func TestOnlineUsers(t *testing.T) {
	f := start(t)
	for i := range page + 5 {
		f.show(fmt.Sprintf("@u%04d:test", i), "D", "online", time.Minute)
	}
	f.show("@zzz:test", "D", "offline", time.Minute)
	first, err := userapi.OnlineUsers.Do(t.Context(), f.bus, &userapi.UserRequest{})
	if err != nil || len(first.Users) != page || !first.More || first.Epoch == 0 {
		t.Fatalf("%d %v", len(first.Users), err)
	}
	rest, err := userapi.OnlineUsers.Do(t.Context(), f.bus, &userapi.UserRequest{UserID: first.Users[page-1].UserID})
	if err != nil || len(rest.Users) != 5 || rest.More {
		t.Errorf("%d %v", len(rest.Users), err)
	}
}

func TestBounds(t *testing.T) {
	f := start(t)
	long := strings.Repeat("x", userapi.MaxStatus+1)
	for _, c := range []struct {
		code string
		req  userapi.SetPresenceRequest
	}{
		{"M_INVALID_PARAM", userapi.SetPresenceRequest{UserID: "@a:test", Presence: "busy", TTLMS: 1}},
		{"M_INVALID_PARAM", userapi.SetPresenceRequest{UserID: "@a:test", Presence: "online"}},
		{"M_INVALID_PARAM", userapi.SetPresenceRequest{UserID: "@a:test", Presence: "online", TTLMS: 1, Status: &long}},
		{"M_NOT_FOUND", userapi.SetPresenceRequest{UserID: "@a:other", Presence: "online", TTLMS: 1}},
	} {
		if _, err := f.set(context.Background(), &c.req); merr.From(err) == nil || merr.From(err).Code != c.code {
			t.Errorf("%+v: %v", c.req, err)
		}
	}
	var err error
	for i := range maxDevices + 1 {
		_, err = f.set(context.Background(), &userapi.SetPresenceRequest{UserID: "@a:test", DeviceID: fmt.Sprint(i), Presence: "online", TTLMS: 1 << 62})
	}
	if merr.From(err) == nil || merr.From(err).Code != "M_LIMIT_EXCEEDED" {
		t.Errorf("%v", err)
	}
	f.pass(maxTTL) // nothing holds for longer
	f.is("offline", false, "")
	f.pass(forgetAfter + sweepEvery)
	if len(f.users)+len(f.live) != 0 {
		t.Errorf("%d users are remembered", len(f.users))
	}
}

// TestManyUsers: who is offline makes room for others; who is there does not.
func TestManyUsers(t *testing.T) {
	f := start(t)
	f.most = 1000
	set := func(id string, ttl int64) error {
		_, err := f.set(t.Context(), &userapi.SetPresenceRequest{UserID: id, DeviceID: "D", Presence: "online", TTLMS: ttl})
		return err
	}
	for i := range f.most {
		ttl := int64(60_000)
		if i == 0 {
			ttl = 1000
		}
		if err := set(fmt.Sprintf("@u%d:test", i), ttl); err != nil {
			t.Fatal(err)
		}
	}
	if err := merr.From(set("@new:test", 1000)); err == nil || err.Status != 503 {
		t.Errorf("%v", err)
	}
	f.pass(time.Second)
	if err := set("@new:test", 1000); err != nil || len(f.users) != f.most || f.users["@u0:test"] != nil {
		t.Errorf("%v, %d users", err, len(f.users))
	}
}
