package clientapi

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"hearth/clientapi/userapi"
)

// browse opens a page as a browser does.
func (s *server) browse(method, path string, form url.Values) *httptest.ResponseRecorder {
	s.t.Helper()
	if !strings.HasPrefix(path, "/_") {
		path = "/_matrix/client/v3" + path
	}
	r := httptest.NewRequest(method, path, strings.NewReader(form.Encode()))
	w := httptest.NewRecorder()
	s.ClientHandler().ServeHTTP(w, r)
	if !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
		s.t.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
	policy := w.Header().Get("Content-Security-Policy")
	if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || w.Header().Get("X-Content-Type-Options") != "nosniff" {
		s.t.Errorf("%s %s: policy %q", method, path, policy)
	}
	return w
}

func registering(name, auth string) string {
	return fmt.Sprintf(`{"username":%q,"password":%q,"auth":%s}`, name, password, auth)
}

func (s *server) registrationToken(token string, uses int64) {
	s.t.Helper()
	_, err := userapi.SetRegistrationToken.Do(s.t.Context(), s.bus, &userapi.SetRegistrationTokenRequest{
		RegistrationToken: userapi.RegistrationToken{Token: token, Uses: uses, ExpiresTS: -1},
	})
	must(s.t, err)
}

// staged is registration with a token, terms and two requests before the last.
func staged(d *Deps) {
	d.RegistrationMode = "token"
	d.Registration = RegistrationOptions{TermsURL: "https://test/terms", PrivacyURL: "https://test/privacy", TermsVersion: "1.2"}
}

func eachWith(t *testing.T, change func(*Deps), test func(s *server)) {
	t.Run("local", func(t *testing.T) { test(start(t, true, change)) })
	t.Run("nats", func(t *testing.T) { test(start(t, false, change)) })
}

func TestStages(t *testing.T) {
	eachWith(t, staged, func(s *server) {
		s.registrationToken("once", 1)
		const validity = "/_matrix/client/v1/register/m.login.registration_token/validity"
		same(s.t, "valid", s.must("GET", validity+"?token=once", "", "").raw, `{"valid":true}`)
		same(s.t, "unknown", s.must("GET", validity+"?token=other", "", "").raw, `{"valid":false}`)
		same(s.t, "odd", s.must("GET", validity+"?token="+strings.Repeat("x", 300), "", "").raw, `{"valid":false}`)
		s.refuse(400, "M_MISSING_PARAM", "GET", validity, "", "")

		ask := s.do("POST", "/register", "", `{}`)
		if ask.status != 401 || ask.text("errcode") != "" {
			s.t.Fatalf("%d %s", ask.status, ask.raw)
		}
		same(s.t, "challenge", strings.Replace(ask.raw, ask.text("session"), "S", 1), `{"session":"S","completed":[],
			"flows":[{"stages":["m.login.terms","m.login.registration_token"]}],"params":{"m.login.terms":{"policies":{
			"terms_of_service":{"version":"1.2","en":{"name":"Terms of Service","url":"https://test/terms"}},
			"privacy_policy":{"version":"1.2","en":{"name":"Privacy Policy","url":"https://test/privacy"}}}}}}`)
		id := ask.text("session")
		auth := func(kind, more string) string {
			return fmt.Sprintf(`{"type":%q,"session":%q%s}`, kind, id, more)
		}
		s.refuse(401, "M_UNRECOGNIZED", "POST", "/register", "", registering("alice", auth(stageDummy, "")))
		s.refuse(401, "M_FORBIDDEN", "POST", "/register", "", registering("alice", auth(stageToken, `,"token":"wrong"`)))
		s.refuse(401, "M_MISSING_PARAM", "POST", "/register", "", registering("alice", auth(stageToken, ``)))
		half := s.do("POST", "/register", "", registering("alice", auth(stageToken, `,"token":"once"`)))
		if half.status != 401 || half.text("session") != id || !strings.Contains(half.raw, `"completed":["m.login.registration_token"]`) {
			s.t.Errorf("%d %s", half.status, half.raw)
		}
		if again := s.do("POST", "/register", "", `{"auth":{"session":"`+id+`"}}`); again.status != 401 || again.text("session") != id {
			s.t.Errorf("%d %s", again.status, again.raw)
		}
		// The last request has only what its stage needs.
		done := s.must("POST", "/register", "", `{"auth":`+auth(stageTerms, "")+`}`)
		if done.text("user_id") != "@alice:test" || done.text("access_token") == "" {
			s.t.Errorf("%s", done.raw)
		}
		// The session is used up, and so is the token.
		if again := s.do("POST", "/register", "", registering("bob", auth(stageTerms, ""))); again.status != 401 || again.text("session") == id {
			s.t.Errorf("%d %s", again.status, again.raw)
		}
		same(s.t, "used", s.must("GET", validity+"?token=once", "", "").raw, `{"valid":false}`)
	})
}

