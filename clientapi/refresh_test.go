package clientapi

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func (s *server) loginRefreshable(device string) (access, refresh string) {
	s.t.Helper()
	a := s.must("POST", "/login", "", fmt.Sprintf(`{"type":"m.login.password","user":"alice","password":%q,"device_id":%q,"refresh_token":true}`, password, device))
	if a.body["expires_in_ms"] != float64(time.Minute.Milliseconds()) || a.text("refresh_token") == "" {
		s.t.Errorf("%s", a.raw)
	}
	return a.text("access_token"), a.text("refresh_token")
}

func (s *server) refreshed(token string) (access, refresh string) {
	s.t.Helper()
	a := s.must("POST", "/refresh", "", `{"refresh_token":"`+token+`"}`)
	if a.body["expires_in_ms"] != float64(time.Minute.Milliseconds()) {
		s.t.Errorf("%s", a.raw)
	}
	return a.text("access_token"), a.text("refresh_token")
}

func (s *server) softLogout(soft bool, method, path, token, body string) {
	s.t.Helper()
	// Gateways hear that a token is gone a moment after the store.
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end) && s.do(method, path, token, body).status == 200; {
		time.Sleep(time.Millisecond)
	}
	if a := s.refuse(401, "M_UNKNOWN_TOKEN", method, path, token, body); a.body["soft_logout"] != soft {
		s.t.Errorf("%s, want soft_logout %v", a.raw, soft)
	}
}

func short(d *Deps) { d.AccessTokenLifetime = time.Minute }

func TestRefresh(t *testing.T) {
	eachWith(t, short, func(s *server) {
		forever := s.user("alice")
		a1, r1 := s.loginRefreshable("PHONE")
		s.must("GET", "/account/whoami", a1, "")

		// The answer is lost: the old pair is good until the new one is used.
		s.refreshed(r1)
		s.must("GET", "/account/whoami", a1, "")
		a2, r2 := s.refreshed(r1)
		s.must("GET", "/account/whoami", a1, "")
		s.must("GET", "/account/whoami", a2, "")
		s.softLogout(false, "GET", "/account/whoami", a1, "")

		// Its refresh token counts as use of the new pair too.
		_, r3 := s.refreshed(r2)
		a4, r4 := s.refreshed(r3)
		s.softLogout(false, "GET", "/account/whoami", a2, "")

		s.clock.add(time.Minute)
		s.softLogout(true, "GET", "/account/whoami", a4, "")
		s.must("GET", "/account/whoami", forever, "")
		a5, r5 := s.refreshed(r4)
		s.must("GET", "/account/whoami", a5, "")

		// A replaced token is shown again: somebody has stolen one of them.
		s.softLogout(true, "POST", "/refresh", "", `{"refresh_token":"`+r2+`"}`)
		s.softLogout(true, "GET", "/account/whoami", a5, "")
		s.softLogout(true, "POST", "/refresh", "", `{"refresh_token":"`+r5+`"}`)
		s.must("GET", "/devices/PHONE", forever, "") // the device stays for a new log-in
		s.must("GET", "/account/whoami", forever, "")

		a6, r6 := s.loginRefreshable("PHONE")
		s.must("POST", "/logout", a6, "")
		s.softLogout(false, "POST", "/refresh", "", `{"refresh_token":"`+r6+`"}`)
		s.softLogout(false, "GET", "/account/whoami", a6, "")

		s.softLogout(false, "POST", "/refresh", "", `{"refresh_token":"hrr_none"}`)
		s.softLogout(false, "POST", "/refresh", "", `{"refresh_token":"`+forever+`"}`)
		s.refuse(400, "M_MISSING_PARAM", "POST", "/refresh", "", `{}`)
		s.refuse(400, "M_BAD_JSON", "POST", "/refresh", "", `{"refresh_token":5}`)
	})
}

// TestRefreshInTheCache: a remembered token ends on time.
func TestRefreshInTheCache(t *testing.T) {
	s := start(t, true, short)
	s.user("alice")
	access, _ := s.loginRefreshable("PHONE")
	s.clock.add(time.Minute - time.Second)
	s.must("GET", "/account/whoami", access, "")
	s.clock.add(time.Second)
	s.softLogout(true, "GET", "/account/whoami", access, "")
}

func TestLoginToken(t *testing.T) {
	each(t, func(s *server) {
		token := s.user("alice")
		const path = "/_matrix/client/v1/login/get_token"
		auth := `{"auth":{"type":"m.login.password","identifier":{"type":"m.id.user","user":"alice"},"password":"` + password + `"}}`
		if ask := s.do("POST", path, token, ""); ask.status != 401 || ask.text("session") == "" {
			s.t.Errorf("%d %s", ask.status, ask.raw)
		}
		s.refuse(401, "M_FORBIDDEN", "POST", path, token, strings.Replace(auth, password, "wrong", 1))
		issue := func() string {
			a := s.must("POST", path, token, auth)
			if a.body["expires_in_ms"] != 120000.0 {
				s.t.Errorf("%s", a.raw)
			}
			return a.text("login_token")
		}
		use := func(token string) string { return `{"type":"m.login.token","token":"` + token + `","device_id":"NEW"}` }
		one := issue()
		if a := s.must("POST", "/login", "", use(one)); a.text("user_id") != "@alice:test" || a.text("device_id") != "NEW" {
			s.t.Errorf("%s", a.raw)
		}
		s.refuse(403, "M_FORBIDDEN", "POST", "/login", "", use(one)) // once
		late := issue()
		s.clock.add(2 * time.Minute)
		s.refuse(403, "M_FORBIDDEN", "POST", "/login", "", use(late))
		s.refuse(401, "M_UNKNOWN_TOKEN", "GET", "/account/whoami", issue(), "") // it is no access token
	})
}
