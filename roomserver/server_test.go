package roomserver

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"hearth/internal/bus"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

const (
	alice = "@alice:test.example"
	bob   = "@bob:test.example"
	carol = "@carol:test.example"
)

// fixture is a roomserver on its own database, spoken to over the bus.
type fixture struct {
	t   testing.TB
	dir string
	url string
	bus *bus.Bus
	s   *Server
}

func newFixture(t testing.TB, dir, url string) *fixture {
	t.Helper()
	f := &fixture{t: t, dir: dir, url: url}
	log := logrus.New()
	log.SetLevel(logrus.ErrorLevel)
	var err error
	if f.bus, err = bus.Connect(t.Context(), bus.Options{Local: true, Log: logrus.NewEntry(log)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.bus.Close)
	seed := make([]byte, ed25519.SeedSize)
	f.s, err = New(t.Context(), Deps{
		Bus: f.bus, ServerName: "test.example", DataDir: dir, DatabaseURL: url, Log: logrus.NewEntry(log), Now: time.Now,
		Key: pdu.Signer{ServerName: "test.example", KeyID: "ed25519:1", Key: ed25519.NewKeyFromSeed(seed)},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() { f.s.Run(ctx); close(stopped) }()
	t.Cleanup(func() {
		cancel()
		<-stopped
		f.s.Close()
	})
	return f
}

func do[Req, Resp any](f *fixture, c bus.Call[Req, Resp], req Req) *Resp {
	f.t.Helper()
	resp, err := c.Do(f.t.Context(), f.bus, &req)
	if err != nil {
		f.t.Fatalf("%s: %v", c.Subject, err)
	}
	return resp
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
			f := newFixture(t, t.TempDir(), "")
			room := do(f, roomapi.Create, roomapi.CreateRequest{
				Creator: alice, RoomVersion: v.ID, Name: "Den", Invite: []roomapi.Invitee{{UserID: bob}},
			}).RoomID
			do(f, roomapi.Join, roomapi.JoinRequest{RoomIDOrAlias: room, UserID: bob})
			first := f.send(room, alice, "t1", "hello")
			if again := f.send(room, alice, "t1", "hello"); again != first {
				t.Errorf("same transaction id gave %s, then %s", first, again)
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
