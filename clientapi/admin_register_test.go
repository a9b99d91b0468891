package clientapi

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"hearth/clientapi/userapi"
)

func TestSharedSecretRegistration(t *testing.T) {
	off := start(t, true, nil)
	off.refuse(400, "M_UNKNOWN", "GET", "/_synapse/admin/v1/register", "", "")
	for _, onClient := range []bool{false, true} {
		s := start(t, true, func(d *Deps) {
			d.RegistrationMode, d.SharedSecret, d.AdminOnClient = "closed", "canary-secret", onClient
		})
		nonce := func() string { return s.must("GET", "/_synapse/admin/v1/register", "", "").text("nonce") }
		mac := func(parts ...string) string {
			h := hmac.New(sha1.New, []byte("canary-secret"))
			h.Write([]byte(strings.Join(parts, "\x00")))
			return hex.EncodeToString(h.Sum(nil))
		}
		post := func(n, user, admin, mac string) string {
			return fmt.Sprintf(`{"nonce":"%s","username":"%s","password":"%s","displayname":"Äd","admin":%s,"mac":"%s"}`, n, user, password, admin, mac)
		}
		n := nonce()
		a := s.must("POST", "/_synapse/admin/v1/register", "", post(n, "root", "true", mac(n, "root", password, "admin")))
		if a.text("user_id") != "@root:test" || a.text("access_token") == "" {
			t.Errorf("%s", a.raw)
		}
		s.refuse(400, "M_UNKNOWN", "POST", "/_synapse/admin/v1/register", "", post(n, "again", "true", mac(n, "again", password, "admin")))
		n = nonce()
		s.refuse(403, "M_FORBIDDEN", "POST", "/_synapse/admin/v1/register", "", post(n, "evil", "true", mac(n, "evil", password, "notadmin")))
		n = nonce()
		s.clock.add(nonceTTL)
		s.refuse(400, "M_UNKNOWN", "POST", "/_synapse/admin/v1/register", "", post(n, "late", "false", mac(n, "late", password, "notadmin")))
		n = nonce()
		s.refuse(400, "M_MISSING_PARAM", "POST", "/_synapse/admin/v1/register", "", post(n, "x", "false", ""))
		id, err := userapi.GetUser.Do(t.Context(), s.bus, &userapi.UserRequest{UserID: "@root:test"})
		if err != nil || !id.Admin {
			t.Errorf("%+v %v", id, err)
		}
		if c := s.must("GET", "/capabilities", a.text("access_token"), ""); !strings.Contains(c.raw, `"m.account_moderation":{"lock":true,"suspend":true}`) {
			t.Errorf("%s", c.raw)
		}
		if p := s.must("GET", "/profile/@root:test", "", ""); p.text("displayname") != "Äd" {
			t.Errorf("%s", p.raw)
		}
	}
	s := start(t, true, func(d *Deps) { d.SharedSecret = "x" })
	if a := s.do("GET", "/_matrix/client/v3/../../../_synapse/admin/v1/register", "", ""); a.status != 404 {
		t.Errorf("%d", a.status)
	}
	for range maxNonces {
		s.must("GET", "/_synapse/admin/v1/register", "", "")
	}
	s.refuse(429, "M_LIMIT_EXCEEDED", "GET", "/_synapse/admin/v1/register", "", "")
	s.clock.add(nonceTTL)
	s.must("GET", "/_synapse/admin/v1/register", "", "")
}
