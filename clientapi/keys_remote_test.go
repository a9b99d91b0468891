package clientapi

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth/federationapi/remoteapi"
	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// elsewhere is another server with the user @bob:there, who has the device D.
type elsewhere struct {
	mu     sync.Mutex
	away   bool
	shared []string
	asked  map[string]int // calls by kind
	edus   []remoteapi.EDURequest
	bob    keyring
}

func (e *elsewhere) call(kind string, answer any) (*remoteapi.Object, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked[kind]++
	if e.away {
		return nil, merr.Unavailable("away")
	}
	raw, err := json.Marshal(answer)
	if err == nil {
		raw, err = pdu.Canonical(raw, true)
	}
	return &remoteapi.Object{JSON: raw}, err
}

func (e *elsewhere) count(kind string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.asked[kind]
}

func (e *elsewhere) set(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f()
}

func newElsewhere(s *server) *elsewhere {
	e := &elsewhere{asked: map[string]int{}, bob: keyring{s.t, "@bob:there"}}
	device := json.RawMessage(e.bob.device("D"))
	must(s.t, bus.Handle(s.bus, remoteapi.QueryKeys, func(_ context.Context, req *remoteapi.KeysRequest) (*remoteapi.Object, error) {
		return e.call("query", map[string]any{
			"device_keys": map[string]any{"@bob:there": map[string]any{"D": device}, "@forged:there": map[string]any{"D": device}},
			"master_keys": map[string]any{"@bob:there": json.RawMessage(e.bob.cross("master", "master")), "@alice:test": json.RawMessage(`{}`)},
		})
	}))
	must(s.t, bus.Handle(s.bus, remoteapi.ClaimKeys, func(_ context.Context, req *remoteapi.KeysRequest) (*remoteapi.Object, error) {
		return e.call("claim", map[string]any{"one_time_keys": map[string]any{
			"@bob:there": map[string]any{"D": map[string]any{"signed_curve25519:a": map[string]string{"key": "k"}}, "OTHER": map[string]any{}}}})
	}))
	must(s.t, bus.Handle(s.bus, remoteapi.UserDevices, func(context.Context, *remoteapi.UserRequest) (*remoteapi.Object, error) {
		return e.call("devices", map[string]any{"user_id": "@bob:there", "stream_id": 5, "devices": []any{map[string]any{"device_id": "D", "keys": device}}})
	}))
	must(s.t, bus.Handle(s.bus, remoteapi.QueueEDU, func(_ context.Context, req *remoteapi.EDURequest) (*remoteapi.Empty, error) {
		e.set(func() { e.edus = append(e.edus, *req) })
		return &remoteapi.Empty{}, nil
	}))
	must(s.t, bus.HandleStream(s.bus, roomapi.PeersStream, func(_ context.Context, _ *roomapi.PeersRequest, send func([]byte) error) error {
		e.mu.Lock()
		defer e.mu.Unlock()
		peers := roomapi.Peers{Shared: e.shared}
		return send(peers.Append(nil))
	}))
	return e
}

func eachFederating(t *testing.T, test func(s *server)) {
	change := func(d *Deps) { d.Federation = true }
	t.Run("local", func(t *testing.T) { test(start(t, true, change)) })
	t.Run("nats", func(t *testing.T) { test(start(t, false, change)) })
}

