package delayed

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/internal/store/storetest"
	"hearth/roomserver/roomapi"
)

// rooms stands in for the roomserver: it sends once for each transaction id.
type rooms struct {
	mu     sync.Mutex
	sent   []string // transaction ids, in order
	fail   error
	onSend func(txn string)
}

func (f *rooms) send(_ context.Context, req *roomapi.SendRequest) (*roomapi.SendResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return nil, f.fail
	}
	if !slices.Contains(f.sent, req.TxnID) {
		f.sent = append(f.sent, req.TxnID)
	}
	if f.onSend != nil {
		f.onSend(req.TxnID)
	}
	return &roomapi.SendResponse{EventID: "$" + req.TxnID}, nil
}

type fixture struct {
	*Server
	t     *testing.T
	rooms *rooms
	open  func() *Server
	mu    sync.Mutex
	time  time.Time
}

func (f *fixture) at() time.Time { f.mu.Lock(); defer f.mu.Unlock(); return f.time }

func (f *fixture) pass(d time.Duration) { f.mu.Lock(); defer f.mu.Unlock(); f.time = f.time.Add(d) }

func each(t *testing.T, test func(t *testing.T, f *fixture)) {
	storetest.EachEngine(t, func(t *testing.T, e storetest.Engine) {
		log := logrus.New()
		log.SetOutput(t.Output())
		b, err := bus.Connect(t.Context(), bus.Options{Local: true, Log: logrus.NewEntry(log)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		f := &fixture{t: t, rooms: &rooms{}, time: time.UnixMilli(1_700_000_000_000)}
		if err := bus.Handle(b, roomapi.Send, f.rooms.send); err != nil {
			t.Fatal(err)
		}
		f.open = func() *Server {
			s, err := New(context.Background(), Deps{
				Bus: b, DataDir: e.Options.DataDir, DatabaseURL: e.Options.URL, Log: logrus.NewEntry(log), Now: f.at,
				Limit: func(string) error { return nil },
				Sender: func(_ context.Context, userID string) (bool, error) {
					if userID == "@suspended:x" {
						return false, merr.Forbidden("suspended")
					}
					return userID == "@silent:x", nil
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		f.Server = f.open()
		t.Cleanup(func() { _ = f.Close() })
		test(t, f)
	})
}

// reopen closes the database and opens it again, as a new process does.
func (f *fixture) reopen() {
	f.t.Helper()
	if err := f.Close(); err != nil {
		f.t.Fatal(err)
	}
	f.Server = f.open()
}

func (f *fixture) later(user, txn string, delay time.Duration) string {
	f.t.Helper()
	id, err := f.Schedule(f.t.Context(), &Event{UserID: user, TxnID: txn, RoomID: "!r", Type: "m.x", Content: []byte(`{}`), Delay: delay})
	if err != nil {
		f.t.Fatal(err)
	}
	return id
}

func (f *fixture) due() time.Duration {
	f.t.Helper()
	wait, err := f.sendDue(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	return wait
}

func TestScheduleOutlivesTheProcess(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		third, first := f.later("@a:x", "", 3*time.Hour), f.later("@a:x", "", 30*time.Minute)
		second := f.later("@a:x", "", 2*time.Hour)
		if wait := f.due(); wait != 30*time.Minute || len(f.rooms.sent) != 0 {
			t.Errorf("waits %v after sending %v", wait, f.rooms.sent)
		}
		f.reopen()
		f.pass(5 * time.Hour) // while it was off
		f.due()
		if !slices.Equal(f.rooms.sent, []string{first, second, third}) {
			t.Errorf("sent %v", f.rooms.sent)
		}
		f.reopen()
		f.due()
		if len(f.rooms.sent) != 3 {
			t.Errorf("sent again: %v", f.rooms.sent)
		}
	})
}

// TestSentOnce ends the process between the roomserver's answer and its note.
func TestSentOnce(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		id := f.later("@a:x", "1", time.Second)
		f.pass(time.Minute)
		ctx, cancel := context.WithCancel(t.Context())
		f.rooms.onSend = func(string) { cancel() }
		if _, err := f.sendDue(ctx); err == nil {
			t.Error("a note was made although the process had ended")
		}
		f.rooms.onSend = nil
		f.reopen()
		f.due()
		e, err := f.db.get(t.Context(), id)
		if err != nil || e.state != sent || e.eventID != "$"+id || len(f.rooms.sent) != 1 {
			t.Errorf("%+v %v, sent %v", e, err, f.rooms.sent)
		}
	})
}

func TestFailures(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		id := f.later("@a:x", "", time.Second)
		f.pass(time.Minute)
		f.rooms.fail = merr.Unavailable("away")
		if wait, err := f.sendDue(t.Context()); err == nil || wait != again {
			t.Errorf("waits %v, %v", wait, err)
		}
		f.rooms.fail = merr.Forbidden("no")
		f.due()
		e, err := f.db.get(t.Context(), id)
		if err != nil || e.state != cancelled || string(e.failure) != `{"errcode":"M_FORBIDDEN","error":"no"}` {
			t.Errorf("%+v %v", e, err)
		}
		f.rooms.fail = nil
		f.due()
		if len(f.rooms.sent) != 0 {
			t.Error("sent after all")
		}
	})
}

// TestRestrictedSenders lets the time come of events of users who were restricted since.
func TestRestrictedSenders(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		silent, suspended := f.later("@silent:x", "", time.Second), f.later("@suspended:x", "", time.Second)
		f.pass(time.Minute)
		f.due()
		if len(f.rooms.sent) != 0 {
			t.Errorf("sent %v", f.rooms.sent)
		}
		if e, err := f.db.get(t.Context(), silent); err != nil || e.state != sent || len(e.eventID) != 44 || e.failure != nil {
			t.Errorf("silent: %+v %v", e, err)
		}
		if e, err := f.db.get(t.Context(), suspended); err != nil || e.state != cancelled || e.failure == nil {
			t.Errorf("suspended: %+v %v", e, err)
		}
	})
}

