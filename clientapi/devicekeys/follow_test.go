package devicekeys_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"hearth/clientapi/userapi"
	"hearth/federationapi/remoteapi"
	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// world is what the user store asks of the roomserver and of federationapi.
type world struct {
	h *house

	mu      sync.Mutex // guards what follows
	servers []string   // that share rooms with every local user
	locals  []string   // who are in every room
	away    bool       // nothing can be queued
	edus    []remoteapi.EDURequest
	log     []*roomapi.Entry
}

// federate runs the part of the store that other servers need until stop is called.
func (h *house) federate(w *world) (stop func()) {
	h.t.Helper()
	w.h = h
	for _, err := range []error{
		bus.Handle(h.bus, roomapi.ServersOf, func(context.Context, *roomapi.ServersOfRequest) (*roomapi.HostsResponse, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return &roomapi.HostsResponse{Servers: w.servers}, nil
		}),
		bus.Handle(h.bus, roomapi.Hosts, func(context.Context, *roomapi.HostsRequest) (*roomapi.HostsResponse, error) {
			return &roomapi.HostsResponse{Servers: []string{"there"}}, nil
		}),
		bus.Handle(h.bus, roomapi.LocalMembers, func(context.Context, *roomapi.LocalMembersRequest) (*roomapi.LocalMembersResponse, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return &roomapi.LocalMembersResponse{UserIDs: w.locals}, nil
		}),
		bus.Handle(h.bus, remoteapi.QueueEDU, func(_ context.Context, req *remoteapi.EDURequest) (*remoteapi.Empty, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.away {
				return nil, merr.Unavailable("away")
			}
			w.edus = append(w.edus, *req)
			return &remoteapi.Empty{}, nil
		}),
		bus.ServeLog(h.bus, roomapi.Log, func(_ context.Context, after int64, limit int) ([]bus.Positioned[roomapi.Entry], int64, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			var out []bus.Positioned[roomapi.Entry]
			for pos := after + 1; pos <= int64(len(w.log)) && len(out) < limit; pos++ {
				out = append(out, bus.Positioned[roomapi.Entry]{Pos: pos, Entry: w.log[pos-1]})
			}
			return out, int64(len(w.log)), nil
		}),
	} {
		if err != nil {
			h.t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(h.ctx)
	done := make(chan error, 1)
	go func() { done <- h.users.Federate(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Error(err)
		}
	}
}

func (w *world) publish(e *roomapi.Entry) {
	w.mu.Lock()
	w.log = append(w.log, e)
	n := int64(len(w.log))
	w.mu.Unlock()
	bus.NewPublisher(w.h.bus, roomapi.Log, func() int64 { return n }).Publish(n, e)
}

func (w *world) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// until waits until something holds.
func (h *house) until(what string, holds func() bool) {
	h.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			h.t.Fatalf("waited for %s", what)
		}
	}
}

