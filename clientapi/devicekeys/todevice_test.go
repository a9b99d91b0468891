package devicekeys_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hearth/clientapi/userapi"
)

func (d *device) send(txn string, n int, to ...string) {
	d.h.t.Helper()
	messages := map[string]map[string]json.RawMessage{}
	for _, target := range to {
		user, id, _ := strings.Cut(target, "/")
		if messages[user] == nil {
			messages[user] = map[string]json.RawMessage{}
		}
		messages[user][id] = json.RawMessage(fmt.Sprintf(`{"n":%d}`, n))
	}
	call(d.h, userapi.SendToDevice, userapi.SendToDeviceRequest{Sender: d.user, SenderDevice: d.id, Type: "m.test", TxnID: txn, Messages: messages})
}

// numbers reads all messages of a device in pages; with ack it reports them as received.
func (d *device) numbers(after int64, ack bool) (list []int, last int64) {
	d.h.t.Helper()
	acked := int64(0)
	for {
		s := d.sync(after, acked)
		for _, m := range s.Messages {
			var e struct {
				Sender, Type string
				Content      struct{ N int }
			}
			if err := json.Unmarshal(m, &e); err != nil || e.Type != "m.test" || !strings.HasPrefix(e.Sender, "@") {
				d.h.t.Fatalf("%s: %v", m, err)
			}
			list = append(list, e.Content.N)
		}
		if len(s.Messages) > 100 {
			d.h.t.Errorf("%d messages at once", len(s.Messages))
		}
		after = s.Last
		if ack {
			acked = after
		}
		if !s.More && (!ack || len(s.Messages) == 0) {
			return list, after
		}
	}
}

func span(from, to int) []int {
	var list []int
	for n := from; n < to; n++ {
		list = append(list, n)
	}
	return list
}

func TestToDevice(t *testing.T) {
	each(t, func(h *house) {
		a, b := h.user("alice", "PHONE"), h.user("bob", "PHONE")
		h.user("carol", "PHONE")
		call(h, userapi.Register, userapi.RegisterRequest{Username: "dan", InhibitLogin: true})
		target := b.user + "/PHONE"
		for n := range 150 {
			a.send(fmt.Sprint(n), n, target)
			a.send(fmt.Sprint(n), 1000, target) // a repetition, whatever it holds
		}
		h.restart()
		a.send("149", 1000, target)
		a.send("new", 150, target, b.user+"/NONE", "@nobody:test/*", "@x:elsewhere/*", "@dan:test/*")
		a.send("all", 151, b.user+"/*", "@carol:test/*")
		if got, _ := (&device{h: h, user: "@carol:test", id: "PHONE"}).numbers(0, false); !slices.Equal(got, []int{151}) {
			t.Errorf("carol: %v", got)
		}
		// Without an acknowledgement they come again.
		for range 2 {
			if got, _ := b.numbers(0, false); !slices.Equal(got, span(0, 152)) {
				t.Errorf("%v", got)
			}
		}
		first := b.sync(0, 0)
		if len(first.Messages) != 100 || !first.More {
			t.Fatalf("%d messages, more %v", len(first.Messages), first.More)
		}
		b.sync(first.Last, first.Last)
		h.waitQueue(b, 52)
		if got, _ := b.numbers(0, false); !slices.Equal(got, span(100, 152)) {
			t.Errorf("%v", got)
		}
		// A position that this database never had says nothing.
		if s := b.sync(1<<50, 1<<50); len(s.Messages) != 52 {
			t.Errorf("%d messages", len(s.Messages))
		}
		if got, _ := b.numbers(first.Last, true); !slices.Equal(got, span(100, 152)) {
			t.Errorf("%v", got)
		}
		h.waitQueue(b, 0)
	})
}

// waitQueue waits until a device's queue has so many messages.
func (h *house) waitQueue(d *device, want int64) {
	h.t.Helper()
	var q *userapi.DeviceQueue
	for range 200 {
		if q = call(h, userapi.GetDeviceQueue, userapi.DeviceRequest{UserID: d.user, DeviceID: d.id}); q.Messages == want {
			if want == 0 && q.Bytes != 0 {
				h.t.Errorf("an empty queue has %d bytes", q.Bytes)
			}
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	h.t.Errorf("queue: %+v, want %d messages", q, want)
}

func TestToDeviceIsBoundedInBytes(t *testing.T) {
	each(t, func(h *house) {
		a, b := h.user("alice", "PHONE"), h.user("bob", "PHONE")
		large := json.RawMessage(`{"x":"` + strings.Repeat("x", 60<<10) + `"}`)
		for n := range 20 {
			call(h, userapi.SendToDevice, userapi.SendToDeviceRequest{Sender: a.user, SenderDevice: a.id, Type: "m.test", TxnID: fmt.Sprint(n),
				Messages: map[string]map[string]json.RawMessage{b.user: {b.id: large}}})
		}
		count, after := 0, int64(0)
		for more := true; more; {
			s := b.sync(after, 0)
			size := 0
			for _, m := range s.Messages {
				size += len(m)
			}
			if size > userapi.MaxToDeviceBytes {
				t.Errorf("%d bytes at once", size)
			}
			count, after, more = count+len(s.Messages), s.Last, s.More
		}
		if count != 20 {
			t.Errorf("%d messages", count)
		}
		req := userapi.SendToDeviceRequest{Sender: a.user, SenderDevice: a.id, Type: "m.test", TxnID: "x",
			Messages: map[string]map[string]json.RawMessage{b.user: {b.id: json.RawMessage(`{"x":"` + strings.Repeat("x", 70<<10) + `"}`)}}}
		refused(h, "M_TOO_LARGE", userapi.SendToDevice, req)
		req.Messages[b.user][b.id] = json.RawMessage(`[]`)
		refused(h, "M_BAD_JSON", userapi.SendToDevice, req)
		req.Messages, req.Type = nil, ""
		refused(h, "M_INVALID_PARAM", userapi.SendToDevice, req)
		req.Type, req.SenderDevice = "m.test", "NONE"
		refused(h, "M_NOT_FOUND", userapi.SendToDevice, req)
	})
}

// The administrator sees how much waits.
func TestQueuesAreShown(t *testing.T) {
	each(t, func(h *house) {
		h.metrics = prometheus.NewRegistry()
		h.restart()
		a := h.user("alice", "PHONE")
		a.send("1", 1, a.user+"/PHONE")
		a.send("2", 2, a.user+"/PHONE")
		call(h, userapi.TrackDeviceLists, userapi.UsersRequest{UserIDs: []string{"@bob:there"}})
		families, err := h.metrics.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, f := range families {
			if m := f.GetMetric(); len(m) == 1 {
				got[f.GetName()] = m[0].GetGauge().GetValue() + m[0].GetCounter().GetValue()
			}
		}
		for name, want := range map[string]float64{
			"hearth_to_device_queued": 2, "hearth_to_device_longest_queue": 2, "hearth_to_device_dropped_total": 0,
			"hearth_remote_device_lists": 1, "hearth_remote_device_lists_stale": 1,
		} {
			if v, ok := got[name]; !ok || v != want {
				t.Errorf("%s: %v, want %v", name, v, want)
			}
		}
		if got["hearth_to_device_queued_bytes"] < 50 {
			t.Errorf("%v", got)
		}
		h.restart() // metrics can be registered again
	})
}
