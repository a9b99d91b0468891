package moderation

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"hearth/test/harness"
)

const policyPath = "/_hearth/admin/v1/policy"

// soon waits until a request is answered as it should be: rules reach every process within seconds.
func soon(t *testing.T, what string, want string, ask func() (int, string)) {
	t.Helper()
	var status int
	var code string
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if status, code = ask(); code == want && (want != "" || status < 300) {
			return
		}
	}
	t.Errorf("%s: %d %q, want %q", what, status, code, want)
}

// ruled makes rules.
type ruled struct {
	t    *testing.T
	boss *harness.Client
}

func (p ruled) rule(body object) (id string) {
	p.t.Helper()
	var out struct{ ID string }
	if _, err := p.boss.Do(http.MethodPost, policyPath+"/rules", body, &out); err != nil || out.ID == "" {
		p.t.Fatalf("%v: %v", body, err)
	}
	return out.ID
}

func (p ruled) lift(id string) {
	p.t.Helper()
	if _, err := p.boss.Do(http.MethodDelete, policyPath+"/rules/"+id, object{"reason": "over"}, nil); err != nil {
		p.t.Fatal(err)
	}
}

// TestPolicyRules: what administrators forbid at run time.
func TestPolicyRules(t *testing.T) {
	both(t, func(t *testing.T, s *harness.Server) {
		boss := onAdmin(s, registerAdmin(t, s, "boss"))
		alice, bob := s.Register(t, "alice"), s.Register(t, "bob")
		room, err := alice.CreateRoom(object{"preset": "public_chat"})
		if err != nil {
			t.Fatal(err)
		}
		p := ruled{t, boss}
		deny := func(scope, entity string, more ...any) object {
			body := object{"scope": scope, "entity": entity}
			for i := 0; i < len(more); i += 2 {
				body[more[i].(string)] = more[i+1]
			}
			return body
		}
		invite := func() (int, string) {
			return do(alice, http.MethodPost, harness.Path("rooms", room, "invite"), object{"user_id": bob.UserID})
		}
		create := func() (int, string) { return do(bob, http.MethodPost, harness.Path("createRoom"), object{}) }
		join := func() (int, string) { return do(bob, http.MethodPost, harness.Path("join", room), object{}) }
		send := func() (int, string) {
			return do(alice, http.MethodPut, harness.Path("rooms", room, "send", "m.room.message", fmt.Sprint(time.Now().UnixNano())), object{"msgtype": "m.text", "body": "x"})
		}
		register := func() (int, string) {
			return do(s.Client(), http.MethodPost, harness.Path("register"), object{
				"username": fmt.Sprint("spammer", time.Now().UnixNano()), "password": "a long password", "auth": object{"type": "m.login.dummy"},
			})
		}
		login := func() (int, string) {
			return do(s.Client(), http.MethodPost, harness.Path("login"), object{
				"type": "m.login.password", "identifier": object{"type": "m.id.user", "user": "boss"}, "password": "password of boss",
			})
		}
		alias := func() (int, string) {
			return do(alice, http.MethodPut, harness.Path("directory", "room", fmt.Sprintf("#a%d:localhost", time.Now().UnixNano())), object{"room_id": room})
		}
		publish := func() (int, string) {
			return do(alice, http.MethodPut, harness.Path("directory", "list", "room", room), object{"visibility": "public"})
		}
		for _, tc := range []struct {
			what string
			rule object
			ask  func() (int, string)
		}{
			{"an invite by a user", deny("user", alice.UserID, "ops", []string{"invite"}), invite},
			{"an invite to users like this", deny("user", "@bo?:*", "ops", []string{"invite"}), invite},
			{"a join of a room", deny("room", room, "ops", []string{"join"}), join},
			{"a room", deny("user", bob.UserID, "ops", []string{"create"}), create},
			{"a message", deny("room", room, "ops", []string{"send"}), send},
			{"a name", deny("name", "spam*"), register},
			{"a network", deny("network", "127.0.0.0/8", "ops", []string{"register"}), register},
			{"a log-in", deny("network", "127.0.0.1", "ops", []string{"login"}), login},
			{"an alias", deny("room", room, "ops", []string{"alias"}), alias},
			{"the directory", deny("room", room, "ops", []string{"publish"}), publish},
		} {
			soon(t, tc.what+" before", "", tc.ask)
			id := p.rule(tc.rule)
			soon(t, tc.what, "M_FORBIDDEN", tc.ask)
			p.lift(id)
			soon(t, tc.what+" afterwards", "", tc.ask)
		}
		// What an administrator allows wins, and what is on trial denies nothing.
		denied := p.rule(deny("user", alice.UserID, "ops", []string{"send"}))
		soon(t, "denied", "M_FORBIDDEN", send)
		p.rule(deny("user", alice.UserID, "action", "allow"))
		soon(t, "allowed all the same", "", send)
		p.rule(deny("user", bob.UserID, "ops", []string{"create"}, "dry_run", true))
		var verdict struct {
			Denied      bool
			DryRun      []object `json:"dry_run"`
			Explanation string
		}
		soon(t, "on trial", "", func() (int, string) {
			status, err := boss.Do(http.MethodPost, policyPath+"/check", object{"op": "create", "user": bob.UserID}, &verdict)
			if err != nil || len(verdict.DryRun) != 1 {
				return status, "not yet"
			}
			return status, ""
		})
		if status, code := create(); verdict.Denied || status != 200 {
			t.Errorf("a rule on trial: %+v, %d %s", verdict, status, code)
		}
		status, code := do(boss, http.MethodPost, policyPath+"/rules", object{"scope": "network", "entity": "everywhere"})
		expect(t, "a rule of nothing", status, code, 400, "M_INVALID_PARAM")
		var log struct{ Entries []object }
		if _, err := boss.Do(http.MethodGet, "/_hearth/admin/v1/audit?target=rule+"+denied, nil, &log); err != nil || len(log.Entries) != 1 {
			t.Errorf("the log: %v %v", log.Entries, err)
		}
	})
}

