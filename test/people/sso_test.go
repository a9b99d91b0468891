package people

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"testing"

	"hearth/internal/testkit/oidcprovider"
	"hearth/test/harness"
)

// TestSingleSignOn: a browser logs in at a provider, and a client gets a device by it.
func TestSingleSignOn(t *testing.T) {
	for _, w := range []harness.Wiring{harness.OneProcess, harness.FourProcesses} {
		t.Run(w.String(), func(t *testing.T) {
			p := oidcprovider.Start(t, nil)
			p.User(map[string]any{"sub": "1", "preferred_username": "Alice", "name": "Alice S."}, nil)
			s := harness.Start(t, harness.Options{Wiring: w, Config: func(m map[string]any) {
				m["public_base_url"] = "http://" + m["listeners"].(map[string]any)["client"].(map[string]any)["address"].(string)
				m["sso"] = map[string]any{"providers": []any{map[string]any{
					"id": "p", "name": "Provider", "issuer": p.URL, "client_id": p.ClientID, "client_secret": p.ClientSecret,
				}}}
			}})
			jar, err := cookiejar.New(nil)
			if err != nil {
				t.Fatal(err)
			}
			browser := &http.Client{Jar: jar}
			for range 2 { // a newcomer, then somebody who is known
				resp, err := browser.Get(s.URL() + harness.Path("login", "sso", "redirect") + "?redirectUrl=" + url.QueryEscape("https://app.example/"))
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				token := regexp.MustCompile(`https://app\.example/\?loginToken=([^"]+)"`).FindSubmatch(body)
				if err != nil || len(token) != 2 {
					t.Fatalf("%d %s %v", resp.StatusCode, body, err)
				}
				var session struct {
					UserID string `json:"user_id"`
					Token  string `json:"access_token"`
				}
				c := s.Client()
				if _, err := c.Do(http.MethodPost, harness.Path("login"), map[string]any{"type": "m.login.token", "token": string(token[1])}, &session); err != nil {
					t.Fatal(err)
				}
				c.UserID, c.Token = session.UserID, session.Token
				var name map[string]json.RawMessage
				if _, err := c.Do(http.MethodGet, harness.Path("profile", c.UserID), nil, &name); err != nil || c.UserID != "@alice:localhost" || string(name["displayname"]) != `"Alice S."` {
					t.Errorf("%s %s %v", c.UserID, name, err)
				}
			}
		})
	}
}
