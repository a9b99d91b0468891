package clientapi

import (
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"hearth/clientapi/sso"
	"hearth/clientapi/userapi"
	"hearth/internal/testkit/oidcprovider"
)

// ssoServer is a server with two providers, reached as a browser reaches it.
type ssoServer struct {
	*server
	one, two *oidcprovider.Provider
	base     string
}

const appURL = "https://app.example/login?keep=1&loginToken=old#at"

func startSSO(t *testing.T, local bool, change func(*Deps)) *ssoServer {
	t.Helper()
	s := &ssoServer{}
	listener := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.ClientHandler().ServeHTTP(w, r)
	}))
	s.base = "http://" + listener.Listener.Addr().String()
	c := &clock{at: time.UnixMilli(1_700_000_000_000)}
	s.one, s.two = oidcprovider.Start(t, c.now), oidcprovider.Start(t, c.now)
	s.server = start(t, local, func(d *Deps) {
		d.PublicBaseURL, d.Now = s.base, c.now
		options := func(id, name string, p *oidcprovider.Provider) sso.ProviderOptions {
			return sso.ProviderOptions{
				ID: id, Name: name, Issuer: p.URL, ClientID: p.ClientID, ClientSecret: p.ClientSecret, Scopes: []string{"profile"},
				UserClaim: "preferred_username", NameClaim: "name", Newcomers: true,
			}
		}
		d.SSO = SSOOptions{
			Providers:        []sso.ProviderOptions{options("one", "First <One>", s.one), options("two", "Second", s.two)},
			TrustedRedirects: []string{"https://trusted.example/app"},
		}
		d.SSO.Providers[0].Brand, d.SSO.Providers[1].Icon = "github", "mxc://test/icon"
		d.SSO.Providers[1].Newcomers = false
		if change != nil {
			change(d)
		}
	})
	s.clock = c
	listener.Start()
	t.Cleanup(listener.Close)
	return s
}

func eachSSO(t *testing.T, test func(s *ssoServer)) {
	t.Run("local", func(t *testing.T) { test(startSSO(t, true, nil)) })
	t.Run("nats", func(t *testing.T) { test(startSSO(t, false, nil)) })
}

// browser follows redirects within the server and the providers, and stops before
// applications.
type browser struct {
	*http.Client
	s *ssoServer
}

type view struct {
	status   int
	location string // of a redirect that was not followed
	body     string
	header   http.Header
}

func (s *ssoServer) browser() *browser {
	jar, err := cookiejar.New(nil)
	must(s.t, err)
	return &browser{&http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if !strings.HasPrefix(r.URL.String(), "http://127.0.0.1:") {
			return http.ErrUseLastResponse
		}
		return nil
	}}, s}
}

