package moderation

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"hearth/test/harness"
)

// synadm is the program as an administrator has set it up.
type synadm struct {
	t      *testing.T
	config string
}

func newSynadm(t *testing.T, s *harness.Server, boss *harness.Client) *synadm {
	t.Helper()
	if out, err := exec.Command("synadm/install").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	config := filepath.Join(t.TempDir(), "synadm.yaml")
	text := fmt.Sprintf("user: boss\ntoken: %s\nbase_url: %s\nadmin_path: /_synapse/admin\nmatrix_path: /_matrix\ntimeout: 60\n"+
		"server_discovery: well-known\nhomeserver: localhost\nformat: json\nssl_verify: true\n", boss.Token, s.AdminURL())
	must(t, os.WriteFile(config, []byte(text), 0o600))
	return &synadm{t, config}
}

// run runs a command, whose output must hold a text and no error of the server.
func (y *synadm) run(want string, args ...string) string {
	y.t.Helper()
	cmd := exec.Command("synadm/.venv/bin/synadm", append([]string{"--no-confirm", "-c", y.config}, args...)...)
	raw, err := cmd.CombinedOutput()
	out := string(raw)
	if err != nil || strings.Contains(out, "errcode") || strings.Contains(out, "Traceback") || !strings.Contains(out, want) {
		y.t.Errorf("synadm %s: %v, without %q:\n%s", strings.Join(args, " "), err, want, out)
	}
	return out
}

// id finds a value of a key in an output.
func (y *synadm) id(out, key string) string {
	y.t.Helper()
	found := regexp.MustCompile(`"` + key + `": "([^"]+)"`).FindStringSubmatch(out)
	if found == nil {
		y.t.Fatalf("no %s in %s", key, out)
	}
	return found[1]
}

// TestSynadm runs the commands of synadm, but for those of what Matrix has no more (groups).
func TestSynadm(t *testing.T) {
	s := harness.Start(t, harness.Options{Wiring: harness.OneProcess})
	boss := registerAdmin(t, s, "boss")
	y := newSynadm(t, s, boss)
	bob := s.Register(t, "bob")
	room, err := bob.CreateRoom(object{"preset": "private_chat", "name": "A room", "room_alias_name": "here"})
	must(t, err)
	event, err := bob.SendText(room, "t", "x")
	must(t, err)
	file := upload(t, s, bob, "a file")
	_, err = bob.Send(room, "m.room.message", "f", object{"msgtype": "m.file", "body": "a.txt", "url": "mxc://localhost/" + file})
	must(t, err)
	second := upload(t, s, bob, "another file")

	y.run("0.", "version")
	y.run(room, "room", "join", room, boss.UserID)
	y.usersWith(bob, room)
	y.roomsWith(bob, boss, room)
	y.run(file, "media", "list", "-r", room)
	y.run(second, "media", "list", "-u", bob.UserID)
	y.run("{}", "media", "quarantine", "-s", "localhost", "-i", file)
	y.run("{}", "media", "unquarantine", "-s", "localhost", "-i", file)
	y.run("num_quarantined", "media", "quarantine", "-r", room)
	y.run("num_quarantined", "media", "quarantine", "-u", bob.UserID)
	y.run("{}", "media", "protect", second)
	y.run(second, "media", "delete", "-i", second)
	y.run("deleted_media", "media", "delete", "-t", fmt.Sprint(time.Now().UnixMilli()))
	y.run("deleted", "media", "purge", "-d", "1")

	token := y.id(y.run("uses_allowed", "regtok", "new", "-u", "3"), "token")
	y.run(token, "regtok", "list")
	y.run(token, "regtok", "details", token)
	y.run(token, "regtok", "update", token, "-u", "5")
	y.run("deleted", "regtok", "delete", token)
	y.run("user_id", "matrix", "raw", "client/v3/account/whoami")
	y.run("server_version", "raw", "v1/server_version")
	purge := y.id(y.run("purge_id", "history", "purge", "-i", event, room), "purge_id")
	y.run("status", "history", "purge-status", purge)

	job := y.id(y.run("delete_id", "room", "delete", "-u", boss.UserID, "-n", "Notice", "-m", "It is gone", "-b", room), "delete_id")
	asking{t, onAdmin(s, boss)}.await(synapseV2 + "/rooms/delete_status/" + job)
	y.run("complete", "room", "delete-status", "-d", job)
	y.run("complete", "room", "delete-status", "-r", room)
	y.run("", "room", "purge-empty")
	y.run("", "user", "deactivate-regex", "-n", "nobody.*")
	y.run("success", "user", "deactivate", "-e", bob.UserID)
}

func (y *synadm) usersWith(bob *harness.Client, room string) {
	y.t.Helper()
	y.run(bob.UserID, "user", "list")
	y.run(bob.UserID, "user", "search", "bob")
	y.run(bob.UserID, "user", "details", bob.UserID)
	y.run("#here:localhost", "user", "membership", bob.UserID)
	y.run("media", "user", "media", bob.UserID)
	y.run("devices", "user", "whois", bob.UserID)
	y.run("Robert", "user", "modify", "-n", "Robert", "-t", "email", "bob@example.org", bob.UserID)
	y.run(bob.UserID, "user", "3pid", "-m", "email", "bob@example.org")
	y.run("", "user", "prune-devices", "-l", bob.UserID)
	y.run("", "user", "shadow-ban", bob.UserID)
	y.run("", "user", "shadow-ban", "-u", bob.UserID)
	y.run("true", "user", "suspend", bob.UserID)
	y.run("false", "user", "suspend", "--unsuspend", bob.UserID)
	y.run("access_token", "user", "login", bob.UserID)
	redaction := y.id(y.run("redact_id", "user", "redact", "-r", room, "-l", "1", bob.UserID), "redact_id")
	y.run("status", "user", "redact-status", redaction)
	y.run("", "user", "password", "-n", "-p", "a new password", bob.UserID)
	y.run("access_token", "matrix", "login", "-p", "a new password", bob.UserID)
	cmd := exec.Command("synadm/.venv/bin/synadm", "--no-confirm", "-c", y.config, "user", "auth-provider", "-p", "oidc", "nobody")
	if out, _ := cmd.CombinedOutput(); !strings.Contains(string(out), "M_NOT_FOUND") {
		y.t.Errorf("somebody who is nowhere: %s", out)
	}
}

func (y *synadm) roomsWith(bob, boss *harness.Client, room string) {
	y.t.Helper()
	y.run(room, "room", "list")
	y.run(room, "room", "search", "A room")
	y.run("A room", "room", "details", room)
	y.run(bob.UserID, "room", "members", room)
	y.run("m.room.create", "room", "state", room)
	y.run(room, "room", "resolve", "#here:localhost")
	y.run("#here:localhost", "room", "resolve", "-r", room)
	y.run("", "room", "power-levels")
	y.run("{}", "room", "make-admin", "-u", boss.UserID, room)
	if status, err := boss.Do(http.MethodPut, harness.Path("rooms", room, "state", "m.room.topic", ""), object{"topic": "x"}, nil); status != 200 {
		y.t.Errorf("who was made admin has no power: %v", err)
	}
	y.run("true", "room", "block", "-b", room)
	y.run("true", "room", "block-status", room)
	y.run("false", "room", "block", "-u", room)
}
