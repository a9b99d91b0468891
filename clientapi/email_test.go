package clientapi

import (
	"crypto/tls"
	"fmt"
	"io"
	"mime/quotedprintable"
	"net/mail"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	outgoing "hearth/clientapi/mail"
	"hearth/internal/testkit/smtpsink"
)

// post is a server that sends mail to a sink.
type post struct {
	*server
	sink *smtpsink.Sink
}

func startPost(t *testing.T, local bool, change func(*Deps)) *post {
	sink := smtpsink.Start(t, true)
	s := start(t, local, func(d *Deps) {
		sender, err := outgoing.New(outgoing.Options{
			Server: sink.Addr, Security: outgoing.StartTLS, From: "noreply@test", Now: d.Now, Log: d.Log,
			Config: &tls.Config{RootCAs: sink.Pool}, Pause: time.Millisecond,
		})
		must(t, err)
		d.Mail, d.PublicBaseURL = sender, "https://matrix.test"
		if change != nil {
			change(d)
		}
	})
	return &post{s, sink}
}

func eachPost(t *testing.T, change func(*Deps), test func(p *post)) {
	t.Run("local", func(t *testing.T) { test(startPost(t, true, change)) })
	t.Run("nats", func(t *testing.T) { test(startPost(t, false, change)) })
}

func (p *post) read(to string) string {
	p.t.Helper()
	m := p.sink.Next(p.t)
	parsed, err := mail.ReadMessage(strings.NewReader(m.Data))
	must(p.t, err)
	body, err := io.ReadAll(quotedprintable.NewReader(parsed.Body))
	must(p.t, err)
	if m.To != to {
		p.t.Errorf("a mail to %s, want %s", m.To, to)
	}
	return string(body)
}

// link returns the form that the link of a message leads to.
func (p *post) link(body string) url.Values {
	p.t.Helper()
	link := regexp.MustCompile(`https://matrix\.test/_hearth/client/submit_token\?\S+`).FindString(body)
	u, err := url.Parse(link)
	if err != nil || link == "" {
		p.t.Fatalf("no link in %q", body)
	}
	if w := p.browse("GET", link[len("https://matrix.test"):], nil); w.Code != 200 || !strings.Contains(w.Body.String(), `value="`+u.Query().Get("token")+`"`) {
		p.t.Errorf("%d %s", w.Code, w.Body)
	}
	return u.Query()
}

func (p *post) confirmed(form url.Values) {
	p.t.Helper()
	if w := p.browse("POST", submitPath, form); w.Code != 200 {
		p.t.Errorf("%d %s", w.Code, w.Body)
	}
}

func (p *post) requestToken(path, email, secret string, attempt int) string {
	p.t.Helper()
	return p.must("POST", path, "", fmt.Sprintf(`{"email":%q,"client_secret":%q,"send_attempt":%d}`, email, secret, attempt)).text("sid")
}

func proof(session, sid, secret string) string {
	return fmt.Sprintf(`{"type":"m.login.email.identity","session":%q,"threepid_creds":{"sid":%q,"client_secret":%q}}`, session, sid, secret)
}

const (
	registerToken = "/register/email/requestToken"
	resetToken    = "/account/password/email/requestToken"
	accountToken  = "/account/3pid/email/requestToken"
)

