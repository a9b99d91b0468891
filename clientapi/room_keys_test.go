package clientapi

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func backupKey(first, forwarded int, verified bool, text string) string {
	return fmt.Sprintf(`{"first_message_index":%d,"forwarded_count":%d,"is_verified":%v,"session_data":{"ciphertext":%q}}`, first, forwarded, verified, text)
}

func TestRoomKeys(t *testing.T) {
	each(t, func(s *server) {
		token := s.user("alice")
		other := s.user("bob")
		s.refuse(404, "M_NOT_FOUND", "GET", "/room_keys/version", token, "")
		s.refuse(404, "M_NOT_FOUND", "GET", "/room_keys/version/1", token, "")
		s.refuse(404, "M_NOT_FOUND", "PUT", "/room_keys/keys?version=1", token, `{"rooms":{}}`)
		s.refuse(400, "M_MISSING_PARAM", "POST", "/room_keys/version", token, `{}`)
		s.refuse(400, "M_BAD_JSON", "POST", "/room_keys/version", token, `{"algorithm":"a","auth_data":[]}`)
		const create = `{"algorithm":"m.megolm_backup.v1.curve25519-aes-sha2","auth_data":{"public_key":"k"}}`
		same(s.t, "create", s.must("POST", "/room_keys/version", token, create).raw, `{"version":"1"}`)
		same(s.t, "get", s.must("GET", "/room_keys/version", token, "").raw,
			`{"algorithm":"m.megolm_backup.v1.curve25519-aes-sha2","auth_data":{"public_key":"k"},"count":0,"etag":"0","version":"1"}`)
		s.refuse(404, "M_NOT_FOUND", "GET", "/room_keys/version", other, "")

		s.refuse(400, "M_INVALID_PARAM", "PUT", "/room_keys/version/1", token, `{"algorithm":"b","auth_data":{}}`)
		s.refuse(400, "M_INVALID_PARAM", "PUT", "/room_keys/version/1", token, create[:len(create)-1]+`,"version":"2"}`)
		s.refuse(404, "M_NOT_FOUND", "PUT", "/room_keys/version/2", token, create)
		same(s.t, "put", s.must("PUT", "/room_keys/version/1", token, strings.Replace(create, `"k"`, `"l"`, 1)).raw, `{}`)
		if a := s.must("GET", "/room_keys/version/1", token, ""); !strings.Contains(a.raw, `"public_key":"l"`) {
			s.t.Errorf("%s", a.raw)
		}

		same(s.t, "no keys", s.must("GET", "/room_keys/keys?version=1", token, "").raw, `{"rooms":{}}`)
		same(s.t, "no keys", s.must("GET", "/room_keys/keys/!a:test?version=1", token, "").raw, `{"sessions":{}}`)
		s.refuse(404, "M_NOT_FOUND", "GET", "/room_keys/keys/!a:test/s1?version=1", token, "")
		s.refuse(404, "M_NOT_FOUND", "GET", "/room_keys/keys?version=7", token, "")
		s.refuse(400, "M_MISSING_PARAM", "GET", "/room_keys/keys", token, "")
		for _, bad := range []string{`[]`, `{}`, `{"first_message_index":-1,"forwarded_count":0,"is_verified":true,"session_data":{}}`,
			`{"first_message_index":1.5,"forwarded_count":0,"is_verified":true,"session_data":{}}`,
			`{"first_message_index":1,"forwarded_count":0,"is_verified":1,"session_data":{}}`, `{"first_message_index":1,"forwarded_count":0,"is_verified":true,"session_data":"x"}`} {
			for path, body := range map[string]string{"/!a:test/s1": bad, "/!a:test": `{"sessions":{"s1":` + bad + `}}`, "": `{"rooms":{"!a:test":{"sessions":{"s1":` + bad + `}}}}`} {
				if a := s.do("PUT", "/room_keys/keys"+path+"?version=1", token, body); a.status != 400 {
					s.t.Errorf("%s %s: %d %s", path, body, a.status, a.raw)
				}
			}
		}
		one, two := backupKey(1, 0, false, "1"), backupKey(2, 0, false, "2")
		same(s.t, "one", s.must("PUT", "/room_keys/keys/!a:test/s1?version=1", token, one).raw, `{"count":1,"etag":"1"}`)
		same(s.t, "again", s.must("PUT", "/room_keys/keys/!a:test/s1?version=1", token, one).raw, `{"count":1,"etag":"1"}`)
		same(s.t, "room", s.must("PUT", "/room_keys/keys/!a:test?version=1", token, `{"sessions":{"s1":`+two+`,"s2":`+two+`}}`).raw, `{"count":2,"etag":"2"}`)
		same(s.t, "all", s.must("PUT", "/room_keys/keys?version=1", token, `{"rooms":{"!b:test":{"sessions":{"s1":`+one+`}}}}`).raw, `{"count":3,"etag":"3"}`)
		same(s.t, "get one", s.must("GET", "/room_keys/keys/!a:test/s1?version=1", token, "").raw, one) // the lower index stays
		same(s.t, "get room", s.must("GET", "/room_keys/keys/!a:test?version=1", token, "").raw, `{"sessions":{"s1":`+one+`,"s2":`+two+`}}`)
		same(s.t, "get all", s.must("GET", "/room_keys/keys?version=1", token, "").raw,
			`{"rooms":{"!a:test":{"sessions":{"s1":`+one+`,"s2":`+two+`}},"!b:test":{"sessions":{"s1":`+one+`}}}}`)

		same(s.t, "second", s.must("POST", "/room_keys/version", token, create).raw, `{"version":"2"}`)
		a := s.refuse(403, "M_WRONG_ROOM_KEYS_VERSION", "PUT", "/room_keys/keys?version=1", token, `{"rooms":{}}`)
		if a.text("current_version") != "2" {
			s.t.Errorf("%s", a.raw)
		}
		same(s.t, "old version", s.must("GET", "/room_keys/keys/!b:test?version=1", token, "").raw, `{"sessions":{"s1":`+one+`}}`)
		same(s.t, "delete one", s.must("DELETE", "/room_keys/keys/!a:test/s1?version=1", token, "").raw, `{"count":2,"etag":"4"}`)
		same(s.t, "delete none", s.must("DELETE", "/room_keys/keys/!a:test/s1?version=1", token, "").raw, `{"count":2,"etag":"4"}`)
		same(s.t, "delete room", s.must("DELETE", "/room_keys/keys/!a:test?version=1", token, "").raw, `{"count":1,"etag":"5"}`)
		same(s.t, "delete all", s.must("DELETE", "/room_keys/keys?version=1", token, "").raw, `{"count":0,"etag":"6"}`)
		for range 2 {
			same(s.t, "delete version", s.must("DELETE", "/room_keys/version/2", token, "").raw, `{}`)
		}
		s.refuse(404, "M_NOT_FOUND", "DELETE", "/room_keys/version/7", token, "")
		s.refuse(404, "M_NOT_FOUND", "GET", "/room_keys/version/2", token, "")
		s.refuse(404, "M_NOT_FOUND", "DELETE", "/room_keys/keys?version=2", token, "")
		if v := s.must("GET", "/room_keys/version", token, "").text("version"); v != "1" {
			s.t.Errorf("version %s", v)
		}
		same(s.t, "a version is never used twice", s.must("POST", "/room_keys/version", token, create).raw, `{"version":"3"}`)
	})
}

