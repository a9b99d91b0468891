package clientapi

import (
	"fmt"
	"strings"
	"testing"
)

func TestRegisterAndLogin(t *testing.T) {
	each(t, func(s *server) {
		ask := s.do("POST", "/register", "", `{"username":"alice","password":"`+password+`"}`)
		if ask.status != 401 || ask.text("session") == "" || ask.text("errcode") != "" ||
			!strings.Contains(ask.raw, `"flows":[{"stages":["m.login.dummy"]}]`) || !strings.Contains(ask.raw, `"params":{}`) {
			s.t.Errorf("challenge: %d %s", ask.status, ask.raw)
		}
		probe := s.do("POST", "/register", "", `{}`)
		if probe.status != 401 || probe.text("session") == "" {
			s.t.Errorf("probe: %d %s", probe.status, probe.raw)
		}
		a := s.must("POST", "/register", "", `{"username":"alice","password":"`+password+`","device_id":"DEV",`+
			`"auth":{"type":"m.login.dummy","session":"`+ask.text("session")+`"}}`)
		if a.text("user_id") != "@alice:test" || a.text("device_id") != "DEV" || a.text("home_server") != "test" {
			s.t.Errorf("%s", a.raw)
		}
		token := a.text("access_token")
		same(s.t, "whoami", s.must("GET", "/account/whoami", token, "").raw, `{"user_id":"@alice:test","device_id":"DEV","is_guest":false}`)
		same(s.t, "r0 whoami", s.must("GET", "/_matrix/client/r0/account/whoami", token, "").raw, `{"user_id":"@alice:test","device_id":"DEV","is_guest":false}`)
		inhibited := s.must("POST", "/register", "", `{"username":"quiet","password":"`+password+`","inhibit_login":true,"auth":{"type":"m.login.dummy"}}`)
		if inhibited.text("access_token") != "" || inhibited.text("device_id") != "" || inhibited.text("user_id") != "@quiet:test" {
			s.t.Errorf("%s", inhibited.raw)
		}

		dummy := `,"auth":{"type":"m.login.dummy"}}`
		s.refuse(400, "M_USER_IN_USE", "POST", "/register", "", `{"username":"Alice"}`)
		s.refuse(400, "M_INVALID_USERNAME", "POST", "/register", "", `{"username":"a b"}`)
		s.refuse(400, "M_WEAK_PASSWORD", "POST", "/register", "", `{"username":"bob","password":"short"}`)
		s.refuse(400, "M_MISSING_PARAM", "POST", "/register", "", `{"username":"bob"`+dummy)
		s.refuse(400, "M_BAD_JSON", "POST", "/register", "", `{"username":5}`)
		s.refuse(400, "M_NOT_JSON", "POST", "/register", "", `{`)
		s.refuse(403, "M_GUEST_ACCESS_FORBIDDEN", "POST", "/register?kind=guest", "", `{}`)
		s.refuse(400, "M_INVALID_PARAM", "POST", "/register?kind=king", "", `{}`)
		s.refuse(401, "M_UNRECOGNIZED", "POST", "/register", "", `{"username":"bob","password":"`+password+`","auth":{"type":"m.login.recaptcha"}}`)
		same(s.t, "available", s.must("GET", "/register/available?username=bob", "", "").raw, `{"available":true}`)
		s.refuse(400, "M_USER_IN_USE", "GET", "/register/available?username=alice", "", "")
		s.refuse(400, "M_INVALID_USERNAME", "GET", "/register/available?username=%40", "", "")

		same(s.t, "flows", s.must("GET", "/login", "", "").raw, `{"flows":[{"type":"m.login.password"},{"type":"m.login.token","get_login_token":true},{"type":"m.login.application_service"}]}`)
		for _, who := range []string{`"identifier":{"type":"m.id.user","user":"alice"}`, `"identifier":{"type":"m.id.user","user":"@alice:test"}`, `"user":"alice"`} {
			l := s.must("POST", "/login", "", `{"type":"m.login.password",`+who+`,"password":"`+password+`","device_id":"LAPTOP","initial_device_display_name":"x"}`)
			if l.text("user_id") != "@alice:test" || l.text("device_id") != "LAPTOP" || l.text("access_token") == "" || l.text("refresh_token") != "" {
				s.t.Errorf("%s", l.raw)
			}
		}
		for _, c := range []struct {
			status     int
			code, body string
		}{
			{403, "M_FORBIDDEN", `{"type":"m.login.password","user":"alice","password":"wrong"}`},
			{403, "M_FORBIDDEN", `{"type":"m.login.password","user":"nobody","password":"wrong"}`},
			{403, "M_FORBIDDEN", `{"type":"m.login.password","identifier":{"type":"m.id.thirdparty","medium":"email","address":"a@b"},"password":"x"}`},
			{403, "M_FORBIDDEN", `{"type":"m.login.token","token":"x"}`},
			{400, "M_MISSING_PARAM", `{"type":"m.login.token"}`},
			{400, "M_UNKNOWN", `{"type":"m.login.unheard"}`},
			{400, "M_UNKNOWN", `{"type":"m.login.password","identifier":{"type":"m.id.x"},"password":"x"}`},
			{400, "M_MISSING_PARAM", `{"type":"m.login.password","user":"alice"}`},
			{400, "M_MISSING_PARAM", `{"type":"m.login.password","password":"x"}`},
			{400, "M_MISSING_PARAM", `{}`},
			{400, "M_BAD_JSON", `{"type":"m.login.password","identifier":"alice","password":"x"}`},
			{400, "M_BAD_JSON", `{"type":"m.login.password","user":"alice","password":"x","password":"y"}`},
		} {
			s.refuse(c.status, c.code, "POST", "/login", "", c.body)
		}
	})
}

