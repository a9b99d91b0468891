package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"hearth/config"
)

// shell runs commands as a person does, in a directory of its own.
type shell struct {
	t       *testing.T
	environ []string
}

func newShell(t *testing.T) *shell {
	t.Helper()
	t.Chdir(t.TempDir())
	return &shell{t: t, environ: []string{
		"HEARTH_LISTENERS_CLIENT_ADDRESS=127.0.0.1:0", "HEARTH_LISTENERS_ADMIN_ADDRESS=127.0.0.1:0",
		"HEARTH_LISTENERS_FEDERATION_ADDRESS=127.0.0.1:0",
	}}
}

// run runs one command with text as its standard input.
func (s *shell) run(ctx context.Context, stdin string, args ...string) (code int, stdout, stderr *lines) {
	s.t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Close()
	fmt.Fprint(w, stdin)
	w.Close()
	stdout, stderr = &lines{}, &lines{}
	p := &program{name: "hearth", stdin: r, stdout: stdout, stderr: stderr, environ: s.environ}
	return p.run(ctx, args), stdout, stderr
}

func TestCommandLines(t *testing.T) {
	s := newShell(t)
	for _, tc := range []struct {
		args           string
		code           int
		stdout, stderr string
	}{
		{"", 0, "serve", ""},
		{"help", 0, "user create", ""},
		{"--help", 0, "config check", ""},
		{"serve --help", 0, "-listeners-file", ""},
		{"version", 0, "hearth " + release, ""},
		{"config example", 0, "server_name: localhost", ""},
		{"bogus", 2, "", `there is no command "bogus"`},
		{"user", 2, "", "there is no command"},
		{"version x", 2, "", "takes 0 arguments, not 1"},
		{"user create", 2, "", "takes 1 arguments, not 0"},
		{"serve --bogus", 2, "", "flag provided but not defined: -bogus"},
		{"serve --components x", 2, "", `there is no component "x"; there are roomserver`},
		{"serve --components roomserver,roomserver", 2, "", "named twice"},
		{"serve --components roomserver", 1, "", "nats.urls is empty"},
		{"serve --config none.yaml", 1, "", "cannot read the configuration none.yaml: no such file"},
		{"config check", 1, "", "cannot read the configuration data/hearth.yaml"},
		{"user create alice", 1, "", "there is no configuration data/hearth.yaml; start Hearth first (hearth serve)"},
	} {
		code, stdout, stderr := s.run(t.Context(), "", strings.Fields(tc.args)...)
		if code != tc.code || !strings.Contains(stdout.String(), tc.stdout) || !strings.Contains(stderr.String(), tc.stderr) ||
			(tc.stderr == "") != (stderr.String() == "") {
			t.Errorf("%q: %d\n%s\n%s", tc.args, code, stdout, stderr)
		}
	}
	if left, _ := os.ReadDir("."); len(left) != 0 {
		t.Errorf("left on disk: %v", left)
	}
}