func TestLargeBackup(t *testing.T) {
	each(t, func(s *server) {
		token := s.user("alice")
		s.must("POST", "/room_keys/version", token, `{"algorithm":"a","auth_data":{}}`)
		rooms := map[string]any{}
		const perRoom, all = 30, 60 * 30
		for r := range 60 {
			sessions := map[string]json.RawMessage{}
			for i := range perRoom {
				sessions[fmt.Sprintf("session%d", i)] = json.RawMessage(backupKey(i, 0, true, strings.Repeat("x", 2500)))
			}
			rooms[fmt.Sprintf("!r%d:test", r)] = map[string]any{"sessions": sessions}
		}
		body := mustJSON(map[string]any{"rooms": rooms})
		if len(body) < 4<<20 {
			s.t.Fatalf("only %d bytes", len(body))
		}
		a := s.must("PUT", "/room_keys/keys?version=1", token, string(body))
		if a.body["count"] != float64(all) {
			s.t.Errorf("%s", a.raw)
		}
		got := s.must("GET", "/room_keys/keys?version=1", token, "")
		same(s.t, "large backup", got.raw, string(body))
		one := s.must("GET", "/room_keys/keys/!r7:test?version=1", token, "")
		same(s.t, "one room", one.raw, string(mustJSON(rooms["!r7:test"])))
		s.refuse(413, "M_TOO_LARGE", "PUT", "/room_keys/keys?version=1", token, `{"x":"`+strings.Repeat("x", 9<<20)+`"}`)
	})
}