// TestPolicyListIsEnforced: a policy room that the server follows, and that changes.
func TestPolicyListIsEnforced(t *testing.T) {
	both(t, func(t *testing.T, s *harness.Server) {
		chief := registerAdmin(t, s, "boss")
		boss := onAdmin(s, chief)
		bob, carol := s.Register(t, "bob"), s.Register(t, "carol")
		list, err := chief.CreateRoom(object{"preset": "private_chat", "name": "bans"})
		if err != nil {
			t.Fatal(err)
		}
		room, err := bob.CreateRoom(object{})
		if err != nil {
			t.Fatal(err)
		}
		set := func(kind, key string, content object) {
			t.Helper()
			if _, err := chief.SetState(list, "m.policy.rule."+kind, key, content); err != nil {
				t.Fatal(err)
			}
		}
		invite := func() (int, string) {
			return do(bob, http.MethodPost, harness.Path("rooms", room, "invite"), object{"user_id": carol.UserID})
		}
		set("user", "bob", object{"entity": bob.UserID, "recommendation": "m.ban", "reason": "spam"})
		set("server", "all", object{"entity": "*", "recommendation": "m.ban"}) // a mistake that is not to stop the server
		status, code := do(boss, http.MethodPut, policyPath+"/lists/"+list, object{"ops": []string{"invite"}, "name": "bans"})
		expect(t, "subscribe", status, code, 200, "")
		soon(t, "banned by the list", "M_FORBIDDEN", invite)
		if status, code := do(bob, http.MethodPost, harness.Path("createRoom"), object{}); status != 200 {
			t.Errorf("the list may not refuse rooms: %d %s", status, code)
		}
		set("user", "bob", object{})
		soon(t, "no longer", "", invite)

		hash := sha256.Sum256([]byte(bob.UserID))
		set("user", "hidden", object{
			"org.matrix.msc4205.hashes": object{"sha256": base64.StdEncoding.EncodeToString(hash[:])}, "recommendation": "org.matrix.msc4204.takedown",
		})
		soon(t, "by its hash", "M_FORBIDDEN", invite)
		// What a local rule allows, no list denies.
		id := ruled{t, boss}.rule(object{"scope": "user", "entity": bob.UserID, "action": "allow"})
		soon(t, "allowed here", "", invite)
		ruled{t, boss}.lift(id)
		soon(t, "not any more", "M_FORBIDDEN", invite)
		status, code = do(boss, http.MethodPut, policyPath+"/lists/"+list, object{"ops": []string{"invite"}, "dry_run": true})
		expect(t, "on trial", status, code, 200, "")
		soon(t, "on trial nothing is denied", "", invite)
		status, code = do(boss, http.MethodDelete, policyPath+"/lists/"+list, nil)
		expect(t, "end it", status, code, 200, "")
		var rules struct{ Total int }
		if _, err := boss.Do(http.MethodGet, policyPath+"/rules", nil, &rules); err != nil || rules.Total != 0 {
			t.Errorf("%d rules are left, %v", rules.Total, err)
		}
		var log struct{ Entries []object }
		if _, err := boss.Do(http.MethodGet, "/_hearth/admin/v1/audit?action=policy.list.rules", nil, &log); err != nil || len(log.Entries) < 3 {
			t.Errorf("the log: %v %v", log.Entries, err)
		}
		var chain struct{ Broken int }
		if _, err := boss.Do(http.MethodGet, "/_hearth/admin/v1/audit/verify", nil, &chain); err != nil || chain.Broken != 0 {
			t.Errorf("the chain is broken at %d, %v", chain.Broken, err)
		}
	})
}

