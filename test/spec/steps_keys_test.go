package spec

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"

	"hearth/internal/pdu"
)

// keySteps exchange keys and messages between devices, and back keys up.
var keySteps = []step{
	{"device keys", func(w *world) {
		w.uploadDevice(w.alice)
		w.uploadDevice(w.bob)
		w.must(w.do(w.alice, "queryKeys", request{body: object{"device_keys": object{w.bob.id: []string{}}}}), w.bob.id, "device_keys", w.bob.id, w.bob.device, "user_id")
		v := w.do(w.alice, "claimKeys", request{body: object{"one_time_keys": object{w.bob.id: object{w.bob.device: "signed_curve25519"}}}})
		w.must(v, object{}, "failures")
	}},
	{"cross-signing", func(w *world) {
		if !w.built("uploadCrossSigningKeys") {
			return
		}
		master, self, user := newKey(), newKey(), newKey()
		signer := pdu.Signer{ServerName: w.alice.id, KeyID: "ed25519:" + public(master), Key: master}
		body := object{
			"master_key":       crossKey(w.alice.id, "master", master),
			"self_signing_key": w.signed(crossKey(w.alice.id, "self_signing", self), signer),
			"user_signing_key": w.signed(crossKey(w.alice.id, "user_signing", user), signer),
		}
		// The first keys of an account need no password (v1.11).
		w.do(w.alice, "uploadCrossSigningKeys", request{body: body})
		w.must(w.do(w.alice, "queryKeys", request{body: object{"device_keys": object{w.alice.id: []string{}}}}), w.alice.id, "master_keys", w.alice.id, "user_id")
		other := newKey()
		w.confirmed(w.alice, "uploadCrossSigningKeys", request{body: object{"master_key": crossKey(w.alice.id, "master", other),
			"self_signing_key": w.signed(crossKey(w.alice.id, "self_signing", self), pdu.Signer{ServerName: w.alice.id, KeyID: "ed25519:" + public(other), Key: other}),
		}})
		device := w.signed(w.deviceKeys(w.alice), pdu.Signer{ServerName: w.alice.id, KeyID: "ed25519:" + public(self), Key: self})
		v := w.do(w.alice, "uploadCrossSigningSignatures", request{body: object{w.alice.id: object{w.alice.device: device}}})
		w.must(v, object{}, "failures")
	}},
	{"changes of keys", func(w *world) {
		now := w.sync(w.bob, nil).text("next_batch")
		w.some(w.do(w.bob, "getKeysChanges", request{query: url.Values{"from": {w.since}, "to": {now}}}), "changed")
	}},
	{"to-device messages", func(w *world) {
		before := w.sync(w.bob, nil).text("next_batch")
		w.do(w.alice, "sendToDevice", request{path: in("eventType", "m.dummy", "txnId", "1"), body: object{"messages": object{w.bob.id: object{"*": object{}}}}})
		w.eventually("the message arrives", func() bool {
			return !w.built("sendToDevice") || w.sync(w.bob, url.Values{"since": {before}}).text("to_device", "events", "0", "type") == "m.dummy"
		})
	}},
	{"backup versions", func(w *world) {
		w.refused(w.alice, "getRoomKeysVersionCurrent", request{}, http.StatusNotFound, "M_NOT_FOUND")
		algorithm := object{"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": object{"public_key": public(newKey()), "signatures": object{}}}
		version := w.do(w.alice, "postRoomKeysVersion", request{body: algorithm}).text("version")
		w.must(w.do(w.alice, "getRoomKeysVersionCurrent", request{}), version, "version")
		here := in("version", version)
		w.do(w.alice, "putRoomKeysVersion", request{path: here, body: algorithm})
		w.must(w.do(w.alice, "getRoomKeysVersion", request{path: here}), version, "version")
		session := object{"first_message_index": 1, "forwarded_count": 0, "is_verified": true,
			"session_data": object{"ciphertext": "YQ", "ephemeral": "YQ", "mac": "YQ"}}
		q, one := url.Values{"version": {version}}, in("roomId", w.room, "sessionId", "session")
		w.must(w.do(w.alice, "putRoomKeyBySessionId", request{path: one, query: q, body: session}), 1, "count")
		w.must(w.do(w.alice, "putRoomKeysByRoomId", request{path: one, query: q, body: object{"sessions": object{"two": session}}}), 2, "count")
		w.must(w.do(w.alice, "putRoomKeys", request{query: q, body: object{"rooms": object{w.room: object{"sessions": object{"three": session}}}}}), 3, "count")
		w.must(w.do(w.alice, "getRoomKeyBySessionId", request{path: one, query: q}), 1, "first_message_index")
		w.must(w.do(w.alice, "getRoomKeysByRoomId", request{path: one, query: q}), true, "sessions", "two", "is_verified")
		w.must(w.do(w.alice, "getRoomKeys", request{query: q}), true, "rooms", w.room, "sessions", "three", "is_verified")
		w.must(w.do(w.alice, "deleteRoomKeyBySessionId", request{path: one, query: q}), 2, "count")
		w.must(w.do(w.alice, "deleteRoomKeysByRoomId", request{path: one, query: q}), 0, "count")
		w.must(w.do(w.alice, "deleteRoomKeys", request{query: q}), 0, "count")
		w.do(w.alice, "deleteRoomKeysVersion", request{path: here})
	}},
}

// deviceSeed makes the key of a device the same whenever it is asked for.
func deviceSeed(p *person) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	copy(seed, p.id+p.device)
	return ed25519.NewKeyFromSeed(seed)
}

func newKey() ed25519.PrivateKey {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic(err) // it reads from the system, which does not fail
	}
	return key
}

func public(key ed25519.PrivateKey) string {
	return base64.RawStdEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
}

// signed signs an object.
func (w *world) signed(o object, signer pdu.Signer) object {
	w.Helper()
	text, err := json.Marshal(o)
	if err == nil {
		text, err = pdu.SignJSON(text, signer)
	}
	var out object
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		w.Fatal(err)
	}
	return out
}

// deviceKeys returns the keys of a device, signed by itself.
func (w *world) deviceKeys(p *person) object {
	key := deviceSeed(p)
	return w.signed(object{
		"user_id": p.id, "device_id": p.device, "algorithms": []string{"m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"},
		"keys": object{"ed25519:" + p.device: public(key), "curve25519:" + p.device: public(key)},
	}, pdu.Signer{ServerName: p.id, KeyID: "ed25519:" + p.device, Key: key})
}

// uploadDevice uploads the keys of a device, and keys for one message each.
func (w *world) uploadDevice(p *person) {
	w.Helper()
	signer := pdu.Signer{ServerName: p.id, KeyID: "ed25519:" + p.device, Key: deviceSeed(p)}
	one := w.signed(object{"key": public(newKey())}, signer)
	fallback := w.signed(object{"key": public(newKey()), "fallback": true}, signer)
	v := w.do(p, "uploadKeys", request{body: object{
		"device_keys":   w.deviceKeys(p),
		"one_time_keys": object{"signed_curve25519:AAAA": one}, "fallback_keys": object{"signed_curve25519:BBBB": fallback},
	}})
	w.must(v, 1, "one_time_key_counts", "signed_curve25519")
}

// crossKey returns a key of a usage.
func crossKey(user, usage string, key ed25519.PrivateKey) object {
	return object{"user_id": user, "usage": []string{usage}, "keys": object{"ed25519:" + public(key): public(key)}}
}
