package appservice

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/merr"
)

// users is a user store with a log and queues of messages.
type users struct {
	mu      sync.Mutex
	log     []*userapi.Entry
	queue   map[deviceID][]queued
	acked   map[deviceID]int64
	publish func(pos int64, e *userapi.Entry)
}

type queued struct {
	pos  int64
	body string
}

func (u *users) head() int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return int64(len(u.log))
}

func (u *users) add(e *userapi.Entry) int64 {
	u.log = append(u.log, e)
	pos := int64(len(u.log))
	u.publish(pos, e)
	return pos
}

func (u *users) send(member, device, body string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	pos := u.add(&userapi.Entry{Kind: userapi.KindDevice, UserID: member, DeviceID: device})
	d := deviceID{member, device}
	u.queue[d] = append(u.queue[d], queued{pos, `{"content":{"body":"` + body + `"},"sender":"@alice:test","type":"m.x"}`})
}

func (u *users) changed(member string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.add(&userapi.Entry{Kind: userapi.KindDeviceList, UserID: member, DeviceID: "D"})
}

func (u *users) serve(t *testing.T, b *bus.Bus) {
	t.Helper()
	u.publish = bus.NewPublisher(b, userapi.Log, u.head).Publish
	err := bus.ServeLog(b, userapi.Log, func(_ context.Context, after int64, limit int) ([]bus.Positioned[userapi.Entry], int64, error) {
		u.mu.Lock()
		defer u.mu.Unlock()
		var out []bus.Positioned[userapi.Entry]
		for i := after; i < min(after+int64(limit), int64(len(u.log))); i++ {
			out = append(out, bus.Positioned[userapi.Entry]{Pos: i + 1, Entry: u.log[i]})
		}
		return out, int64(len(u.log)), nil
	})
	if err == nil {
		err = bus.Handle(b, userapi.DeviceSync, u.sync)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// sync answers at most two messages at a time.
func (u *users) sync(_ context.Context, req *userapi.DeviceSyncRequest) (*userapi.DeviceSyncResponse, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if strings.HasPrefix(req.DeviceID, "GONE") {
		return nil, merr.NotFound("Device not found")
	}
	d := deviceID{req.UserID, req.DeviceID}
	u.acked[d] = max(u.acked[d], req.Acknowledged)
	u.queue[d] = slices.DeleteFunc(u.queue[d], func(q queued) bool { return q.pos <= req.Acknowledged })
	out := &userapi.DeviceSyncResponse{
		Last: req.After, Pos: int64(len(u.log)), OneTimeKeys: map[string]int64{"signed_curve25519": 7}, UnusedFallback: []string{"signed_curve25519"},
	}
	for _, q := range u.queue[d] {
		if q.pos <= req.After || req.NoMessages {
			continue
		}
		if len(out.Messages) == 2 {
			out.More = true
			break
		}
		out.Messages, out.Last = append(out.Messages, json.RawMessage(q.body)), q.pos
	}
	return out, nil
}

type keysBody struct {
	ToDevice []struct {
		Content map[string]string `json:"content"`
		User    string            `json:"to_user_id"`
		Device  string            `json:"to_device_id"`
		Sender  string            `json:"sender"`
	} `json:"de.sorunome.msc2409.to_device"`
	Counts  map[string]map[string]map[string]int64 `json:"org.matrix.msc3202.device_one_time_keys_count"`
	Unused  map[string]map[string][]string         `json:"org.matrix.msc3202.device_unused_fallback_key_types"`
	Changed *struct {
		Changed []string `json:"changed"`
		Left    []string `json:"left"`
	} `json:"org.matrix.msc3202.device_lists"`
}

// keys returns what the different transactions of a service say for its devices.
func (f *fakeService) keys(t *testing.T) (out []keysBody) {
	t.Helper()
	seen := map[string]bool{}
	for _, a := range f.requests() {
		var b keysBody
		if err := json.Unmarshal([]byte(a.body), &b); err != nil {
			t.Fatal(err)
		}
		if !seen[a.txn()] {
			out = append(out, b)
		}
		seen[a.txn()] = true
	}
	return out
}

func (f *fakeService) messages(t *testing.T) (out []string) {
	for _, b := range f.keys(t) {
		for _, m := range b.ToDevice {
			out = append(out, m.User+" "+m.Device+" "+m.Content["body"])
		}
	}
	return out
}

func TestMessagesToDevices(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		u := &users{queue: map[deviceID][]queued{}, acked: map[deviceID]int64{}}
		u.serve(t, f.bus)
		u.send("@net_a:test", "D", "before the first start")
		service, plain := newFakeService(t), newFakeService(t)
		r := registration(t, "one", service.URL, "@net_.*", "@inclusive")
		r.Users[1].Exclusive = false
		r.Encryption = true
		other := registration(t, "plain", plain.URL, "@net_.*")
		f.start(fast(), r, other)
		f.settle()
		service.until(t, func() bool { return len(service.messages(t)) == 1 })
		service.set(func(a arrival) (int, string) {
			if len(service.requests())%2 == 0 {
				return 500, ""
			}
			return 200, "{}"
		})
		want := []string{"@net_a:test D before the first start"}
		for i := range 5 {
			body := fmt.Sprint("m", i)
			u.send("@net_a:test", "D", body)
			want = append(want, "@net_a:test D "+body)
		}
		u.send("@bob:test", "D", "not for it")
		u.send("@net_a:test", "GONE", "lost")
		service.until(t, func() bool { return len(service.messages(t)) == 6 })
		f.start(fast(), r, other)
		u.send("@inclusive:test", "E", "copy")
		want = append(want, "@inclusive:test E copy")
		service.until(t, func() bool { return len(service.messages(t)) == len(want) })
		if got := service.messages(t); !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		first := service.keys(t)[0]
		if first.Counts["@net_a:test"]["D"]["signed_curve25519"] != 7 || len(first.Unused["@net_a:test"]["D"]) != 1 || first.ToDevice[0].Sender != "@alice:test" {
			t.Errorf("%+v", first)
		}
		service.until(t, func() bool {
			u.mu.Lock()
			defer u.mu.Unlock()
			return len(u.queue[deviceID{"@net_a:test", "D"}]) == 0
		})
		u.mu.Lock()
		if len(u.queue[deviceID{"@inclusive:test", "E"}]) != 1 || u.acked[deviceID{"@inclusive:test", "E"}] != 0 {
			t.Error("a message to a user whom others may have was deleted")
		}
		u.mu.Unlock()
		if got := plain.requests(); len(got) != 0 {
			t.Errorf("a service that did not ask gets %v", got)
		}
	})
}

func TestChangedDeviceLists(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		u := &users{queue: map[deviceID][]queued{}, acked: map[deviceID]int64{}}
		u.serve(t, f.bus)
		service := newFakeService(t)
		r := registration(t, "one", service.URL, "@net_.*")
		r.Encryption = true
		f.start(fast(), r)
		f.rooms.append(
			member("!r:test", "@net_a:test", "@net_a:test", "join", "$1"), member("!r:test", "@alice:test", "@alice:test", "join", "$2"),
			member("!q:test", "@bob:test", "@bob:test", "join", "$3"),
		)
		f.settle()
		changed := func() (out []string) {
			for _, b := range service.keys(t) {
				if b.Changed != nil {
					out = append(out, b.Changed.Changed...)
				}
			}
			return out
		}
		u.changed("@bob:test")
		u.changed("@alice:test")
		service.until(t, func() bool { return len(changed()) == 1 })
		u.changed("@net_b:test")
		service.until(t, func() bool { return len(changed()) == 2 })
		u.changed("@alice:test")
		service.until(t, func() bool { return len(changed()) == 3 })
		if got := changed(); !slices.Equal(got, []string{"@alice:test", "@net_b:test", "@alice:test"}) {
			t.Error(got)
		}
	})
}
