package devicekeys_test

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"hearth/clientapi/userapi"
	"hearth/internal/pdu"
)

// identity is a set of cross-signing keys.
type identity struct {
	d                         *device
	master, selfSign, userSig ed25519.PrivateKey
}

func (d *device) identity(name string) *identity {
	return &identity{d, newKey(name + "m" + d.user), newKey(name + "s" + d.user), newKey(name + "u" + d.user)}
}

func (i *identity) object(usage string, key ed25519.PrivateKey) string {
	return fmt.Sprintf(`{"keys":{"ed25519:%s":%q},"usage":[%q],"user_id":%q}`, public(key), public(key), usage, i.d.user)
}

func (i *identity) byMaster(obj string) json.RawMessage {
	return signed(i.d.h, obj, i.d.user, "ed25519:"+public(i.master), i.master)
}

func (i *identity) request() userapi.SetCrossSigningRequest {
	return userapi.SetCrossSigningRequest{
		UserID: i.d.user, Master: json.RawMessage(i.object("master", i.master)),
		SelfSigning: i.byMaster(i.object("self_signing", i.selfSign)), UserSigning: i.byMaster(i.object("user_signing", i.userSig)),
	}
}

func (i *identity) set(authorized bool) bool {
	i.d.h.t.Helper()
	req := i.request()
	req.Authorized = authorized
	return !call(i.d.h, userapi.SetCrossSigning, req).NeedsAuthorization
}

func TestCrossSigningRules(t *testing.T) {
	each(t, func(h *house) {
		a := h.user("alice", "PHONE")
		a.upload(0, 0)
		one, two := a.identity("1"), a.identity("2")
		noMaster := one.request()
		noMaster.Master = nil
		refused(h, "M_MISSING_PARAM", userapi.SetCrossSigning, noMaster)
		refused(h, "M_MISSING_PARAM", userapi.SetCrossSigning, userapi.SetCrossSigningRequest{UserID: a.user})
		for _, c := range []struct{ code, old, new string }{
			{"M_INVALID_PARAM", `["self_signing"]`, `["master"]`}, {"M_INVALID_PARAM", `["self_signing"]`, `7`}, {"M_INVALID_PARAM", `"@alice:test"}`, `"@bob:test"}`},
			{"M_INVALID_PARAM", `"keys":{`, `"keys":{"ed25519:x":"y",`}, {"M_INVALID_PARAM", `"keys":{"ed25519:`, `"keys":{"ed25519:A`},
		} {
			req := one.request()
			obj := one.object("self_signing", one.selfSign)
			if !strings.Contains(obj, c.old) {
				t.Fatal(obj, c.old)
			}
			req.SelfSigning = one.byMaster(strings.Replace(obj, c.old, c.new, 1))
			refused(h, c.code, userapi.SetCrossSigning, req)
		}
		forged := one.request()
		forged.SelfSigning = two.byMaster(one.object("self_signing", one.selfSign))
		refused(h, "M_INVALID_SIGNATURE", userapi.SetCrossSigning, forged)
		twice := one.request()
		twice.UserSigning = one.byMaster(one.object("user_signing", one.selfSign))
		refused(h, "M_INVALID_PARAM", userapi.SetCrossSigning, twice)
		list := one.request()
		list.Master = json.RawMessage(`[]`)
		refused(h, "M_BAD_JSON", userapi.SetCrossSigning, list)
		if len(h.query(a.user, a.user)) != 1 {
			t.Fatal("something was stored")
		}

		start := h.head()
		for range 2 { // the first time, and the same again
			if !one.set(false) {
				t.Error("the first keys need authorization")
			}
		}
		if got := h.listEntries(start); len(got) != 1 || got[0] != "@alice:test/" {
			t.Errorf("%v", got)
		}
		if two.set(false) {
			t.Error("other keys need no authorization")
		}
		more := one.request()
		more.UserSigning = one.byMaster(one.object("user_signing", newKey("new")))
		if !call(h, userapi.SetCrossSigning, more).NeedsAuthorization {
			t.Error("one new key needs no authorization")
		}
		if keys := h.query(a.user, a.user); !strings.Contains(keys["2"], public(one.master)) || !strings.Contains(keys["4"], public(one.userSig)) {
			t.Errorf("%v", keys)
		}
		if keys := h.query("@bob:test", a.user); keys["2"] == "" || keys["3"] == "" || keys["4"] != "" {
			t.Errorf("what others see: %v", keys)
		}
		replaced := two.request() // a new master key alone: what the old one signed goes
		replaced.Authorized, replaced.SelfSigning, replaced.UserSigning = true, nil, nil
		call(h, userapi.SetCrossSigning, replaced)
		if keys := h.query(a.user, a.user); keys["2"] == "" || keys["3"] != "" || keys["4"] != "" {
			t.Errorf("%v", keys)
		}
		if !two.set(true) || !strings.Contains(h.query(a.user, a.user)["3"], public(two.selfSign)) {
			t.Error("authorized keys were not stored")
		}
		// A device must not have the name of a key, nor a key that of a device.
		clash := &device{h: h, user: a.user, id: public(two.master), key: a.key}
		b := h.user("bob", "PHONE")
		call(h, userapi.Register, userapi.RegisterRequest{Username: "carol", DeviceID: public(b.identity("1").master)})
		carol := &device{h: h, user: "@carol:test", id: public(b.identity("1").master)}
		clashing := carol.identity("1")
		clashing.master = b.identity("1").master
		refused(h, "M_FORBIDDEN", userapi.SetCrossSigning, clashing.request())
		refused(h, "M_NOT_FOUND", userapi.UploadKeys, userapi.UploadKeysRequest{UserID: a.user, DeviceID: clash.id, DeviceKeys: clash.keys()})
	})
}

