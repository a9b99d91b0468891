package moderation

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"hearth/clientapi/admin"
	"hearth/test/harness"
)

// onAdmin is a client of the admin listener with the session of another one.
func onAdmin(s *harness.Server, c *harness.Client) *harness.Client {
	a := harness.NewClient(s.AdminURL())
	a.UserID, a.DeviceID, a.Token = c.UserID, c.DeviceID, c.Token
	return a
}

// TestEveryAdminRouteAsksForARole walks the table: nobody without a role comes in.
func TestEveryAdminRouteAsksForARole(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	registerAdmin(t, s, "admin")
	user := onAdmin(s, s.Register(t, "user"))
	nobody := harness.NewClient(s.AdminURL())
	n := 0
	for _, r := range admin.New(admin.Deps{}).Routes() {
		if strings.HasSuffix(r.Path, "/server_version") {
			continue
		}
		n++
		path := strings.NewReplacer("{userId}", "@user:localhost", "{deviceId}", "D", "{roomId}", "!r:localhost", "{eventId}", "$e").Replace(r.Path)
		status, code := do(nobody, r.Method, path, struct{}{})
		expect(t, r.Method+" "+path+" without a token", status, code, http.StatusUnauthorized, "M_MISSING_TOKEN")
		status, code = do(user, r.Method, path, struct{}{})
		expect(t, r.Method+" "+path+" by a user", status, code, http.StatusForbidden, "M_FORBIDDEN")
	}
	t.Logf("%d routes", n)
	if n < 45 {
		t.Errorf("only %d routes were walked", n)
	}
}

type object = map[string]any