func TestDehydratedDevices(t *testing.T) {
	each(t, func(s *server) {
		alice := s.user("alice")
		k := keyring{s.t, "@alice:test"}
		const path = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"
		put := func(id string) string {
			return `{"device_id":"` + id + `","device_data":{"algorithm":"x"},"initial_device_display_name":"asleep","device_keys":` + k.device(id) +
				`,"one_time_keys":{"signed_curve25519:a":` + k.oneTime(id, "a") + `}}`
		}
		s.refuse(404, "M_NOT_FOUND", "GET", path, alice, "")
		s.refuse(404, "M_NOT_FOUND", "DELETE", path, alice, "")
		s.refuse(400, "M_MISSING_PARAM", "PUT", path, alice, `{}`)
		s.refuse(400, "M_INVALID_PARAM", "PUT", path, alice, `{"device_id":"A"}`)
		s.refuse(400, "M_MISSING_PARAM", "PUT", path, alice, `{"device_id":"A","device_data":{}}`)
		s.refuse(400, "M_INVALID_PARAM", "PUT", path, alice, put(s.device(alice)))
		same(s.t, "put", s.must("PUT", path, alice, put("ASLEEP")).raw, `{"device_id":"ASLEEP"}`)
		same(s.t, "get", s.must("GET", path, alice, "").raw, `{"device_id":"ASLEEP","device_data":{"algorithm":"x"}}`)
		for i := range 150 {
			s.must("PUT", fmt.Sprintf("/sendToDevice/m.x/%d", i), alice, fmt.Sprintf(`{"messages":{"@alice:test":{"ASLEEP":{"n":%d}}}}`, i))
		}
		events := path + "/ASLEEP/events"
		s.refuse(403, "M_FORBIDDEN", "GET", path+"/OTHER/events", alice, "")
		s.refuse(400, "M_INVALID_PARAM", "GET", events+"?from=x", alice, "")
		for range 2 { // nothing is deleted
			first := s.must("GET", events, alice, "")
			second := s.must("GET", events+"?from="+first.text("next_batch"), alice, "")
			if len(first.body["events"].([]any)) != 100 || len(second.body["events"].([]any)) != 50 || second.text("next_batch") != "" {
				s.t.Errorf("%s %s", first.raw, second.raw)
			}
		}
		next := ""
		for _, want := range []int{100, 50, 0} {
			a := s.must("POST", events, alice, `{"next_batch":"`+next+`"}`)
			if next = a.text("next_batch"); len(a.body["events"].([]any)) != want || next == "" {
				s.t.Errorf("%d events: %s", want, a.raw)
			}
		}
		s.must("PUT", path, alice, put("OTHER"))
		s.refuse(404, "M_NOT_FOUND", "GET", "/devices/ASLEEP", alice, "")
		if a := s.must("POST", "/keys/query", alice, `{"device_keys":{"@alice:test":[]}}`); !strings.Contains(a.raw, `"device_id":"OTHER"`) || strings.Contains(a.raw, "ASLEEP") {
			s.t.Errorf("%s", a.raw)
		}
		same(s.t, "delete", s.must("DELETE", path, alice, "").raw, `{"device_id":"OTHER"}`)
		s.refuse(404, "M_NOT_FOUND", "GET", "/devices/OTHER", alice, "")
	})
}