// TestTokenRace: a token that was good when its stage was passed is used up before the end.
func TestTokenRace(t *testing.T) {
	eachWith(t, staged, func(s *server) {
		s.registrationToken("once", 1)
		s.registrationToken("more", -1)
		pass := func(name, token string) string {
			ask := s.do("POST", "/register", "", registering(name, fmt.Sprintf(`{"type":%q,"token":%q}`, stageToken, token)))
			return ask.text("session")
		}
		one, two := pass("alice", "once"), pass("bob", "once")
		finish := func(id, kind, more string) answer {
			return s.do("POST", "/register", "", fmt.Sprintf(`{"auth":{"type":%q,"session":%q%s}}`, kind, id, more))
		}
		if a := finish(one, stageTerms, ""); a.status != 200 {
			s.t.Fatalf("%d %s", a.status, a.raw)
		}
		late := finish(two, stageTerms, "")
		if late.status != 401 || late.text("errcode") != "M_FORBIDDEN" || late.text("session") != two || !strings.Contains(late.raw, `"completed":["m.login.terms"]`) {
			s.t.Errorf("%d %s", late.status, late.raw)
		}
		if a := finish(two, stageToken, `,"token":"more"`); a.status != 200 || a.text("user_id") != "@bob:test" {
			s.t.Errorf("%d %s", a.status, a.raw)
		}
	})
}

func TestFallbackPages(t *testing.T) {
	s := start(t, true, staged)
	s.registrationToken("secret", -1)
	id := s.do("POST", "/register", "", registering("alice", "{}")).text("session")
	page := func(kind string) string { return "/auth/" + kind + "/fallback/web?session=" + id }
	if w := s.browse("GET", page(stageTerms), nil); w.Code != 200 || !strings.Contains(w.Body.String(), `href="https://test/terms"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := s.browse("POST", page(stageTerms), url.Values{"session": {id}}); w.Code != 200 || !strings.Contains(w.Body.String(), `window.onAuthDone()`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := s.browse("GET", page(stageToken), nil); w.Code != 200 || !strings.Contains(w.Body.String(), `name="token"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := s.browse("POST", page(stageToken), url.Values{"session": {id}, "token": {"<b>wrong"}}); w.Code != 401 || strings.Contains(w.Body.String(), "<b>") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := s.browse("POST", page(stageToken), url.Values{"session": {id}, "token": {"secret"}}); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for path, status := range map[string]int{
		page(stageRecaptcha): 404, page(stageDummy): 404, "/auth/m.login.terms/fallback/web?session=none": 404, "/auth/m.login.terms/fallback/web": 404,
	} {
		if w := s.browse("GET", path, nil); w.Code != status {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	// The client learns of it by asking with the session alone.
	if a := s.must("POST", "/register", "", `{"auth":{"session":"`+id+`"}}`); a.text("user_id") != "@alice:test" {
		t.Errorf("%s", a.raw)
	}
}

func TestRecaptcha(t *testing.T) {
	var asked url.Values
	reply, status := `{"success":true}`, 200
	captcha := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		asked = r.PostForm
		w.WriteHeader(status)
		_, _ = w.Write([]byte(reply))
	}))
	defer captcha.Close()
	s := start(t, true, func(d *Deps) {
		d.Registration = RegistrationOptions{RecaptchaPublicKey: "public", RecaptchaPrivateKey: "private", RecaptchaVerifyURL: captcha.URL}
	})
	ask := s.do("POST", "/register", "", registering("alice", `{"type":"m.login.recaptcha"}`))
	if ask.status != 401 || ask.text("errcode") != "M_MISSING_PARAM" || !strings.Contains(ask.raw, `"m.login.recaptcha":{"public_key":"public"}`) {
		t.Errorf("%d %s", ask.status, ask.raw)
	}
	id := ask.text("session")
	if w := s.browse("GET", "/auth/m.login.recaptcha/fallback/web?session="+id, nil); !strings.Contains(w.Body.String(), `data-sitekey="public"`) {
		t.Errorf("%s", w.Body)
	}
	try := func() answer {
		return s.do("POST", "/register", "", registering("alice", `{"type":"m.login.recaptcha","response":"solved","session":"`+id+`"}`))
	}
	reply = `{"success":false}`
	if a := try(); a.status != 401 || a.text("errcode") != "M_UNAUTHORIZED" {
		t.Errorf("%d %s", a.status, a.raw)
	}
	reply = `<html>`
	if a := try(); a.status != 503 {
		t.Errorf("%d %s", a.status, a.raw)
	}
	reply = `{"success":true}`
	if a := try(); a.status != 200 {
		t.Errorf("%d %s", a.status, a.raw)
	}
	if asked.Get("secret") != "private" || asked.Get("response") != "solved" || asked.Get("remoteip") != "192.0.2.1" {
		t.Errorf("%v", asked)
	}
}

