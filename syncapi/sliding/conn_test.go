package sliding

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"hearth/syncapi/viewapi"
)

const oneList = `{"conn_id":"%s","lists":{"l":{"ranges":[[0,9]],"timeline_limit":5}}}`

func TestPositions(t *testing.T) {
	h := newHarness(t)
	h.owners.Create(roomA, alice, "shared")
	p := &phone{h: h, user: alice, body: fmt.Sprintf(oneList, "a")}
	p.sync()
	first := p.pos
	m := h.owners.Message(roomA, alice, "x")
	lost := p.sync()
	p.pos = first
	again := p.sync()
	if len(again.Rooms[roomA].Timeline) != 1 || again.Rooms[roomA].Timeline[0].EventID != m {
		t.Errorf("after a lost answer: %+v", again.Rooms)
	}
	unknown := func(what string, req viewapi.SlidingRequest) {
		t.Helper()
		if _, err := h.try(req); !isCode(err, "M_UNKNOWN_POS") {
			t.Errorf("%s: %v", what, err)
		}
	}
	req := p.request()
	req.Pos = lost.Pos
	unknown("the lost answer's position", req)
	req = p.request()
	req.Pos = first
	p.sync()
	unknown("a position from before the last", req)
	for what, change := range map[string]func(r *viewapi.SlidingRequest){
		"another user":       func(r *viewapi.SlidingRequest) { r.UserID = bob },
		"another device":     func(r *viewapi.SlidingRequest) { r.DeviceID = "E" },
		"another connection": func(r *viewapi.SlidingRequest) { r.Body = json.RawMessage(fmt.Sprintf(oneList, "b")) },
		"nonsense":           func(r *viewapi.SlidingRequest) { r.Pos = "5" },
		"a guess":            func(r *viewapi.SlidingRequest) { r.Pos = viewapi.Pos{Slot: h.service.Slot(), Conn: 1, Seq: 1}.String() },
	} {
		req := p.request()
		change(&req)
		unknown(what, req)
	}
	req = p.request()
	h.restart(100)
	unknown("after a restart", req)
	p.pos = ""
	if !p.sync().Rooms[roomA].Initial {
		t.Error("a new connection knows the room")
	}
}

// A request on a connection takes the place of the one that waits there.
func TestOneRequestAtATime(t *testing.T) {
	h := newHarness(t)
	h.owners.Create(roomA, alice, "shared")
	p := &phone{h: h, user: alice, body: fmt.Sprintf(oneList, "a")}
	p.sync()
	ended := make(chan error, 2)
	for range 2 {
		req := p.request()
		req.TimeoutMS = 60_000
		go func() {
			_, err := h.raw(context.Background(), req)
			ended <- err
		}()
		waitFor(t, func() bool { return h.service.active.Load() == 1 })
	}
	if err := <-ended; !isCode(err, "M_UNKNOWN_POS") {
		t.Errorf("the request that was replaced: %v", err)
	}
	h.owners.Message(roomA, alice, "x")
	if err := <-ended; err != nil {
		t.Errorf("the one that replaced it: %v", err)
	}
}

func waitFor(t *testing.T, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
	}
}

// The bell of something that concerns no list and no extension ends no long-poll.
func TestWaiting(t *testing.T) {
	h := newHarness(t)
	h.owners.Create(roomA, alice, "shared")
	h.owners.Create(roomB, alice, "shared")
	p := &phone{h: h, user: alice, body: `{"lists":{"l":{"ranges":[[0,0]],"timeline_limit":5,"filters":{"is_dm":true}}},` +
		`"room_subscriptions":{"` + roomA + `":{"timeline_limit":1}}}`}
	p.sync()
	req := p.request()
	req.TimeoutMS = 60_000
	done := make(chan response, 1)
	go func() { done <- h.sync(req) }()
	waitFor(t, func() bool { return h.service.active.Load() == 1 })
	h.owners.Message(roomB, alice, "x")
	h.owners.Typing(roomA, bob)
	h.owners.Receipt(roomA, bob, "m.read", "$x", "")
	h.owners.SetAccountData(alice, "", "m.x", `{}`)
	select {
	case r := <-done:
		t.Fatalf("woken by what is not wanted: %+v", r)
	case <-time.After(50 * time.Millisecond):
	}
	h.owners.Message(roomA, alice, "y")
	select {
	case r := <-done:
		if len(r.Rooms[roomA].Timeline) != 1 {
			t.Errorf("answer: %+v", r)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("not woken")
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	c := newConns()
	var first *conn
	for i := range maxDeviceConns + 1 {
		n := c.find(connKey{alice, "D", fmt.Sprint(i)}, nil, func() {})
		if i == 0 {
			first = n
		}
	}
	if n, _ := c.size(); n != maxDeviceConns {
		t.Errorf("%d connections of one device", n)
	}
	if c.find(first.key, &viewapi.Pos{Conn: first.id}, func() {}) != nil {
		t.Error("the oldest one is still there")
	}
	ended := 0
	for i := range 4 {
		n := c.find(connKey{bob, fmt.Sprint(i), ""}, nil, func() { ended++ })
		<-n.turn
		for j := range maxKnown / 3 {
			n.rooms[fmt.Sprint(j)] = known{}
		}
		c.done(n)
	}
	if n, rooms := c.size(); rooms > maxKnown || n != 2 || ended != 2 {
		t.Errorf("%d connections with %d rooms, %d ended", n, rooms, ended)
	}
	if len(c.devices) != 2 {
		t.Errorf("%d devices", len(c.devices))
	}
}

func TestStopAnswersAtOnce(t *testing.T) {
	h := newHarness(t)
	h.owners.Create(roomA, alice, "shared")
	p := &phone{h: h, user: alice, body: fmt.Sprintf(oneList, "a")}
	p.sync()
	req := p.request()
	req.TimeoutMS = 60_000
	done := make(chan error, 1)
	go func() {
		_, err := h.raw(context.Background(), req)
		done <- err
	}()
	waitFor(t, func() bool { return h.service.active.Load() == 1 })
	h.service.Stop()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the long-poll goes on")
	}
	if _, err := h.try(p.request()); !isCode(err, "M_UNAVAILABLE") {
		t.Errorf("after Stop: %v", err)
	}
}
