package clientapi

import (
	"net/http"
	"strings"
	"testing"
)

// concrete fills in the parameters of a pattern.
func concrete(path string) string {
	return strings.NewReplacer("(r0|v3)", "v3", "{userId}", "@alice:test", "{roomId}", testRoom, "{eventId}", testEvent,
		"{eventType}", "m.x", "{stateKey}", "k", "{txnId}", "t", "{receiptType}", "m.read", "{roomAlias}", "%23a:test",
		"{roomIdOrAlias}", testRoom, "{keyName}", "displayname", "{filterId}", "f", "{type}", "m.x", "{deviceId}", "D",
		"{relType}", "m.thread", "{tag}", "u.x", "{authType}", "m.login.terms", "{protocol}", "irc", "{networkId}", "n", "{appserviceId}", "irc", "{kind}", "override", "{idpId}", "idp", "{ruleId}", ".m.rule.master").Replace(path)
}

// TestEveryRoute: without a token nobody gets in, and nothing is behind a path that
// is almost one of ours.
func TestEveryRoute(t *testing.T) {
	s := start(t, true, nil)
	open := 0
	for _, route := range s.clientRoutes() {
		path := concrete(route.Path)
		if strings.ContainsAny(path, "{}()") {
			t.Fatalf("%s: a parameter without a value", path)
		}
		if route.Auth == nil {
			open++
		} else {
			tokens := []string{"", "hrt_wrong"}
			if strings.Contains(path, "summary") { // a token is optional
				tokens = tokens[1:]
			}
			for _, token := range tokens {
				if a := s.do(route.Method, path, token, "{}"); a.status != 401 {
					t.Errorf("%s %s: %d with token %q", route.Method, path, a.status, token)
				}
			}
		}
		for _, tail := range []string{"/extra/extra/extra/extra", "//", "/%2e%2e"} {
			if a := s.do(route.Method, path+tail, "", "{}"); a.status != 404 || a.text("errcode") != "M_UNRECOGNIZED" {
				t.Errorf("%s %s: %d %s", route.Method, path+tail, a.status, a.raw)
			}
		}
		if a := s.do("PATCH", path, "", "{}"); a.status != 405 || a.text("errcode") != "M_UNRECOGNIZED" {
			t.Errorf("PATCH %s: %d", path, a.status)
		}
		if (route.Method == http.MethodGet) != (route.Body.Max == 0) {
			t.Errorf("%s %s: body limit %d", route.Method, path, route.Body.Max)
		}
	}
	if open != 22 {
		t.Errorf("%d routes are open to everybody; say here that there are more", open)
	}
}

// TestNoSecretsInTheLog sends secrets in every place that a request has, through
// requests that succeed and requests that fail.
func TestNoSecretsInTheLog(t *testing.T) {
	for _, local := range []bool{true, false} {
		s := start(t, local, func(d *Deps) { d.SharedSecret = "canary-secret" })
		token := s.user("alice")
		s.do("POST", "/login", "", `{"type":"m.login.password","user":"canary-user","password":"canary-password","x":`)
		s.do("POST", "/login", "", `{"type":"m.login.password","user":"alice","password":"canary-password"}`)
		s.do("POST", "/login", "", `{"type":"m.login.password","user":"alice","password":{"canary-password":1}}`)
		s.do("POST", "/account/password", token, `{"new_password":"canary-new-password","auth":{"type":"m.login.password","user":"alice","password":"canary-wrong"}}`)
		s.do("GET", "/_matrix/client/r0/account/whoami?access_token=canary-token", "", "")
		s.do("GET", "/account/whoami", "canary-token", "")
		s.do("POST", "/_synapse/admin/v1/register", "", `{"nonce":"canary-nonce","username":"u","password":"canary-password","mac":"canary-mac"}`)
		for _, fail := range []error{nil, errForbidden, http.ErrHandlerTimeout} {
			s.rooms.failWith(fail)
			s.do("PUT", "/rooms/!canary-room:test/send/m.canary/canary-txn", token, `{"body":"canary-content"}`)
			s.do("GET", "/sync?since=canary-since&filter=%7B%22canary%22%3A1%7D", token, "")
			s.do("PUT", "/user/@alice:test/account_data/m.canary", token, `{"canary-data":1}`)
		}
		s.do("GET", "/canary-path", token, "")
		log := s.log.String()
		if strings.Contains(log, "canary") || strings.Contains(log, token) || strings.Contains(log, "hrt_") || strings.Contains(log, "192.0.2.1") {
			t.Errorf("a secret is in the log:\n%s", log)
		}
		if n := strings.Count(log, `"msg":"request"`); n != 18 {
			t.Errorf("%d lines for 18 requests", n)
		}
		if !strings.Contains(log, `"user":"@alice:test"`) || !strings.Contains(log, `"trace":"`) {
			t.Errorf("the log says too little:\n%s", log)
		}
	}
}
