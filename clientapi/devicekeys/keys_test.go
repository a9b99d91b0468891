package devicekeys_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"hearth/clientapi/userapi"
	"hearth/internal/pdu"
)

func TestUploadShapes(t *testing.T) {
	each(t, func(h *house) {
		a := h.user("alice", "PHONE")
		good := string(a.keys())
		resign := func(change func(obj string) string) string {
			bare, _ := pdu.Get([]byte(good), "keys")
			obj := change(fmt.Sprintf(`{"algorithms":["x"],"device_id":"PHONE","user_id":"@alice:test","keys":%s}`, bare))
			return string(signed(h, obj, a.user, "ed25519:PHONE", a.key))
		}
		replace := func(old, new string) func(string) string {
			return func(obj string) string {
				if !strings.Contains(obj, old) {
					t.Fatalf("%s has no %s", obj, old)
				}
				return strings.Replace(obj, old, new, 1)
			}
		}
		for _, c := range []struct{ code, keys string }{
			{"M_BAD_JSON", `[]`}, {"M_BAD_JSON", `"x"`}, {"M_BAD_JSON", `7`}, {"M_INVALID_PARAM", `{}`},
			{"M_INVALID_PARAM", resign(replace("@alice:test", "@bob:test"))},
			{"M_INVALID_PARAM", resign(replace(`"user_id":"@alice:test"`, `"user_id":7`))},
			{"M_INVALID_PARAM", resign(replace(`"device_id":"PHONE"`, `"device_id":"OTHER"`))},
			{"M_INVALID_PARAM", resign(replace(`["x"]`, `"x"`))},
			{"M_INVALID_PARAM", resign(replace(`["x"]`, `[1]`))},
			{"M_INVALID_PARAM", resign(replace(`["x"]`, `["`+strings.Repeat("x", 300)+`"]`))},
			{"M_INVALID_PARAM", resign(replace(`"curve25519:PHONE"`, `"curve25519"`))},
			{"M_INVALID_PARAM", resign(replace(`"curve25519:PHONE"`, `"curve25519:OTHER"`))},
			{"M_INVALID_PARAM", resign(replace(`"curve25519:PHONE":"A`, `"curve25519:PHONE":"*`))},
			{"M_INVALID_PARAM", resign(replace(`"ed25519:PHONE"`, `"ed448:PHONE"`))},
			{"M_INVALID_PARAM", resign(func(string) string {
				return `{"algorithms":[],"device_id":"PHONE","user_id":"@alice:test","keys":[]}`
			})},
			{"M_INVALID_PARAM", strings.Replace(good, `"signatures":{"@alice:test":{`, `"signatures":{"@alice:test":{"x":"y",`, 1)},
			{"M_INVALID_PARAM", strings.Replace(good, `"signatures":`, `"signed":`, 1)},
			{"M_INVALID_SIGNATURE", strings.Replace(good, `m.olm.v1`, `m.olm.v2`, 1)},
			{"M_INVALID_SIGNATURE", strings.Replace(good, `"@alice:test":{"ed25519:PHONE"`, `"@alice:test":{"ed25519:OTHER"`, 1)},
			{"M_TOO_LARGE", `{"x":"` + strings.Repeat("x", 20<<10) + `"}`},
		} {
			refused(h, c.code, userapi.UploadKeys, userapi.UploadKeysRequest{UserID: a.user, DeviceID: a.id, DeviceKeys: json.RawMessage(c.keys)})
		}
		call(h, userapi.UploadKeys, userapi.UploadKeysRequest{UserID: a.user, DeviceID: a.id, DeviceKeys: json.RawMessage(good)})
		oneTime := string(a.oneTime(1, ""))
		for _, c := range []struct{ code, name, key string }{
			{"M_INVALID_PARAM", "signed_curve25519", oneTime}, {"M_INVALID_PARAM", ":x", oneTime}, {"M_INVALID_PARAM", "signed_curve25519:", oneTime},
			{"M_INVALID_PARAM", "signed_curve25519:a\u0001", oneTime}, {"M_INVALID_PARAM", "signed_curve25519:" + strings.Repeat("x", 300), oneTime},
			{"M_INVALID_PARAM", "signed_curve25519:x", `[]`}, {"M_INVALID_PARAM", "signed_curve25519:x", `"text"`}, {"M_INVALID_PARAM", "signed_curve25519:x", `{}`},
			{"M_INVALID_PARAM", "signed_curve25519:x", `{"key":"AAAA","signatures":{}}`}, {"M_INVALID_PARAM", "signed_curve25519:x", `{"key":7}`},
			{"M_INVALID_PARAM", "curve25519:x", `"AAAA"`}, {"M_INVALID_PARAM", "other:x", `7`},
			{"M_INVALID_PARAM", "signed_curve25519:x", strings.Replace(oneTime, `"signatures":{"@alice:test":{`, `"signatures":{"@alice:test":[`, 1)},
			{"M_INVALID_SIGNATURE", "signed_curve25519:x", strings.Replace(oneTime, `"key":"AQ`, `"key":"AR`, 1)},
			{"M_INVALID_SIGNATURE", "signed_curve25519:x", strings.Replace(oneTime, `ed25519:PHONE`, `ed25519:OTHER`, 1)},
			{"M_TOO_LARGE", "other:x", `"` + strings.Repeat("x", 20<<10) + `"`},
		} {
			for _, fallback := range []bool{false, true} {
				req := userapi.UploadKeysRequest{UserID: a.user, DeviceID: a.id}
				if keys := map[string]json.RawMessage{c.name: json.RawMessage(c.key)}; fallback {
					req.FallbackKeys = keys
				} else {
					req.OneTimeKeys = keys
				}
				if !json.Valid([]byte(c.key)) {
					continue // the gate of the gateway
				}
				refused(h, c.code, userapi.UploadKeys, req)
			}
		}
		refused(h, "M_INVALID_PARAM", userapi.UploadKeys, userapi.UploadKeysRequest{UserID: a.user, DeviceID: a.id, FallbackKeys: map[string]json.RawMessage{
			"signed_curve25519:a": a.oneTime(1, ""), "signed_curve25519:b": a.oneTime(2, "")}})
		many := map[string]json.RawMessage{}
		for i := range 1001 {
			many[fmt.Sprintf("other:%d", i)] = json.RawMessage(`"x"`)
		}
		refused(h, "M_INVALID_PARAM", userapi.UploadKeys, userapi.UploadKeysRequest{UserID: a.user, DeviceID: a.id, OneTimeKeys: many})
		for i := range 9 {
			req := userapi.UploadKeysRequest{UserID: a.user, DeviceID: a.id, OneTimeKeys: map[string]json.RawMessage{fmt.Sprintf("alg%d:x", i): json.RawMessage(`"x"`)}}
			if i < 8 {
				call(h, userapi.UploadKeys, req)
			} else {
				refused(h, "M_INVALID_PARAM", userapi.UploadKeys, req)
			}
		}
		refused(h, "M_NOT_FOUND", userapi.UploadKeys, userapi.UploadKeysRequest{UserID: a.user, DeviceID: "NONE", OneTimeKeys: map[string]json.RawMessage{"alg0:x": json.RawMessage(`"x"`)}})
		refused(h, "M_NOT_FOUND", userapi.UploadKeys, userapi.UploadKeysRequest{UserID: "@alice:elsewhere", DeviceID: "PHONE"})
		if len(call(h, userapi.UploadKeys, userapi.UploadKeysRequest{UserID: a.user, DeviceID: a.id}).Counts) != 8 {
			t.Error("refused keys were stored")
		}
	})
}