func TestRegisterWithEmail(t *testing.T) {
	eachPost(t, func(d *Deps) { d.Registration.RequireEmail = true }, func(p *post) {
		ask := p.do("POST", "/register", "", registering("alice", "{}"))
		if !strings.Contains(ask.raw, `"flows":[{"stages":["m.login.email.identity"]}]`) {
			p.t.Errorf("%s", ask.raw)
		}
		id := ask.text("session")
		sid := p.requestToken(registerToken, "Alice@X.test", "secret", 1)
		form := p.link(p.read("alice@x.test"))
		pending := p.refuse(401, "M_UNAUTHORIZED", "POST", "/register", "", registering("alice", proof(id, sid, "secret")))
		if pending.text("session") != id {
			p.t.Errorf("%s", pending.raw)
		}
		// A repetition sends nothing; a higher attempt sends another token, which replaces the first.
		if again := p.requestToken(registerToken, "alice@x.test", "secret", 1); again != sid {
			p.t.Errorf("%s became %s", sid, again)
		}
		if again := p.requestToken(registerToken, "alice@x.test", "secret", 2); again != sid {
			p.t.Errorf("%s became %s", sid, again)
		}
		second := p.link(p.read("alice@x.test"))
		if w := p.browse("POST", submitPath, form); w.Code != 400 {
			p.t.Errorf("the replaced token: %d %s", w.Code, w.Body)
		}
		for _, bad := range []url.Values{
			{}, {"sid": {sid}, "client_secret": {"other"}, "token": second["token"]}, {"sid": {"x"}, "client_secret": {"secret"}, "token": second["token"]},
			{"sid": {sid}, "client_secret": {"secret"}, "token": {"x"}},
		} {
			if w := p.browse("POST", submitPath, bad); w.Code != 400 && w.Code != 404 {
				p.t.Errorf("%v: %d %s", bad, w.Code, w.Body)
			}
		}
		p.confirmed(second)
		if w := p.browse("POST", submitPath, second); w.Code != 400 { // once
			p.t.Errorf("%d %s", w.Code, w.Body)
		}
		p.refuse(401, "M_UNAUTHORIZED", "POST", "/register", "", registering("alice", proof(id, sid, "other")))
		// The same secret with another address is another validation, which has not succeeded.
		elsewhere := p.requestToken(registerToken, "mallory@x.test", "secret", 1)
		if elsewhere == sid {
			p.t.Error("two addresses share a validation")
		}
		p.read("mallory@x.test")
		p.refuse(401, "M_UNAUTHORIZED", "POST", "/register", "", registering("alice", proof(id, elsewhere, "secret")))
		done := p.must("POST", "/register", "", registering("alice", proof(id, sid, "secret")))
		list := p.must("GET", "/account/3pid", done.text("access_token"), "")
		at := p.clock.now().UnixMilli()
		same(p.t, "3pid", list.raw, fmt.Sprintf(`{"threepids":[{"medium":"email","address":"alice@x.test","validated_at":%d,"added_at":%d}]}`, at, at))
		// The same confirmation is of no use for another account.
		other := p.do("POST", "/register", "", registering("bob", "{}")).text("session")
		p.refuse(401, "M_UNAUTHORIZED", "POST", "/register", "", registering("bob", proof(other, sid, "secret")))
		// Whoever asks for an address that is taken learns nothing; its owner does.
		if taken := p.requestToken(registerToken, "alice@x.test", "eve", 1); taken == "" || taken == sid {
			p.t.Errorf("%q", taken)
		}
		if body := p.read("alice@x.test"); strings.Contains(body, "submit_token") || !strings.Contains(body, "@alice:test") {
			p.t.Errorf("%s", body)
		}
	})
}