// TestAccounts: what administrators do with accounts, devices and registration tokens.
func TestAccounts(t *testing.T) {
	both(t, func(t *testing.T, s *harness.Server) {
		boss := onAdmin(s, registerAdmin(t, s, "boss"))
		get := func(path string, want int) object {
			t.Helper()
			var out object
			status, err := boss.Do(http.MethodGet, path, nil, &out)
			if status != want {
				t.Fatalf("GET %s: %d %v", path, status, err)
			}
			return out
		}
		change := func(method, path string, body any, want int) object {
			t.Helper()
			var out object
			status, err := boss.Do(method, path, body, &out)
			if status != want {
				t.Fatalf("%s %s: %d %v", method, path, status, err)
			}
			return out
		}
		const users = "/_synapse/admin/v2/users"
		made := change(http.MethodPut, users+"/@dora:localhost", object{"password": "password of dora", "displayname": "Dora", "threepids": []any{}}, 201)
		if made["name"] != "@dora:localhost" || made["displayname"] != "Dora" || made["admin"] != false {
			t.Errorf("made %v", made)
		}
		change(http.MethodPut, users+"/@dora:localhost", object{"displayname": "Dora the Explorer"}, 200)
		for i := range 3 {
			s.Register(t, fmt.Sprint("more", i))
		}
		list := get(users+"?limit=2&from=0&order_by=name", 200)
		if list["total"] != 5.0 || list["next_token"] != "2" || len(list["users"].([]any)) != 2 {
			t.Errorf("the list: %v", list)
		}
		if list = get(users+"?name=explorer", 200); list["total"] != 1.0 {
			t.Errorf("found %v", list)
		}
		get(users+"?order_by=password", 400)
		get(users+"?limit=-1", 400)
		get(users+"/@nobody:localhost", 404)
		get(users+"/@x:elsewhere", 400)
		if got := get("/_synapse/admin/v1/users/@dora:localhost/admin", 200); got["admin"] != false {
			t.Errorf("%v", got)
		}

		dora := s.Client()
		var session struct {
			AccessToken string `json:"access_token"`
			DeviceID    string `json:"device_id"`
		}
		login := object{"type": "m.login.password", "identifier": object{"type": "m.id.user", "user": "dora"}, "password": "password of dora"}
		if _, err := dora.Do(http.MethodPost, harness.Path("login"), login, &session); err != nil {
			t.Fatal(err)
		}
		dora.Token = session.AccessToken
		device := users + "/@dora:localhost/devices/" + session.DeviceID
		change(http.MethodPut, device, object{"display_name": "Phone"}, 200)
		if got := get(device, 200); got["display_name"] != "Phone" || got["user_id"] != "@dora:localhost" {
			t.Errorf("the device: %v", got)
		}
		if got := get(users+"/@dora:localhost/devices", 200); got["total"] != 1.0 {
			t.Errorf("devices: %v", got)
		}
		room, err := dora.CreateRoom(object{})
		if err != nil {
			t.Fatal(err)
		}
		if got := get("/_synapse/admin/v1/users/@dora:localhost/joined_rooms", 200); fmt.Sprint(got["joined_rooms"]) != "["+room+"]" {
			t.Errorf("rooms: %v", got)
		}
		change(http.MethodPut, "/_synapse/admin/v1/suspend/@dora:localhost", object{"suspend": true}, 200)
		if _, err := dora.SendText(room, "t", "x"); err == nil {
			t.Error("a suspended user talks")
		}
		change(http.MethodPut, "/_synapse/admin/v1/suspend/@dora:localhost", object{"suspend": false}, 200)
		change(http.MethodPost, "/_synapse/admin/v1/users/@dora:localhost/shadow_ban", nil, 200)
		ghost, err := dora.SendText(room, "t2", "x")
		if err != nil {
			t.Errorf("a shadow-banned user is told so: %v", err)
		}
		if status, _ := do(dora, http.MethodGet, harness.Path("rooms", room, "event", ghost), nil); status != 404 {
			t.Errorf("the event of a shadow-banned user: %d", status)
		}
		change(http.MethodDelete, "/_synapse/admin/v1/users/@dora:localhost/shadow_ban", nil, 200)
		as := change(http.MethodPost, "/_synapse/admin/v1/users/@dora:localhost/login", object{}, 200)
		if as["access_token"] == "" {
			t.Errorf("log-in as another user: %v", as)
		}
		change(http.MethodPost, "/_synapse/admin/v1/reset_password/@dora:localhost", object{"new_password": "a new password"}, 200)
		if status, code := do(dora, http.MethodGet, harness.Path("account", "whoami"), nil); code != "M_UNKNOWN_TOKEN" {
			t.Errorf("after the reset: %d %s", status, code)
		}
		change(http.MethodPost, "/_synapse/admin/v1/deactivate/@dora:localhost", object{"erase": true}, 200)
		if got := get(users+"/@dora:localhost", 200); got["deactivated"] != true || got["erased"] != true {
			t.Errorf("deactivated: %v", got)
		}
		change(http.MethodPost, "/_synapse/admin/v1/deactivate/@boss:localhost", object{}, 400)

		token := change(http.MethodPost, "/_synapse/admin/v1/registration_tokens/new", object{"uses_allowed": 3}, 200)
		if len(token["token"].(string)) != 16 || token["uses_allowed"] != 3.0 || token["expiry_time"] != nil {
			t.Errorf("a token: %v", token)
		}
		path := "/_synapse/admin/v1/registration_tokens/" + token["token"].(string)
		if token = change(http.MethodPut, path, object{"uses_allowed": nil}, 200); token["uses_allowed"] != nil {
			t.Errorf("changed: %v", token)
		}
		get(path, 200)
		change(http.MethodDelete, path, nil, 200)
		get(path, 404)
		change(http.MethodPost, "/_synapse/admin/v1/registration_tokens/new", object{"uses_allowed": "many"}, 400)

		// All of it is in the audit log, which holds.
		audit := get("/_hearth/admin/v1/audit?target=@dora:localhost&limit=1000", 200)
		var actions []string
		for _, e := range audit["entries"].([]any) {
			actions = append(actions, e.(object)["action"].(string))
		}
		if got, want := strings.Join(actions, " "), "user.create user.modify user.suspend user.suspend user.shadow_ban user.shadow_ban user.login_as user.reset_password user.deactivate"; got != want {
			t.Errorf("the audit log has %s, want %s", got, want)
		}
		if v := get("/_hearth/admin/v1/audit/verify", 200); v["broken"] != nil || v["entries"].(float64) < 10 {
			t.Errorf("%v", v)
		}
	})
}

