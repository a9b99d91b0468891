package clientapi

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// keyring signs objects for a user.
type keyring struct {
	t    *testing.T
	user string
}

func (k keyring) key(name string) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	copy(seed, k.user+name)
	return ed25519.NewKeyFromSeed(seed)
}

func (k keyring) public(name string) string {
	return base64.RawStdEncoding.EncodeToString(k.key(name).Public().(ed25519.PublicKey))
}

func (k keyring) sign(obj, keyID, name string) string {
	out, err := pdu.SignJSON([]byte(obj), pdu.Signer{ServerName: k.user, KeyID: keyID, Key: k.key(name)})
	if err != nil {
		k.t.Fatal(err)
	}
	return string(out)
}

func (k keyring) device(id string) string {
	return k.sign(fmt.Sprintf(`{"algorithms":["m.olm.v1.curve25519-aes-sha2"],"device_id":%q,"keys":{"curve25519:%s":%q,"ed25519:%s":%q},"user_id":%q}`,
		id, id, k.public("curve"), id, k.public(id), k.user), "ed25519:"+id, id)
}

func (k keyring) oneTime(id, name string) string {
	return k.sign(fmt.Sprintf(`{"key":%q}`, k.public(name)), "ed25519:"+id, id)
}

func (k keyring) cross(usage, name string) string {
	obj := fmt.Sprintf(`{"keys":{"ed25519:%s":%q},"usage":[%q],"user_id":%q}`, k.public(name), k.public(name), usage, k.user)
	if usage == "master" {
		return obj
	}
	return k.sign(obj, "ed25519:"+k.public("master"), "master")
}

// device returns the device of an access token.
func (s *server) device(token string) string {
	s.t.Helper()
	return s.must("GET", "/account/whoami", token, "").text("device_id")
}