func TestApproval(t *testing.T) {
	eachWith(t, func(d *Deps) { d.RegistrationMode = "approval" }, func(s *server) {
		dummy := `{"type":"m.login.dummy"}`
		s.refuse(403, "M_FORBIDDEN", "POST", "/register", "", registering("alice", dummy))
		same(s.t, "quiet", s.must("POST", "/register", "", `{"inhibit_login":true,`+registering("bob", dummy)[1:]).raw, `{"user_id":"@bob:test","home_server":"test"}`)
		login := `{"type":"m.login.password","user":"alice","password":"` + password + `"}`
		if a := s.refuse(403, "M_FORBIDDEN", "POST", "/login", "", login); !strings.Contains(a.text("error"), "approved") {
			s.t.Errorf("%s", a.raw)
		}
		waiting, err := userapi.Unapproved.Do(s.t.Context(), s.bus, &userapi.UserRequest{})
		if err != nil || len(waiting.UserIDs) != 2 || waiting.More {
			s.t.Errorf("%+v %v", waiting, err)
		}
		_, err = userapi.Approve.Do(s.t.Context(), s.bus, &userapi.UserRequest{UserID: "@alice:test"})
		must(s.t, err)
		s.must("POST", "/login", "", login)
		if waiting, err = userapi.Unapproved.Do(s.t.Context(), s.bus, &userapi.UserRequest{}); err != nil || len(waiting.UserIDs) != 1 {
			s.t.Errorf("%+v %v", waiting, err)
		}
	})
}

// TestProofsAreBound: a session of one operation is of no use for another.
func TestProofsAreBound(t *testing.T) {
	s := start(t, true, func(d *Deps) {
		staged(d)
		d.RegistrationMode, d.Registration = "open", RegistrationOptions{}
	})
	token, bob := s.user("alice"), s.user("bob")
	of := func(token, path, body string) string {
		return s.do("POST", path, token, body).text("session")
	}
	one := of(token, "/delete_devices", `{"devices":["A"]}`)
	for _, c := range []struct{ token, path, body string }{
		{token, "/delete_devices", `{"devices":["B"],"auth":{"session":"` + one + `"}}`},
		{bob, "/delete_devices", `{"devices":["A"],"auth":{"session":"` + one + `"}}`},
		{token, "/account/deactivate", `{"auth":{"session":"` + one + `"}}`},
		{"", "/register", `{"auth":{"session":"` + one + `"}}`},
	} {
		if a := s.do("POST", c.path, c.token, c.body); a.status != 401 || a.text("session") == one {
			t.Errorf("%s: %d %s", c.path, a.status, a.raw)
		}
	}
	if same := of(token, "/delete_devices", `{"devices":["A"],"auth":{"session":"`+one+`"}}`); same != one {
		t.Errorf("the session %s became %s", one, same)
	}
	s.clock.add(interactionTTL)
	if late := of(token, "/delete_devices", `{"devices":["A"],"auth":{"session":"`+one+`"}}`); late == one {
		t.Error("the session has no end")
	}
}

func TestInteractionsAreBounded(t *testing.T) {
	i := newInteractions(time.Now)
	for range 3 * maxInteractions / (2 << 10) {
		u := i.begin(operationOf("x"), nil)
		u.bind([]byte(strings.Repeat("x", maxKeptBody+1)))
		i.keep(u)
	}
	if n := i.open.Len(); n > maxInteractions/(2<<10) {
		t.Errorf("%d sessions", n)
	}
}