func TestPasswordReset(t *testing.T) {
	eachPost(t, nil, func(p *post) {
		token := p.user("alice")
		sid := p.requestToken(accountToken, "alice@x.test", "mine", 1)
		add := func(body string) answer {
			return p.do("POST", "/account/3pid/add", token, body)
		}
		auth := `,"auth":{"type":"m.login.password","user":"alice","password":"` + password + `"}`
		if ask := add(`{"sid":"` + sid + `","client_secret":"mine"}`); ask.status != 401 || ask.text("session") == "" {
			p.t.Errorf("%d %s", ask.status, ask.raw)
		}
		if a := add(`{"sid":"` + sid + `","client_secret":"mine"` + auth + `}`); a.status != 403 || a.text("errcode") != "M_THREEPID_AUTH_FAILED" {
			p.t.Errorf("%d %s", a.status, a.raw)
		}
		p.confirmed(p.link(p.read("alice@x.test")))
		if a := add(`{"sid":"` + sid + `","client_secret":"mine"` + auth + `}`); a.status != 200 {
			p.t.Errorf("%d %s", a.status, a.raw)
		}

		// Nobody learns that there is no such account, and nothing is sent.
		if unknown := p.requestToken(resetToken, "nobody@x.test", "secret", 1); unknown == "" {
			p.t.Error("no sid")
		}
		ask := p.do("POST", "/account/password", "", `{"new_password":"a new password"}`)
		if ask.status != 401 || !strings.Contains(ask.raw, `"flows":[{"stages":["m.login.email.identity"]}]`) {
			p.t.Errorf("%d %s", ask.status, ask.raw)
		}
		id := ask.text("session")
		reset := func(sid, secret string) answer {
			return p.do("POST", "/account/password", "", `{"new_password":"a new password","auth":`+proof(id, sid, secret)+`}`)
		}
		// What was confirmed to add an address resets no password.
		if a := reset(sid, "mine"); a.status != 401 || a.text("errcode") != "M_UNAUTHORIZED" {
			p.t.Errorf("%d %s", a.status, a.raw)
		}
		sid = p.requestToken(resetToken, "ALICE@x.test", "secret", 1)
		form := p.link(p.read("alice@x.test"))
		p.refuse(400, "M_WEAK_PASSWORD", "POST", "/account/password", "", `{"new_password":"x","auth":`+proof(id, sid, "secret")+`}`)
		p.confirmed(form)
		if a := reset(sid, "secret"); a.status != 200 {
			p.t.Fatalf("%d %s", a.status, a.raw)
		}
		if a := reset(sid, "secret"); a.status != 401 { // once
			p.t.Errorf("%d %s", a.status, a.raw)
		}
		p.softLogout(false, "GET", "/account/whoami", token, "")
		p.refuse(403, "M_FORBIDDEN", "POST", "/login", "", `{"type":"m.login.password","user":"alice","password":"`+password+`"}`)
		// Log in by the address.
		login := `{"type":"m.login.password","password":"a new password","identifier":{"type":"m.id.thirdparty","medium":"email","address":"%s"}}`
		token = p.must("POST", "/login", "", fmt.Sprintf(login, "Alice@x.test")).text("access_token")
		p.refuse(403, "M_FORBIDDEN", "POST", "/login", "", fmt.Sprintf(login, "bob@x.test"))
		confirm := `{"auth":{"type":"m.login.password","password":"a new password","identifier":{"type":"m.id.thirdparty","medium":"email","address":"alice@x.test"}}}`
		p.must("DELETE", "/devices/NONE", token, confirm)

		same(p.t, "delete", p.must("POST", "/account/3pid/delete", token, `{"medium":"email","address":"alice@X.test"}`).raw, `{"id_server_unbind_result":"no-support"}`)
		same(p.t, "unbind", p.must("POST", "/account/3pid/unbind", token, `{"medium":"email","address":"alice@X.test"}`).raw, `{"id_server_unbind_result":"no-support"}`)
		same(p.t, "none", p.must("GET", "/account/3pid", token, "").raw, `{"threepids":[]}`)
		p.refuse(403, "M_FORBIDDEN", "POST", "/login", "", fmt.Sprintf(login, "alice@x.test"))
		p.refuse(400, "M_MISSING_PARAM", "POST", "/account/3pid/delete", token, `{"medium":"email"}`)
		p.refuse(400, "M_INVALID_PARAM", "POST", "/account/3pid/delete", token, `{"medium":"fax","address":"1"}`)
		p.refuse(400, "M_MISSING_PARAM", "POST", "/account/3pid/add", token, `{"sid":"x"}`)
	})
}

