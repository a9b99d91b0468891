package encryption

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"hearth/test/harness"
)

// TestNothingSecretIsLogged has a server that logs all that it can carry secrets of
// every kind, in requests that succeed and in requests that fail. None of them may be in
// a log.
func TestNothingSecretIsLogged(t *testing.T) {
	for _, w := range []harness.Wiring{harness.OneProcess, harness.FourProcesses} {
		t.Run(w.String(), func(t *testing.T) {
			s := harness.Start(t, harness.Options{Wiring: w, Config: func(m map[string]any) {
				m["logging"] = map[string]any{"level": "trace"}
			}})
			secrets := carry(t, s)
			s.Stop()
			for _, p := range s.Processes() {
				text, err := os.ReadFile(p.Log)
				if err != nil {
					t.Fatal(err)
				}
				if p.Name != "nats" && !strings.Contains(string(text), "level=") {
					t.Errorf("the log of %s is empty", p.Name)
				}
				for what, secret := range secrets {
					if at := strings.Index(string(text), secret); at >= 0 {
						t.Errorf("%s is in the log of %s: …%s…", what, p.Name, text[max(0, at-200):min(len(text), at+100)])
					}
				}
			}
		})
	}
}

// carry sends secrets through the server and returns them by what they are.
func carry(t *testing.T, s *harness.Server) map[string]string {
	t.Helper()
	word := func(what string) string { return "canary-" + what + "-q7Rk2" }
	var session struct {
		Token   string `json:"access_token"`
		Refresh string `json:"refresh_token"`
		User    string `json:"user_id"`
		Device  string `json:"device_id"`
	}
	anybody := s.Client()
	call := func(c *harness.Client, method, path string, body, out any) {
		t.Helper()
		if _, err := c.Do(method, path, body, out); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	call(anybody, http.MethodPost, harness.Path("register"), map[string]any{
		"username": "alice", "password": word("password"), "refresh_token": true, "auth": map[string]string{"type": "m.login.dummy"},
	}, &session)
	login := map[string]any{"type": "m.login.password", "identifier": map[string]string{"type": "m.id.user", "user": "alice"}}
	for _, password := range []string{word("password"), word("wrong-password")} {
		login["password"] = password
		_, _ = anybody.Do(http.MethodPost, harness.Path("login"), login, nil) // one of them is refused
	}
	c := s.Client()
	c.UserID, c.DeviceID, c.Token = session.User, session.Device, session.Token
	room, err := c.CreateRoom(map[string]any{"name": word("room-name"), "topic": word("topic")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.SendText(room, "1", word("message")); err != nil {
		t.Fatal(err)
	}
	content := map[string]string{"secret": word("to-device")}
	call(c, http.MethodPut, harness.Path("sendToDevice", "m.x", "1"), map[string]any{"messages": map[string]any{c.UserID: map[string]any{"*": content}}}, nil)
	if _, err := syncOnce(c, "", 0); err != nil {
		t.Fatal(err)
	}
	call(c, http.MethodPost, harness.Path("room_keys", "version"), map[string]any{"algorithm": "x", "auth_data": map[string]string{"k": word("auth-data")}}, nil)
	key := map[string]any{"first_message_index": 1, "forwarded_count": 0, "is_verified": true, "session_data": map[string]string{"k": word("session-data")}}
	call(c, http.MethodPut, harness.Path("room_keys", "keys", room, "s")+"?version=1", key, nil)
	if err := c.SetAccountData("m.secret", map[string]string{"k": word("account-data")}); err != nil {
		t.Fatal(err)
	}
	broken := harness.NewClient(s.URL())
	broken.Token = word("token")
	for _, try := range []struct {
		c    *harness.Client
		path string
		body any
	}{
		{broken, harness.Path("keys", "upload"), map[string]any{}},
		{c, harness.Path("keys", "upload"), map[string]any{"one_time_keys": map[string]string{"curve25519:a": word("bad-key")}}},
		{c, harness.Path("keys", "upload"), map[string]any{"device_keys": map[string]string{"user_id": word("bad-device-key")}}},
		{c, harness.Path("keys", "claim"), map[string]any{"one_time_keys": word("bad-claim")}},
		{c, harness.Path("account", "password"), map[string]any{"new_password": word("new-password")}},
		{c, harness.Path("refresh"), map[string]any{"refresh_token": word("bad-refresh-token")}},
		{c, harness.Path("keys", "query") + "?access_token=" + word("token-in-query"), []string{word("bad-json")}},
	} {
		if status, err := try.c.Do(http.MethodPost, try.path, try.body, nil); err == nil {
			t.Errorf("%s was answered with %d", try.path, status)
		}
	}
	call(c, http.MethodPost, harness.Path("refresh"), map[string]any{"refresh_token": session.Refresh}, nil)

	secrets := map[string]string{"an access token": session.Token, "a refresh token": session.Refresh, "the shared secret": s.SharedSecret()}
	for _, what := range []string{
		"password", "wrong-password", "room-name", "topic", "message", "to-device", "auth-data", "session-data", "account-data", "token", "bad-key",
		"bad-device-key", "bad-claim", "new-password", "bad-refresh-token", "token-in-query", "bad-json",
	} {
		secrets[fmt.Sprintf("the %s", what)] = word(what)
	}
	return secrets
}
