package syncapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
	"hearth/syncapi/internal/model"
	"hearth/syncapi/viewapi"
)

const (
	alice = "@alice:h"
	bob   = "@bob:h"
	room  = "!a:h"
)

func quiet() *logrus.Entry {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return logrus.NewEntry(log)
}

func connect(t testing.TB, local bool) *bus.Bus {
	t.Helper()
	b, err := bus.Connect(t.Context(), bus.Options{Local: local, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// serve answers for the owners on the bus.
func serve(t testing.TB, b *bus.Bus, o *model.Owners) {
	t.Helper()
	heads := func() (rooms, users int64) {
		rooms, users, _ = o.Heads(context.Background()) // never fails
		return rooms, users
	}
	rooms := bus.NewPublisher(b, roomapi.Log, func() int64 { n, _ := heads(); return n })
	users := bus.NewPublisher(b, userapi.Log, func() int64 { _, n := heads(); return n })
	o.OnRoom = func(p bus.Positioned[roomapi.Entry]) { rooms.Publish(p.Pos, p.Entry) }
	o.OnUser = func(p bus.Positioned[userapi.Entry]) { users.Publish(p.Pos, p.Entry) }
	o.OnTyping = func(m *roomapi.Typing) { roomapi.TypingTopic.Publish(b, m) }
	for _, err := range []error{
		bus.ServeLog(b, roomapi.Log, func(_ context.Context, after int64, limit int) ([]bus.Positioned[roomapi.Entry], int64, error) {
			list := o.Rooms(after)
			return list[:min(limit, len(list))], after + int64(len(list)), nil
		}),
		bus.ServeLog(b, userapi.Log, func(_ context.Context, after int64, limit int) ([]bus.Positioned[userapi.Entry], int64, error) {
			list := o.Users(after)
			return list[:min(limit, len(list))], after + int64(len(list)), nil
		}),
		bus.Handle(b, roomapi.GetStateEvent, o.StateEvent),
		bus.Handle(b, roomapi.InviteState, o.InviteState),
		bus.Handle(b, roomapi.Receipts, o.Receipts),
		bus.Handle(b, roomapi.Memberships, o.Memberships),
		bus.Handle(b, roomapi.Messages, o.Messages),
		bus.Handle(b, userapi.ChangedAccountData, o.AccountData),
		bus.Handle(b, userapi.GetAccountData, o.AccountDataOf),
		bus.Handle(b, userapi.DeviceSync, o.DeviceSync),
		bus.Handle(b, userapi.ChangedDeviceLists, o.ChangedDeviceLists),
		bus.Handle(b, userapi.LogPosition, func(context.Context, *userapi.Empty) (*userapi.Position, error) {
			_, n := heads()
			return &userapi.Position{Pos: n}, nil
		}),
		bus.HandleStream(b, roomapi.StateStream, func(ctx context.Context, req *roomapi.StateRequest, send func([]byte) error) error {
			w := roomapi.NewFrameWriter(send)
			if err := o.State(ctx, req, w.State); err != nil {
				return err
			}
			return w.Flush()
		}),
		bus.HandleStream(b, roomapi.WindowStream, func(ctx context.Context, req *roomapi.WindowRequest, send func([]byte) error) error {
			return sendWindow(ctx, o, req, send)
		}),
		bus.HandleStream(b, roomapi.UnreadStream, func(_ context.Context, req *roomapi.UnreadRequest, send func([]byte) error) error {
			return sendUnread(o, req, send)
		}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func sendWindow(ctx context.Context, o *model.Owners, req *roomapi.WindowRequest, send func([]byte) error) error {
	win, err := o.Window(ctx, req)
	if err != nil {
		return err
	}
	w := roomapi.NewFrameWriter(send)
	if err := w.Info(&win.WindowInfo); err != nil {
		return err
	}
	for _, e := range win.Timeline {
		if err := w.Timeline(e); err != nil {
			return err
		}
	}
	for _, e := range win.State {
		if err := w.State(e); err != nil {
			return err
		}
	}
	return w.Flush()
}

// run starts a component; the returned function stops it and gives Run's error.
func run(t testing.TB, b *bus.Bus) (*Server, func() error) {
	t.Helper()
	s, err := New(t.Context(), Deps{Bus: b, ServerName: "h", Log: quiet(), Metrics: prometheus.NewRegistry(), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop := sync.OnceValue(func() error {
		cancel()
		err := <-done
		return errors.Join(err, s.Close())
	})
	t.Cleanup(func() { _ = stop() }) // tests that care call it themselves
	return s, stop
}

func sync1(ctx context.Context, b *bus.Bus, req viewapi.SyncRequest) (body string, next string, err error) {
	var buf []byte
	err = viewapi.Sync.Do(ctx, b, &req, func(chunk []byte) error { buf = append(buf, chunk...); return nil })
	if err != nil {
		return string(buf), "", err
	}
	var r struct {
		NextBatch string `json:"next_batch"`
	}
	if err := json.Unmarshal(buf, &r); err != nil {
		return string(buf), "", fmt.Errorf("%w in %s", err, buf)
	}
	return string(buf), r.NextBatch, nil
}

func ready(t testing.TB, s *Server) {
	t.Helper()
	select {
	case <-s.Ready():
	case <-time.After(20 * time.Second):
		t.Fatal("not ready")
	}
}

// eachWiring runs a test with direct calls and with everything over NATS.
func eachWiring(t *testing.T, f func(t *testing.T, b *bus.Bus)) {
	for _, local := range []bool{true, false} {
		t.Run(fmt.Sprintf("Local=%v", local), func(t *testing.T) { f(t, connect(t, local)) })
	}
}

func TestOverTheBus(t *testing.T) {
	eachWiring(t, func(t *testing.T, b *bus.Bus) {
		o := model.New()
		o.Create(room, alice, "shared") // before anybody listens
		serve(t, b, o)
		s, stop := run(t, b)
		ready(t, s)
		body, since, err := sync1(t.Context(), b, viewapi.SyncRequest{UserID: alice, DeviceID: "D"})
		if err != nil || !strings.Contains(body, room) {
			t.Fatalf("initial: %s %v", body, err)
		}
		tells := []struct {
			do   func()
			want string
		}{
			{func() { o.Message(room, alice, "hello there") }, "hello there"},
			{func() { o.Receipt(room, alice, "m.read", "$4", "") }, "m.receipt"},
			{func() { o.Typing(room, alice) }, "m.typing"},
			{func() { o.SetAccountData(alice, "", "m.x", `{"some":"data"}`) }, `{"some":"data"}`},
		}
		for _, tell := range tells {
			got := make(chan string, 1)
			go func() {
				body, next, err := sync1(t.Context(), b, viewapi.SyncRequest{UserID: alice, DeviceID: "D", Since: since, TimeoutMS: 20_000})
				since = next
				got <- fmt.Sprint(body, err)
			}()
			time.Sleep(20 * time.Millisecond) // mostly it waits by then; if not, it finds the news at once
			tell.do()
			if body := <-got; !strings.Contains(body, tell.want) {
				t.Fatalf("got %s, want %s", body, tell.want)
			}
		}
		// Long-polls end when the component stops, and it does not wait for them.
		got := make(chan error, 1)
		go func() {
			_, _, err := sync1(t.Context(), b, viewapi.SyncRequest{UserID: alice, DeviceID: "D", Since: since, TimeoutMS: 60_000})
			got <- err
		}()
		time.Sleep(20 * time.Millisecond)
		begin := time.Now()
		if err := stop(); err != nil {
			t.Error(err)
		}
		if err := <-got; err != nil && merr.From(err).Status != http.StatusServiceUnavailable {
			t.Error(err)
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("stopping took %s", took)
		}
	})
}

func TestLargeInitialComesInChunks(t *testing.T) {
	eachWiring(t, func(t *testing.T, b *bus.Bus) {
		o := model.New()
		for i := range 40 {
			id := fmt.Sprintf("!%d:h", i)
			o.Create(id, alice, "shared")
			for range 3 {
				o.Message(id, alice, strings.Repeat("x", 10_000))
			}
		}
		serve(t, b, o)
		s, _ := run(t, b)
		ready(t, s)
		chunks, total := 0, 0
		var buf []byte
		err := viewapi.Sync.Do(t.Context(), b, &viewapi.SyncRequest{UserID: alice, DeviceID: "D"}, func(chunk []byte) error {
			chunks++
			total += len(chunk)
			buf = append(buf, chunk...)
			return nil
		})
		if err != nil || !json.Valid(buf) || total < 1_200_000 || chunks < 10 {
			t.Errorf("%d bytes in %d chunks, valid %v: %v", total, chunks, json.Valid(buf), err)
		}
	})
}

func TestStartsBeforeTheOwners(t *testing.T) {
	b := connect(t, false)
	s, stop := run(t, b)
	if _, _, err := sync1(t.Context(), b, viewapi.SyncRequest{UserID: alice}); err == nil || merr.From(err).Status != http.StatusServiceUnavailable {
		t.Errorf("without owners: %v", err)
	}
	o := model.New()
	o.Create(room, alice, "shared")
	serve(t, b, o)
	ready(t, s)
	if body, _, err := sync1(t.Context(), b, viewapi.SyncRequest{UserID: alice}); err != nil || !strings.Contains(body, room) {
		t.Errorf("%s %v", body, err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestStopsWhileWaitingForTheOwners(t *testing.T) {
	b := connect(t, false)
	_, stop := run(t, b)
	time.Sleep(10 * time.Millisecond)
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// A token from before the start is answered like any other.
func TestTokenFromBeforeTheStart(t *testing.T) {
	o := model.New()
	o.Create(room, alice, "shared")
	o.Create("!other:h", alice, "shared")
	rooms, users, _ := o.Heads(t.Context()) // never fails
	since := viewapi.Token{Room: rooms, User: users}.String()
	for range 5000 { // more than is replayed
		o.Receipt("!other:h", bob, "m.read", "$1", "")
	}
	m := o.Message(room, alice, "x")
	b := connect(t, true)
	serve(t, b, o)
	s, _ := run(t, b)
	ready(t, s)
	body, _, err := sync1(t.Context(), b, viewapi.SyncRequest{UserID: alice, DeviceID: "D", Since: since})
	if err != nil || !strings.Contains(body, `"event_id":"`+m+`"`) || strings.Contains(body, "m.room.create") || !strings.Contains(body, "m.receipt") {
		t.Errorf("%s %v", body, err)
	}
}

func TestNewWithoutDeps(t *testing.T) {
	if _, err := New(t.Context(), Deps{}); err == nil {
		t.Error("no error")
	}
}

func sendUnread(o *model.Owners, req *roomapi.UnreadRequest, send func([]byte) error) error {
	w := roomapi.NewFrameWriter(send)
	for _, id := range req.Rooms {
		u := o.Unread(req, id)
		if err := w.Room(u); err != nil {
			return err
		}
		for i := range u.Events {
			if err := w.Unread(&u.Events[i]); err != nil {
				return err
			}
		}
	}
	return w.Flush()
}
