package roomserver

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/internal/testkit/postgres"
	"hearth/roomserver/roomapi"
)

const (
	alice = "@alice:test.example"
	bob   = "@bob:test.example"
	carol = "@carol:test.example"
)

// fixture is a roomserver on its own database, spoken to over the bus.
type fixture struct {
	t     testing.TB
	dir   string
	url   string
	local bool
	bus   *bus.Bus
	s     *Server
	stop  func()
	alter func(*Deps) // nil: nothing is altered
}

// each runs a test on both engines and over both kinds of calls.
func each(t *testing.T, test func(t *testing.T, f *fixture)) {
	t.Run("SQLite, direct calls", func(t *testing.T) { test(t, newFixture(t, t.TempDir(), "", true)) })
	t.Run("PostgreSQL, calls over NATS", func(t *testing.T) { test(t, newFixture(t, t.TempDir(), postgres.URL(t), false)) })
}

func newFixture(t testing.TB, dir, url string, local bool) *fixture {
	t.Helper()
	f := &fixture{t: t, dir: dir, url: url, local: local}
	f.start()
	t.Cleanup(func() { f.stop() })
	return f
}

func (f *fixture) start() {
	f.t.Helper()
	log := logrus.New()
	log.SetLevel(logrus.WarnLevel)
	var err error
	if f.bus, err = bus.Connect(f.t.Context(), bus.Options{Local: f.local, Log: logrus.NewEntry(log)}); err != nil {
		f.t.Fatal(err)
	}
	seed := make([]byte, ed25519.SeedSize)
	d := Deps{
		Bus: f.bus, ServerName: "test.example", DataDir: f.dir, DatabaseURL: f.url, Log: logrus.NewEntry(log), Now: time.Now,
		Key: pdu.Signer{ServerName: "test.example", KeyID: "ed25519:1", Key: ed25519.NewKeyFromSeed(seed)},
	}
	if f.alter != nil {
		f.alter(&d)
	}
	if f.s, err = New(f.t.Context(), d); err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() { f.s.Run(ctx); close(stopped) }()
	f.stop = sync.OnceFunc(func() {
		cancel()
		<-stopped
		if err := f.s.Close(); err != nil {
			f.t.Errorf("close: %v", err)
		}
		f.bus.Close()
	})
}

// restart stops the roomserver and starts another one on the same database.
func (f *fixture) restart() {
	f.t.Helper()
	f.stop()
	f.start()
}

func do[Req, Resp any](f *fixture, c bus.Call[Req, Resp], req Req) *Resp {
	f.t.Helper()
	resp, err := c.Do(f.t.Context(), f.bus, &req)
	if err != nil {
		f.t.Fatalf("%s: %v", c.Subject, err)
	}
	return resp
}

// refused makes a call that must fail with an errcode.
func refused[Req, Resp any](f *fixture, c bus.Call[Req, Resp], req Req, code string) {
	f.t.Helper()
	_, err := c.Do(f.t.Context(), f.bus, &req)
	if got := merr.From(err); got == nil || got.Code != code {
		f.t.Errorf("%s: got %v, want %s", c.Subject, err, code)
	}
}

func (f *fixture) state(room, sender, typ, key, content string) string {
	f.t.Helper()
	return do(f, roomapi.Send, roomapi.SendRequest{RoomID: room, Sender: sender, Type: typ, StateKey: &key, Content: []byte(content)}).EventID
}

func (f *fixture) create(req roomapi.CreateRequest) string {
	f.t.Helper()
	return do(f, roomapi.Create, req).RoomID
}

func (f *fixture) join(room, user string) {
	f.t.Helper()
	do(f, roomapi.Join, roomapi.JoinRequest{RoomIDOrAlias: room, UserID: user})
}

func (f *fixture) leave(room, user string) {
	f.t.Helper()
	do(f, roomapi.Leave, roomapi.MembershipRequest{RoomID: room, Sender: user, Target: user})
}

// texts returns the bodies of the messages that a user sees, oldest first, read a
// few at a time.
func (f *fixture) texts(room, user string) []string {
	f.t.Helper()
	bodies := []string{}
	from := roomapi.Point{}
	for {
		page := do(f, roomapi.Messages, roomapi.MessagesRequest{
			RoomID: room, UserID: user, Backwards: true, From: from, Limit: 3, Filter: roomapi.EventFilter{Types: []string{"m.room.message"}},
		})
		for _, e := range page.Events {
			body, _ := pdu.GetString(e.Content(), "body")
			bodies = append(bodies, body)
		}
		if page.End.IsZero() {
			slices.Reverse(bodies)
			return bodies
		}
		from = page.End
	}
}

func (f *fixture) send(room, sender, txn, body string) string {
	f.t.Helper()
	content, _ := json.Marshal(map[string]string{"msgtype": "m.text", "body": body})
	return do(f, roomapi.Send, roomapi.SendRequest{
		RoomID: room, Sender: sender, DeviceID: "DEV", TxnID: txn, Type: "m.room.message", Content: content,
	}).EventID
}

func TestDayInARoom(t *testing.T) {
	for _, v := range pdu.Versions() {
		t.Run("v"+v.ID, func(t *testing.T) {
			f := newFixture(t, t.TempDir(), "", true)
			room := do(f, roomapi.Create, roomapi.CreateRequest{
				Creator: alice, RoomVersion: v.ID, Name: "Den", Invite: []roomapi.Invitee{{UserID: bob}},
			}).RoomID
			do(f, roomapi.Join, roomapi.JoinRequest{RoomIDOrAlias: room, UserID: bob})
			first := f.send(room, alice, "t1", "hello")
			if again := f.send(room, alice, "t1", "hello"); again != first {
				t.Errorf("same transaction id gave %s, then %s", first, again)
			}
			if e := do(f, roomapi.GetEvent, roomapi.EventRequest{RoomID: room, UserID: bob, EventID: first}); e.DeviceID != "DEV" || e.TxnID != "t1" {
				t.Errorf("the sender's client finds its echo by device %q and transaction id %q", e.DeviceID, e.TxnID)
			}
			second := f.send(room, bob, "t1", "hi")
			do(f, roomapi.Redact, roomapi.RedactRequest{RoomID: room, Sender: bob, DeviceID: "DEV", TxnID: "r", EventID: second})
			e := do(f, roomapi.GetEvent, roomapi.EventRequest{RoomID: room, UserID: alice, EventID: second})
			if string(e.Content()) != "{}" || len(e.RedactedBecause) == 0 {
				t.Errorf("redacted event is %s, because %s", e.JSON, e.RedactedBecause)
			}
			page := do(f, roomapi.Messages, roomapi.MessagesRequest{RoomID: room, UserID: bob, Backwards: true, Limit: 3})
			if len(page.Events) != 3 || page.Events[2].EventID != first || page.End.IsZero() {
				t.Errorf("last page: %d events, end %v", len(page.Events), page.End)
			}
			w, err := roomapi.ReadWindow(t.Context(), f.bus, &roomapi.WindowRequest{RoomID: room, UserID: bob, Limit: 3})
			if err != nil {
				t.Fatal(err)
			}
			if len(w.Timeline) != 3 || w.Joined != 2 || !w.Limited || len(w.State) < 8 {
				t.Errorf("window: %d timeline, %d joined, limited %v, %d state", len(w.Timeline), w.Joined, w.Limited, len(w.State))
			}
		})
	}
}