func TestKeyEndpoints(t *testing.T) {
	each(t, func(s *server) {
		alice, bob := s.user("alice"), s.user("bob")
		id := s.device(alice)
		k := keyring{s.t, "@alice:test"}
		for _, c := range []struct {
			status           int
			code, path, body string
		}{
			{400, "M_BAD_JSON", "/keys/upload", `[]`},
			{400, "M_BAD_JSON", "/keys/upload", `{"a":1,"a":2}`},
			{400, "M_BAD_JSON", "/keys/upload", `{"device_keys":[]}`},
			{400, "M_BAD_JSON", "/keys/upload", `{"one_time_keys":[]}`},
			{400, "M_INVALID_PARAM", "/keys/upload", `{"one_time_keys":{"nocolon":"x"}}`},
			{400, "M_INVALID_PARAM", "/keys/upload", `{"device_keys":` + keyring{s.t, "@bob:test"}.device(id) + `}`},
			{400, "M_INVALID_PARAM", "/keys/upload", `{"device_keys":` + k.device("OTHER") + `}`},
			{400, "M_INVALID_PARAM", "/keys/upload/OTHER", `{}`},
			{400, "M_MISSING_PARAM", "/keys/query", `{}`},
			{400, "M_BAD_JSON", "/keys/query", `{"device_keys":[]}`},
			{400, "M_BAD_JSON", "/keys/query", `{"device_keys":{"@alice:test":7}}`},
			{400, "M_INVALID_PARAM", "/keys/query", `{"device_keys":{"alice":[]}}`},
			{400, "M_MISSING_PARAM", "/keys/claim", `{}`},
			{400, "M_BAD_JSON", "/keys/claim", `{"one_time_keys":{"@alice:test":{"D":7}}}`},
			{400, "M_INVALID_PARAM", "/keys/claim", `{"one_time_keys":{"alice":{"D":"x"}}}`},
			{400, "M_MISSING_PARAM", "/keys/device_signing/upload", `{}`},
			{400, "M_BAD_JSON", "/keys/device_signing/upload", `{"master_key":[]}`},
			{400, "M_BAD_JSON", "/keys/signatures/upload", `{"@alice:test":[]}`},
		} {
			s.refuse(c.status, c.code, "POST", c.path, alice, c.body)
		}
		s.refuse(401, "M_MISSING_TOKEN", "POST", "/keys/query", "", `{"device_keys":{}}`)

		a := s.must("POST", "/keys/upload", alice, `{"device_keys":`+k.device(id)+`,"one_time_keys":{"signed_curve25519:a":`+k.oneTime(id, "a")+`}}`)
		same(s.t, "upload", a.raw, `{"one_time_key_counts":{"signed_curve25519":1}}`)
		same(s.t, "counts", s.must("POST", "/keys/upload", bob, `{"device_keys":null}`).raw, `{"one_time_key_counts":{}}`)
		a = s.must("POST", "/keys/query", bob, `{"timeout":10000,"device_keys":{"@alice:test":[],"@bob:test":[],"@x:elsewhere":[]}}`)
		got := a.body["device_keys"].(map[string]any)
		if len(got["@alice:test"].(map[string]any)) != 1 || len(got["@bob:test"].(map[string]any)) != 0 || got["@x:elsewhere"] != nil {
			s.t.Errorf("%s", a.raw)
		}
		if failures := a.body["failures"].(map[string]any); len(failures) != 1 || failures["elsewhere"] == nil {
			s.t.Errorf("%s", a.raw)
		}
		claim := `{"one_time_keys":{"@alice:test":{"` + id + `":"signed_curve25519","NONE":"signed_curve25519"},"@x:elsewhere":{"D":"signed_curve25519"}}}`
		a = s.must("POST", "/keys/claim", bob, claim)
		same(s.t, "claim", string(mustJSON(a.body["one_time_keys"])), `{"@alice:test":{"`+id+`":{"signed_curve25519:a":`+k.oneTime(id, "a")+`}}}`)
		if a.body["failures"].(map[string]any)["elsewhere"] == nil {
			s.t.Errorf("%s", a.raw)
		}
		same(s.t, "none left", string(mustJSON(s.must("POST", "/keys/claim", bob, claim).body["one_time_keys"])), `{}`)

		s.crossSign(alice, k)
		forged := `{"@alice:test":{"` + id + `":` + k.sign(k.device(id), "ed25519:"+k.public("self"), "other") + `}}`
		if code := s.must("POST", "/keys/signatures/upload", alice, forged).body["failures"].(map[string]any)["@alice:test"].(map[string]any)[id].(map[string]any)["errcode"]; code != "M_INVALID_SIGNATURE" {
			s.t.Errorf("forged: %v", code)
		}
		good := `{"@alice:test":{"` + id + `":` + k.sign(k.device(id), "ed25519:"+k.public("self"), "self") + `}}`
		same(s.t, "signatures", s.must("POST", "/keys/signatures/upload", alice, good).raw, `{"failures":{}}`)
		if a = s.must("POST", "/keys/query", bob, `{"device_keys":{"@alice:test":[]}}`); !strings.Contains(a.raw, `"ed25519:`+k.public("self")+`":"`) || strings.Contains(a.raw, k.public("user")) {
			s.t.Errorf("%s", a.raw)
		}
	})
}

func mustJSON(v any) []byte {
	out, err := json.Marshal(v)
	if err != nil {
		panic(err) // came from JSON
	}
	return out
}

// crossSign uploads keys, the same again, and others, which needs the password.
func (s *server) crossSign(token string, k keyring) {
	s.t.Helper()
	body := func(master, auth string) string {
		other := k
		return `{` + auth + `"master_key":` + other.cross("master", master) + `}`
	}
	first := `{"master_key":` + k.cross("master", "master") + `,"self_signing_key":` + k.cross("self_signing", "self") + `,"user_signing_key":` + k.cross("user_signing", "user") + `}`
	s.must("POST", "/_matrix/client/unstable/keys/device_signing/upload", token, first)
	s.must("POST", "/keys/device_signing/upload", token, first)
	ask := s.do("POST", "/keys/device_signing/upload", token, body("second", ""))
	if ask.status != 401 || ask.body["flows"] == nil {
		s.t.Fatalf("%d %s", ask.status, ask.raw)
	}
	login := `"auth":{"type":"m.login.password","session":"` + ask.text("session") + `","identifier":{"type":"m.id.user","user":"alice"},"password":"%s"},`
	if a := s.do("POST", "/keys/device_signing/upload", token, body("second", fmt.Sprintf(login, "wrong password"))); a.status != 401 {
		s.t.Errorf("wrong password: %d %s", a.status, a.raw)
	}
	s.must("POST", "/keys/device_signing/upload", token, body("second", fmt.Sprintf(login, password)))
	ask = s.do("POST", "/keys/device_signing/upload", token, first)
	login = strings.Replace(login, `"session":"`, `"session":"`+ask.text("session")+`","x":"`, 1)
	s.must("POST", "/keys/device_signing/upload", token, `{`+fmt.Sprintf(login, password)+first[1:])
}

