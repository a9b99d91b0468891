package encryption

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long anything may take that a device waits for, with a server that
// was killed in between.
const patience = 60 * time.Second

// kind is an implementation of Matrix's encryption.
type kind struct {
	name    string
	command func(t *testing.T) *exec.Cmd
}

var (
	jsSDK   = kind{"matrix-js-sdk", jsDevice}
	mautrix = kind{"mautrix", mautrixDevice}
	nio     = kind{"matrix-nio", nioDevice}
)

func run(t *testing.T, dir string, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

func jsDevice(t *testing.T) *exec.Cmd {
	lock, err := os.Stat(filepath.Join("js", "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	if there, err := os.Stat(filepath.Join("js", "node_modules", ".package-lock.json")); err != nil || there.ModTime().Before(lock.ModTime()) {
		run(t, "js", "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	}
	cmd := exec.Command("node", "device.mjs")
	cmd.Dir = "js"
	return cmd
}

// mautrixProgram is built once for a test binary; the directory ends with the tests.
var mautrixProgram struct {
	sync.Mutex
	path string
}

func TestMain(m *testing.M) {
	code := m.Run()
	if mautrixProgram.path != "" {
		_ = os.RemoveAll(filepath.Dir(mautrixProgram.path))
	}
	os.Exit(code)
}

func mautrixDevice(t *testing.T) *exec.Cmd {
	mautrixProgram.Lock()
	defer mautrixProgram.Unlock()
	if mautrixProgram.path == "" {
		dir, err := os.MkdirTemp("", "hearth-mautrix-")
		if err != nil {
			t.Fatal(err)
		}
		mautrixProgram.path = filepath.Join(dir, "mautrix")
		// It is a module of its own.
		run(t, "mautrix", "go", "build", "-tags", "goolm", "-o", mautrixProgram.path, ".")
	}
	return exec.Command(mautrixProgram.path)
}

func nioDevice(t *testing.T) *exec.Cmd {
	run(t, "nio", "./install")
	cmd := exec.Command(filepath.Join(".venv", "bin", "python"), "device.py")
	cmd.Dir = "nio"
	return cmd
}

// device is a device in a process of its own. Its methods are called by one goroutine.
type device struct {
	t        *testing.T
	label    string // for errors
	kind     kind
	user, id string
	token    string
	in       io.WriteCloser
	answers  chan answerLine
	noise    *strings.Builder // what it wrote to its standard error; read after it ended
	last     int
}

type answerLine struct {
	ID     int
	Result json.RawMessage
	Error  string
}

// open starts a device and logs it in.
func open(t *testing.T, k kind, label, url, user, password string) *device {
	t.Helper()
	d := &device{t: t, label: label, kind: k, answers: make(chan answerLine, 16), noise: new(strings.Builder)}
	cmd := k.command(t)
	cmd.Stderr = d.noise
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d.in = in
	go d.listen(out)
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Process.Kill() // an error means that it has ended
		_ = cmd.Wait()         // it was killed
		if t.Failed() && d.noise.Len() > 0 {
			text := d.noise.String()
			t.Logf("%s wrote:\n%s", label, text[max(0, len(text)-4000):])
		}
	})
	args := map[string]any{"url": url, "user": user, "password": password}
	if k.name == nio.name {
		args["directory"] = t.TempDir()
	}
	session := ask[struct{ User, Device, Token string }](d, "login", args)
	d.user, d.id, d.token = session.User, session.Device, session.Token
	return d
}

func (d *device) listen(out io.Reader) {
	defer close(d.answers)
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var a answerLine
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil || a.ID == 0 {
			a = answerLine{Error: "unexpected output: " + lines.Text()}
		}
		d.answers <- a
	}
}

// tell has the device do something. An error means that it did not.
func (d *device) tell(command string, args map[string]any) (json.RawMessage, error) {
	d.last++
	line, err := json.Marshal(map[string]any{"id": d.last, "do": command, "args": args})
	if err != nil {
		return nil, err
	}
	if _, err := d.in.Write(append(line, '\n')); err != nil {
		return nil, err
	}
	late := time.After(patience)
	for {
		select {
		case a, ok := <-d.answers:
			switch {
			case !ok:
				return nil, errors.New("the device ended")
			case a.ID == 0:
				return nil, errors.New(a.Error)
			case a.ID != d.last:
				continue // of a command that took too long
			case a.Error != "":
				return nil, errors.New(a.Error)
			}
			return a.Result, nil
		case <-late:
			return nil, fmt.Errorf("no answer within %v", patience)
		}
	}
}

// ask has the device do something that must succeed.
func ask[T any](d *device, command string, args map[string]any) (result T) {
	d.t.Helper()
	raw, err := d.tell(command, args)
	if err == nil {
		err = json.Unmarshal(raw, &result)
	}
	if err != nil {
		d.t.Fatalf("%s: %s: %v", d.label, command, err)
	}
	return result
}

// await asks until the answer is as wanted.
func await[T any](d *device, what, command string, args map[string]any, wanted func(T) bool) T {
	d.t.Helper()
	var last T
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if last = ask[T](d, command, args); wanted(last) {
			return last
		}
	}
	d.t.Fatalf("%s waited %v for %s; %s answers %v", d.label, patience, what, command, last)
	return last
}

func yes(b bool) bool { return b }
