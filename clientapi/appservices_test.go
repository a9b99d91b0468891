package clientapi

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"hearth/clientapi/appservice"
	"hearth/internal/merr"
)

const serviceToken = "as-token-of-irc"

// bridge is an application service that answers what a test sets.
type bridge struct {
	*httptest.Server
	mu      sync.Mutex
	answers map[string]string // by method and path; absent: 404
	asked   []string
}

func newBridge(t *testing.T) *bridge {
	b := &bridge{answers: map[string]string{}}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		defer b.mu.Unlock()
		key := r.Method + " " + r.URL.EscapedPath()
		b.asked = append(b.asked, key)
		answer, ok := b.answers[key]
		if !ok {
			w.WriteHeader(404)
			answer = `{"errcode":"M_NOT_FOUND"}`
		}
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(b.Close)
	return b
}

func (b *bridge) set(key, answer string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answers[key] = answer
}

func (b *bridge) count(key string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range b.asked {
		if k == key {
			n++
		}
	}
	return n
}

// services are two application services: irc, and other without a URL.
func services(t *testing.T, url string) *appservice.Registrations {
	t.Helper()
	dir := t.TempDir()
	var paths []string
	for name, text := range map[string]string{
		"irc": fmt.Sprintf(`{id: irc, url: "%s", as_token: %s, hs_token: hs, sender_localpart: ircbot, rate_limited: false, protocols: [irc],
			namespaces: {users: [{exclusive: true, regex: "@irc_.*"}, {exclusive: false, regex: "@alice"}], aliases: [{exclusive: true, regex: "#irc_.*"}]}}`, url, serviceToken),
		"other": `{id: other, url: null, as_token: as-token-of-other, hs_token: hs, sender_localpart: otherbot,
			namespaces: {users: [{exclusive: true, regex: "@other_.*"}], aliases: [{exclusive: false, regex: "#other_.*"}]}}`,
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	rs, err := appservice.Load(paths, "test")
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

// eachService runs a test with application services over both transports.
func eachService(t *testing.T, test func(s *server, b *bridge)) {
	for name, local := range map[string]bool{"local": true, "nats": false} {
		t.Run(name, func(t *testing.T) {
			b := newBridge(t)
			test(start(t, local, func(d *Deps) { d.Appservices = services(t, b.URL); d.RegistrationMode = "closed" }), b)
		})
	}
}

func (s *server) ghost(name string) {
	s.t.Helper()
	s.must("POST", "/register", serviceToken, `{"type":"m.login.application_service","username":"`+name+`","inhibit_login":true}`)
}

func TestServiceRegistersUsers(t *testing.T) {
	eachService(t, func(s *server, b *bridge) {
		body := func(name, more string) string {
			return `{"type":"m.login.application_service","username":"` + name + `"` + more + `}`
		}
		a := s.must("POST", "/register", serviceToken, body("irc_bob", `,"device_id":"DEV"`))
		if a.text("user_id") != "@irc_bob:test" || a.text("device_id") != "DEV" || a.text("access_token") == "" {
			t.Error(a.raw)
		}
		same(s.t, "whoami", s.must("GET", "/account/whoami", a.text("access_token"), "").raw, `{"user_id":"@irc_bob:test","device_id":"DEV","is_guest":false}`)
		a = s.must("POST", "/register", serviceToken, body("IRC_eve", `,"inhibit_login":true`))
		if a.text("user_id") != "@irc_eve:test" || a.text("access_token") != "" {
			t.Error(a.raw)
		}
		s.refuse(400, "M_USER_IN_USE", "POST", "/register", serviceToken, body("irc_bob", ""))
		s.refuse(400, "M_EXCLUSIVE", "POST", "/register", serviceToken, body("bob", ""))
		s.refuse(400, "M_EXCLUSIVE", "POST", "/register", serviceToken, body("other_bob", ""))
		s.refuse(400, "M_MISSING_PARAM", "POST", "/register", serviceToken, `{"type":"m.login.application_service"}`)
		s.refuse(401, "M_MISSING_TOKEN", "POST", "/register", "", body("irc_x", ""))
		s.refuse(401, "M_UNKNOWN_TOKEN", "POST", "/register", "wrong", body("irc_x", ""))
		s.refuse(400, "M_INVALID_USERNAME", "POST", "/register", serviceToken, body("irc_x y", ""))
	})
}

func TestReservedUsers(t *testing.T) {
	for _, local := range []bool{true, false} {
		s := start(t, local, func(d *Deps) { d.Appservices = services(t, "http://127.0.0.1:1"); d.SharedSecret = "secret" })
		for _, name := range []string{"irc_bob", "IRC_bob", "ircbot", "other_x"} {
			s.refuse(400, "M_EXCLUSIVE", "POST", "/register", "", `{"username":"`+name+`","password":"`+password+`","auth":{"type":"m.login.dummy"}}`)
			s.refuse(400, "M_EXCLUSIVE", "GET", "/register/available?username="+name, "", "")
		}
		s.user("alice") // a namespace that is not exclusive keeps nobody out
	}
}

func TestServiceLogsUsersIn(t *testing.T) {
	eachService(t, func(s *server, b *bridge) {
		flows := s.must("GET", "/login", "", "").raw
		if !strings.Contains(flows, `"m.login.application_service"`) {
			t.Error(flows)
		}
		body := func(user string) string {
			return `{"type":"m.login.application_service","identifier":{"type":"m.id.user","user":"` + user + `"},"device_id":"D"}`
		}
		s.ghost("irc_bob")
		for _, user := range []string{"irc_bob", "@irc_bob:test"} {
			a := s.must("POST", "/login", serviceToken, body(user))
			same(s.t, "whoami", s.must("GET", "/account/whoami", a.text("access_token"), "").raw, `{"user_id":"@irc_bob:test","device_id":"D","is_guest":false}`)
		}
		s.must("POST", "/login", serviceToken, `{"type":"m.login.application_service","user":"irc_bob"}`)
		s.refuse(403, "M_FORBIDDEN", "POST", "/login", serviceToken, body("irc_nobody"))
		s.refuse(400, "M_EXCLUSIVE", "POST", "/login", serviceToken, body("other_x"))
		s.refuse(400, "M_EXCLUSIVE", "POST", "/login", serviceToken, body("@irc_bob:elsewhere"))
		s.refuse(400, "M_MISSING_PARAM", "POST", "/login", serviceToken, `{"type":"m.login.application_service"}`)
		s.refuse(401, "M_MISSING_TOKEN", "POST", "/login", "", body("irc_bob"))
		s.refuse(401, "M_UNKNOWN_TOKEN", "POST", "/login", "wrong", body("irc_bob"))
	})
}

func TestMasquerading(t *testing.T) {
	eachService(t, func(s *server, b *bridge) {
		who := func(query string) string { return s.must("GET", "/account/whoami"+query, serviceToken, "").raw }
		same(s.t, "the sender", who(""), `{"user_id":"@ircbot:test","is_guest":false}`)
		s.refuse(400, "M_USER_IN_USE", "POST", "/register", serviceToken, `{"type":"m.login.application_service","username":"ircbot"}`)
		s.refuse(403, "M_FORBIDDEN", "GET", "/account/whoami?user_id=@irc_bob:test", serviceToken, "")
		s.ghost("irc_bob")
		same(s.t, "a ghost", who("?user_id=@irc_bob:test"), `{"user_id":"@irc_bob:test","is_guest":false}`)
		s.refuse(403, "M_FORBIDDEN", "GET", "/account/whoami?user_id=@bob:test", serviceToken, "")
		s.refuse(403, "M_FORBIDDEN", "GET", "/account/whoami?user_id=@irc_bob:elsewhere", serviceToken, "")
		s.refuse(400, "M_INVALID_PARAM", "GET", "/account/whoami?user_id=irc_bob", serviceToken, "")
		s.refuse(401, "M_UNKNOWN_TOKEN", "GET", "/account/whoami?user_id=@irc_bob:test", "wrong", "")

		s.refuse(400, "M_UNKNOWN_DEVICE", "GET", "/account/whoami?user_id=@irc_bob:test&device_id=D", serviceToken, "")
		if a := s.do("PUT", "/devices/D?user_id=@irc_bob:test", serviceToken, `{"display_name":"one"}`); a.status != 201 {
			t.Errorf("new device: %d %s", a.status, a.raw)
		}
		s.must("PUT", "/devices/D?user_id=@irc_bob:test", serviceToken, `{"display_name":"two"}`)
		for _, name := range []string{"device_id", "org.matrix.msc3202.device_id"} {
			same(s.t, "a device", who("?user_id=@irc_bob:test&"+name+"=D"), `{"user_id":"@irc_bob:test","device_id":"D","is_guest":false}`)
		}
		s.must("PUT", "/rooms/"+testRoom+"/send/m.room.message/t?user_id=@irc_bob:test&device_id=D&ts=123", serviceToken, `{"body":"x"}`)
		asked(s.t, "send", s.rooms.took("roomserver.send"), `{"RoomID":"!room:test","Sender":"@irc_bob:test","DeviceID":"D","TxnID":"t",
			"Type":"m.room.message","Content":{"body":"x"},"Timestamp":123}`)
		s.must("DELETE", "/devices/D?user_id=@irc_bob:test", serviceToken, "")
		s.refuse(400, "M_UNKNOWN_DEVICE", "GET", "/account/whoami?user_id=@irc_bob:test&device_id=D", serviceToken, "")
		s.must("POST", "/delete_devices?user_id=@irc_bob:test", serviceToken, `{"devices":["D"]}`)
	})
}

func TestTimestamps(t *testing.T) {
	eachService(t, func(s *server, b *bridge) {
		s.ghost("irc_bob")
		for path, method := range map[string]string{"/rooms/" + testRoom + "/send/m.room.message/t": "PUT", "/rooms/" + testRoom + "/state/m.room.name/": "PUT"} {
			s.must(method, path+"?user_id=@irc_bob:test&ts=1234567890123", serviceToken, `{}`)
			if got := s.rooms.took("roomserver.send"); !strings.Contains(got, `"Timestamp":1234567890123`) {
				t.Error(got)
			}
			s.must(method, path+"?user_id=@irc_bob:test", serviceToken, `{}`)
			if got := s.rooms.took("roomserver.send"); !strings.Contains(got, `"Timestamp":0`) {
				t.Error(got)
			}
			for _, ts := range []string{"x", "", "-1", "0", "1.5", "9007199254740992"} {
				s.refuse(400, "M_INVALID_PARAM", method, path+"?ts="+ts, serviceToken, `{}`)
			}
		}
	})
}

func TestOthersHaveNoPrivileges(t *testing.T) {
	for _, local := range []bool{true, false} {
		s := start(t, local, func(d *Deps) { d.Appservices = services(t, "http://127.0.0.1:1") })
		token := s.user("alice")
		same(s.t, "whoami", s.must("GET", "/account/whoami?user_id=@bob:test", token, "").raw,
			`{"user_id":"@alice:test","device_id":"`+s.must("GET", "/account/whoami", token, "").text("device_id")+`","is_guest":false}`)
		s.must("PUT", "/rooms/"+testRoom+"/send/m.room.message/t?ts=5", token, `{}`)
		if got := s.rooms.took("roomserver.send"); !strings.Contains(got, `"Timestamp":0`) {
			t.Error(got)
		}
		s.refuse(404, "M_NOT_FOUND", "PUT", "/devices/NEW", token, `{}`)
		s.refuse(403, "M_FORBIDDEN", "POST", "/_matrix/client/v1/appservice/irc/ping", token, `{}`)
		s.refuse(401, "M_MISSING_TOKEN", "POST", "/_matrix/client/v1/appservice/irc/ping", "", `{}`)
		s.refuse(403, "M_FORBIDDEN", "PUT", "/directory/list/appservice/irc/"+testRoom, token, `{"visibility":"public"}`)
		s.refuse(400, "M_EXCLUSIVE", "PUT", "/directory/room/%23irc_x:test", token, `{"room_id":"!room:test"}`)
		s.refuse(400, "M_EXCLUSIVE", "DELETE", "/directory/room/%23irc_x:test", token, "")
		s.refuse(400, "M_EXCLUSIVE", "POST", "/createRoom", token, `{"room_alias_name":"irc_x"}`)
		s.must("PUT", "/directory/room/%23other_x:test", token, `{"room_id":"!room:test"}`)
	}
}

func TestAliasesOfServices(t *testing.T) {
	eachService(t, func(s *server, b *bridge) {
		s.must("PUT", "/directory/room/%23irc_x:test", serviceToken, `{"room_id":"!room:test"}`)
		asked(s.t, "set", s.rooms.took("roomserver.alias.set"), `{"Alias":"#irc_x:test","RoomID":"!room:test","UserID":"@ircbot:test"}`)
		s.must("DELETE", "/directory/room/%23irc_x:test", serviceToken, "")
		if got := s.rooms.took("roomserver.alias.delete"); !strings.Contains(got, `"Manages":true`) {
			t.Error(got)
		}
		s.must("POST", "/createRoom", serviceToken, `{"room_alias_name":"irc_x"}`)
		s.refuse(400, "M_EXCLUSIVE", "PUT", "/directory/room/%23x:test", serviceToken, `{"room_id":"!room:test"}`)
		s.refuse(400, "M_EXCLUSIVE", "POST", "/createRoom", serviceToken, `{"room_alias_name":"other_x"}`)
	})
}

func TestRateLimitsOfServices(t *testing.T) {
	b := newBridge(t)
	s := start(t, true, func(d *Deps) { d.Appservices = services(t, b.URL); d.RateLimits = true })
	s.must("POST", "/register", "as-token-of-other", `{"type":"m.login.application_service","username":"other_x"}`)
	s.ghost("irc_bob")
	flood := func(token, user string) int {
		for i := range 300 {
			if a := s.do("PUT", "/rooms/"+testRoom+"/send/m.room.message/t?user_id="+user, token, `{}`); a.status == 429 {
				return i
			}
		}
		return 300
	}
	for _, c := range []struct {
		token, user string
		least, most int
	}{
		{serviceToken, "@irc_bob:test", 300, 300}, {serviceToken, "@ircbot:test", 300, 300},
		{"as-token-of-other", "@otherbot:test", 300, 300}, {"as-token-of-other", "@other_x:test", 100, 250},
	} {
		if n := flood(c.token, c.user); n < c.least || n > c.most {
			t.Errorf("%s: %d requests", c.user, n)
		}
	}
}

func TestPingThroughTheGateway(t *testing.T) {
	eachService(t, func(s *server, b *bridge) {
		const path = "/_matrix/client/v1/appservice/"
		b.set("POST /_matrix/app/v1/ping", "{}")
		a := s.must("POST", path+"irc/ping", serviceToken, `{"transaction_id":"meow"}`)
		if _, ok := a.body["duration_ms"].(float64); !ok {
			t.Error(a.raw)
		}
		s.refuse(403, "M_FORBIDDEN", "POST", path+"other/ping", serviceToken, `{}`)
		s.refuse(403, "M_FORBIDDEN", "POST", path+"none/ping", serviceToken, `{}`)
		s.refuse(400, "M_URL_NOT_SET", "POST", path+"other/ping", "as-token-of-other", `{}`)
		s.refuse(400, "M_BAD_JSON", "POST", path+"irc/ping", serviceToken, `{"transaction_id":5}`)
		b.mu.Lock()
		delete(b.answers, "POST /_matrix/app/v1/ping")
		b.mu.Unlock()
		a = s.refuse(502, "M_BAD_STATUS", "POST", path+"irc/ping", serviceToken, `{}`)
		if a.body["status"] != 404.0 || a.text("body") != `{"errcode":"M_NOT_FOUND"}` {
			t.Error(a.raw)
		}
		b.Close()
		s.refuse(502, "M_CONNECTION_FAILED", "POST", path+"irc/ping", serviceToken, `{}`)
	})
}

// A user or alias in a namespace that is not there is asked for, and found if the
// service says that it has made it.
func TestQueriesThroughTheGateway(t *testing.T) {
	eachService(t, func(s *server, b *bridge) {
		s.refuse(404, "M_NOT_FOUND", "GET", "/profile/@irc_new:test", "", "")
		s.refuse(404, "M_NOT_FOUND", "GET", "/profile/@nobody:test", "", "")
		if b.count("GET /_matrix/app/v1/users/@irc_new:test") != 1 || b.count("GET /_matrix/app/v1/users/@nobody:test") != 0 {
			t.Errorf("%q", b.asked)
		}
		s.clock.add(ghostTTL * 2) // what was not there may be now
		b.set("GET /_matrix/app/v1/users/@irc_new:test", "{}")
		s.ghost("irc_new") // as the service would do before it answers
		same(s.t, "profile", s.must("GET", "/profile/@irc_new:test", "", "").raw, `{"displayname":"irc_new"}`)

		s.must("POST", "/rooms/"+testRoom+"/invite", serviceToken, `{"user_id":"@irc_other:test"}`)
		if b.count("GET /_matrix/app/v1/users/@irc_other:test") != 1 {
			t.Errorf("%q", b.asked)
		}

		// The alias is there after the service was asked.
		s.rooms.failWith(merr.NotFound("Unknown alias"))
		s.refuse(404, "M_NOT_FOUND", "GET", "/directory/room/%23irc_a:test", "", "")
		s.refuse(404, "M_NOT_FOUND", "GET", "/directory/room/%23a:test", "", "")
		s.refuse(404, "M_NOT_FOUND", "POST", "/join/%23irc_b:test", serviceToken, "")
		s.rooms.failWith(nil)
		if b.count("GET /_matrix/app/v1/rooms/%23irc_a:test") != 1 || b.count("GET /_matrix/app/v1/rooms/%23a:test") != 0 ||
			b.count("GET /_matrix/app/v1/rooms/%23irc_b:test") != 1 {
			t.Errorf("%q", b.asked)
		}
	})
}

func TestThirdPartyThroughTheGateway(t *testing.T) {
	eachService(t, func(s *server, b *bridge) {
		b.set("GET /_matrix/app/v1/thirdparty/protocol/irc", `{"user_fields":["nick"],"location_fields":["channel"],"icon":"mxc://a/b","field_types":{},
			"instances":[{"network_id":"libera","desc":"Libera","fields":{}}]}`)
		b.set("GET /_matrix/app/v1/thirdparty/location/irc", `[{"alias":"#irc_a:test","protocol":"irc","fields":{"channel":"#a"}}]`)
		b.set("GET /_matrix/app/v1/thirdparty/user", `[{"userid":"@irc_a:test","protocol":"irc","fields":{"nick":"a"}}]`)
		protocol := `{"user_fields":["nick"],"location_fields":["channel"],"icon":"mxc://a/b","field_types":{},
			"instances":[{"network_id":"libera","instance_id":"irc|libera","desc":"Libera","fields":{}}]}`
		same(s.t, "protocols", s.must("GET", "/thirdparty/protocols", serviceToken, "").raw, `{"irc":`+protocol+`}`)
		same(s.t, "protocol", s.must("GET", "/thirdparty/protocol/irc", serviceToken, "").raw, protocol)
		same(s.t, "location", s.must("GET", "/thirdparty/location/irc?channel=%23a", serviceToken, "").raw,
			`[{"alias":"#irc_a:test","protocol":"irc","fields":{"channel":"#a"}}]`)
		same(s.t, "user", s.must("GET", "/thirdparty/user?userid=@irc_a:test", serviceToken, "").raw,
			`[{"userid":"@irc_a:test","protocol":"irc","fields":{"nick":"a"}}]`)
		s.refuse(404, "M_NOT_FOUND", "GET", "/thirdparty/protocol/xmpp", serviceToken, "")
		s.refuse(404, "M_NOT_FOUND", "GET", "/thirdparty/user/irc", serviceToken, "")
		s.refuse(400, "M_MISSING_PARAM", "GET", "/thirdparty/location", serviceToken, "")
		s.refuse(401, "M_MISSING_TOKEN", "GET", "/thirdparty/protocols", "", "")
	})
	each(t, func(s *server) {
		token := s.user("alice")
		same(s.t, "no services", s.must("GET", "/thirdparty/protocols", token, "").raw, `{}`)
		s.refuse(404, "M_NOT_FOUND", "GET", "/thirdparty/protocol/irc", token, "")
		s.refuse(404, "M_NOT_FOUND", "GET", "/thirdparty/user/irc", token, "")
	})
}

func TestNetworkDirectories(t *testing.T) {
	eachService(t, func(s *server, b *bridge) {
		set := func(room, visibility string) {
			s.must("PUT", "/directory/list/appservice/libera/"+room, serviceToken, `{"visibility":"`+visibility+`"}`)
		}
		rooms := func(body string) (out []string, next string) {
			a := s.must("POST", "/publicRooms", serviceToken, body)
			for _, room := range a.body["chunk"].([]any) {
				out = append(out, room.(map[string]any)["room_id"].(string))
			}
			return out, a.text("next_batch")
		}
		// The fake roomserver describes every room as testRoom.
		for _, room := range []string{"!a:test", "!b:test", "!c:test"} {
			set(room, "public")
		}
		set("!b:test", "private")
		if got, next := rooms(`{"third_party_instance_id":"irc|libera","limit":1}`); len(got) != 1 || next != "x!a:test" {
			t.Error(got, next)
		}
		asked(s.t, "summary", s.rooms.took("roomserver.summary"), `{"RoomIDOrAlias":"!a:test","UserID":"@ircbot:test"}`)
		if got, next := rooms(`{"third_party_instance_id":"irc|libera","since":"x!a:test"}`); len(got) != 1 || next != "" {
			t.Error(got, next)
		}
		asked(s.t, "summary", s.rooms.took("roomserver.summary"), `{"RoomIDOrAlias":"!c:test","UserID":"@ircbot:test"}`)
		for _, body := range []string{
			`{"third_party_instance_id":"irc|other"}`, `{"third_party_instance_id":"nonsense"}`,
			`{"third_party_instance_id":"irc|libera","filter":{"generic_search_term":"nothing has this"}}`,
			`{"third_party_instance_id":"irc|libera","filter":{"room_types":["m.space"]}}`,
		} {
			if got, _ := rooms(body); len(got) != 0 {
				t.Errorf("%s: %v", body, got)
			}
		}
		if got, next := rooms(`{"include_all_networks":true}`); len(got) != 1 || next != networkToken {
			t.Error(got, next)
		}
		// All that is in the networks is in the server's own directory here.
		if got, next := rooms(`{"include_all_networks":true,"since":"x"}`); len(got) != 0 || next != "" {
			t.Error(got, next)
		}
		s.refuse(400, "M_INVALID_PARAM", "POST", "/publicRooms", serviceToken, `{"third_party_instance_id":"irc|libera","since":"y"}`)
		s.refuse(400, "M_INVALID_PARAM", "PUT", "/directory/list/appservice/libera/"+testRoom, serviceToken, `{"visibility":"secret"}`)
		s.refuse(400, "M_INVALID_PARAM", "PUT", "/directory/list/appservice/libera/x", serviceToken, `{"visibility":"public"}`)
	})
}