func TestClosedRegistration(t *testing.T) {
	for _, mode := range []string{"closed", ""} {
		s := start(t, true, func(d *Deps) { d.RegistrationMode = mode })
		s.refuse(403, "M_FORBIDDEN", "POST", "/register", "", `{"username":"a","password":"`+password+`","auth":{"type":"m.login.dummy"}}`)
		s.refuse(403, "M_FORBIDDEN", "GET", "/register/available?username=a", "", "")
		s.refuse(403, "M_FORBIDDEN", "GET", "/_matrix/client/v1/register/m.login.registration_token/validity?token=x", "", "")
	}
}

func TestDevices(t *testing.T) {
	each(t, func(s *server) {
		token := s.user("alice")
		bob := s.user("bob")
		login := func(id string) string {
			return s.must("POST", "/login", "", `{"type":"m.login.password","user":"alice","password":"`+password+`","device_id":"`+id+`","initial_device_display_name":"phone"}`).text("access_token")
		}
		two := login("TWO")
		login("THREE")
		same(s.t, "device", s.must("GET", "/devices/TWO", token, "").raw, `{"device_id":"TWO","display_name":"phone"}`)
		if list := s.must("GET", "/devices", token, ""); len(list.body["devices"].([]any)) != 3 {
			s.t.Errorf("%s", list.raw)
		}
		s.refuse(404, "M_NOT_FOUND", "GET", "/devices/TWO", bob, "")
		s.refuse(404, "M_NOT_FOUND", "PUT", "/devices/NONE", token, `{"display_name":"x"}`)
		s.must("PUT", "/devices/TWO", token, `{"display_name":"tablet"}`)
		s.must("PUT", "/devices/TWO", token, `{}`)
		same(s.t, "renamed", s.must("GET", "/devices/TWO", token, "").raw, `{"device_id":"TWO","display_name":"tablet"}`)

		ask := s.do("DELETE", "/devices/TWO", token, "")
		if ask.status != 401 || ask.text("session") == "" || ask.text("errcode") != "" || !strings.Contains(ask.raw, `"stages":["m.login.password"]`) {
			s.t.Errorf("%d %s", ask.status, ask.raw)
		}
		auth := func(user, pass string) string {
			return fmt.Sprintf(`"auth":{"type":"m.login.password","session":"%s","identifier":{"type":"m.id.user","user":"%s"},"password":"%s"}`, ask.text("session"), user, pass)
		}
		wrong := s.refuse(401, "M_FORBIDDEN", "DELETE", "/devices/TWO", token, `{`+auth("alice", "wrong")+`}`)
		if wrong.text("session") == "" || wrong.body["flows"] == nil {
			s.t.Errorf("%s", wrong.raw)
		}
		s.refuse(401, "M_FORBIDDEN", "DELETE", "/devices/TWO", token, `{`+auth("bob", password)+`}`)
		s.refuse(401, "M_UNRECOGNIZED", "DELETE", "/devices/TWO", token, `{"auth":{"type":"m.login.dummy"}}`)
		s.must("GET", "/account/whoami", two, "")
		s.must("DELETE", "/devices/TWO", token, `{`+auth("alice", password)+`}`)
		s.must("DELETE", "/devices/TWO", token, `{`+auth("@alice:test", password)+`}`)
		s.refuse(401, "M_UNKNOWN_TOKEN", "GET", "/account/whoami", two, "")
		s.refuse(400, "M_MISSING_PARAM", "POST", "/delete_devices", token, `{`+auth("alice", password)+`}`)
		s.must("POST", "/delete_devices", token, `{"devices":["THREE","NONE"],`+auth("alice", password)+`}`)
		if list := s.must("GET", "/devices", token, ""); len(list.body["devices"].([]any)) != 1 {
			s.t.Errorf("%s", list.raw)
		}
	})
}