func TestConfigCheck(t *testing.T) {
	s := newShell(t)
	for text, want := range map[string]string{
		"server_name: example.org\n":                                 "h.yaml is good: example.org keeps its data in ./data",
		"server_name: example.org\nbogus: 1\nbus: {local: 5}\n":      "h.yaml:2: bogus: there is no such key",
		"server_name: example.org\nfederation: {ca_file: x.pem}\n":   "federation.ca_file: open x.pem",
		"server_name: example.org\nsigning_key: h.yaml\n":            "is damaged",
		"server_name: example.org\nlogging: {level: a, format: b}\n": "h.yaml:2: logging.format:",
	} {
		os.Remove("h.yaml")
		if err := os.WriteFile("h.yaml", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		code, stdout, stderr := s.run(t.Context(), "", "config", "check", "--config", "h.yaml")
		if !strings.Contains(stdout.String()+stderr.String(), want) || (code == 0) != strings.Contains(want, "is good") {
			t.Errorf("%s: %d\n%s%s", text, code, stdout, stderr)
		}
	}
}

// TestFirstStart is what a new user does.
func TestFirstStart(t *testing.T) {
	s := newShell(t)
	ctx, stop := context.WithCancel(t.Context())
	type result struct {
		code           int
		stdout, stderr *lines
	}
	done := make(chan result, 1)
	go func() {
		code, stdout, stderr := s.run(ctx, "", "serve", "--listeners-file", "listeners.json")
		done <- result{code, stdout, stderr}
	}()
	admin := waitFor(t, "listeners.json", regexp.MustCompile(`"admin":"([^"]+)"`), func() {
		select {
		case r := <-done:
			t.Fatalf("ended with %d: %s", r.code, r.stderr)
		default:
		}
	})
	for path, mode := range map[string]fs.FileMode{
		"data": 0o700 | fs.ModeDir, "data/hearth.yaml": 0o600, "data/signing.key": 0o600,
	} {
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	server := []string{"--server", "http://" + admin}
	for _, tc := range []struct {
		args, stdin, want string
		code              int
	}{
		{"--admin --password-stdin alice", "correct horse\nmore\n", "Made @alice:localhost, an administrator.\n", 0},
		{"alice --password-stdin", "correct horse", "the name alice is taken", 1},
		{"@bob:localhost", "", "Made @bob:localhost.\nPassword: ", 0},
		{"@bob:example.org", "", "must be a name such as alice, or an id such as @alice:localhost", 2},
		{"carol --password-stdin", "short\n", "the server refuses: ", 1},
		{"carol --password-stdin", "", "holds no password", 1},
		{"BAD!NAME --password-stdin", "correct horse", "the server refuses: ", 1},
	} {
		code, stdout, stderr := s.run(t.Context(), tc.stdin, append(append([]string{"user", "create"}, server...), strings.Fields(tc.args)...)...)
		if code != tc.code || !strings.Contains(stdout.String()+stderr.String(), tc.want) {
			t.Errorf("%s: %d\n%s%s", tc.args, code, stdout, stderr)
		}
	}
	if code, _, stderr := s.run(t.Context(), "", "user", "create", "dave"); code != 1 || !strings.Contains(stderr.String(), "say where it is with --server") {
		t.Errorf("port 0: %d %s", code, stderr)
	}
	s.environ = append(s.environ, "HEARTH_REGISTRATION_SHARED_SECRET=other")
	if code, _, stderr := s.run(t.Context(), "", append([]string{"user", "create", "eve"}, server...)...); code != 1 || !strings.Contains(stderr.String(), "does not accept the shared secret") {
		t.Errorf("another secret: %d %s", code, stderr)
	}
	stop()
	r := <-done
	if r.code != 0 || !strings.Contains(r.stderr.String(), "stopped") {
		t.Errorf("ended with %d: %s", r.code, r.stderr)
	}
	for _, want := range []string{"Hearth is running for localhost.", "http://localhost:", "hearth user create --admin alice", "data/hearth.yaml"} {
		if !strings.Contains(r.stdout.String(), want) {
			t.Errorf("%q is missing in\n%s", want, r.stdout)
		}
	}
	if code, _, stderr := s.run(t.Context(), "", append([]string{"user", "create", "dave"}, server...)...); code != 1 || !strings.Contains(stderr.String(), "is Hearth running?") {
		t.Errorf("after the end: %d %s", code, stderr)
	}
}

// waitFor reads a file until it matches.
func waitFor(t *testing.T, path string, pattern *regexp.Regexp, check func()) string {
	t.Helper()
	for range 1000 {
		text, _ := os.ReadFile(path)
		if m := pattern.FindSubmatch(text); m != nil {
			return string(m[1])
		}
		check()
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s does not match %s", path, pattern)
	return ""
}

func TestFirstStartOfAPublicServer(t *testing.T) {
	s := newShell(t)
	s.environ = append(s.environ, "HEARTH_SERVER_NAME=example.org", "HEARTH_DATA_DIR=elsewhere")
	p := &program{environ: s.environ}
	c, made, err := p.loadOrMake()
	if err != nil || made == nil || made.path != filepath.Join("elsewhere", "hearth.yaml") {
		t.Fatalf("%+v, %v", made, err)
	}
	if c.Registration.SharedSecret != "" || c.ServerName != "example.org" {
		t.Errorf("got %+v", c)
	}
	if err := made.write(); err != nil {
		t.Fatal(err)
	}
	again, made, err := p.loadOrMake()
	if err != nil || made != nil || again.ServerName != "example.org" {
		t.Errorf("%+v, %+v, %v", again, made, err)
	}
}

func TestAdminURL(t *testing.T) {
	for _, tc := range []struct {
		admin  config.AdminListener
		client config.Listener
		want   string
	}{
		{config.AdminListener{Address: "127.0.0.1:8009"}, config.Listener{}, "http://127.0.0.1:8009"},
		{config.AdminListener{Address: ":8009"}, config.Listener{}, "http://127.0.0.1:8009"},
		{config.AdminListener{Address: "0.0.0.0:8009"}, config.Listener{}, "http://127.0.0.1:8009"},
		{config.AdminListener{Address: "[::]:8009"}, config.Listener{}, "http://[::1]:8009"},
		{config.AdminListener{Address: "admin.lan:8009"}, config.Listener{}, "http://admin.lan:8009"},
		{config.AdminListener{AlsoOnClient: true}, config.Listener{Address: ":1", TLSCert: "c"}, "https://127.0.0.1:1"},
		{config.AdminListener{}, config.Listener{Address: ":1"}, ""},
		{config.AdminListener{Address: ":0"}, config.Listener{}, ""},
	} {
		c := config.Defaults()
		c.Listeners.Admin, c.Listeners.Client = tc.admin, tc.client
		got, err := adminURL(c)
		if got != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("%+v: %s, %v", tc.admin, got, err)
		}
	}
}

func TestWarnings(t *testing.T) {
	c := config.Defaults()
	log := &lines{}
	out, err := newLog(c.Logging, log)
	if err != nil {
		t.Fatal(err)
	}
	if warn(c, out); log.String() != "" {
		t.Errorf("the defaults warn: %s", log)
	}
	c.URLPreviews.Enabled, c.Registration.Mode = true, "token"
	c.Listeners.Admin.Address = ":8009"
	warn(c, out)
	for _, want := range []string{"url_previews", "registration.mode", "admin API can be reached"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no word of %s: %s", want, log)
		}
	}
}