func TestOldOnesAreForgotten(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		old := f.later("@a:x", "1", time.Second)
		f.pass(time.Minute)
		f.due()
		f.pass(keepEnded)
		if same := f.later("@a:x", "1", 10*time.Second); same != old { // the transaction id is remembered as long
			t.Errorf("%s, then %s", old, same)
		}
		waiting := f.later("@a:x", "2", 10*time.Second)
		f.pass(time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- f.Run(ctx) }()
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			if _, err := f.db.get(t.Context(), old); err != nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("never forgotten")
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if e, err := f.db.get(t.Context(), waiting); err != nil || e.state != scheduled {
			t.Errorf("%+v %v", e, err)
		}
	})
}

// TestCancelledIsNotSent lets the time come while users cancel.
func TestCancelledIsNotSent(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		var ids, gone []string
		for i := range 40 {
			ids = append(ids, f.later(fmt.Sprintf("@u%d:x", i%7), "", time.Second))
		}
		f.pass(time.Minute)
		var group sync.WaitGroup
		group.Go(func() {
			for _, id := range ids {
				unlock := f.lock(id)
				e, err := f.db.get(t.Context(), id)
				if err == nil && e.state == scheduled {
					e.state, e.ended = cancelled, 1
					err = f.db.end(t.Context(), e)
					gone = append(gone, id)
				}
				unlock()
				if err != nil {
					t.Error(err)
				}
			}
		})
		f.due()
		group.Wait()
		for _, id := range gone {
			if slices.Contains(f.rooms.sent, id) {
				t.Errorf("%s was cancelled and sent", id)
			}
		}
		if len(gone)+len(f.rooms.sent) != len(ids) {
			t.Errorf("%d cancelled, %d sent, of %d", len(gone), len(f.rooms.sent), len(ids))
		}
	})
}