func TestOneTimeKeys(t *testing.T) {
	each(t, func(h *house) {
		a := h.user("alice", "PHONE")
		if n := a.upload(10, 13)["signed_curve25519"]; n != 3 {
			t.Errorf("%d keys", n)
		}
		a.upload(0, 2) // uploaded later, so given out later
		same := userapi.UploadKeysRequest{UserID: a.user, DeviceID: a.id, OneTimeKeys: map[string]json.RawMessage{"signed_curve25519:k0010": a.oneTime(10, "")}}
		other := userapi.UploadKeysRequest{UserID: a.user, DeviceID: a.id, OneTimeKeys: map[string]json.RawMessage{
			"signed_curve25519:k0010": a.oneTime(11, ""), "signed_curve25519:new": a.oneTime(99, "")}}
		if n := call(h, userapi.UploadKeys, same).Counts["signed_curve25519"]; n != 5 {
			t.Errorf("%d keys after a repetition", n)
		}
		refused(h, "M_INVALID_PARAM", userapi.UploadKeys, other)
		var got []string
		for range 3 {
			got = append(got, a.claim())
		}
		if want := []string{"signed_curve25519:k0010", "signed_curve25519:k0011", "signed_curve25519:k0012"}; !slices.Equal(got, want) {
			t.Errorf("claimed %v", got)
		}
		h.restart()
		// Neither a repeated upload nor another key brings a claimed one back.
		if n := call(h, userapi.UploadKeys, same).Counts["signed_curve25519"]; n != 2 {
			t.Errorf("%d keys after a repetition", n)
		}
		refused(h, "M_INVALID_PARAM", userapi.UploadKeys, other)
		if s := a.sync(0, 0); s.OneTimeKeys["signed_curve25519"] != 2 || len(s.UnusedFallback) != 0 {
			t.Errorf("%+v", s)
		}
		a.fallback("f")
		if s := a.sync(0, 0); !slices.Equal(s.UnusedFallback, []string{"signed_curve25519"}) {
			t.Errorf("%+v", s)
		}
		for _, want := range []string{"k0000", "k0001", "f", "f"} {
			if got := a.claim(); got != "signed_curve25519:"+want {
				t.Errorf("claimed %s, want %s", got, want)
			}
		}
		a.fallback("f")
		if s := a.sync(0, 0); len(s.UnusedFallback) != 0 {
			t.Error("the same fallback key again is unused")
		}
		a.fallback("ff")
		if s := a.sync(0, 0); len(s.UnusedFallback) != 1 {
			t.Error("a new fallback key is used")
		}
		if answer := call(h, userapi.ClaimKeys, userapi.ClaimKeysRequest{Claims: []userapi.KeyClaim{
			{UserID: a.user, DeviceID: a.id, Algorithm: "other"}, {UserID: a.user, DeviceID: "NONE", Algorithm: "signed_curve25519"},
			{UserID: "@x:elsewhere", DeviceID: "D", Algorithm: "signed_curve25519"}, {UserID: a.user, DeviceID: a.id, Algorithm: "signed_curve25519"},
		}}); answer.Keys[0].Name+answer.Keys[1].Name+answer.Keys[2].Name != "" || answer.Keys[3].Name != "signed_curve25519:ff" {
			t.Errorf("%+v", answer)
		}
		for from := 100; from < 1900; from += 900 { // the oldest of too many go
			a.upload(from, from+900)
		}
		if n := a.upload(0, 0)["signed_curve25519"]; n != 1000 {
			t.Errorf("%d keys are kept", n)
		}
		if got := a.claim(); got != "signed_curve25519:k0900" {
			t.Errorf("claimed %s", got)
		}
	})
}

