package moderation

import (
	"net/http"
	"testing"

	"hearth/test/harness"
)

// TestApproval: an account that has to be approved, from registration to its first log-in.
func TestApproval(t *testing.T) {
	s := harness.Start(t, harness.Options{Config: func(m map[string]any) { m["registration"].(map[string]any)["mode"] = "approval" }})
	boss := onAdmin(s, registerAdmin(t, s, "boss"))
	status, code := do(s.Client(), http.MethodPost, harness.Path("register"), object{
		"username": "newcomer", "password": "a long password", "auth": object{"type": "m.login.dummy"},
	})
	expect(t, "register", status, code, 403, "M_FORBIDDEN")
	login := func() (int, string) {
		return do(s.Client(), http.MethodPost, harness.Path("login"), object{
			"type": "m.login.password", "identifier": object{"type": "m.id.user", "user": "newcomer"}, "password": "a long password",
		})
	}
	status, code = login()
	expect(t, "log in before", status, code, 403, "M_FORBIDDEN")
	const approve = "/_hearth/admin/v1/users/@newcomer:localhost/approve"
	status, code = do(boss, http.MethodPost, approve, object{})
	expect(t, "approve", status, code, 200, "")
	status, code = login()
	expect(t, "log in afterwards", status, code, 200, "")
	status, code = do(boss, http.MethodPost, "/_hearth/admin/v1/users/@nobody:localhost/approve", object{})
	expect(t, "approve nobody", status, code, 404, "M_NOT_FOUND")
	var log struct{ Entries []object }
	if _, err := boss.Do(http.MethodGet, "/_hearth/admin/v1/audit?action=user.approve", nil, &log); err != nil || len(log.Entries) != 1 {
		t.Errorf("the log: %v %v", log.Entries, err)
	}
}