// TestNewAndBlocked is the table of endpoint and state: who is new, and who is blocked.
func TestNewAndBlocked(t *testing.T) {
	s := harness.Start(t, harness.Options{Config: func(m map[string]any) {
		m["blocking"] = object{"two_way": true}
		m["probation"] = object{"for": "1h", "invites": 1, "joins": 1, "rooms": 1, "media": false, "links": false}
	}})
	boss := onAdmin(s, registerAdmin(t, s, "boss"))
	alice := s.Register(t, "alice")
	free := func(u *harness.Client) {
		ruled{t, boss}.rule(object{"scope": "user", "entity": u.UserID, "action": "allow", "ops": []string{"invite", "join", "create", "media", "send"}})
		soon(t, u.UserID+" is no longer new", "", func() (int, string) {
			return do(u, http.MethodPost, "/_matrix/media/v3/upload", object{"a": 1})
		})
	}
	free(alice)
	ask := func(u *harness.Client, own, public string) map[string]string {
		out := map[string]string{}
		link := object{"msgtype": "m.text", "body": "see https://example.org"}
		for _, r := range []struct {
			name, method, path string
			body               any
		}{
			{"invite", "POST", harness.Path("rooms", own, "invite"), object{"user_id": alice.UserID}},
			{"invite by state", "PUT", harness.Path("rooms", own, "state", "m.room.member", alice.UserID), object{"membership": "invite"}},
			{"create with invite", "POST", harness.Path("createRoom"), object{"invite": []string{alice.UserID}, "is_direct": true}},
			{"profile", "GET", harness.Path("profile", alice.UserID), nil},
			{"display name", "GET", harness.Path("profile", alice.UserID, "displayname"), nil},
			{"presence", "GET", harness.Path("presence", alice.UserID, "status"), nil},
			{"join", "POST", harness.Path("join", public), object{}},
			{"send", "PUT", harness.Path("rooms", own, "send", "m.room.message", "t1"), object{"msgtype": "m.text", "body": "hello"}},
			{"link", "PUT", harness.Path("rooms", own, "send", "m.room.message", "t2"), link},
			{"upload", "POST", "/_matrix/media/v3/upload", object{"a": 1}},
		} {
			status, code := do(u, r.method, r.path, r.body)
			out[r.name] = strings.TrimSpace(fmt.Sprint(status, " ", code))
		}
		return out
	}
	all := map[string]map[string]string{}
	public, err := alice.CreateRoom(object{"preset": "public_chat"})
	if err != nil {
		t.Fatal(err)
	}
	for _, state := range []string{"usual", "new", "blocked"} {
		u := s.Register(t, state)
		if state != "new" {
			free(u)
		}
		own, err := u.CreateRoom(object{})
		if err != nil {
			t.Fatal(err)
		}
		if err := u.Join(public); err != nil { // one room may be joined; who is in it sees who is online
			t.Fatal(err)
		}
		if state == "blocked" {
			if err := alice.SetAccountData("m.ignored_user_list", object{"ignored_users": object{u.UserID: object{}}}); err != nil {
				t.Fatal(err)
			}
		}
		all[state] = ask(u, own, public)
	}
	const forbidden, limited, blocked, gone = "403 M_FORBIDDEN", "429 M_LIMIT_EXCEEDED", "403 M_INVITE_BLOCKED", "404 M_NOT_FOUND"
	for name, want := range map[string][3]string{ // usual, new, blocked
		"invite":             {"200", "200", blocked},
		"invite by state":    {"200", limited, blocked},
		"create with invite": {"200", limited, blocked},
		"profile":            {"200", "200", gone},
		"display name":       {"200", "200", gone},
		"presence":           {"200", "200", gone},
		"join":               {"200", limited, "200"},
		"send":               {"200", "200", "200"},
		"link":               {"200", forbidden, "200"},
		"upload":             {"200", forbidden, "200"},
	} {
		got := [3]string{all["usual"][name], all["new"][name], all["blocked"][name]}
		t.Logf("%-20s %-24s %-24s %s", name, got[0], got[1], got[2])
		if got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	status, code := do(s.Client(), "GET", harness.Path("profile", alice.UserID), nil)
	expect(t, "the profile without a token", status, code, 401, "M_MISSING_TOKEN")
}
