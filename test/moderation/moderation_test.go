// Package moderation tests what administrators and moderators do in a whole server.
package moderation

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"hearth/test/harness"
)

// both runs a test in both wirings.
func both(t *testing.T, f func(t *testing.T, s *harness.Server)) {
	for _, w := range []harness.Wiring{harness.OneProcess, harness.FourProcesses} {
		t.Run(w.String(), func(t *testing.T) { f(t, harness.Start(t, harness.Options{Wiring: w})) })
	}
}

// registerAdmin makes an administrator by the shared secret.
func registerAdmin(t *testing.T, s *harness.Server, name string) *harness.Client {
	t.Helper()
	const path = "/_synapse/admin/v1/register"
	c := harness.NewClient(s.AdminURL())
	var nonce struct{ Nonce string }
	if _, err := c.Do(http.MethodGet, path, nil, &nonce); err != nil {
		t.Fatal(err)
	}
	password := "password of " + name
	mac := hmac.New(sha1.New, []byte(s.SharedSecret()))
	fmt.Fprintf(mac, "%s\x00%s\x00%s\x00admin", nonce.Nonce, name, password)
	var session struct {
		UserID      string `json:"user_id"`
		DeviceID    string `json:"device_id"`
		AccessToken string `json:"access_token"`
	}
	if _, err := c.Do(http.MethodPost, path, map[string]any{
		"nonce": nonce.Nonce, "username": name, "password": password, "admin": true, "mac": hex.EncodeToString(mac.Sum(nil)),
	}, &session); err != nil {
		t.Fatal(err)
	}
	admin := s.Client()
	admin.UserID, admin.DeviceID, admin.Token = session.UserID, session.DeviceID, session.AccessToken
	return admin
}

// do sends a request and returns status and errcode.
func do(c *harness.Client, method, path string, body any) (status int, code string) {
	status, err := c.Do(method, path, body, nil)
	if err != nil {
		return status, err.Code
	}
	return status, ""
}

func expect(t *testing.T, what string, status int, code string, wantStatus int, wantCode string) {
	t.Helper()
	if status != wantStatus || code != wantCode {
		t.Errorf("%s: %d %s, want %d %s", what, status, code, wantStatus, wantCode)
	}
}

func suspendPath(user string) string { return "/_matrix/client/v1/admin/suspend/" + user }
func lockPath(user string) string    { return "/_matrix/client/v1/admin/lock/" + user }

