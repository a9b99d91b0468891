package roomserver

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth/internal/bus"
	"hearth/internal/testkit/postgres"
	"hearth/roomserver/roomapi"
)

func TestRestartKeepsEverything(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		room := f.create(roomapi.CreateRequest{Creator: alice, Name: "Den", Topic: "fire", AliasLocalpart: "den", Public: true})
		f.join("#den:test.example", bob)
		var want []string
		ids := map[string]string{}
		for i := range 150 { // more than two checkpoints, and a rest to replay
			body := fmt.Sprint("message ", i)
			ids[body] = f.send(room, alice, body, body)
			want = append(want, body)
			if i%40 == 7 {
				f.state(room, alice, "m.room.topic", "", fmt.Sprintf(`{"topic":"number %d"}`, i))
			}
		}
		before := f.currentState(room, alice)
		f.restart()
		if got := f.texts(room, bob); !slices.Equal(got, want) {
			t.Errorf("after a restart bob sees %d messages, want %d", len(got), len(want))
		}
		if after := f.currentState(room, alice); !slices.Equal(after, before) {
			t.Errorf("state before the restart:\n%s\nafter:\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
		}
		for body, id := range ids {
			if again := f.send(room, alice, body, "another body"); again != id {
				t.Errorf("transaction %q gave %s before and %s after the restart", body, id, again)
			}
		}
		f.send(room, bob, "new", "goes on")
		w, err := roomapi.ReadWindow(t.Context(), f.bus, &roomapi.WindowRequest{RoomID: room, UserID: bob, Limit: 1})
		if err != nil || w.Joined != 2 || len(w.Timeline) != 1 || w.Timeline[0].Sender != bob {
			t.Errorf("window after the restart: %+v, %v", w, err)
		}
	})
}

// currentState lists the state as "type|key|event id", sorted.
func (f *fixture) currentState(room, user string) []string {
	f.t.Helper()
	var list []string
	err := roomapi.ReadEvents(f.t.Context(), f.bus, &roomapi.StateRequest{RoomID: room, UserID: user}, func(e *roomapi.Event) error {
		list = append(list, e.Type+"|"+*e.StateKey+"|"+e.EventID)
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	slices.Sort(list)
	return list
}

func TestManySendersOneOrder(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		room := f.create(roomapi.CreateRequest{Creator: alice})
		const senders, each = 16, 25
		var wg sync.WaitGroup
		for w := range senders {
			wg.Go(func() {
				for i := range each {
					txn := fmt.Sprint(w, "/", i)
					var ids [2]string
					var twins sync.WaitGroup
					for k := range ids { // the same request twice at the same time
						twins.Go(func() { ids[k] = f.send(room, alice, txn, txn) })
					}
					twins.Wait()
					if ids[0] != ids[1] {
						t.Errorf("transaction %s gave %s and %s", txn, ids[0], ids[1])
					}
				}
			})
		}
		wg.Wait()
		got := f.texts(room, alice)
		if len(got) != senders*each {
			t.Errorf("%d messages, want %d", len(got), senders*each)
		}
		slices.Sort(got)
		if unique := len(slices.Compact(got)); unique != senders*each {
			t.Errorf("%d different messages, want %d", unique, senders*each)
		}
	})
}

// TestLogTellsEverythingOnce compares what a follower hears live with what one
// that comes later reads from the store.
func TestLogTellsEverythingOnce(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		live := follow(ctx, t, f)
		room := f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat"})
		f.join(room, bob)
		first := f.send(room, alice, "1", "one")
		second := f.send(room, alice, "2", "two")
		do(f, roomapi.SetReceipt, roomapi.ReceiptRequest{RoomID: room, UserID: bob, Kind: "m.read", EventID: first})
		do(f, roomapi.SetReceipt, roomapi.ReceiptRequest{RoomID: room, UserID: bob, Kind: "m.read", EventID: second})
		do(f, roomapi.Redact, roomapi.RedactRequest{RoomID: room, Sender: alice, EventID: second})
		f.leave(room, bob)
		do(f, roomapi.Forget, roomapi.ForgetRequest{RoomID: room, UserID: bob})
		head := f.s.store.DB.Head()
		heard := live.upTo(head)
		later := follow(ctx, t, f).upTo(head)
		if len(heard) != int(head) || len(later) != int(head) {
			t.Fatalf("head %d, heard %d entries live and %d later", head, len(heard), len(later))
		}
		for i := range heard {
			a, b := heard[i], later[i]
			if b.Kind == 0 { // a receipt that the next one replaced
				if a.Kind != roomapi.KindReceipt || a.Receipt.EventID != first {
					t.Errorf("position %d is empty later; live it was %+v", i+1, a)
				}
				continue
			}
			if a.Event != nil && b.Event != nil && a.Event.EventID == second {
				continue // redacted in between
			}
			if got, want := string(b.AppendWire(nil)), string(a.AppendWire(nil)); got != want {
				t.Errorf("position %d: later %q, live %q", i+1, got, want)
			}
		}
	})
}

type follower struct {
	t  *testing.T
	mu sync.Mutex
	in []roomapi.Entry
}

func follow(ctx context.Context, t *testing.T, f *fixture) *follower {
	fw := &follower{t: t}
	go bus.Follow(ctx, f.bus, roomapi.Log, 0, func(_ context.Context, batch []bus.Positioned[roomapi.Entry]) error {
		fw.mu.Lock()
		defer fw.mu.Unlock()
		for _, p := range batch {
			fw.in = append(fw.in, *p.Entry)
			if p.Pos != int64(len(fw.in)) {
				t.Errorf("position %d came as number %d", p.Pos, len(fw.in))
			}
		}
		return nil
	})
	return fw
}

func (fw *follower) upTo(pos int64) []roomapi.Entry {
	deadline := time.Now().Add(10 * time.Second)
	for {
		fw.mu.Lock()
		in := slices.Clone(fw.in)
		fw.mu.Unlock()
		if int64(len(in)) >= pos || time.Now().After(deadline) {
			return in
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	for name, url := range map[string]string{"SQLite": "", "PostgreSQL": postgres.URL(t)} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, t.TempDir(), url, true)
			_, err := New(t.Context(), Deps{
				Bus: f.bus, ServerName: f.s.serverName, DataDir: f.dir, DatabaseURL: url, Log: f.s.log, Now: time.Now, Key: f.s.key,
			})
			if err == nil || !strings.Contains(err.Error(), "in use") {
				t.Errorf("second roomserver on the same database: %v", err)
			}
		})
	}
}
