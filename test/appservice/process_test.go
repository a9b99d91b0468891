package appservice

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"hearth/test/harness"
)

const (
	scripts        = "js"
	installTimeout = 5 * time.Minute
	// waitTimeout is how long anything may take to arrive, after a restart too.
	waitTimeout = 40 * time.Second
)

func ghost(name string) string { return "@_net_" + name + ":localhost" }

// line is something that the bridge has noted.
type line struct {
	Txn        string   `json:"txn"`
	Events     []string `json:"events"`
	Body       string   `json:"body"`
	UserQuery  string   `json:"userQuery"`
	AliasQuery string   `json:"aliasQuery"`
	Heard      string   `json:"heard"`
	Sender     string   `json:"sender"`
	Pinged     string   `json:"pinged"`
	Ready      int      `json:"ready"`
	Ephemeral  struct {
		Type    string          `json:"type"`
		RoomID  string          `json:"room_id"`
		Content json.RawMessage `json:"content"`
	} `json:"ephemeral"`
}

// bridge is the application service as a process.
type bridge struct {
	t       *testing.T
	env     []string
	record  string
	control string
	cmd     *exec.Cmd
	log     string
}

// start starts a server with the bridge.
func start(t *testing.T, w harness.Wiring) (*harness.Server, *bridge) {
	t.Helper()
	node := program(t, "node")
	install(t)
	dir := t.TempDir()
	port, control := freePort(t), freePort(t)
	registration, err := json.Marshal(map[string]any{
		"id": "net", "url": fmt.Sprintf("http://127.0.0.1:%d", port), "as_token": "token of the bridge", "hs_token": "token-of-the-server",
		"sender_localpart": "_net_bot", "rate_limited": false, "protocols": []string{"net"},
		"de.sorunome.msc2409.push_ephemeral": true,
		"namespaces": map[string]any{
			"users":   []any{map[string]any{"exclusive": true, "regex": "@_net_.*"}},
			"aliases": []any{map[string]any{"exclusive": true, "regex": "#_net_.*"}},
			"rooms":   []any{},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "registration.yaml") // JSON is YAML
	if err := os.WriteFile(file, registration, 0o600); err != nil {
		t.Fatal(err)
	}
	s := harness.Start(t, harness.Options{Wiring: w, Config: func(m map[string]any) { m["appservices"] = []string{file} }})
	b := &bridge{
		t: t, record: filepath.Join(dir, "record"), control: fmt.Sprintf("http://127.0.0.1:%d/", control), log: filepath.Join(dir, "log"),
		env: append(os.Environ(), "BRIDGE_DOMAIN=localhost", "BRIDGE_HOMESERVER="+s.URL(), "BRIDGE_REGISTRATION="+string(registration),
			"BRIDGE_RECORD="+filepath.Join(dir, "record"), fmt.Sprint("BRIDGE_PORT=", port), fmt.Sprint("BRIDGE_CONTROL=", control)),
	}
	b.cmd = exec.Command(node)
	t.Cleanup(func() {
		b.kill()
		if t.Failed() {
			text, _ := os.ReadFile(b.log)
			t.Logf("the bridge wrote\n%s", text[max(0, len(text)-4000):])
		}
	})
	b.start()
	return s, b
}

// start starts the process and waits until it can be asked.
func (b *bridge) start() {
	b.t.Helper()
	log, err := os.OpenFile(b.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		b.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(b.cmd.Path, "bridge.mjs")
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = scripts, b.env, log, log
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.cmd = cmd
	b.await("the bridge to start", func(l line) bool { return l.Ready == cmd.Process.Pid })
}

// kill ends the process with SIGKILL.
func (b *bridge) kill() {
	if b.cmd.Process == nil {
		return
	}
	_ = b.cmd.Process.Signal(syscall.SIGKILL) // an error means that it has ended
	_ = b.cmd.Wait()                          // killed
	b.cmd = exec.Command(b.cmd.Path)
}

// lines reads what the bridge has noted. A kill may leave half a line.
func (b *bridge) lines() (out []line) {
	text, err := os.ReadFile(b.record)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.t.Fatal(err)
	}
	for text := range bytes.SplitSeq(text, []byte("\n")) {
		var l line
		if json.Unmarshal(text, &l) == nil {
			out = append(out, l)
		}
	}
	return out
}

func (b *bridge) await(what string, is func(line) bool) {
	b.t.Helper()
	await(b.t, what, func() bool {
		for _, l := range b.lines() {
			if is(l) {
				return true
			}
		}
		return false
	})
}

// await waits until something is the case.
func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(waitTimeout); !is(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(30 * time.Millisecond)
	}
}

// check fails the test if a transaction came again with other content, or an event in
// two transactions. It returns how many came again.
func (b *bridge) check() (again int) {
	b.t.Helper()
	bodies, seen := map[string]string{}, map[string]string{}
	for _, l := range b.lines() {
		if l.Txn == "" {
			continue
		}
		if body, ok := bodies[l.Txn]; ok {
			if again++; body != l.Body {
				b.t.Errorf("transaction %s came with two contents", l.Txn)
			}
			continue
		}
		bodies[l.Txn] = l.Body
		for _, id := range l.Events {
			if other, ok := seen[id]; ok {
				b.t.Errorf("event %s came in transactions %s and %s", id, other, l.Txn)
			}
			seen[id] = l.Txn
		}
	}
	return again
}

// delivered lists the events in order, those of a transaction that came again once.
func (b *bridge) delivered() (ids []string) {
	seen := map[string]bool{}
	for _, l := range b.lines() {
		if l.Txn != "" && !seen[l.Txn] {
			seen[l.Txn] = true
			ids = append(ids, l.Events...)
		}
	}
	return ids
}

func (b *bridge) transactions() int {
	seen := map[string]bool{}
	for _, l := range b.lines() {
		seen[l.Txn] = seen[l.Txn] || l.Txn != ""
	}
	delete(seen, "")
	return len(seen)
}

// ask makes the bridge do something.
func (b *bridge) ask(command string, args map[string]any, out any) {
	b.t.Helper()
	body, err := json.Marshal(args)
	if err != nil {
		b.t.Fatal(err)
	}
	client := http.Client{Timeout: waitTimeout}
	defer client.CloseIdleConnections()
	resp, err := client.Post(b.control+command, "application/json", bytes.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, answer)
	}
	if err == nil && out != nil {
		err = json.Unmarshal(answer, out)
	}
	if err != nil {
		b.t.Fatalf("%s: %v", command, err)
	}
}

func (b *bridge) must(command string, args map[string]any) { b.t.Helper(); b.ask(command, args, nil) }

// freePort returns a port on which nobody listens, below the range from which the
// system takes ports for connections: the bridge must find it free after a restart.
func freePort(t *testing.T) int {
	t.Helper()
	for range 1000 {
		port := 10_000 + rand.IntN(22_000)
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			_ = l.Close() // it has served its purpose
			return port
		}
	}
	t.Fatal("there is no free port")
	return 0
}

// program finds a program that the test cannot do without.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("this test needs Node 20 or later with npm: %v", err)
	}
	return path
}

// install fetches the bridge library unless the one that package-lock.json names is there.
func install(t *testing.T) {
	t.Helper()
	want := modified(t, filepath.Join(scripts, "package-lock.json"))
	if !modified(t, filepath.Join(scripts, "node_modules", ".package-lock.json")).Before(want) {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), installTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program(t, "npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = scripts
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
}

// modified is when a file was written, long ago if there is none.
func modified(t *testing.T, path string) time.Time {
	t.Helper()
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}
	} else if err != nil {
		t.Fatal(err)
	}
	return info.ModTime()
}