func TestKeysOfOtherServers(t *testing.T) {
	eachFederating(t, func(s *server) {
		e := newElsewhere(s)
		alice := s.user("alice")
		query := func() answer {
			s.t.Helper()
			return s.must("POST", "/keys/query", alice, `{"device_keys":{"@bob:there":[],"@alice:test":[]}}`)
		}
		a := query()
		same(s.t, "devices", string(mustJSON(a.body["device_keys"])), `{"@alice:test":{},"@bob:there":{"D":`+e.bob.device("D")+`}}`)
		same(s.t, "master keys", string(mustJSON(a.body["master_keys"])), `{"@bob:there":`+e.bob.cross("master", "master")+`}`)
		query()
		if n := e.count("query"); n != 2 || e.count("devices") != 0 {
			s.t.Errorf("without a shared room: asked %d times", n)
		}
		e.set(func() { e.away = true })
		a = query()
		same(s.t, "away", string(mustJSON(a.body["device_keys"])), `{"@alice:test":{}}`)
		if failures := a.body["failures"].(map[string]any); failures["there"] == nil {
			s.t.Errorf("%s", a.raw)
		}

		// In a shared room the list is kept, and asked for no more.
		e.set(func() { e.away, e.shared = false, []string{"@bob:there"} })
		query()
		deadline := time.Now().Add(10 * time.Second)
		for before := -1; before != e.count("query"); {
			if time.Now().After(deadline) {
				s.t.Fatal("the list is not kept")
			}
			time.Sleep(20 * time.Millisecond)
			before = e.count("query")
			a = query()
		}
		if !strings.Contains(a.raw, `"D":`) || e.count("devices") != 1 {
			s.t.Errorf("%s; fetched %d times", a.raw, e.count("devices"))
		}
		e.set(func() { e.away = true })
		if a = query(); !strings.Contains(a.raw, `"D":`) || len(a.body["failures"].(map[string]any)) != 0 {
			s.t.Errorf("%s", a.raw)
		}
	})
}

func TestClaimsOfOtherServers(t *testing.T) {
	eachFederating(t, func(s *server) {
		e := newElsewhere(s)
		alice := s.user("alice")
		claim := `{"one_time_keys":{"@bob:there":{"D":"signed_curve25519"},"@x:nowhere":{"D":"signed_curve25519"}}}`
		a := s.must("POST", "/keys/claim", alice, claim)
		same(s.t, "claim", string(mustJSON(a.body["one_time_keys"])), `{"@bob:there":{"D":{"signed_curve25519:a":{"key":"k"}}}}`)
		e.set(func() { e.away = true })
		a = s.must("POST", "/keys/claim", alice, claim)
		if failures := a.body["failures"].(map[string]any); failures["there"] == nil || failures["nowhere"] == nil {
			s.t.Errorf("%s", a.raw)
		}
	})
}

func TestMessagesForDevicesElsewhere(t *testing.T) {
	eachFederating(t, func(s *server) {
		e := newElsewhere(s)
		alice := s.user("alice")
		large := strings.Repeat("x", 30<<10)
		body := fmt.Sprintf(`{"messages":{"@bob:there":{"A":{"x":%q},"B":{"x":%q},"*":{"n":1}},"@x:other":{"D":{"n":2}}}}`, large, large)
		for range 2 {
			s.must("PUT", "/sendToDevice/m.x/1", alice, body)
		}
		s.must("PUT", "/sendToDevice/m.y/1", alice, `{"messages":{"@bob:there":{"D":{"n":3}}}}`)
		ids, messages := map[string]int{}, map[string]int{}
		for _, edu := range e.edus {
			var c struct {
				Sender, Type string
				ID           string `json:"message_id"`
				Messages     map[string]map[string]struct{ N int }
			}
			must(s.t, json.Unmarshal(edu.Content, &c))
			if edu.Type != "m.direct_to_device" || c.Sender != "@alice:test" || len(c.ID) > 32 || len(edu.Content) > 64<<10 {
				s.t.Errorf("%s %.200s", edu.Type, edu.Content)
			}
			ids[c.ID]++
			for user, devices := range c.Messages {
				for device, m := range devices {
					messages[fmt.Sprintf("%s %s %s %d", user, device, c.Type, m.N)]++
					if len(edu.Destinations) != 1 || edu.Destinations[0] != pdu.Domain(user) {
						s.t.Errorf("%s is sent to %v", user, edu.Destinations)
					}
				}
			}
		}
		same(s.t, "messages", string(mustJSON(messages)), `{"@bob:there * m.x 1":2,"@bob:there A m.x 0":2,"@bob:there B m.x 0":2,"@bob:there D m.y 3":1,"@x:other D m.x 2":2}`)
		if len(ids) != 4 {
			s.t.Errorf("%d ids", len(ids))
		}
		for id, n := range ids {
			if n > 2 {
				s.t.Errorf("%s was used %d times", id, n)
			}
		}
	})
}