// TestAddressIsBoundToItsSecret: a confirmed session serves one address only.
func TestAddressIsBoundToItsSecret(t *testing.T) {
	p := startPost(t, true, nil)
	one := p.requestToken(registerToken, "one@x.test", "secret", 1)
	two := p.requestToken(registerToken, "two@x.test", "secret", 1)
	if one == two {
		t.Fatal("one session for two addresses")
	}
	p.confirmed(p.link(p.read("one@x.test")))
	id := p.do("POST", "/register", "", registering("alice", "{}")).text("session")
	p.refuse(401, "M_UNAUTHORIZED", "POST", "/register", "", registering("alice", proof(id, two, "secret")))
	p.clock.add(time.Hour)
	p.refuse(401, "M_UNAUTHORIZED", "POST", "/register", "", registering("alice", proof(id, one, "secret")))
	late := p.link(p.read("two@x.test"))
	if w := p.browse("POST", submitPath, late); w.Code != 400 || !strings.Contains(w.Body.String(), "too old") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestNextLink(t *testing.T) {
	p := startPost(t, true, nil)
	p.must("POST", registerToken, "", `{"email":"a@x.test","client_secret":"s","send_attempt":1,"next_link":"https://app.test/\"><script>?a=b"}`)
	w := p.browse("POST", submitPath, p.link(p.read("a@x.test")))
	if w.Code != 200 || !strings.Contains(w.Body.String(), `href="https://app.test/`) || strings.Contains(w.Body.String(), "<script>") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestBadTokenRequests(t *testing.T) {
	p := startPost(t, true, func(d *Deps) { d.RateLimits = true })
	for _, c := range []struct {
		status     int
		code, body string
	}{
		{400, "M_MISSING_PARAM", `{"email":"a@x.test","client_secret":"s"}`},
		{400, "M_MISSING_PARAM", `{"email":"a@x.test","send_attempt":1}`},
		{400, "M_MISSING_PARAM", `{"client_secret":"s","send_attempt":1}`},
		{400, "M_BAD_JSON", `{"email":"a@x.test","client_secret":"s","send_attempt":"1"}`},
		{400, "M_INVALID_PARAM", `{"email":"a@x.test","client_secret":"s p","send_attempt":1}`},
		{400, "M_INVALID_PARAM", `{"email":"no address","client_secret":"s","send_attempt":1}`},
		{400, "M_INVALID_PARAM", `{"email":"a@x.test\nBcc: b@x.test","client_secret":"s","send_attempt":1}`},
		{400, "M_INVALID_PARAM", `{"email":"Name <a@x.test>","client_secret":"s","send_attempt":1}`},
		{400, "M_INVALID_PARAM", `{"email":"a@x.test","client_secret":"s","send_attempt":1,"next_link":"javascript:alert(1)"}`},
	} {
		p.refuse(c.status, c.code, "POST", registerToken, "", c.body)
	}
	var last answer
	for i := range 20 {
		last = p.do("POST", registerToken, "", fmt.Sprintf(`{"email":"a@x.test","client_secret":"s%d","send_attempt":1}`, i))
	}
	if last.status != 429 || last.header.Get("Retry-After") == "" || len(p.sink.Mails) > 5 {
		t.Errorf("%d %s, %d mails", last.status, last.raw, len(p.sink.Mails))
	}
	for _, kind := range []string{"/register", "/account/password", "/account/3pid"} {
		p.refuse(403, "M_THREEPID_DENIED", "POST", kind+"/msisdn/requestToken", "", `{}`)
	}
	none := start(t, true, nil)
	none.refuse(404, "M_UNRECOGNIZED", "POST", resetToken, "", `{"email":"a@x.test","client_secret":"s","send_attempt":1}`)
	none.refuse(401, "M_MISSING_TOKEN", "POST", "/account/password", "", `{}`)
	closed := startPost(t, true, func(d *Deps) { d.RegistrationMode = "closed" })
	closed.refuse(403, "M_FORBIDDEN", "POST", registerToken, "", `{"email":"a@x.test","client_secret":"s","send_attempt":1}`)
}
