package devicekeys_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hearth/clientapi/userapi"
	"hearth/federationapi/remoteapi"
	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

// stranger is a user of another server with devices.
type stranger struct {
	h      *house
	id     string
	stream int64
	all    map[string]*device
}

func (h *house) stranger(id string) *stranger {
	return &stranger{h: h, id: id, all: map[string]*device{}}
}

func (s *stranger) device(name string) *device {
	if s.all[name] == nil {
		s.all[name] = &device{h: s.h, user: s.id, id: name, key: newKey(s.id + name)}
	}
	return s.all[name]
}

// update is the content of an m.device_list_update for a device.
func (s *stranger) update(name string, deleted bool, prev ...int64) json.RawMessage {
	s.stream += 10
	content := map[string]any{"user_id": s.id, "device_id": name, "stream_id": s.stream, "prev_id": prev}
	if deleted {
		delete(s.all, name)
		content["deleted"] = true
	} else {
		content["keys"] = s.device(name).keys()
		content["device_display_name"] = fmt.Sprint("name ", s.stream)
	}
	return must(s.h, content)
}

// answer is what the other server says to GET /user/devices.
func (s *stranger) answer() json.RawMessage {
	devices := []any{map[string]any{"device_id": "BROKEN", "keys": map[string]string{"user_id": s.id}}}
	for _, name := range slices.Sorted(maps.Keys(s.all)) {
		devices = append(devices, map[string]any{"device_id": name, "keys": s.all[name].keys(), "device_display_name": "fetched"})
	}
	return must(s.h, map[string]any{"user_id": s.id, "stream_id": s.stream, "devices": devices, "master_key": s.master("master")})
}

func (s *stranger) master(name string) json.RawMessage {
	k := public(newKey(s.id + name))
	return json.RawMessage(fmt.Sprintf(`{"keys":{"ed25519:%s":%q},"usage":["master"],"user_id":%q}`, k, k, s.id))
}