// TestRestrictedAccounts is the table of what a restricted account may do.
func TestRestrictedAccounts(t *testing.T) {
	both(t, func(t *testing.T, s *harness.Server) {
		admin, bob, eve := registerAdmin(t, s, "admin"), s.Register(t, "bob"), s.Register(t, "eve")
		room, err := bob.CreateRoom(map[string]any{"preset": "public_chat"})
		if err != nil {
			t.Fatal(err)
		}
		if err := eve.Join(room); err != nil {
			t.Fatal(err)
		}
		other, err := bob.CreateRoom(map[string]any{"preset": "public_chat"})
		if err != nil {
			t.Fatal(err)
		}
		own, err := eve.SendText(room, "t0", "before")
		if err != nil {
			t.Fatal(err)
		}
		bobs, err := bob.SendText(room, "t0", "bob's")
		if err != nil {
			t.Fatal(err)
		}
		text := map[string]string{"msgtype": "m.text", "body": "x"}
		n := 0
		txn := func() string { n++; return fmt.Sprint("x", n) }
		type request struct {
			name, method, path string
			body               any
		}
		requests := func() []request {
			return []request{
				{"sync", "GET", harness.Path("sync"), nil},
				{"messages", "GET", harness.Path("rooms", room, "messages") + "?dir=b", nil},
				{"whoami", "GET", harness.Path("account", "whoami"), nil},
				{"receipt", "POST", harness.Path("rooms", room, "receipt", "m.read", own), struct{}{}},
				{"account data", "PUT", harness.Path("user", eve.UserID, "account_data", "x"), struct{}{}},
				{"to device", "PUT", harness.Path("sendToDevice", "x", txn()), map[string]any{"messages": map[string]any{}}},
				{"keys", "POST", harness.Path("keys", "query"), map[string]any{"device_keys": map[string]any{}}},
				{"send", "PUT", harness.Path("rooms", room, "send", "m.room.message", txn()), text},
				{"state", "PUT", harness.Path("rooms", room, "state", "x", ""), struct{}{}},
				{"join", "POST", harness.Path("join", other), struct{}{}},
				{"knock", "POST", harness.Path("knock", other), struct{}{}},
				{"create", "POST", harness.Path("createRoom"), struct{}{}},
				{"invite", "POST", harness.Path("rooms", room, "invite"), map[string]string{"user_id": admin.UserID}},
				{"name", "PUT", harness.Path("profile", eve.UserID, "displayname"), map[string]string{"displayname": "Evil"}},
				{"redact another's", "PUT", harness.Path("rooms", room, "redact", bobs, txn()), struct{}{}},
				{"typing", "PUT", harness.Path("rooms", room, "typing", eve.UserID), map[string]any{"typing": true}},
				{"upgrade", "POST", harness.Path("rooms", room, "upgrade"), map[string]string{"new_version": "12"}},
				{"alias", "PUT", harness.Path("directory", "room", "#e:localhost"), map[string]string{"room_id": room}},
				{"redact own", "PUT", harness.Path("rooms", room, "redact", own, txn()), struct{}{}},
				{"leave", "POST", harness.Path("rooms", other, "leave"), struct{}{}},
			}
		}
		const denied = "M_USER_SUSPENDED"
		whileSuspended := map[string]string{
			"send": denied, "state": denied, "join": denied, "knock": denied, "create": denied, "invite": denied, "name": denied,
			"redact another's": denied, "typing": denied, "upgrade": denied, "alias": denied,
		}

		// Who may restrict whom.
		status, code := do(bob, "PUT", suspendPath(eve.UserID), map[string]bool{"suspended": true})
		expect(t, "by a user", status, code, 403, "M_FORBIDDEN")
		status, code = do(bob, "GET", suspendPath("@nobody:localhost"), nil)
		expect(t, "a user asks for nobody", status, code, 403, "M_FORBIDDEN")
		status, code = do(admin, "PUT", lockPath(admin.UserID), map[string]bool{"locked": true})
		expect(t, "oneself", status, code, 403, "M_FORBIDDEN")
		status, code = do(admin, "PUT", lockPath("@nobody:localhost"), map[string]bool{"locked": true})
		expect(t, "nobody", status, code, 404, "M_NOT_FOUND")
		status, code = do(admin, "PUT", lockPath("@x:elsewhere"), map[string]bool{"locked": true})
		expect(t, "elsewhere", status, code, 400, "M_INVALID_PARAM")
		status, code = do(admin, "PUT", lockPath(eve.UserID), map[string]string{})
		expect(t, "nothing said", status, code, 400, "M_MISSING_PARAM")
		status, code = do(admin, "PUT", suspendPath(eve.UserID), map[string]bool{"suspended": true})
		expect(t, "suspend", status, code, 200, "")

		var got struct{ Suspended, Locked bool }
		if _, err := admin.Do("GET", suspendPath(eve.UserID), nil, &got); err != nil || !got.Suspended {
			t.Errorf("suspended: %+v %v", got, err)
		}
		for _, q := range requests() {
			status, code := do(eve, q.method, q.path, q.body)
			if want := whileSuspended[q.name]; want != "" {
				expect(t, "suspended: "+q.name, status, code, 403, want)
			} else if status/100 != 2 && code != "M_FORBIDDEN" && code != "M_NOT_FOUND" {
				t.Errorf("suspended: %s: %d %s", q.name, status, code)
			}
		}

		status, code = do(admin, "PUT", lockPath(eve.UserID), map[string]bool{"locked": true})
		expect(t, "lock", status, code, 200, "")
		for _, q := range requests() {
			_, err := eve.Do(q.method, q.path, q.body, nil)
			if err == nil || err.Status != 401 || err.Code != "M_USER_LOCKED" || !strings.Contains(string(err.Body), `"soft_logout":true`) {
				t.Errorf("locked: %s: %v", q.name, err)
			}
		}
		do(admin, "PUT", lockPath(eve.UserID), map[string]bool{"locked": false})
		do(admin, "PUT", suspendPath(eve.UserID), map[string]bool{"suspended": false})
		if _, err := eve.SendText(room, "again", "after"); err != nil {
			t.Errorf("after all was lifted: %v", err)
		}
		do(admin, "PUT", lockPath(eve.UserID), map[string]bool{"locked": true})
		status, code = do(eve, "POST", harness.Path("logout"), struct{}{})
		expect(t, "log-out of a locked user", status, code, 200, "")
	})
}

