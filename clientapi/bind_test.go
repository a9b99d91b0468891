package clientapi

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"

	"hearth/internal/pdu"
)

// identityServer binds what is validated in the session "sid" with the secret "secret".
type identityServer struct {
	*httptest.Server
	key ed25519.PublicKey

	mu     sync.Mutex // guards the rest
	bound  map[string]string
	answer func(w http.ResponseWriter) bool // instead
}

func startIdentity(t *testing.T, key ed25519.PublicKey) *identityServer {
	i := &identityServer{key: key, bound: map[string]string{}}
	i.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		body, err := io.ReadAll(r.Body)
		var req struct {
			Sid      string
			Secret   string `json:"client_secret"`
			MXID     string
			ThreePID struct{ Medium, Address string }
		}
		if err != nil || json.Unmarshal(body, &req) != nil {
			t.Errorf("body %s", body)
		}
		if i.answer != nil && i.answer(w) {
			return
		}
		switch {
		case r.URL.Path == "/_matrix/identity/v2/3pid/bind" && r.Header.Get("Authorization") == "Bearer good" && req.Sid == "sid" && req.Secret == "secret":
			i.bound["alice@example.org"] = req.MXID
			fmt.Fprintf(w, `{"medium":"email","address":"alice@example.org","mxid":%q,"not_before":1,"not_after":2,"ts":1,"signatures":{}}`, req.MXID)
		case r.URL.Path == "/_matrix/identity/v2/3pid/unbind" && i.signed(r, body) && i.bound[req.ThreePID.Address] == req.MXID:
			delete(i.bound, req.ThreePID.Address)
			_, _ = io.WriteString(w, `{}`)
		default:
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"errcode":"M_UNKNOWN_TOKEN","error":"who are you?"}`)
		}
	}))
	t.Cleanup(i.Close)
	return i
}

// signed reports whether the homeserver "test" vouches for a request.
func (i *identityServer) signed(r *http.Request, body []byte) bool {
	m := regexp.MustCompile(`^X-Matrix origin="test",destination="([^"]*)",key="ed25519:k",sig="([^"]*)"$`).FindStringSubmatch(r.Header.Get("Authorization"))
	if m == nil || m[1] != i.name() {
		return false
	}
	request := fmt.Sprintf(`{"method":"POST","uri":%q,"origin":"test","destination":%q,"content":%s,"signatures":{"test":{"ed25519:k":%q}}}`,
		r.URL.Path, m[1], body, m[2])
	return pdu.VerifyJSON([]byte(request), "test", "ed25519:k", i.key) == nil
}

func (i *identityServer) name() string { return strings.TrimPrefix(i.URL, "https://") }

func (i *identityServer) knows() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.bound)
}

func (i *identityServer) instead(f func(w http.ResponseWriter) bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answer = f
}

func TestBind(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	i := startIdentity(t, key.Public().(ed25519.PublicKey))
	eachWith(t, func(d *Deps) {
		d.Identity = IdentityOptions{Servers: []string{i.name()}, Transport: i.Client().Transport, Key: pdu.Signer{ServerName: "test", KeyID: "ed25519:k", Key: key}}
	}, func(s *server) {
		alice := s.user("alice")
		bind := func(sid, token string) string {
			return fmt.Sprintf(`{"id_server":%q,"sid":%q,"client_secret":"secret","id_access_token":%q}`, i.name(), sid, token)
		}
		const named = `"medium":"email","address":"alice@example.org"`
		unbind := func(path, more, want string) {
			s.t.Helper()
			same(s.t, path+more, s.must("POST", path, alice, `{`+named+more+`}`).raw, `{"id_server_unbind_result":"`+want+`"}`)
		}
		unbind("/account/3pid/unbind", "", "no-support")
		same(s.t, "bind", s.must("POST", "/account/3pid/bind", alice, bind("sid", "good")).raw, `{}`)
		if i.knows() != 1 {
			s.t.Error("nothing was bound")
		}
		s.refuse(401, "M_MISSING_TOKEN", "POST", "/account/3pid/bind", "", bind("sid", "good"))
		s.refuse(403, "M_UNAUTHORIZED", "POST", "/account/3pid/bind", alice, bind("sid", "bad"))
		s.refuse(400, "M_INVALID_PARAM", "POST", "/account/3pid/bind", alice, bind("sid", "a\nb"))
		s.refuse(400, "M_MISSING_PARAM", "POST", "/account/3pid/bind", alice, bind("", "good"))
		s.refuse(400, "M_SERVER_NOT_TRUSTED", "POST", "/account/3pid/bind", alice, `{"id_server":"127.0.0.1:1","sid":"s","client_secret":"s","id_access_token":"t"}`)

		unbind("/account/3pid/unbind", `,"id_server":"elsewhere"`, "no-support")
		i.instead(func(w http.ResponseWriter) bool { w.WriteHeader(501); return true })
		unbind("/account/3pid/unbind", "", "no-support")
		for text, want := range map[string]struct {
			status int
			code   string
		}{
			`{"errcode":"M_TERMS_NOT_SIGNED","error":"read!"}`: {403, "M_TERMS_NOT_SIGNED"}, `{"errcode":"<b>"}`: {502, "M_UNKNOWN"}, `[]`: {502, "M_UNKNOWN"},
		} {
			i.instead(func(w http.ResponseWriter) bool { w.WriteHeader(403); _, _ = io.WriteString(w, text); return true })
			s.refuse(want.status, want.code, "POST", "/account/3pid/bind", alice, bind("sid", "good"))
		}
		i.instead(func(w http.ResponseWriter) bool {
			_, _ = io.WriteString(w, `{"medium":"email","address":"x","mxid":"@mallory:test"}`)
			return true
		})
		s.refuse(502, "M_UNKNOWN", "POST", "/account/3pid/bind", alice, bind("sid", "good"))
		i.instead(func(w http.ResponseWriter) bool {
			w.Header().Set("Location", i.URL+"/_matrix/identity/v2/3pid/bind")
			w.WriteHeader(307)
			return true
		})
		s.refuse(502, "M_UNKNOWN", "POST", "/account/3pid/bind", alice, bind("sid", "good"))
		i.instead(nil)
		unbind("/account/3pid/unbind", "", "success")
		unbind("/account/3pid/unbind", "", "no-support")
		if i.knows() != 0 {
			s.t.Error("it is still bound")
		}
		s.must("POST", "/account/3pid/bind", alice, bind("sid", "good"))
		unbind("/account/3pid/delete", "", "success")

		// The end of an account ends its bindings.
		s.must("POST", "/account/3pid/bind", alice, bind("sid", "good"))
		gone := s.must("POST", "/account/deactivate", alice, `{"auth":{"type":"m.login.password","user":"alice","password":"`+password+`"}}`)
		if gone.text("id_server_unbind_result") != "success" || i.knows() != 0 {
			s.t.Errorf("%s, %d bindings", gone.raw, i.knows())
		}
		for _, secret := range []string{"good", `"secret"`} {
			if strings.Contains(s.log.String(), secret) {
				s.t.Errorf("%s is in the log", secret)
			}
		}
	})
}

func TestNoIdentityServers(t *testing.T) {
	s := start(t, true, nil)
	s.refuse(400, "M_SERVER_NOT_TRUSTED", "POST", "/account/3pid/bind", s.user("alice"), `{"id_server":"vector.im","sid":"s","client_secret":"s","id_access_token":"t"}`)
}
