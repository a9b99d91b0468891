package federation

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"hearth/internal/pdu"
	"hearth/test/harness"

	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
)

// watch follows a user's /sync for what concerns devices.
type watch struct {
	since    string
	changed  map[string]bool
	left     map[string]bool
	toDevice []string
}

// look syncs once more and adds what is new.
func (u *user) look() error {
	if u.seen == nil {
		u.seen = &watch{changed: map[string]bool{}, left: map[string]bool{}}
	}
	w := u.seen
	var out struct {
		NextBatch   string                             `json:"next_batch"`
		DeviceLists struct{ Changed, Left []string }   `json:"device_lists"`
		ToDevice    struct{ Events []json.RawMessage } `json:"to_device"`
	}
	path := harness.Path("sync") + fmt.Sprintf("?timeout=%d", time.Second.Milliseconds())
	if w.since != "" {
		path += "&since=" + w.since
	}
	if _, err := u.Do(http.MethodGet, path, nil, &out); err != nil {
		return err
	}
	w.since = out.NextBatch
	for _, id := range out.DeviceLists.Changed {
		w.changed[id] = true
	}
	for _, id := range out.DeviceLists.Left {
		w.left[id] = true
	}
	for _, e := range out.ToDevice.Events {
		w.toDevice = append(w.toDevice, string(e))
	}
	return nil
}

// uploadKeys gives the user's device an identity and n one-time keys.
func (u *user) uploadKeys(t *testing.T, n int) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	sign := func(v map[string]any) map[string]any {
		raw, err := json.Marshal(v)
		must(t, err)
		signed, err := pdu.SignJSON(raw, pdu.Signer{ServerName: u.UserID, KeyID: "ed25519:" + u.DeviceID, Key: private})
		must(t, err)
		var out map[string]any
		must(t, json.Unmarshal(signed, &out))
		return out
	}
	b64 := base64.RawStdEncoding.EncodeToString
	device := sign(map[string]any{
		"user_id": u.UserID, "device_id": u.DeviceID, "algorithms": []string{"m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"},
		"keys": map[string]string{"ed25519:" + u.DeviceID: b64(public), "curve25519:" + u.DeviceID: b64(public)},
	})
	oneTime := map[string]any{}
	for i := range n {
		oneTime[fmt.Sprintf("signed_curve25519:K%d", i)] = sign(map[string]any{"key": b64([]byte(fmt.Sprintf("%032d", i)))})
	}
	u.call(t, http.MethodPost, harness.Path("keys", "upload"), map[string]any{"device_keys": device, "one_time_keys": oneTime}, nil)
}

// devices: keys, claims, to-device messages and changes of device lists go between servers.
func devices(t *testing.T, s sides) {
	alice, bob := s.a.account(t, fresh("alice")), s.b.account(t, fresh("bob"))
	bob.uploadKeys(t, 3)
	room := alice.room(t, map[string]any{"preset": "public_chat", "initial_state": []any{
		map[string]any{"type": "m.room.encryption", "state_key": "", "content": map[string]string{"algorithm": "m.megolm.v1.aes-sha2"}},
	}})
	must(t, alice.look())
	bob.join(t, room, s.a)
	alice.seesMember(t, room, bob.UserID, "join")
	changed := func(what string) {
		t.Helper()
		eventually(t, what, func() string {
			if err := alice.look(); err != nil {
				return err.Error()
			}
			if !alice.seen.changed[bob.UserID] {
				return "bob's devices are not named as changed"
			}
			return ""
		})
		alice.seen.changed = map[string]bool{}
	}
	changed("bob is new")
	query := func() string {
		var out struct {
			DeviceKeys map[string]map[string]json.RawMessage `json:"device_keys"`
		}
		if _, err := alice.Do(http.MethodPost, harness.Path("keys", "query"), map[string]any{"device_keys": map[string][]string{bob.UserID: {}}}, &out); err != nil {
			return err.Error()
		}
		raw, _ := json.Marshal(out.DeviceKeys[bob.UserID])
		return string(raw)
	}
	eventually(t, "alice gets the keys of bob's device", func() string {
		if got := query(); !strings.Contains(got, `"ed25519:`+bob.DeviceID) {
			return got
		}
		return ""
	})
	given := map[string]bool{}
	for range 3 {
		var out struct {
			OneTimeKeys map[string]map[string]map[string]json.RawMessage `json:"one_time_keys"`
		}
		alice.call(t, http.MethodPost, harness.Path("keys", "claim"), map[string]any{
			"one_time_keys": map[string]any{bob.UserID: map[string]string{bob.DeviceID: "signed_curve25519"}},
		}, &out)
		for id := range out.OneTimeKeys[bob.UserID][bob.DeviceID] {
			given[id] = true
		}
	}
	if len(given) != 3 {
		t.Errorf("3 claims of 3 keys gave %v", given)
	}
	must(t, bob.look())
	for i := range 20 {
		alice.call(t, http.MethodPut, harness.Path("sendToDevice", "m.room.encrypted", fresh("t")), map[string]any{
			"messages": map[string]any{bob.UserID: map[string]any{bob.DeviceID: map[string]string{"ciphertext": fmt.Sprintf("number %02d.", i)}}},
		}, nil)
	}
	eventually(t, "the messages to bob's device come, each once and in order", func() string {
		if err := bob.look(); err != nil {
			return err.Error()
		}
		if len(bob.seen.toDevice) < 20 {
			return fmt.Sprintf("%d came", len(bob.seen.toDevice))
		}
		return ""
	})
	for i, e := range bob.seen.toDevice {
		if len(bob.seen.toDevice) != 20 || !strings.Contains(e, fmt.Sprintf("number %02d.", i)) {
			t.Fatalf("%d messages came, %d is %s", len(bob.seen.toDevice), i, e)
		}
	}
	// A second device of bob's.
	second := &user{harness.NewClient(bob.Base()), bob.home, nil}
	var login struct {
		UserID      string `json:"user_id"`
		DeviceID    string `json:"device_id"`
		AccessToken string `json:"access_token"`
	}
	localpart, _, _ := strings.Cut(strings.TrimPrefix(bob.UserID, "@"), ":")
	second.call(t, http.MethodPost, harness.Path("login"), map[string]any{
		"type": "m.login.password", "identifier": map[string]string{"type": "m.id.user", "user": localpart}, "password": "password of " + localpart,
	}, &login)
	second.UserID, second.DeviceID, second.Token = login.UserID, login.DeviceID, login.AccessToken
	second.uploadKeys(t, 1)
	changed("bob has a new device")
	eventually(t, "alice gets the keys of the new device", func() string {
		if got := query(); !strings.Contains(got, second.DeviceID) {
			return got
		}
		return ""
	})
	second.call(t, http.MethodPost, harness.Path("logout"), struct{}{}, nil)
	changed("a device of bob's is gone")
	eventually(t, "alice does not see the old device", func() string {
		if got := query(); strings.Contains(got, second.DeviceID) {
			return got
		}
		return ""
	})
}