func TestOtherServersAreTold(t *testing.T) {
	each(t, func(h *house) {
		a := h.user("alice", "PHONE")
		a.upload(0, 0)
		w := &world{servers: []string{"a.example", "b.example"}}
		stop := h.federate(w)
		h.until("the log to be followed", func() bool {
			a.key = newKey(time.Now().String())
			a.upload(0, 0)
			w.mu.Lock()
			defer w.mu.Unlock()
			return len(w.edus) > 0
		})
		h.until("all of it to be told", func() bool {
			pos := call(h, userapi.DeviceListPosition, userapi.UserRequest{UserID: a.user}).Pos
			w.mu.Lock()
			defer w.mu.Unlock()
			stream, _ := pdu.GetInt(w.edus[len(w.edus)-1].Content, "stream_id")
			return stream == pos
		})
		count := func(n int) func() bool {
			return func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.edus) >= n }
		}
		w.set(func() { w.edus, w.away = nil, true })
		name := "renamed"
		call(h, userapi.SetDevice, userapi.SetDeviceRequest{UserID: a.user, DeviceID: a.id, DisplayName: &name})
		k := public(newKey("master"))
		call(h, userapi.SetCrossSigning, userapi.SetCrossSigningRequest{UserID: a.user,
			Master: json.RawMessage(fmt.Sprintf(`{"keys":{"ed25519:%s":%q},"usage":["master"],"user_id":%q}`, k, k, a.user))})
		time.Sleep(50 * time.Millisecond)
		stop()
		h.restart() // what was not told is told later
		w.set(func() { w.away = false })
		stop = h.federate(w)
		defer func() { stop() }()
		h.until("both changes", count(2))
		call(h, userapi.Logout, userapi.LogoutRequest{UserID: a.user, Devices: []string{a.id}})
		h.until("the log-out", count(3))
		w.mu.Lock()
		defer w.mu.Unlock()
		var kinds []string
		last := int64(0)
		for _, edu := range w.edus {
			kinds = append(kinds, edu.Type)
			if !slices.Equal(edu.Destinations, w.servers) {
				t.Errorf("sent to %v", edu.Destinations)
			}
			if edu.Type != "m.device_list_update" {
				continue
			}
			stream, _ := pdu.GetInt(edu.Content, "stream_id")
			prev, _ := pdu.Get(edu.Content, "prev_id")
			if string(prev) != fmt.Sprintf("[%d]", last) && last > 0 {
				t.Errorf("%s comes after %d", edu.Content, last)
			}
			last = stream
		}
		if want := []string{"m.device_list_update", "m.signing_key_update", "m.device_list_update"}; !slices.Equal(kinds, want) {
			t.Fatalf("%v", kinds)
		}
		if name, _ := pdu.GetString(w.edus[0].Content, "device_display_name"); name != "renamed" {
			t.Errorf("%s", w.edus[0].Content)
		}
		if deleted, _ := pdu.GetBool(w.edus[2].Content, "deleted"); !deleted {
			t.Errorf("%s", w.edus[2].Content)
		}
		if master, _ := pdu.Get(w.edus[1].Content, "master_key"); pdu.Kind(master) != '{' {
			t.Errorf("%s", w.edus[1].Content)
		}
	})
}

func TestListsOfWhoLeavesAreNotTrusted(t *testing.T) {
	each(t, func(h *house) {
		h.user("alice", "PHONE")
		w := &world{locals: []string{"@alice:test"}}
		stop := h.federate(w)
		defer func() { stop() }()
		bob := h.stranger("@bob:there")
		bob.update("A", false)
		trust := func() {
			t.Helper()
			call(h, userapi.SetRemoteDevices, userapi.SetRemoteDevicesRequest{UserID: bob.id, Answer: bob.answer()})
			h.expect("fetched", bob.id, "A")
		}
		member := func(user, membership string) *roomapi.Event {
			return &roomapi.Event{Type: "m.room.member", StateKey: &user, Membership: membership, JSON: json.RawMessage(`{}`)}
		}
		stale := func() bool { return slices.Equal(h.knows(bob.id), []string{"?", "A"}) }
		h.until("the log to be followed", func() bool {
			trust()
			w.publish(&roomapi.Entry{Kind: roomapi.KindEvent, RoomID: "!r:test", Event: member(bob.id, "leave")})
			time.Sleep(20 * time.Millisecond)
			return stale()
		})
		for name, e := range map[string]*roomapi.Entry{
			"ban": {Event: member(bob.id, "ban")}, "state resolution": {State: []*roomapi.Event{member(bob.id, "leave")}},
			"gone": {Gone: []roomapi.StateKey{{Type: "m.room.member", StateKey: bob.id}}}, "reset": {Reset: true},
		} {
			time.Sleep(50 * time.Millisecond) // those before are applied
			trust()
			e.Kind, e.RoomID = roomapi.KindEvent, "!r:test"
			w.publish(e)
			h.until(name, stale)
		}
		time.Sleep(300 * time.Millisecond)
		trust()
		w.publish(&roomapi.Entry{Kind: roomapi.KindEvent, RoomID: "!r:test", Event: member("@alice:test", "leave")})
		time.Sleep(100 * time.Millisecond)
		h.expect("others of ours are still there", bob.id, "A")
		w.set(func() { w.locals = nil })
		w.publish(&roomapi.Entry{Kind: roomapi.KindEvent, RoomID: "!r:test", Event: member("@alice:test", "leave")})
		h.until("the last of ours to leave", stale)
	})
}