// sign uploads one signed object and returns the errcode of its failure.
func (d *device) sign(user, key string, obj json.RawMessage) string {
	d.h.t.Helper()
	answer := call(d.h, userapi.UploadSignatures, userapi.UploadSignaturesRequest{
		UserID: d.user, Signed: map[string]map[string]json.RawMessage{user: {key: obj}},
	})
	if e := answer.Failures[user][key]; e != nil {
		return e.Code
	}
	if len(answer.Failures) > 0 {
		d.h.t.Errorf("%+v", answer.Failures)
	}
	return ""
}

func signatureOf(obj, user, keyID string) string {
	all, _ := pdu.Get([]byte(obj), "signatures")
	own, _ := pdu.Get(all, user)
	s, _ := pdu.GetString(own, keyID)
	return s
}

func TestSignatures(t *testing.T) {
	each(t, func(h *house) {
		a, b := h.user("alice", "PHONE"), h.user("bob", "PHONE")
		a.upload(0, 0)
		b.upload(0, 0)
		mine, his := a.identity("1"), b.identity("1")
		mine.set(false)
		his.set(false)
		by := func(obj string, user string, key ed25519.PrivateKey) json.RawMessage {
			return signed(h, obj, user, "ed25519:"+public(key), key)
		}
		device, _ := pdu.Get([]byte(h.query(a.user, a.user)["1PHONE"]), "keys")
		bare := fmt.Sprintf(`{"algorithms":["m.olm.v1.curve25519-aes-sha2"],"device_id":"PHONE","user_id":"@alice:test","keys":%s}`, device)
		hisMaster := his.object("master", his.master)

		for _, c := range []struct {
			what, code, user, key string
			obj                   json.RawMessage
		}{
			{"no signature", "M_INVALID_PARAM", a.user, "PHONE", json.RawMessage(bare)},
			{"a list", "M_BAD_JSON", a.user, "PHONE", json.RawMessage(`[]`)},
			{"another's signature only", "M_INVALID_SIGNATURE", a.user, "PHONE", by(bare, b.user, mine.selfSign)},
			{"unknown key", "M_INVALID_SIGNATURE", a.user, "PHONE", by(bare, a.user, newKey("x"))},
			{"user-signing key on an own device", "M_INVALID_SIGNATURE", a.user, "PHONE", by(bare, a.user, mine.userSig)},
			{"other object", "M_INVALID_PARAM", a.user, "PHONE", by(strings.Replace(bare, "m.olm.v1", "m.olm.v2", 1), a.user, mine.selfSign)},
			{"unknown device", "M_NOT_FOUND", a.user, "NONE", by(bare, a.user, mine.selfSign)},
			{"forged", "M_INVALID_SIGNATURE", a.user, "PHONE", json.RawMessage(strings.Replace(string(by(bare, a.user, mine.selfSign)), `"ed25519:`+public(mine.selfSign)+`":"`, `"ed25519:`+public(mine.selfSign)+`":"A`, 1))},
			{"another's master by the self-signing key", "M_INVALID_SIGNATURE", b.user, public(his.master), by(hisMaster, a.user, mine.selfSign)},
			{"another's self-signing key", "M_NOT_FOUND", b.user, public(his.selfSign), by(his.object("self_signing", his.selfSign), a.user, mine.userSig)},
			{"another's device", "M_NOT_FOUND", b.user, "PHONE", by(bare, a.user, mine.userSig)},
			{"a user of elsewhere", "M_NOT_FOUND", "@x:elsewhere", "PHONE", by(bare, a.user, mine.userSig)},
		} {
			if code := a.sign(c.user, c.key, c.obj); code != c.code {
				t.Errorf("%s: %q, want %s", c.what, code, c.code)
			}
		}
		if s := h.query(a.user, a.user)["1PHONE"]; strings.Contains(s, public(mine.selfSign)) {
			t.Errorf("a bad signature is stored: %s", s)
		}

		start := h.head()
		if code := a.sign(a.user, "PHONE", by(bare, a.user, mine.selfSign)); code != "" {
			t.Error(code)
		}
		if code := a.sign(a.user, public(mine.master), signed(h, mine.object("master", mine.master), a.user, "ed25519:PHONE", a.key)); code != "" {
			t.Error(code)
		}
		if got := h.listEntries(start); len(got) != 2 {
			t.Errorf("%v", got)
		}
		start = h.head()
		if code := a.sign(b.user, public(his.master), by(hisMaster, a.user, mine.userSig)); code != "" {
			t.Error(code)
		}
		if got := h.listEntries(start); len(got) != 0 {
			t.Errorf("others hear whom alice has verified: %v", got)
		}
		changes := call(h, userapi.ChangedDeviceLists, userapi.ChangedDeviceListsRequest{UserID: a.user, After: start})
		others := call(h, userapi.ChangedDeviceLists, userapi.ChangedDeviceListsRequest{UserID: b.user, After: start})
		if len(changes.Signed) != 1 || changes.Signed[0] != b.user || len(changes.Users) != 0 || len(others.Signed) != 0 {
			t.Errorf("%+v %+v", changes, others)
		}
		for _, viewer := range []string{a.user, b.user, "@carol:test", ""} {
			if signatureOf(h.query(viewer, a.user)["1PHONE"], a.user, "ed25519:"+public(mine.selfSign)) == "" {
				t.Errorf("%s does not see that the device is cross-signed", viewer)
			}
			if signatureOf(h.query(viewer, a.user)["2"], a.user, "ed25519:PHONE") == "" {
				t.Errorf("%s does not see that the device has signed the master key", viewer)
			}
			sees := signatureOf(h.query(viewer, b.user)["2"], a.user, "ed25519:"+public(mine.userSig)) != ""
			if sees != (viewer == a.user) {
				t.Errorf("%s sees whom alice has verified: %v", viewer, sees)
			}
		}
		// What clients send may hold signatures that the server has already.
		whole := h.query(a.user, a.user)["1PHONE"]
		if code := a.sign(a.user, "PHONE", json.RawMessage(whole)); code != "" {
			t.Errorf("the same object again: %s", code)
		}
		// With new keys, what the old ones signed is gone.
		a.identity("2").set(true)
		if s := h.query(a.user, a.user)["1PHONE"]; strings.Contains(s, public(mine.selfSign)) {
			t.Errorf("%s", s)
		}
		if s := h.query(a.user, b.user)["2"]; strings.Contains(s, a.user) {
			t.Errorf("%s", s)
		}
	})
}