func TestParallelClaims(t *testing.T) {
	each(t, func(h *house) {
		a := h.user("alice", "PHONE")
		a.upload(0, 25)
		var mu sync.Mutex
		got := map[string]int{}
		var group sync.WaitGroup
		for range 50 {
			group.Go(func() {
				name := a.claim()
				mu.Lock()
				defer mu.Unlock()
				got[name]++
			})
		}
		group.Wait()
		if got[""] != 25 || len(got) != 26 {
			t.Errorf("claims: %v", got)
		}
		for name, n := range got {
			if name != "" && n != 1 {
				t.Errorf("%s was given out %d times", name, n)
			}
		}
	})
}

func TestDeviceListsInTheLog(t *testing.T) {
	each(t, func(h *house) {
		a := h.user("alice", "PHONE")
		b := h.user("bob", "PHONE")
		start := h.head()
		rename := func(d *device, name string) {
			call(h, userapi.SetDevice, userapi.SetDeviceRequest{UserID: d.user, DeviceID: d.id, DisplayName: &name})
		}
		rename(a, "without keys nobody sees it")
		if got := h.listEntries(start); len(got) != 0 {
			t.Errorf("%v", got)
		}
		a.upload(0, 1)
		a.upload(0, 1)
		b.upload(0, 0)
		rename(a, "other")
		if got := h.listEntries(start); !slices.Equal(got, []string{"@bob:test/PHONE", "@alice:test/PHONE"}) {
			t.Errorf("%v", got) // of each device the last change counts
		}
		keys := h.query("@bob:test", a.user)
		if unsigned, _ := pdu.Get([]byte(keys["1PHONE"]), "unsigned"); string(unsigned) != `{"device_display_name":"other"}` {
			t.Errorf("%s", keys)
		}
		at := h.head()
		changes := call(h, userapi.ChangedDeviceLists, userapi.ChangedDeviceListsRequest{UserID: b.user, After: start})
		if !slices.Equal(changes.Users, []string{b.user, a.user}) || changes.More || changes.Next != at {
			t.Errorf("%+v", changes)
		}
		call(h, userapi.SendToDevice, userapi.SendToDeviceRequest{Sender: b.user, SenderDevice: b.id, TxnID: "1", Type: "m.x",
			Messages: map[string]map[string]json.RawMessage{a.user: {"*": json.RawMessage(`{}`)}}})
		call(h, userapi.Logout, userapi.LogoutRequest{UserID: a.user, Devices: []string{a.id}})
		if got := h.listEntries(at); !slices.Equal(got, []string{"@alice:test/PHONE gone"}) {
			t.Errorf("%v", got)
		}
		if len(h.query("@bob:test", a.user)) != 0 || a.claim() != "" {
			t.Error("the keys of a deleted device are still there")
		}
		if s := a.sync(0, 0); len(s.Messages) != 0 {
			t.Error("the messages of a deleted device are still there")
		}
		if q := call(h, userapi.GetDeviceQueue, userapi.DeviceRequest{UserID: a.user, DeviceID: a.id}); *q != (userapi.DeviceQueue{}) {
			t.Errorf("%+v", q)
		}
		var prev []int64
		for _, e := range h.entries(start) {
			if e.Kind == userapi.KindDeviceList && e.UserID == a.user {
				prev = append(prev, e.Prev)
			}
		}
		if len(prev) != 1 || prev[0] <= start || prev[0] > at {
			t.Errorf("previous positions %v, between %d and %d", prev, start, at)
		}
	})
}

func TestNewIdentityOfADevice(t *testing.T) {
	each(t, func(h *house) {
		a := h.user("alice", "PHONE")
		a.upload(0, 5)
		a.fallback("f")
		a.key = newKey("another")
		if n := a.upload(10, 12)["signed_curve25519"]; n != 2 {
			t.Errorf("%d keys, those of the old identity among them", n)
		}
		if got := a.claim(); got != "signed_curve25519:k0010" {
			t.Errorf("claimed %s", got)
		}
		if s := a.sync(0, 0); len(s.UnusedFallback) != 0 {
			t.Error("the old fallback key is still there")
		}
	})
}

// listEntries are the changes of device lists after a position, in short.
func (h *house) listEntries(after int64) []string {
	var list []string
	for _, e := range h.entries(after) {
		if e.Kind == userapi.KindDeviceList {
			text := e.UserID + "/" + e.DeviceID
			if e.Gone {
				text += " gone"
			}
			list = append(list, text)
		}
	}
	return list
}
