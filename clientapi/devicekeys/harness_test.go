package devicekeys_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hearth/clientapi/account"
	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/internal/store"
	"hearth/internal/store/storetest"
)

// house is a user store on a bus.
type house struct {
	t     testing.TB
	o     store.Options
	local bool
	bus   *bus.Bus
	users *account.Store
	ctx   context.Context
	clock atomic.Int64 // by how many nanoseconds time is ahead

	metrics *prometheus.Registry // nil: none
}

// each runs a test on both engines; on one with direct calls and on the other over NATS.
func each(t *testing.T, test func(h *house)) {
	storetest.EachEngine(t, func(t *testing.T, e storetest.Engine) { test(newHouse(t, e.Options, e.Name == "sqlite")) })
}

func newHouse(t testing.TB, o store.Options, local bool) *house {
	h := &house{t: t, o: o, local: local}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	t.Cleanup(cancel)
	h.ctx = ctx
	h.open()
	t.Cleanup(h.shut)
	return h
}

func (h *house) open() {
	h.t.Helper()
	var err error
	if h.bus, err = bus.Connect(h.ctx, bus.Options{Local: h.local}); err != nil {
		h.t.Fatal(err)
	}
	var metrics prometheus.Registerer
	if h.metrics != nil {
		metrics = h.metrics
	}
	h.users, err = account.New(h.ctx, account.Deps{
		Metrics: metrics, Bus: h.bus, ServerName: "test", DataDir: h.o.DataDir, DatabaseURL: h.o.URL, Log: h.o.Log, Now: h.now, MinPasswordLength: 8,
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) now() time.Time { return time.Now().Add(time.Duration(h.clock.Load())) }

func (h *house) shut() {
	if h.users == nil {
		return
	}
	h.bus.Close()
	if err := h.users.Close(); err != nil {
		h.t.Error(err)
	}
	h.users = nil
}

func (h *house) restart() {
	h.shut()
	h.open()
}

// call does a call that must succeed.
func call[Req, Resp any](h *house, c bus.Call[Req, Resp], req Req) *Resp {
	h.t.Helper()
	resp, err := c.Do(h.ctx, h.bus, &req)
	if err != nil {
		h.t.Fatalf("%s: %v", c.Subject, err)
	}
	return resp
}

// refused does a call that must fail with an errcode.
func refused[Req, Resp any](h *house, code string, c bus.Call[Req, Resp], req Req) {
	h.t.Helper()
	_, err := c.Do(h.ctx, h.bus, &req)
	if e := merr.From(err); e == nil || e.Code != code {
		h.t.Errorf("%s: %v, want %s", c.Subject, err, code)
	}
}

// device is a client's device with its key.
type device struct {
	h        *house
	user, id string
	key      ed25519.PrivateKey
}

var b64 = base64.RawStdEncoding

func public(key ed25519.PrivateKey) string {
	return b64.EncodeToString(key.Public().(ed25519.PublicKey))
}

func newKey(seed string) ed25519.PrivateKey {
	b := make([]byte, ed25519.SeedSize)
	copy(b, seed)
	return ed25519.NewKeyFromSeed(b)
}

// user registers a user with a first device.
func (h *house) user(name, id string) *device {
	h.t.Helper()
	call(h, userapi.Register, userapi.RegisterRequest{Username: name, DeviceID: id, DeviceDisplayName: "phone of " + name, Password: ""})
	return &device{h: h, user: "@" + name + ":test", id: id, key: newKey(name + id)}
}

func signed(h *house, obj string, user, keyID string, key ed25519.PrivateKey) json.RawMessage {
	h.t.Helper()
	out, err := pdu.SignJSON([]byte(obj), pdu.Signer{ServerName: user, KeyID: keyID, Key: key})
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

// keys are the device's identity keys, signed.
func (d *device) keys() json.RawMessage {
	obj := fmt.Sprintf(`{"algorithms":["m.olm.v1.curve25519-aes-sha2"],"device_id":%q,"user_id":%q,"keys":{"curve25519:%s":%q,"ed25519:%s":%q}}`,
		d.id, d.user, d.id, b64.EncodeToString(make([]byte, 32)), d.id, public(d.key))
	return signed(d.h, obj, d.user, "ed25519:"+d.id, d.key)
}

// oneTime is a signed one-time key whose content follows from n.
func (d *device) oneTime(n int, extra string) json.RawMessage {
	raw := make([]byte, 32)
	raw[0], raw[1] = byte(n), byte(n>>8)
	return signed(d.h, fmt.Sprintf(`{"key":%q%s}`, b64.EncodeToString(raw), extra), d.user, "ed25519:"+d.id, d.key)
}

// upload uploads identity keys and one-time keys with the ids from … to-1.
func (d *device) upload(from, to int) map[string]int64 {
	d.h.t.Helper()
	req := userapi.UploadKeysRequest{UserID: d.user, DeviceID: d.id, DeviceKeys: d.keys(), OneTimeKeys: map[string]json.RawMessage{}}
	for n := from; n < to; n++ {
		req.OneTimeKeys[fmt.Sprintf("signed_curve25519:k%04d", n)] = d.oneTime(n, "")
	}
	return call(d.h, userapi.UploadKeys, req).Counts
}

func (d *device) fallback(name string) {
	d.h.t.Helper()
	call(d.h, userapi.UploadKeys, userapi.UploadKeysRequest{UserID: d.user, DeviceID: d.id,
		FallbackKeys: map[string]json.RawMessage{"signed_curve25519:" + name: d.oneTime(len(name), `,"fallback":true`)}})
}

// claim claims a key of the device and returns its name.
func (d *device) claim() string {
	d.h.t.Helper()
	return call(d.h, userapi.ClaimKeys, userapi.ClaimKeysRequest{Claims: []userapi.KeyClaim{{UserID: d.user, DeviceID: d.id, Algorithm: "signed_curve25519"}}}).Keys[0].Name
}

func (d *device) sync(after, acked int64) *userapi.DeviceSyncResponse {
	d.h.t.Helper()
	return call(d.h, userapi.DeviceSync, userapi.DeviceSyncRequest{UserID: d.user, DeviceID: d.id, After: after, Acknowledged: acked})
}

// query returns the parts that viewer sees of a user, by part and device.
func (h *house) query(viewer, user string, devices ...string) map[string]string {
	h.t.Helper()
	found := map[string]string{}
	err := userapi.ReadKeys(h.ctx, h.bus, &userapi.QueryKeysRequest{Viewer: viewer, Users: map[string][]string{user: devices}}, func(p *userapi.KeyPart) error {
		found[fmt.Sprint(p.Part, p.DeviceID)] = string(p.Keys)
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return found
}

// entries reads the user log after a position.
func (h *house) entries(after int64) []userapi.Entry {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.ctx, 10*time.Second)
	defer cancel()
	head, err := bus.Head(ctx, h.bus, userapi.Log)
	if err != nil {
		h.t.Fatal(err)
	}
	var list []userapi.Entry
	if after >= head {
		return nil
	}
	_ = bus.Follow(ctx, h.bus, userapi.Log, after, func(_ context.Context, batch []bus.Positioned[userapi.Entry]) error {
		for _, p := range batch {
			list = append(list, *p.Entry)
			if p.Pos >= head {
				cancel()
			}
		}
		return nil
	})
	return list
}

func (h *house) head() int64 {
	h.t.Helper()
	return call(h, userapi.LogPosition, userapi.Empty{}).Pos
}
