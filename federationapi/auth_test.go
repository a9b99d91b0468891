package federationapi

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"hearth/clientapi/userapi"
	"hearth/federationapi/internal/peertest"
	"hearth/federationapi/xmatrix"
	"hearth/internal/bus"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// neighbours are example.org and a server that it can reach.
type neighbours struct {
	t      testing.TB
	server *Server
	clock  *clock
	peer   *peertest.Peer
	mux    http.Handler // of routes that only tests have
}

func newNeighbours(t testing.TB) *neighbours {
	t.Helper()
	n := peertest.NewNet(t)
	peer := peertest.New(t, n, "", "unused:1", "127.0.0.1")
	peer.Name = peer.Address()
	c := &clock{now: time.UnixMilli(time.Now().UnixMilli())}
	s := openServer(t, c, n.CA, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")})
	peer.Answer("/_matrix/key/v2/server", 200, string(peertest.Keys{
		Server: peer.Name, ValidUntil: c.now.Add(time.Hour), Current: []pdu.Signer{peertest.Signer(peer.Name, "ed25519:1")},
		Old: map[string]peertest.OldKey{"ed25519:old": {Public: peertest.Signer(peer.Name, "ed25519:old").Key[32:], Expired: c.now.Add(-time.Hour)}},
	}.JSON(t)))
	echo := func(r *matrixhttp.Request) (any, error) {
		body, err := r.Object()
		return map[string]any{"origin": r.Identity.Server, "body": body}, err
	}
	mux, err := matrixhttp.New(matrixhttp.Options{Routes: []matrixhttp.Route{
		{Method: "PUT", Path: "/_matrix/echo/{x}", Auth: s.authenticate, Body: matrixhttp.Body{Max: 1 << 20}, Handle: echo},
		{Method: "POST", Path: "/_matrix/echo/{x}", Auth: s.authenticate, Body: matrixhttp.Body{Max: 1 << 20, MayBeEmpty: true}, Handle: echo},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return &neighbours{t, s, c, peer, mux}
}

// sign returns the header for a request of the peer.
func (n *neighbours) sign(r xmatrix.Request, keyID string) string {
	n.t.Helper()
	if r.Content != nil {
		var err error
		if r.Content, err = pdu.Canonical(r.Content, false); err != nil {
			n.t.Fatal(err)
		}
	}
	header, err := xmatrix.Sign(r, peertest.Signer(n.peer.Name, keyID))
	if err != nil {
		n.t.Fatal(err)
	}
	return header
}

// ask sends a request with headers.
func (n *neighbours) ask(h http.Handler, method, uri, body string, headers ...string) (int, string) {
	n.t.Helper()
	req := httptest.NewRequest(method, uri, strings.NewReader(body))
	for _, v := range headers {
		req.Header.Add("Authorization", v)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w.Code, w.Body.String()
}

const echoURI = "/_matrix/echo/%21a%3Ab?x=%22&y"

func TestAuthenticate(t *testing.T) {
	n := newNeighbours(t)
	put := func(body string) xmatrix.Request {
		return xmatrix.Request{Method: "PUT", URI: echoURI, Destination: "example.org", Content: []byte(body)}
	}
	const body = `{"b" : "\u00e9", "a\"b":{"c\\":1}}`
	good := n.sign(put(body), "ed25519:1")
	noDestination := strings.Replace(good, `destination="example.org",`, "", 1)
	unknown := n.sign(put(body), "ed25519:2")
	many := make([]string, maxSignatures+1)
	for i := range many {
		many[i] = unknown
	}
	foreign := strings.Replace(good, n.peer.Name, "other.example", 1)
	for _, tc := range []struct {
		name, body string
		headers    []string
		want       int
	}{
		{"good", body, []string{good}, 200},
		{"the same in other words", `{"a\u0022b":{"c\u005c":1},"b":"é"}`, []string{good}, 200},
		{"without a destination", body, []string{noDestination}, 200},
		{"a second key that we do not know", body, []string{unknown, good}, 200},
		{"another scheme beside it", body, []string{"Bearer x", good}, 200},
		{"no header", body, nil, 401},
		{"another scheme", body, []string{"Bearer x"}, 401},
		{"malformed", body, []string{"X-Matrix origin"}, 401},
		{"malformed beside a good one", body, []string{good, "X-Matrix origin"}, 401},
		{"several origins", body, []string{good, foreign}, 401},
		{"too many", body, append(many, good), 401},
		{"an unknown key", body, []string{unknown}, 401},
		{"a key that has expired", body, []string{n.sign(put(body), "ed25519:old")}, 401},
		{"another body", `{}`, []string{good}, 401},
		{"no body", "", []string{good}, 401},
		{"a key twice", `{"a":1,"a":1}`, []string{n.sign(put(`{"a":1}`), "ed25519:1")}, 401},
		{"a key that holds others", `{"a\",\"b":1}`, []string{n.sign(put(`{"a":0,"b":1}`), "ed25519:1")}, 401},
		{"no JSON", `{"a":`, []string{good}, 401},
		{"too large", `{"x":"` + strings.Repeat("x", 1<<20) + `"}`, []string{good}, 413},
		{"brackets only", strings.Repeat("[", 1<<19), []string{good}, 401},
		{"for another server", body, []string{strings.Replace(good, "example.org", "example.com", 1)}, 401},
		{"from ourselves", body, []string{strings.Replace(good, n.peer.Name, "example.org", 1)}, 401},
		{"signed for another server", body, []string{strings.Replace(n.sign(xmatrix.Request{Method: "PUT", URI: echoURI, Destination: "example.com",
			Content: []byte(body)}, "ed25519:1"), "example.com", "example.org", 1)}, 401},
		{"signed for another method", body, []string{n.sign(xmatrix.Request{Method: "POST", URI: echoURI, Destination: "example.org", Content: []byte(body)}, "ed25519:1")}, 401},
		{"signed for another path", body, []string{n.sign(xmatrix.Request{Method: "PUT", URI: "/_matrix/echo/!a%3Ab?x=%22&y", Destination: "example.org", Content: []byte(body)}, "ed25519:1")}, 401},
	} {
		status, answer := n.ask(n.mux, "PUT", echoURI, tc.body, tc.headers...)
		if status != tc.want {
			t.Errorf("%s: %d %s", tc.name, status, answer)
		}
		if status == 401 && !strings.Contains(answer, `"M_UNAUTHORIZED"`) {
			t.Errorf("%s: %s", tc.name, answer)
		}
		if want := fmt.Sprintf(`"origin":%q`, n.peer.Name); status == 200 && !strings.Contains(answer, want) {
			t.Errorf("%s: %s", tc.name, answer)
		}
	}
	if asked := n.peer.Requests("/_matrix/key/v2/server"); asked != 1 {
		t.Errorf("the keys were asked for %d times", asked)
	}
}

// TestEmptyBody: nothing and an empty object are the same where either will do.
func TestEmptyBody(t *testing.T) {
	n := newNeighbours(t)
	for _, signed := range [][]byte{nil, []byte("{}")} {
		header := n.sign(xmatrix.Request{Method: "POST", URI: echoURI, Destination: "example.org", Content: signed}, "ed25519:1")
		for _, sent := range []string{"", "{}"} {
			if status, answer := n.ask(n.mux, "POST", echoURI, sent, header); status != 200 {
				t.Errorf("signed %q, sent %q: %d %s", signed, sent, status, answer)
			}
		}
		if status, answer := n.ask(n.mux, "POST", echoURI, `{"a":1}`, header); status != 401 {
			t.Errorf("signed %q: %d %s", signed, status, answer)
		}
	}
}

// TestQueries: what servers may ask about aliases and users of ours.
func TestQueries(t *testing.T) {
	n := newNeighbours(t)
	err := bus.Handle(n.server.deps.Bus, roomapi.ResolveAlias, func(_ context.Context, r *roomapi.AliasRequest) (*roomapi.AliasResponse, error) {
		if r.Alias != "#room:example.org" {
			return nil, merr.NotFound("Unknown room alias")
		}
		return &roomapi.AliasResponse{RoomID: "!r", Servers: []string{"example.org"}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = bus.Handle(n.server.deps.Bus, userapi.GetProfile, func(_ context.Context, r *userapi.UserRequest) (*userapi.Profile, error) {
		switch r.UserID {
		case "@alice:example.org":
			return &userapi.Profile{Fields: map[string]json.RawMessage{"displayname": json.RawMessage(`"Alice"`), "m.tz": json.RawMessage(`"UTC"`)}}, nil
		case "@new:example.org":
			return &userapi.Profile{}, nil
		}
		return nil, merr.NotFound("no such user")
	})
	if err != nil {
		t.Fatal(err)
	}
	const base = "/_matrix/federation/v1/query/"
	for _, tc := range []struct {
		query  string
		status int
		want   string
	}{
		{"directory?room_alias=%23room%3Aexample.org", 200, `{"room_id":"!r","servers":["example.org"]}`},
		{"directory?room_alias=%23x%3Aexample.org", 404, "M_NOT_FOUND"},
		{"directory", 400, "M_MISSING_PARAM"},
		{"profile?user_id=%40alice%3Aexample.org", 200, `{"displayname":"Alice","m.tz":"UTC"}`},
		{"profile?user_id=@alice:example.org&field=displayname", 200, `{"displayname":"Alice"}`},
		{"profile?user_id=@alice:example.org&field=avatar_url", 404, "M_NOT_FOUND"},
		{"profile?user_id=@new:example.org", 200, `{}`},
		{"profile?user_id=@nobody:example.org", 404, "M_NOT_FOUND"},
		{"profile?user_id=@alice:other.example", 404, "M_NOT_FOUND"},
		{"profile", 400, "M_MISSING_PARAM"},
	} {
		uri := base + tc.query
		header := n.sign(xmatrix.Request{Method: "GET", URI: uri, Destination: "example.org"}, "ed25519:1")
		if status, answer := n.ask(n.server.Handler(), "GET", uri, "", header); status != tc.status || !strings.Contains(answer, tc.want) {
			t.Errorf("%s: %d %s", tc.query, status, answer)
		}
		if status, _ := n.ask(n.server.Handler(), "GET", uri, ""); status != 401 {
			t.Errorf("%s: %d without a signature", tc.query, status)
		}
	}
}

// TestNotary: we sign what others say of their keys, and say it when they are gone.
func TestNotary(t *testing.T) {
	n := newNeighbours(t)
	ask := func(method, uri, body string, servers ...string) {
		t.Helper()
		status, answer := n.ask(n.server.Handler(), method, uri, body)
		var list struct {
			Keys []json.RawMessage `json:"server_keys"`
		}
		if err := json.Unmarshal([]byte(answer), &list); err != nil || status != 200 || list.Keys == nil || len(list.Keys) != len(servers) {
			t.Errorf("%s: %d %s", uri, status, answer)
			return
		}
		for i, server := range servers {
			object, err := pdu.Canonical(list.Keys[i], false)
			if name, _ := pdu.GetString(object, "server_name"); err != nil || name != server {
				t.Errorf("%s: %s, want that of %s: %v", uri, object, server, err)
			}
			key := n.server.deps.Key
			if err := pdu.VerifyJSON(object, key.ServerName, key.KeyID, ed25519.PublicKey(key.Key[32:])); err != nil {
				t.Errorf("%s: we did not sign: %v", uri, err)
			}
			if server == n.peer.Name {
				if err := pdu.VerifyJSON(object, server, "ed25519:1", ed25519.PublicKey(peertest.Signer(server, "ed25519:1").Key[32:])); err != nil {
					t.Errorf("%s: its own signature: %v", uri, err)
				}
			}
		}
	}
	const query = "/_matrix/key/v2/query"
	peer := n.peer.Name
	ask("GET", query+"/"+peer, "", peer)
	ask("GET", query+"/"+peer+"?minimum_valid_until_ts="+fmt.Sprint(n.clock.Now().UnixMilli()), "", peer)
	ask("GET", query+"/example.org", "", "example.org")
	ask("POST", query, `{"server_keys":{"`+peer+`":{},"example.org":{"ed25519:x":{"minimum_valid_until_ts":1}},"127.0.0.1:1":{}}}`, peer, "example.org")
	ask("POST", query, `{"server_keys":{}}`)
	if asked := n.peer.Requests("/_matrix/key/v2/server"); asked != 1 {
		t.Errorf("the server was asked %d times", asked)
	}
	n.peer.Answer("/_matrix/key/v2/server", 500, "")
	n.clock.mu.Lock()
	n.clock.now = n.clock.now.Add(48 * time.Hour)
	n.clock.mu.Unlock()
	ask("GET", query+"/"+peer, "", peer)

	var many []string
	for i := range maxQueried + 1 {
		many = append(many, fmt.Sprintf(`"127.0.0.1:%d":{}`, i+1))
	}
	for body, want := range map[string]int{
		`{}`: 400, `{"server_keys":[]}`: 400, `{"server_keys":{"a/b":{}}}`: 400, `{"server_keys":{"a":5}}`: 400, `[`: 400,
		`{"server_keys":{` + strings.Join(many, ",") + `}}`: 400, `{"x":"` + strings.Repeat("x", maxQuery) + `"}`: 413,
	} {
		if status, answer := n.ask(n.server.Handler(), "POST", query, body); status != want {
			t.Errorf("%.60s: %d %s", body, status, answer)
		}
	}
	for _, uri := range []string{query + "/a%2Fb", query + "/example.org?minimum_valid_until_ts=x"} {
		if status, answer := n.ask(n.server.Handler(), "GET", uri, ""); status != 400 {
			t.Errorf("%s: %d %s", uri, status, answer)
		}
	}
}