func TestPasswordAndDeactivation(t *testing.T) {
	each(t, func(s *server) {
		token := s.user("alice")
		other := s.must("POST", "/login", "", `{"type":"m.login.password","user":"alice","password":"`+password+`"}`).text("access_token")
		auth := `"auth":{"type":"m.login.password","user":"alice","password":"` + password + `"}`
		if ask := s.do("POST", "/account/password", token, `{"new_password":"something else"}`); ask.status != 401 || ask.text("session") == "" {
			s.t.Errorf("%d %s", ask.status, ask.raw)
		}
		s.refuse(400, "M_WEAK_PASSWORD", "POST", "/account/password", token, `{"new_password":"x",`+auth+`}`)
		s.must("POST", "/account/password", token, `{"new_password":"something else","logout_devices":false,`+auth+`}`)
		s.must("GET", "/account/whoami", other, "")
		auth = strings.Replace(auth, password, "something else", 1)
		s.must("POST", "/account/password", token, `{"new_password":"`+password+`",`+auth+`}`)
		s.refuse(401, "M_UNKNOWN_TOKEN", "GET", "/account/whoami", other, "")
		s.must("GET", "/account/whoami", token, "")

		auth = strings.Replace(auth, "something else", password, 1)
		if ask := s.do("POST", "/account/deactivate", token, ""); ask.status != 401 {
			s.t.Errorf("%d %s", ask.status, ask.raw)
		}
		s.rooms.failWith(errForbidden) // rooms that one cannot leave
		gone := s.do("POST", "/account/deactivate", token, `{`+auth+`}`)
		s.rooms.failWith(nil)
		if gone.status != 403 { // the list of rooms itself failed
			s.t.Errorf("%d %s", gone.status, gone.raw)
		}
		same(s.t, "deactivate", s.must("POST", "/account/deactivate", token, `{`+auth+`}`).raw, `{"id_server_unbind_result":"success"}`)
		if left := s.rooms.took("roomserver.leave"); !strings.Contains(left, `"RoomID":"!c:t"`) {
			s.t.Errorf("the last room was not left: %s", left)
		}
		s.refuse(401, "M_UNKNOWN_TOKEN", "GET", "/account/whoami", token, "")
		s.refuse(403, "M_USER_DEACTIVATED", "POST", "/login", "", `{"type":"m.login.password","user":"alice","password":"`+password+`"}`)
	})
}

// TestDeactivateWithoutToken: who has lost all devices ends the account with the password.
func TestDeactivateWithoutToken(t *testing.T) {
	each(t, func(s *server) {
		token, other := s.user("alice"), s.user("bob")
		ask := s.do("POST", "/account/deactivate", "", "")
		if ask.status != 401 || ask.text("errcode") != "" || !strings.Contains(ask.raw, `"flows":[{"stages":["m.login.password"]}]`) {
			s.t.Fatalf("%d %s", ask.status, ask.raw)
		}
		try := func(status int, code, more string) {
			s.t.Helper()
			s.refuse(status, code, "POST", "/account/deactivate", "", `{"auth":{"type":"m.login.password","session":"`+ask.text("session")+`"`+more+`}}`)
		}
		try(401, "M_MISSING_PARAM", "")
		try(401, "M_FORBIDDEN", `,"identifier":{"type":"m.id.user","user":"alice"},"password":"wrong"`)
		try(401, "M_FORBIDDEN", `,"identifier":{"type":"m.id.user","user":"nobody"},"password":"wrong"`)
		try(401, "M_FORBIDDEN", `,"identifier":{"type":"m.id.user","user":"@alice:elsewhere"},"password":"`+password+`"`)
		s.must("GET", "/account/whoami", token, "")
		done := s.must("POST", "/account/deactivate", "", `{"auth":{"type":"m.login.password","session":"`+ask.text("session")+
			`","identifier":{"type":"m.id.user","user":"@alice:test"},"password":"`+password+`"}}`)
		same(s.t, "deactivate", done.raw, `{"id_server_unbind_result":"success"}`)
		s.refuse(401, "M_UNKNOWN_TOKEN", "GET", "/account/whoami", token, "")
		s.must("GET", "/account/whoami", other, "")
		s.refuse(401, "M_UNKNOWN_TOKEN", "POST", "/account/deactivate", "hrt_unknown", "")
	})
}
