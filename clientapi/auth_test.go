package clientapi

import (
	"testing"
	"time"

	"hearth/clientapi/userapi"
)

func TestTokens(t *testing.T) {
	each(t, func(s *server) {
		s.refuse(401, "M_MISSING_TOKEN", "GET", "/account/whoami", "", "")
		s.refuse(401, "M_MISSING_TOKEN", "GET", "/account/whoami", " ", "")
		bad := s.refuse(401, "M_UNKNOWN_TOKEN", "GET", "/account/whoami", "hrt_x", "")
		if bad.body["soft_logout"] != false {
			s.t.Errorf("%s", bad.raw)
		}
		token := s.user("alice")
		s.refuse(401, "M_MISSING_TOKEN", "GET", "/account/whoami?access_token="+token, "", "")
		s.must("GET", "/_matrix/client/r0/account/whoami?access_token="+token, "", "")

		other := s.must("POST", "/login", "", `{"type":"m.login.password","user":"alice","password":"`+password+`"}`).text("access_token")
		s.must("GET", "/account/whoami", other, "")
		s.must("POST", "/logout", token, "")
		s.refuse(401, "M_UNKNOWN_TOKEN", "GET", "/account/whoami", token, "")
		s.must("GET", "/account/whoami", other, "")
		third := s.must("POST", "/login", "", `{"type":"m.login.password","user":"alice","password":"`+password+`"}`).text("access_token")
		s.must("GET", "/account/whoami", third, "")
		s.must("POST", "/logout/all", other, "{}")
		s.refuse(401, "M_UNKNOWN_TOKEN", "GET", "/account/whoami", third, "")
	})
}

// TestRevokedElsewhere: another process logs the device out.
func TestRevokedElsewhere(t *testing.T) {
	each(t, func(s *server) {
		token := s.user("alice")
		s.must("GET", "/account/whoami", token, "")
		_, err := userapi.Logout.Do(t.Context(), s.bus, &userapi.LogoutRequest{UserID: "@alice:test", All: true})
		if err != nil {
			s.t.Fatal(err)
		}
		for end := time.Now().Add(5 * time.Second); s.do("GET", "/account/whoami", token, "").status != 401; {
			if time.Now().After(end) {
				s.t.Fatal("the topic did not end the token")
			}
			time.Sleep(time.Millisecond)
		}
	})
}

// TestLostRevocation: the message that a token is gone never comes.
func TestLostRevocation(t *testing.T) {
	s := start(t, true, nil)
	token := s.user("alice")
	s.must("GET", "/account/whoami", token, "")
	s = s.deaf()
	s.must("GET", "/account/whoami", token, "")
	if _, err := userapi.Logout.Do(t.Context(), s.bus, &userapi.LogoutRequest{UserID: "@alice:test", All: true}); err != nil {
		t.Fatal(err)
	}
	s.must("GET", "/account/whoami", token, "") // still remembered
	s.clock.add(tokenTTL)
	s.refuse(401, "M_UNKNOWN_TOKEN", "GET", "/account/whoami", token, "")
}

func TestTokenCacheAndClock(t *testing.T) {
	s := start(t, true, nil)
	token := s.user("alice")
	s = s.deaf()
	s.must("GET", "/account/whoami", token, "")
	if _, err := userapi.Logout.Do(t.Context(), s.bus, &userapi.LogoutRequest{UserID: "@alice:test", All: true}); err != nil {
		t.Fatal(err)
	}
	s.clock.add(-24 * time.Hour) // the clock was set back: a token must not live for a day
	s.refuse(401, "M_UNKNOWN_TOKEN", "GET", "/account/whoami", token, "")
}

// deaf returns another gateway for the same user store, which hears nothing of
// revoked tokens.
func (s *server) deaf() *server {
	s.t.Helper()
	gateway, err := newGateway(s.options, s.policy, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	other := *s
	other.Server = gateway
	return &other
}