// TestReports files reports of all kinds and checks who may.
func TestReports(t *testing.T) {
	both(t, func(t *testing.T, s *harness.Server) {
		bob, eve, carol := s.Register(t, "bob"), s.Register(t, "eve"), s.Register(t, "carol")
		room, err := bob.CreateRoom(map[string]any{"preset": "public_chat"})
		if err != nil {
			t.Fatal(err)
		}
		if err := eve.Join(room); err != nil {
			t.Fatal(err)
		}
		event, err := eve.SendText(room, "t0", "something bad")
		if err != nil {
			t.Fatal(err)
		}
		report := func(c *harness.Client, body any, path ...string) (int, string) {
			return do(c, "POST", harness.Path(path...), body)
		}
		reason := map[string]any{"reason": "bad", "score": -100, "org.hearth.decrypted": map[string]string{"a": "b"}}
		status, code := report(bob, reason, "rooms", room, "report", event)
		expect(t, "an event", status, code, 200, "")
		status, code = report(carol, reason, "rooms", room, "report", event)
		expect(t, "by somebody who is not in the room", status, code, 404, "M_NOT_FOUND")
		status, code = report(bob, reason, "rooms", room, "report", "$nothing")
		expect(t, "no event", status, code, 404, "M_NOT_FOUND")
		status, code = report(carol, reason, "rooms", room, "report")
		expect(t, "a room", status, code, 200, "")
		status, code = report(carol, reason, "rooms", "!unknown:localhost", "report")
		expect(t, "a room that may not exist", status, code, 200, "")
		status, code = report(carol, reason, "users", eve.UserID, "report")
		expect(t, "a user", status, code, 200, "")
		status, code = report(carol, struct{}{}, "users", eve.UserID, "report")
		expect(t, "without a reason", status, code, 400, "M_MISSING_PARAM")
		status, code = report(carol, map[string]any{"reason": 5}, "users", eve.UserID, "report")
		expect(t, "with a reason of the wrong type", status, code, 400, "M_BAD_JSON")
		status, code = report(carol, map[string]any{"reason": strings.Repeat("x", 5000)}, "users", eve.UserID, "report")
		expect(t, "with a long reason", status, code, 413, "M_TOO_LARGE")
	})
}

// TestWhois: everybody sees their own sessions, administrators those of all.
func TestWhois(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	admin, bob, eve := registerAdmin(t, s, "admin"), s.Register(t, "bob"), s.Register(t, "eve")
	path := func(user string) string { return harness.Path("admin", "whois", user) }
	status, code := do(eve, "GET", path(bob.UserID), nil)
	expect(t, "another user", status, code, 403, "M_FORBIDDEN")
	for _, c := range []*harness.Client{bob, admin} {
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(200 * time.Millisecond) {
			var out struct {
				UserID  string `json:"user_id"`
				Devices map[string]json.RawMessage
			}
			if _, err := c.Do("GET", path(bob.UserID), nil, &out); err != nil || out.UserID != bob.UserID {
				t.Fatalf("%+v %v", out, err)
			}
			if _, ok := out.Devices[bob.DeviceID]; ok {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("no device: %+v", out)
			}
		}
	}
	status, code = do(admin, "GET", path("@nobody:localhost"), nil)
	expect(t, "nobody", status, code, 404, "M_NOT_FOUND")
}