// TestReportsOfTools: reports as Draupnir, Mjolnir and Ketesa read them, and the queue.
func TestReportsOfTools(t *testing.T) {
	both(t, func(t *testing.T, s *harness.Server) {
		boss := onAdmin(s, registerAdmin(t, s, "boss"))
		bob, eve := s.Register(t, "bob"), s.Register(t, "eve")
		room, err := bob.CreateRoom(object{"preset": "public_chat", "name": "A room", "room_alias_name": "here"})
		if err != nil {
			t.Fatal(err)
		}
		if err := eve.Join(room); err != nil {
			t.Fatal(err)
		}
		event, err := eve.SendText(room, "t", "something bad")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bob.Do(http.MethodPost, harness.Path("rooms", room, "report", event), object{"reason": "bad"}, nil); err != nil {
			t.Fatal(err)
		}
		// The evidence stays when the event is redacted.
		if _, err := eve.Do(http.MethodPut, harness.Path("rooms", room, "redact", event, "r"), object{}, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := bob.Do(http.MethodPost, harness.Path("users", eve.UserID, "report"), object{"reason": "bad"}, nil); err != nil {
			t.Fatal(err)
		}
		var list struct {
			Reports []struct {
				ID     int64
				Name   string
				Alias  string `json:"canonical_alias"`
				Sender string
				User   string `json:"user_id"`
				Room   string `json:"room_id"`
				Event  string `json:"event_id"`
				Reason string
			} `json:"event_reports"`
			Total int
		}
		if _, err := boss.Do(http.MethodGet, "/_synapse/admin/v1/event_reports?dir=f&from=0", nil, &list); err != nil {
			t.Fatal(err)
		}
		if list.Total != 1 || list.Reports[0].Name != "A room" || list.Reports[0].Sender != eve.UserID || list.Reports[0].User != bob.UserID ||
			list.Reports[0].Event != event || list.Reports[0].Alias != "#here:localhost" {
			t.Fatalf("%+v", list)
		}
		var report struct {
			Event struct{ Content struct{ Body string } } `json:"event_json"`
		}
		path := fmt.Sprint("/_synapse/admin/v1/event_reports/", list.Reports[0].ID)
		if _, err := boss.Do(http.MethodGet, path, nil, &report); err != nil || report.Event.Content.Body != "something bad" {
			t.Errorf("the evidence: %+v %v", report, err)
		}
		var queue struct {
			Cases []struct {
				ID       int64
				Kind     string
				State    string
				Assignee string
			}
			Counts map[string]int
		}
		if _, err := boss.Do(http.MethodGet, "/_hearth/admin/v1/cases?state=open", nil, &queue); err != nil || len(queue.Cases) != 2 || queue.Cases[0].Kind != "user" {
			t.Fatalf("%+v %v", queue, err)
		}
		one := fmt.Sprint("/_hearth/admin/v1/cases/", queue.Cases[0].ID)
		status, code := do(boss, http.MethodPut, one, object{"assignee": boss.UserID, "note": "mine"})
		expect(t, "assign", status, code, 200, "")
		status, code = do(boss, http.MethodPut, one, object{"state": "resolved"})
		expect(t, "resolve without an outcome", status, code, 400, "M_INVALID_PARAM")
		status, code = do(boss, http.MethodPut, one, object{"state": "resolved", "outcome": "warned"})
		expect(t, "resolve", status, code, 200, "")
		status, code = do(boss, http.MethodGet, "/_hearth/admin/v1/cases/999", nil)
		expect(t, "no case", status, code, 404, "M_NOT_FOUND")
		status, code = do(boss, http.MethodDelete, path, nil)
		expect(t, "delete a report", status, code, 200, "")
		status, code = do(boss, http.MethodGet, path, nil)
		expect(t, "a deleted report", status, code, 404, "M_NOT_FOUND")
	})
}
