package v3

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
	"hearth/syncapi/core"
	"hearth/syncapi/viewapi"
)

// poll runs a long-poll of a minute in the bubble's time and returns what it got
// and how long it took.
type pending struct {
	done chan struct{}
	body []byte
	err  error
	took time.Duration
}

func (h *harness) start(ctx context.Context, req viewapi.SyncRequest) *pending {
	if req.TimeoutMS == 0 {
		req.TimeoutMS = 60_000
	}
	p := &pending{done: make(chan struct{})}
	begin := time.Now()
	go func() {
		p.body, p.err = h.rawContext(ctx, req)
		p.took = time.Since(begin)
		close(p.done)
	}()
	synctest.Wait()
	return p
}

func (p *pending) ended() bool {
	synctest.Wait()
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func inBubble(t *testing.T, f func(t *testing.T, h *harness, since string)) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		h.owners.Create(roomA, alice, "shared")
		h.owners.Create(roomB, bob, "shared")
		h.owners.Member(roomA, bob, bob, "join")
		r := h.sync(viewapi.SyncRequest{UserID: alice})
		f(t, h, r.NextBatch)
	})
}

func TestPollEndsWithTheTimeout(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness, since string) {
		p := h.start(context.Background(), viewapi.SyncRequest{UserID: alice, Since: since})
		<-p.done
		if p.err != nil || p.took != time.Minute || string(p.body) != quiet(since) {
			t.Errorf("got %s, %v after %s", p.body, p.err, p.took)
		}
	})
}

func TestPollWakesForWhatConcernsTheUser(t *testing.T) {
	tests := []struct {
		name string
		do   func(h *harness)
	}{
		{"Message", func(h *harness) { h.owners.Message(roomA, bob, "x") }},
		{"Receipt", func(h *harness) { h.owners.Receipt(roomA, bob, "m.read", "$1", "") }},
		{"OwnPrivateReceipt", func(h *harness) { h.owners.Receipt(roomA, alice, "m.read.private", "$1", "") }},
		{"Typing", func(h *harness) { h.owners.Typing(roomA, bob) }},
		{"AccountData", func(h *harness) { h.owners.SetAccountData(alice, "", "m.x", `{}`) }},
		{"RoomAccountData", func(h *harness) { h.owners.SetAccountData(alice, roomA, "m.x", `{}`) }},
		{"Invite", func(h *harness) { h.owners.Member(roomB, bob, alice, "invite") }},
		{"Join", func(h *harness) { h.owners.Member(roomB, alice, alice, "join") }},
		{"Kick", func(h *harness) { h.owners.Member(roomA, bob, alice, "leave") }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, h *harness, since string) {
				p := h.start(context.Background(), viewapi.SyncRequest{UserID: alice, Since: since})
				time.Sleep(10 * time.Second)
				if p.ended() {
					t.Fatalf("ended without reason: %s %v", p.body, p.err)
				}
				test.do(h)
				if !p.ended() || p.err != nil || p.took != 10*time.Second {
					t.Fatalf("not woken: %s %v after %s", p.body, p.err, p.took)
				}
				var r response
				if err := json.Unmarshal(p.body, &r); err != nil || r.NextBatch == since {
					t.Errorf("answer: %s", p.body)
				}
			})
		})
	}
}

func TestPollSleepsThroughTheRest(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness, since string) {
		filter := []byte(`{"room":{"timeline":{"not_types":["m.room.message"]},"ephemeral":{"not_types":["m.typing"]}}}`)
		p := h.start(context.Background(), viewapi.SyncRequest{UserID: alice, Since: since, Filter: filter})
		h.owners.Message(roomB, bob, "a room of others")
		h.owners.Message(roomA, bob, "filtered")
		h.owners.Typing(roomA, bob)
		h.owners.Receipt(roomA, bob, "m.read.private", "$1", "")
		h.owners.SetAccountData(bob, "", "m.x", `{}`)
		if p.ended() {
			t.Fatalf("woken for nothing: %s %v", p.body, p.err)
		}
		<-p.done
		if p.took != time.Minute || p.err != nil {
			t.Fatalf("%v after %s", p.err, p.took)
		}
		// The empty answer has moved the token on, and nothing is lost by that.
		var r response
		if err := json.Unmarshal(p.body, &r); err != nil {
			t.Fatal(err)
		}
		topic := h.owners.SetState(roomA, bob, "m.room.topic", "", "{}")
		r = h.sync(viewapi.SyncRequest{UserID: alice, Since: r.NextBatch, Filter: filter})
		wantIDs(t, "timeline", r.Rooms.Join[roomA].Timeline.Events, topic)
	})
}

func TestPollEndsWithItsClient(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness, since string) {
		ctx, cancel := context.WithCancel(context.Background())
		p := h.start(ctx, viewapi.SyncRequest{UserID: alice, Since: since})
		cancel()
		if !p.ended() || !errors.Is(p.err, context.Canceled) || p.took != 0 {
			t.Errorf("%v after %s", p.err, p.took)
		}
	})
}

func TestPollEndsWithTheService(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness, since string) {
		p := h.start(context.Background(), viewapi.SyncRequest{UserID: alice, Since: since})
		h.service.Stop()
		if !p.ended() || p.err != nil || string(p.body) != quiet(since) {
			t.Errorf("%s %v", p.body, p.err)
		}
		_, err := h.raw(viewapi.SyncRequest{UserID: alice, Since: since})
		if e := merr.From(err); e == nil || e.Status != http.StatusServiceUnavailable {
			t.Errorf("a stopped service answered %v", err)
		}
	})
}

func TestPollOfTooManySyncsOfAUserIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness, since string) {
		ctx, cancel := context.WithCancel(context.Background())
		var polls []*pending
		for range core.DefaultLimits().UserSyncs {
			polls = append(polls, h.start(ctx, viewapi.SyncRequest{UserID: alice, Since: since}))
		}
		_, err := h.raw(viewapi.SyncRequest{UserID: alice, Since: since})
		if e := merr.From(err); e == nil || e.Status != http.StatusTooManyRequests {
			t.Errorf("got %v", err)
		}
		h.sync(viewapi.SyncRequest{UserID: bob})
		cancel()
		for _, p := range polls {
			<-p.done
		}
		h.sync(viewapi.SyncRequest{UserID: alice, Since: since})
	})
}

// A token of another process may be ahead of this one's cursor.
func TestTokenAheadWaits(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness, since string) {
		var held []bus.Positioned[roomapi.Entry]
		deliver := h.owners.OnRoom
		h.owners.OnRoom = func(p bus.Positioned[roomapi.Entry]) { held = append(held, p) }
		m := h.owners.Message(roomA, bob, "x")
		rooms, users, _ := h.owners.Heads(context.Background()) // never fails
		p := h.start(context.Background(), viewapi.SyncRequest{
			UserID: alice, TimeoutMS: 1, Since: viewapi.Token{Room: rooms, User: users}.String()})
		late := h.start(context.Background(), viewapi.SyncRequest{UserID: bob})
		time.Sleep(3 * time.Second)
		if p.ended() {
			t.Fatalf("did not wait: %s %v", p.body, p.err)
		}
		if late.ended() {
			t.Errorf("a view that was loaded ahead of the cursor was used: %s", late.body)
		}
		for _, e := range held {
			deliver(e)
		}
		if time.Sleep(time.Second); !p.ended() || p.err != nil {
			t.Fatalf("%s %v", p.body, p.err)
		}
		var r response
		if err := json.Unmarshal(late.body, &r); err != nil {
			t.Fatal(err)
		}
		list := r.Rooms.Join[roomA].Timeline.Events
		if list[len(list)-1].EventID != m {
			t.Errorf("timeline: %v", ids(list))
		}
		h.owners.Message(roomA, bob, "y")
		behind := h.start(context.Background(), viewapi.SyncRequest{
			UserID: alice, Since: viewapi.Token{Room: rooms + 1, User: users}.String()})
		if <-behind.done; behind.took != 5*time.Second || merr.From(behind.err).Status != http.StatusServiceUnavailable {
			t.Errorf("%v after %s", behind.err, behind.took)
		}
		never := h.start(context.Background(), viewapi.SyncRequest{
			UserID: alice, Since: viewapi.Token{Room: rooms + 10}.String()})
		if <-never.done; never.took != 5*time.Second || merr.From(never.err).Status != http.StatusBadRequest {
			t.Errorf("%v after %s", never.err, never.took)
		}
	})
}

// failing is a source whose windows fail for some rooms.
type failing struct {
	core.Source
	mu   sync.Mutex
	fail map[string]bool
	wait chan struct{}
}

func (f *failing) Window(ctx context.Context, req *roomapi.WindowRequest) (*roomapi.Window, error) {
	f.mu.Lock()
	fail := f.fail[req.RoomID]
	f.mu.Unlock()
	if fail {
		return nil, merr.Unavailable("no")
	}
	if f.wait != nil {
		select {
		case <-f.wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return f.Source.Window(ctx, req)
}

func TestFailureOfTheOwnerFailsTheSync(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness, since string) {
		for i := range 30 {
			h.owners.Create(fmt.Sprintf("!%d:h", i), alice, "shared")
		}
		src := &failing{Source: h.owners, fail: map[string]bool{"!20:h": true}}
		engine := core.New(core.Options{Source: src, Limits: core.DefaultLimits(), RoomPos: int64(len(h.owners.Rooms(0)))})
		defer engine.Close()
		h.engine.Close()
		h.engine, h.service.engine = engine, engine
		if _, err := h.raw(viewapi.SyncRequest{UserID: alice}); merr.From(err).Status != http.StatusServiceUnavailable {
			t.Errorf("got %v", err)
		}
		src.mu.Lock()
		src.fail = nil
		src.mu.Unlock()
		if r := h.sync(viewapi.SyncRequest{UserID: alice}); len(r.Rooms.Join) != 31 {
			t.Errorf("%d rooms", len(r.Rooms.Join))
		}
	})
}

// Clients that do not read their answers must not keep others waiting.
func TestSlowReadersHoldNoSlots(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness, since string) {
		for i := range 40 {
			h.owners.Create(fmt.Sprintf("!%d:h", i), bob, "shared")
			h.owners.Message(fmt.Sprintf("!%d:h", i), bob, string(make([]byte, 3000)))
		}
		ctx, cancel := context.WithCancel(context.Background())
		var readers sync.WaitGroup
		for range 30 {
			readers.Go(func() {
				_ = h.service.Sync(ctx, &viewapi.SyncRequest{UserID: bob}, func([]byte) error { // its error is that of ctx
					<-ctx.Done()
					return ctx.Err()
				})
			})
		}
		synctest.Wait()
		p := h.start(context.Background(), viewapi.SyncRequest{UserID: alice})
		if !p.ended() || p.err != nil {
			t.Errorf("waits behind slow readers: %v", p.err)
		}
		cancel()
		readers.Wait()
	})
}