func (b *browser) open(method, path string, form url.Values) view {
	b.s.t.Helper()
	if strings.HasPrefix(path, "/") {
		path = b.s.base + path
	}
	r, err := http.NewRequest(method, path, strings.NewReader(form.Encode()))
	must(b.s.t, err)
	resp, err := b.Do(r)
	must(b.s.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(b.s.t, err)
	return view{resp.StatusCode, resp.Header.Get("Location"), html.UnescapeString(string(body)), resp.Header}
}

// login goes the way of a log-in at a provider.
func (b *browser) login(provider, back string) view {
	b.s.t.Helper()
	return b.open("GET", "/_matrix/client/v3/login/sso/redirect/"+provider+"?"+url.Values{"redirectUrl": {back}}.Encode(), nil)
}

var links = regexp.MustCompile(`<a href="([^"]*)"`)

// link returns the last link of a page.
func (v view) link(t *testing.T) *url.URL {
	t.Helper()
	all := links.FindAllStringSubmatch(v.body, -1)
	if v.status != 200 || len(all) == 0 {
		t.Fatalf("%d, no link: %s", v.status, v.body)
	}
	u, err := url.Parse(all[len(all)-1][1])
	must(t, err)
	return u
}

// enter logs in with the token in an address.
func (s *ssoServer) enter(u *url.URL) answer {
	s.t.Helper()
	return s.must("POST", "/login", "", fmt.Sprintf(`{"type":"m.login.token","token":%q}`, u.Query().Get("loginToken")))
}

func person(sub, name, shown string) map[string]any {
	return map[string]any{"sub": sub, "preferred_username": name, "name": shown}
}

func TestSSO(t *testing.T) {
	eachSSO(t, func(s *ssoServer) {
		flows := s.must("GET", "/login", "", "").raw
		if !strings.Contains(flows, `{"identity_providers":[{"brand":"github","id":"one","name":"First <One>"},{"icon":"mxc://test/icon","id":"two","name":"Second"}],"type":"m.login.sso"}`) {
			s.t.Errorf("%s", flows)
		}
		b := s.browser()
		choice := b.open("GET", "/_matrix/client/r0/login/sso/redirect?redirectUrl="+url.QueryEscape(appURL), nil)
		if choice.status != 200 || !strings.Contains(choice.body, "First <One>") || !strings.Contains(choice.body, "/login/sso/redirect/two?redirectUrl=") {
			s.t.Errorf("%d %s", choice.status, choice.body)
		}

		// A newcomer is asked whether the application is known, and gets an account.
		s.one.User(person("0001", "Älice Smith@corp.example", "Alice S."), nil)
		page := b.login("one", appURL)
		u := page.link(s.t)
		if u.Host != "app.example" || u.Query().Get("keep") != "1" || len(u.Query()["loginToken"]) != 1 || u.Fragment != "at" || u.Query().Get("loginToken") == "old" {
			s.t.Errorf("%s", u)
		}
		if !strings.Contains(page.body, "<code>app.example</code>") || !strings.Contains(page.body, "@=c3=84lice=20smith:test") ||
			page.header.Get("Referrer-Policy") != "no-referrer" || page.header.Get("Cache-Control") != "no-store" {
			s.t.Errorf("%s %v", page.body, page.header)
		}
		session := s.enter(u)
		if session.text("user_id") != "@=c3=84lice=20smith:test" {
			s.t.Errorf("%s", session.raw)
		}
		same(s.t, "profile", s.must("GET", "/profile/@=c3=84lice=20smith:test", "", "").raw, `{"displayname":"Alice S."}`)
		s.refuse(403, "M_FORBIDDEN", "POST", "/login", "", fmt.Sprintf(`{"type":"m.login.token","token":%q}`, u.Query().Get("loginToken")))

		// The subject counts, not the name; a trusted application is not asked about.
		s.one.User(person("0001", "renamed", ""), nil)
		direct := b.login("one", "https://trusted.example/app/")
		if direct.status != 302 || !strings.HasPrefix(direct.location, "https://trusted.example/app/?loginToken=") {
			s.t.Fatalf("%d %s", direct.status, direct.location)
		}
		to, _ := url.Parse(direct.location)
		if again := s.enter(to); again.text("user_id") != "@=c3=84lice=20smith:test" {
			s.t.Errorf("%s", again.raw)
		}
		for _, cookie := range b.Jar.Cookies(must2(url.Parse(s.base + ssoCallbackPath))) {
			s.t.Errorf("a cookie is left: %v", cookie)
		}

		// Names that are taken get a number; nobody comes into the account of another.
		s.user("bob")
		for i, want := range []string{"@bob2:test", "@bob3:test"} {
			s.one.User(person(fmt.Sprint("b", i), "Bob", "Bob"), nil)
			if got := s.enter(b.login("one", appURL).link(s.t)).text("user_id"); got != want {
				s.t.Errorf("%s", got)
			}
		}
		// What the ID token lacks comes from the userinfo endpoint.
		s.one.User(map[string]any{"sub": "i"}, map[string]any{"preferred_username": "ivy", "name": "Ivy"})
		if got := s.enter(b.login("one", "io.app.example://callback").link(s.t)).text("user_id"); got != "@ivy:test" {
			s.t.Errorf("%s", got)
		}
		for _, secret := range []string{session.text("access_token"), to.Query().Get("loginToken"), s.one.ClientSecret} {
			if strings.Contains(s.log.String(), secret) {
				s.t.Errorf("a secret is in the log")
			}
		}
	})
}

func must2[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestSSORefuses(t *testing.T) {
	s := startSSO(t, true, nil)
	b := s.browser()
	refused := func(what string, v view, status int, text string) {
		t.Helper()
		if v.status != status || !strings.Contains(v.body, text) || strings.Contains(v.body, "loginToken=") || strings.Contains(v.location, "loginToken=") {
			t.Errorf("%s: %d %s %s", what, v.status, v.location, v.body)
		}
	}
	for _, bad := range []string{"", "app", "/relative", "//host/x", "javascript:alert(1)//", "JavaScript:alert(1)", "data:text/html,x", "https://", "https:x",
		"https://user@app.example/", "https://app.example/\n", "https://app.example\\@evil.example", "file:///etc/passwd", "https://x/" + strings.Repeat("y", 2000)} {
		refused("redirectUrl "+bad, b.login("one", bad), 400, "redirectUrl")
	}
	refused("an unknown provider", b.login("three", appURL), 404, "does not know")
	s.one.User(nil, nil)
	refused("the provider says no", b.login("one", appURL), 403, "did not let you in")

	s.one.User(person("m", "mallory", ""), nil)
	for what, mangle := range map[string]func(map[string]any){
		"nonce":         func(c map[string]any) { c["nonce"] = "other" },
		"no nonce":      func(c map[string]any) { delete(c, "nonce") },
		"audience":      func(c map[string]any) { c["aud"] = "others" },
		"issuer":        func(c map[string]any) { c["iss"] = s.two.URL },
		"expired":       func(c map[string]any) { c["exp"] = s.clock.now().Add(-time.Hour).Unix() },
		"no subject":    func(c map[string]any) { delete(c, "sub") },
		"empty subject": func(c map[string]any) { c["sub"] = "" },
		"long subject":  func(c map[string]any) { c["sub"] = strings.Repeat("x", 256) },
		"access token":  func(c map[string]any) { c["at_hash"] = "AAAAAAAAAAAAAAAAAAAAAA" },
	} {
		s.one.Mangle(mangle)
		refused(what, b.login("one", appURL), 403, "no valid answer")
	}
	s.one.Mangle(nil)
	s.one.User(map[string]any{"sub": "x"}, map[string]any{"sub": "y", "preferred_username": "admin"})
	refused("user info of another", b.login("one", appURL), 403, "no valid answer")
	s.one.User(map[string]any{"sub": "x"}, map[string]any{"preferred_username": 5})
	refused("no name", b.login("one", appURL), 403, "does not tell a user name")
	s.one.User(person("x", strings.Repeat("x", 101), ""), nil)
	refused("a long name", b.login("one", appURL), 403, "does not tell a user name")
	s.two.User(person("z", "zoe", ""), nil)
	s.two.Down(true)
	refused("the provider is down", b.login("two", appURL), 503, "cannot be reached")
	s.two.Down(false)
	refused("it is left alone for a moment", b.login("two", appURL), 503, "cannot be reached")
	s.clock.add(time.Minute)
	refused("a newcomer where none may come", b.login("two", appURL), 403, "no account")

	// New keys are fetched when a token is signed with one.
	s.one.User(person("k", "kim", ""), nil)
	s.one.NewKey(t)
	if got := s.enter(b.login("one", appURL).link(t)).text("user_id"); got != "@kim:test" {
		t.Errorf("%s", got)
	}
	// Who has left does not come back by the same door.
	_, err := userapi.Deactivate.Do(t.Context(), s.bus, &userapi.DeactivateRequest{UserID: "@kim:test"})
	must(t, err)
	refused("a deactivated account", b.login("one", appURL), 403, "deactivated")
}

// TestSSOCallback: an answer counts once, in the browser that asked, for a while.
func TestSSOCallback(t *testing.T) {
	s := startSSO(t, true, nil)
	s.one.User(person("a", "alice", ""), nil)
	begin := func(b *browser) string { // the address of the callback, not visited
		t.Helper()
		stop := b.CheckRedirect
		b.CheckRedirect = func(r *http.Request, via []*http.Request) error {
			if r.URL.Path == ssoCallbackPath {
				return http.ErrUseLastResponse
			}
			return stop(r, via)
		}
		defer func() { b.CheckRedirect = stop }()
		v := b.login("one", appURL)
		if v.status != 302 || !strings.HasPrefix(v.location, s.base+ssoCallbackPath) {
			t.Fatalf("%d %s", v.status, v.location)
		}
		return v.location
	}
	refused := func(what string, v view) {
		t.Helper()
		if v.status != 403 && v.status != 400 || strings.Contains(v.body, "loginToken=") {
			t.Errorf("%s: %d %s", what, v.status, v.body)
		}
	}
	alice, mallory := s.browser(), s.browser()
	at := begin(alice)
	refused("another browser", mallory.open("GET", at, nil))
	begin(mallory)
	refused("another browser with a flow of its own", mallory.open("GET", at, nil))
	refused("another issuer", alice.open("GET", strings.Replace(at, url.QueryEscape(s.one.URL), url.QueryEscape(s.two.URL), 1), nil))
	second := begin(alice) // two windows
	third := begin(alice)
	alice.open("GET", second, nil).link(t)
	refused("twice", alice.open("GET", second, nil))
	alice.open("GET", third, nil).link(t)
	at = begin(alice)
	s.clock.add(16 * time.Minute)
	refused("too late", alice.open("GET", at, nil))
	refused("no state", alice.open("GET", ssoCallbackPath+"?code=x", nil))
	refused("a wrong state", alice.open("GET", ssoCallbackPath+"?code=x&state="+strings.Repeat("x", 24), nil))
	u, err := url.Parse(begin(alice))
	must(t, err)
	q := u.Query()
	q.Del("code")
	u.RawQuery = q.Encode()
	refused("no code", alice.open("GET", u.String(), nil))
	u, err = url.Parse(begin(alice))
	must(t, err)
	q = u.Query()
	q.Set("code", "other")
	u.RawQuery = q.Encode()
	refused("another code", alice.open("GET", u.String(), nil))
}

func TestSSOStage(t *testing.T) {
	eachSSO(t, func(s *ssoServer) {
		t := s.t
		b := s.browser()
		s.one.User(person("a", "alice", ""), nil)
		alice := s.enter(b.login("one", appURL).link(t)).text("access_token")
		s.enter(b.login("one", appURL).link(t)) // another device
		ask := s.do("POST", "/_matrix/client/v1/login/get_token", alice, `{}`)
		if ask.status != 401 || !strings.Contains(ask.raw, `"flows":[{"stages":["m.login.sso"]}]`) {
			t.Fatalf("%d %s", ask.status, ask.raw)
		}
		id := ask.text("session")
		again := func() answer {
			return s.do("POST", "/_matrix/client/v1/login/get_token", alice, `{"auth":{"session":"`+id+`"}}`)
		}
		if a := s.do("POST", "/_matrix/client/v1/login/get_token", alice, `{"auth":{"type":"m.login.sso","session":"`+id+`"}}`); a.status != 401 || a.text("errcode") != "M_UNAUTHORIZED" {
			t.Errorf("%d %s", a.status, a.raw)
		}
		page := "/_matrix/client/v3/auth/m.login.sso/fallback/web?session=" + id

		s.one.User(person("m", "mallory", ""), nil)
		if v := b.open("GET", page, nil); v.status != 404 {
			t.Errorf("a stranger: %d %s", v.status, v.body)
		}
		s.enter(b.login("one", appURL).link(t)) // now mallory has an account
		if v := b.open("GET", page, nil); v.status != 403 || !strings.Contains(v.body, "as somebody else") {
			t.Errorf("another user: %d %s", v.status, v.body)
		}
		if a := again(); a.status != 401 {
			t.Errorf("%d %s", a.status, a.raw)
		}

		s.one.User(person("a", "alice", ""), nil)
		v := b.open("GET", page, nil)
		if v.status != 200 || !strings.Contains(v.body, "log you in on another device") || !strings.Contains(v.body, "@alice:test") {
			t.Fatalf("%d %s", v.status, v.body)
		}
		if prompts := s.one.Prompts(); prompts[len(prompts)-1] != "login" || prompts[0] != "" {
			t.Errorf("%q", prompts)
		}
		if a := again(); a.status != 401 { // not confirmed yet
			t.Errorf("%d %s", a.status, a.raw)
		}
		ticket := regexp.MustCompile(`name="ticket" value="([^"]*)"`).FindStringSubmatch(v.body)[1]
		for _, bad := range []string{"", "x", ticket[:len(ticket)-2], string(ticket[0]^1) + ticket[1:]} {
			if v := b.open("POST", ssoApprovePath, url.Values{"ticket": {bad}}); v.status != 403 {
				t.Errorf("%d %s", v.status, v.body)
			}
		}
		if v := b.open("POST", ssoApprovePath, url.Values{"ticket": {ticket}}); v.status != 200 || !strings.Contains(v.body, "window.onAuthDone()") {
			t.Errorf("%d %s", v.status, v.body)
		}
		if a := again(); a.status != 200 || a.text("login_token") == "" {
			t.Errorf("%d %s", a.status, a.raw)
		}
		if v := b.open("POST", ssoApprovePath, url.Values{"ticket": {ticket}}); v.status != 404 {
			t.Errorf("twice: %d %s", v.status, v.body)
		}
		if a := again(); a.status != 401 {
			t.Errorf("twice: %d %s", a.status, a.raw)
		}

		// Who has a password may use either; who is at no provider has no other way.
		_, err := userapi.SetPassword.Do(t.Context(), s.bus, &userapi.SetPasswordRequest{UserID: "@alice:test", Password: password})
		must(t, err)
		if a := s.do("POST", "/_matrix/client/v1/login/get_token", alice, `{}`); !strings.Contains(a.raw, `"flows":[{"stages":["m.login.password"]},{"stages":["m.login.sso"]}]`) {
			t.Errorf("%s", a.raw)
		}
		if a := s.do("POST", "/_matrix/client/v1/login/get_token", s.user("carol"), `{}`); !strings.Contains(a.raw, `"flows":[{"stages":["m.login.password"]}]`) {
			t.Errorf("%s", a.raw)
		}
	})
}

func TestSSOApproval(t *testing.T) {
	s := startSSO(t, true, func(d *Deps) { d.RegistrationMode = "approval" })
	b := s.browser()
	s.one.User(person("a", "alice", ""), nil)
	for range 2 {
		if v := b.login("one", appURL); v.status != 403 || !strings.Contains(v.body, "approved") {
			t.Errorf("%d %s", v.status, v.body)
		}
	}
	_, err := userapi.Approve.Do(t.Context(), s.bus, &userapi.UserRequest{UserID: "@alice:test"})
	must(t, err)
	if got := s.enter(b.login("one", appURL).link(t)).text("user_id"); got != "@alice:test" {
		t.Errorf("%s", got)
	}
}

func TestNoSSO(t *testing.T) {
	s := start(t, true, nil)
	if a := s.must("GET", "/login", "", ""); strings.Contains(a.raw, "sso") {
		t.Errorf("%s", a.raw)
	}
	if w := s.browse("GET", "/login/sso/redirect?redirectUrl=https%3A%2F%2Fapp.example", nil); w.Code != 404 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	s.refuse(404, "M_UNRECOGNIZED", "GET", "/_matrix/client/v1/auth_metadata", "", "")
	s.refuse(404, "M_UNRECOGNIZED", "GET", ssoCallbackPath, "", "")
	if _, err := newSSO(&Deps{SSO: SSOOptions{Providers: []sso.ProviderOptions{{ID: "a"}}}}); err == nil {
		t.Error("without a public address")
	}
	two := []sso.ProviderOptions{{ID: "a"}, {ID: "a"}}
	if _, err := newSSO(&Deps{PublicBaseURL: "https://x", SSO: SSOOptions{Providers: two}}); err == nil {
		t.Error("two providers with one id")
	}
}

func TestTrustedRedirects(t *testing.T) {
	s := &Server{options: Deps{SSO: SSOOptions{TrustedRedirects: []string{"https://app.example/client", "io.app://cb", "https://all.example/"}}}}
	for address, want := range map[string]bool{
		"https://app.example/client": true, "https://app.example/client/": true, "https://app.example/client/x?y#z": true, "https://APP.example/client": true,
		"https://app.example/clients": false, "https://app.example/": false, "http://app.example/client": false, "https://app.example:444/client": false,
		"https://app.example.evil/client": false, "https://app.example/client/../x": false, "https://app.example/client/%2e%2e/x": false,
		"io.app://cb": true, "io.app://cb/x": true, "io.app://other": false, "https://all.example": true, "https://all.example/x": true,
	} {
		u, err := clientAddress(address)
		if err != nil || s.trusts(u) != want {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// TestLoginFallback: the page of the specification, with the ways to log in here.
func TestLoginFallback(t *testing.T) {
	s := startSSO(t, true, nil)
	s.one.User(person("a", "alice", ""), nil)
	page := s.browse("GET", loginFallbackPath+"?device_id=%3Cscript%3E", nil)
	body := page.Body.String()
	for _, want := range []string{"window.matrixLogin.onLogin(answer)", `data-to="/_matrix/client/v3/login/sso/redirect/one"`, "Continue with First &lt;One&gt;"} {
		if page.Code != 200 || !strings.Contains(body, want) {
			t.Errorf("%d, no %s in %s", page.Code, want, body)
		}
	}
	if strings.Contains(body, "<script>") || !strings.Contains(page.Header().Get("Content-Security-Policy"), "; connect-src 'self'") {
		t.Errorf("%v %s", page.Header(), body)
	}
	// Back on that page nobody is asked whether it is known: the page itself is careful.
	v := s.browser().login("one", s.base+loginFallbackPath+"?device_id=X")
	if v.status != 200 || !strings.Contains(v.body, "matrixLogin") {
		t.Errorf("%d %s", v.status, v.body)
	}
}