func TestSendToDevice(t *testing.T) {
	each(t, func(s *server) {
		alice, bob := s.user("alice"), s.user("bob")
		id := s.device(bob)
		for _, c := range []struct {
			status     int
			code, body string
		}{
			{400, "M_BAD_JSON", `[]`}, {400, "M_MISSING_PARAM", `{}`}, {400, "M_BAD_JSON", `{"messages":[]}`},
			{400, "M_BAD_JSON", `{"messages":{"@bob:test":{"*":7}}}`}, {400, "M_INVALID_PARAM", `{"messages":{"bob":{"*":{}}}}`},
			{413, "M_TOO_LARGE", `{"messages":{"@bob:test":{"*":{"x":"` + strings.Repeat("x", 70<<10) + `"}}}}`},
		} {
			s.refuse(c.status, c.code, "PUT", "/sendToDevice/m.x/bad", alice, c.body)
		}
		messages := map[string]map[string]string{"@bob:test": {}, "@x:elsewhere": {"*": strings.Repeat("x", 100)}}
		for i := range 40 { // more than one call takes
			messages["@bob:test"][fmt.Sprintf("NONE%d", i)] = strings.Repeat("x", 40<<10)
		}
		body := map[string]any{"messages": map[string]any{}}
		for user, devices := range messages {
			m := map[string]any{}
			for device, text := range devices {
				m[device] = map[string]string{"x": text}
			}
			if user == "@bob:test" {
				m[id], m["ZZZ"] = map[string]int{"n": 1}, map[string]int{"n": 1}
			}
			body["messages"].(map[string]any)[user] = m
		}
		for range 2 {
			same(s.t, "answer", s.must("PUT", "/sendToDevice/m.x/1", alice, string(mustJSON(body))).raw, `{}`)
		}
		s.must("PUT", "/sendToDevice/m.y/1", alice, `{"messages":{"@bob:test":{"*":{"n":2}}}}`)
		d, err := userapi.DeviceSync.Do(context.Background(), s.bus, &userapi.DeviceSyncRequest{UserID: "@bob:test", DeviceID: id})
		must(s.t, err)
		same(s.t, "queue", string(mustJSON(d.Messages)), `[{"content":{"n":1},"sender":"@alice:test","type":"m.x"},{"content":{"n":2},"sender":"@alice:test","type":"m.y"}]`)
		s.must("POST", "/logout", bob, "")
		q, err := userapi.GetDeviceQueue.Do(context.Background(), s.bus, &userapi.DeviceRequest{UserID: "@bob:test", DeviceID: id})
		if err != nil || q.Messages != 0 {
			s.t.Errorf("%+v %v", q, err)
		}
	})
}

func TestKeyChanges(t *testing.T) {
	each(t, func(s *server) {
		var asked roomapi.PeersRequest
		must(s.t, bus.HandleStream(s.bus, roomapi.PeersStream, func(_ context.Context, req *roomapi.PeersRequest, send func([]byte) error) error {
			asked = *req
			peers := roomapi.Peers{Shared: req.Candidates, Joined: []string{"@new:test"}, Left: []string{"@gone:test"}}
			return send(peers.Append(nil))
		}))
		alice, bob := s.user("alice"), s.user("bob")
		id := s.device(bob)
		s.must("POST", "/keys/upload", bob, `{"device_keys":`+keyring{s.t, "@bob:test"}.device(id)+`}`)
		s.refuse(400, "M_MISSING_PARAM", "GET", "/keys/changes?from=s1_1_1", alice, "")
		s.refuse(400, "M_INVALID_PARAM", "GET", "/keys/changes?from=s1_1_1&to=x", alice, "")
		a := s.must("GET", "/keys/changes?from=s1_0_0&to=s9_zz_0", alice, "")
		same(s.t, "changes", a.raw, `{"changed":["@bob:test","@new:test"],"left":["@gone:test"]}`)
		if asked.From != 1 || asked.To != 9 || !asked.Changes || asked.UserID != "@alice:test" {
			s.t.Errorf("%+v", asked)
		}
		a = s.must("GET", "/keys/changes?from=s9_zz_0&to=s1_0_0", alice, "")
		same(s.t, "changes", a.raw, `{"changed":["@new:test"],"left":["@gone:test"]}`)
	})
}