func must(h *house, v any) json.RawMessage {
	h.t.Helper()
	raw, err := json.Marshal(v)
	if err == nil {
		raw, err = pdu.Canonical(raw, true)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return raw
}

// knows are the devices that are kept of a user; "?" among them: the server must be asked.
func (h *house) knows(user string) []string {
	h.t.Helper()
	var list []string
	for part := range h.query("@alice:test", user) {
		switch {
		case part == fmt.Sprint(userapi.AskPart):
			list = append(list, "?")
		case strings.HasPrefix(part, fmt.Sprint(userapi.DeviceKeysPart)):
			list = append(list, part[1:])
		}
	}
	slices.Sort(list)
	return list
}

func (h *house) expect(what, user string, want ...string) {
	h.t.Helper()
	if got := h.knows(user); !slices.Equal(got, want) {
		h.t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestRemoteDeviceLists(t *testing.T) {
	each(t, func(h *house) {
		h.user("alice", "PHONE")
		bob := h.stranger("@bob:there")
		apply := func(content json.RawMessage) userapi.DeviceListState {
			return *call(h, userapi.DeviceListUpdate, userapi.DeviceListUpdateRequest{Origin: "there", Content: content})
		}
		set := func() userapi.DeviceListState {
			return *call(h, userapi.SetRemoteDevices, userapi.SetRemoteDevicesRequest{UserID: bob.id, Answer: bob.answer()})
		}
		fresh, stale := userapi.DeviceListState{Kept: true}, userapi.DeviceListState{Kept: true, Stale: true}
		at := h.head()
		if got := apply(bob.update("A", false)); got != (userapi.DeviceListState{}) {
			t.Errorf("nobody keeps the list: %+v", got)
		}
		h.expect("not kept", bob.id, "?")
		if len(h.listEntries(at)) != 0 {
			t.Error("a change that concerns nobody is told")
		}
		call(h, userapi.TrackDeviceLists, userapi.UsersRequest{UserIDs: []string{bob.id, "@alice:test", "rubbish"}})
		h.expect("not fetched yet", bob.id, "?")
		if got := apply(bob.update("B", false, 10)); got != stale {
			t.Errorf("%+v", got)
		}
		answer := bob.answer()
		bob.stream -= 10
		early := bob.answer()
		bob.stream += 10
		call(h, userapi.SetRemoteDevices, userapi.SetRemoteDevicesRequest{UserID: bob.id, Answer: early})
		h.expect("fetched before the last change", bob.id, "?", "A", "B")
		call(h, userapi.SetRemoteDevices, userapi.SetRemoteDevicesRequest{UserID: bob.id, Answer: answer})
		h.expect("fetched", bob.id, "A", "B")

		third := bob.update("C", false, 20)
		for range 2 { // transactions are repeated
			if got := apply(third); got != fresh {
				t.Errorf("%+v", got)
			}
		}
		h.expect("one more", bob.id, "A", "B", "C")
		h.restart()
		if got := apply(bob.update("A", true, 30)); got != fresh {
			t.Errorf("%+v", got)
		}
		h.expect("one less", bob.id, "B", "C")
		bob.update("E", false) // gets lost
		at = h.head()
		if got := apply(bob.update("D", false, 50)); got != stale {
			t.Errorf("%+v", got)
		}
		h.expect("a gap", bob.id, "?", "B", "C")
		if got := h.listEntries(at); !slices.Equal(got, []string{bob.id + "/"}) {
			t.Errorf("%v", got)
		}
		if changes := call(h, userapi.ChangedDeviceLists, userapi.ChangedDeviceListsRequest{UserID: "@alice:test", After: at}); !slices.Equal(changes.Users, []string{bob.id}) {
			t.Errorf("%+v", changes)
		}
		if got := set(); got != fresh {
			t.Errorf("%+v", got)
		}
		h.expect("healed", bob.id, "B", "C", "D", "E")
		if got := apply(bob.update("F", false)); got != stale { // says nothing of those before
			t.Errorf("%+v", got)
		}
		set()
		call(h, userapi.DistrustDeviceLists, userapi.UsersRequest{UserIDs: []string{bob.id, "@carol:there"}})
		h.expect("the last shared room was left", bob.id, "?", "B", "C", "D", "E", "F")
		h.expect("never known", "@carol:there", "?")
		set()
		h.expect("fetched again", bob.id, "B", "C", "D", "E", "F")
	})
}

func TestRemoteKeysAreChecked(t *testing.T) {
	each(t, func(h *house) {
		alice := h.user("alice", "PHONE")
		alice.upload(0, 0)
		bob := h.stranger("@bob:there")
		bob.update("A", false)
		set := userapi.SetRemoteDevicesRequest{UserID: bob.id, Answer: bob.answer()}
		call(h, userapi.SetRemoteDevices, set)
		keys := h.query("@alice:test", bob.id)
		if _, err := pdu.Canonical([]byte(keys["1A"]), true); err != nil || !strings.Contains(keys["1A"], `"device_display_name":"fetched"`) || len(keys) != 2 {
			t.Errorf("%v", keys)
		}
		for _, c := range []struct{ origin, content string }{
			{"elsewhere", string(bob.update("B", false, 10))}, {"test", string(must(h, map[string]any{"user_id": "@alice:test", "device_id": "X", "stream_id": 1}))},
			{"there", `{}`}, {"there", `{"user_id":7}`},
		} {
			refused(h, "M_INVALID_PARAM", userapi.DeviceListUpdate, userapi.DeviceListUpdateRequest{Origin: c.origin, Content: json.RawMessage(c.content)})
			refused(h, "M_INVALID_PARAM", userapi.SigningKeyUpdate, userapi.SigningKeyUpdateRequest{Origin: c.origin, Content: json.RawMessage(c.content)})
		}
		h.expect("others cannot change it", bob.id, "A")
		forged := strings.Replace(string(bob.update("B", false, 10)), `"algorithms":["m.olm`, `"algorithms":["m.forged`, 1)
		refused(h, "M_INVALID_PARAM", userapi.DeviceListUpdate, userapi.DeviceListUpdateRequest{Origin: "there", Content: json.RawMessage(forged)})
		h.expect("what is malformed is fetched", bob.id, "?", "A")
		call(h, userapi.SetRemoteDevices, userapi.SetRemoteDevicesRequest{UserID: bob.id, Answer: bob.answer()})
		for _, bad := range []string{`{}`, `[]`, `{"devices":[],"stream_id":1,"user_id":"@eve:there"}`, `{"devices":{},"stream_id":1,"user_id":"@bob:there"}`} {
			refused(h, "M_INVALID_PARAM", userapi.SetRemoteDevices, userapi.SetRemoteDevicesRequest{UserID: bob.id, Answer: json.RawMessage(bad)})
		}

		// Cross-signing keys, and alice's own signature on bob's.
		update := must(h, map[string]any{"user_id": bob.id, "master_key": bob.master("second")})
		call(h, userapi.SigningKeyUpdate, userapi.SigningKeyUpdateRequest{Origin: "there", Content: update})
		if got := h.query("@alice:test", bob.id)["2"]; got != string(bob.master("second")) {
			t.Errorf("master key %s", got)
		}
		userKey, masterKey := newKey("alice's user-signing key"), newKey("alice's master key")
		call(h, userapi.SetCrossSigning, userapi.SetCrossSigningRequest{
			UserID: alice.user,
			Master: json.RawMessage(fmt.Sprintf(`{"keys":{"ed25519:%s":%q},"usage":["master"],"user_id":%q}`, public(masterKey), public(masterKey), alice.user)),
			UserSigning: signed(h, fmt.Sprintf(`{"keys":{"ed25519:%s":%q},"usage":["user_signing"],"user_id":%q}`, public(userKey), public(userKey), alice.user),
				alice.user, "ed25519:"+public(masterKey), masterKey),
		})
		bobs := public(newKey(bob.id + "second"))
		failures := call(h, userapi.UploadSignatures, userapi.UploadSignaturesRequest{UserID: alice.user, Signed: map[string]map[string]json.RawMessage{
			bob.id: {bobs: signed(h, string(bob.master("second")), alice.user, "ed25519:"+public(userKey), userKey)}}}).Failures
		if len(failures) != 0 || !strings.Contains(h.query("@alice:test", bob.id)["2"], public(userKey)) {
			t.Errorf("%v; %s", failures, h.query("@alice:test", bob.id)["2"])
		}
		h.user("carol", "PHONE")
		if strings.Contains(h.query("@carol:test", bob.id)["2"], public(userKey)) {
			t.Error("others see whom alice has verified")
		}
	})
}

func TestStaleListsAreFetchedUntilItWorks(t *testing.T) {
	each(t, func(h *house) {
		h.user("alice", "PHONE")
		bob := h.stranger("@bob:there")
		bob.update("A", false)
		var asked, away atomic.Int64
		away.Store(1)
		err := bus.Handle(h.bus, remoteapi.UserDevices, func(_ context.Context, req *remoteapi.UserRequest) (*remoteapi.Object, error) {
			asked.Add(1)
			switch {
			case away.Load() == 1:
				return nil, merr.Unavailable("away")
			case req.UserID != bob.id:
				return nil, merr.NotFound("nobody")
			}
			return &remoteapi.Object{JSON: bob.answer()}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(h.ctx)
		done := make(chan error, 1)
		go func() { done <- h.users.Resync(ctx) }()
		defer func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}()
		call(h, userapi.TrackDeviceLists, userapi.UsersRequest{UserIDs: []string{bob.id, "@gone:there"}})
		until := func(what string, holds func() bool) {
			t.Helper()
			for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("waited for %s", what)
				}
			}
		}
		until("both lists to be asked for", func() bool { return asked.Load() == 2 })
		h.expect("the server is away", bob.id, "?")
		away.Store(0)
		h.clock.Add(int64(time.Minute)) // the next attempt is due
		call(h, userapi.TrackDeviceLists, userapi.UsersRequest{UserIDs: []string{bob.id}})
		until("the list", func() bool { return slices.Equal(h.knows(bob.id), []string{"A"}) })
		if got := asked.Load(); got > 4 {
			t.Errorf("asked %d times", got)
		}
	})
}

func TestMessagesOfOtherServers(t *testing.T) {
	each(t, func(h *house) {
		alice := h.user("alice", "PHONE")
		content := func(id string, n int, device string) json.RawMessage {
			return must(h, map[string]any{"sender": "@bob:there", "type": "m.test", "message_id": id, "messages": map[string]any{
				alice.user: map[string]any{device: map[string]int{"n": n}}, "@nobody:test": map[string]any{"*": map[string]int{"n": n}},
				"@x:elsewhere": map[string]any{"*": map[string]int{"n": n}}}})
		}
		send := func(origin string, c json.RawMessage) error {
			_, err := userapi.SendToDeviceFromRemote.Do(h.ctx, h.bus, &userapi.RemoteToDeviceRequest{Origin: origin, Content: c})
			return err
		}
		for n := range 30 {
			for range 2 {
				if err := send("there", content(fmt.Sprint(n), n, "*")); err != nil {
					t.Fatal(err)
				}
			}
		}
		h.restart()
		for _, err := range []error{send("there", content("29", 1000, "PHONE")), send("there", content("30", 30, "PHONE")), send("there", content("x", 0, "NONE"))} {
			if err != nil {
				t.Fatal(err)
			}
		}
		if got, _ := alice.numbers(0, false); !slices.Equal(got, span(0, 31)) {
			t.Errorf("%v", got)
		}
		for origin, c := range map[string]string{
			"elsewhere": string(content("y", 0, "*")), "there": `{}`, "test": `{"sender":"@alice:test","type":"m.x","message_id":"z","messages":{}}`,
		} {
			if err := send(origin, json.RawMessage(c)); merr.From(err) == nil || merr.From(err).Code != "M_INVALID_PARAM" {
				t.Errorf("%s: %v", origin, err)
			}
		}
	})
}

func TestDevicesForOtherServers(t *testing.T) {
	each(t, func(h *house) {
		a := h.user("alice", "PHONE")
		a.upload(0, 3)
		first, err := userapi.UserDevices(h.ctx, h.bus, a.user)
		if err != nil {
			t.Fatal(err)
		}
		call(h, userapi.SetDevice, userapi.SetDeviceRequest{UserID: a.user, DeviceID: "B", Create: true})
		b := &device{h: h, user: a.user, id: "B", key: newKey("B")}
		b.upload(0, 0)
		k := public(newKey("master"))
		call(h, userapi.SetCrossSigning, userapi.SetCrossSigningRequest{UserID: a.user,
			Master: json.RawMessage(fmt.Sprintf(`{"keys":{"ed25519:%s":%q},"usage":["master"],"user_id":%q}`, k, k, a.user))})
		call(h, userapi.Logout, userapi.LogoutRequest{UserID: a.user, Devices: []string{a.id}})
		last, err := userapi.UserDevices(h.ctx, h.bus, a.user)
		if err != nil {
			t.Fatal(err)
		}
		if len(first.Devices) != 1 || len(last.Devices) != 1 || last.Devices[0].DeviceID != "B" || last.Master == nil || last.SelfSigning != nil {
			t.Errorf("%+v %+v", first, last)
		}
		// What is told in the log is a chain from one to the other.
		at := first.StreamID
		for _, e := range h.entries(first.StreamID) {
			if e.Kind == userapi.KindDeviceList && e.DeviceID != "" {
				if e.Prev != at {
					t.Errorf("%s comes after %d, which is not %d", e.DeviceID, e.Prev, at)
				}
				at = h.positionOf(e)
			}
		}
		if at != last.StreamID || at <= first.StreamID {
			t.Errorf("the chain ends at %d, the list is at %d", at, last.StreamID)
		}
		if none, err := userapi.UserDevices(h.ctx, h.bus, "@nobody:test"); err != nil || none.StreamID != 0 || len(none.Devices) != 0 {
			t.Errorf("%+v %v", none, err)
		}
	})
}

// positionOf finds a change of a device list in the log.
func (h *house) positionOf(e userapi.Entry) int64 {
	for pos := range h.head() {
		if list := h.entries(pos); len(list) > 0 && list[0].Kind == e.Kind && list[0].UserID == e.UserID && list[0].DeviceID == e.DeviceID {
			return pos + 1
		}
	}
	return 0
}
