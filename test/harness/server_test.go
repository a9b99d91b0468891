package harness_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"hearth/test/harness"
)

func wirings(t *testing.T, f func(t *testing.T, w harness.Wiring)) {
	for _, w := range []harness.Wiring{harness.OneProcess, harness.FourProcesses} {
		t.Run(w.String(), func(t *testing.T) { f(t, w) })
	}
}

// say sends a text as one user and returns when the other has it from /sync.
func say(t *testing.T, from, to *harness.Client, room, since, text string) (next string) {
	t.Helper()
	id, err := from.SendText(room, text, text)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		answer, err := to.Sync(since, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		since = answer.NextBatch
		for _, e := range answer.Rooms.Join[room].Timeline.Events {
			if e.EventID == id && strings.Contains(string(e.Content), text) {
				return since
			}
		}
	}
	t.Fatalf("%q did not arrive", text)
	return ""
}

func TestTwoUsersTalkThroughARestart(t *testing.T) {
	wirings(t, func(t *testing.T, w harness.Wiring) {
		s := harness.Start(t, harness.Options{Wiring: w})
		alice, bob := s.Register(t, "alice"), s.Register(t, "bob")
		if alice.UserID != "@alice:localhost" || alice.DeviceID == "" || alice.Token == "" {
			t.Fatalf("registered %+v", alice)
		}
		room, err := alice.CreateRoom(map[string]any{"preset": "public_chat"})
		if err != nil {
			t.Fatal(err)
		}
		if err := bob.Join(room); err != nil {
			t.Fatal(err)
		}
		since := say(t, alice, bob, room, "", "one")
		for _, p := range s.Processes() {
			before := p.PID()
			p.Kill()
			if p.PID() != 0 || syscall.Kill(before, 0) == nil {
				t.Fatalf("%s survived its kill", p.Name)
			}
			p.Restart()
			if p.PID() == before || p.PID() == 0 {
				t.Fatalf("%s was not restarted", p.Name)
			}
		}
		awaitSend(t, alice, room)
		say(t, alice, bob, room, since, "two")
		say(t, bob, alice, room, "", "three")
		s.Stop()
	})
}

// awaitSend sends until it succeeds: components find each other again in their time.
func awaitSend(t *testing.T, c *harness.Client, room string) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if _, err = c.SendText(room, "again", "again"); err == nil {
			return
		}
	}
	t.Fatalf("no send within 10 s: %v", err)
}

func TestADirectoryContinues(t *testing.T) {
	wirings(t, func(t *testing.T, w harness.Wiring) {
		dir := t.TempDir()
		s := harness.Start(t, harness.Options{Wiring: w, Dir: dir, Name: "example.org"})
		alice := s.Register(t, "alice")
		room, err := alice.CreateRoom(nil)
		if err != nil {
			t.Fatal(err)
		}
		s.Stop()
		s = harness.Start(t, harness.Options{Wiring: w, Dir: dir, Name: "example.org"})
		again := s.Client()
		again.Token = alice.Token
		if _, err := again.SendText(room, "one", "still here"); err != nil {
			t.Fatal(err)
		}
	})
}

func TestConfigAndRefusal(t *testing.T) {
	local := false
	s := harness.Start(t, harness.Options{BusLocal: &local, Config: func(m map[string]any) {
		m["registration"] = map[string]any{"mode": "closed"}
	}})
	text, err := os.ReadFile(filepath.Join(s.Dir, "hearth.yaml"))
	if err != nil || !strings.Contains(string(text), "local: false") {
		t.Fatalf("configuration %s (%v)", text, err)
	}
	status, refusal := s.Client().Do("POST", harness.Path("register"), map[string]string{"username": "x"}, nil)
	if status != 403 || refusal == nil || refusal.Code != "M_FORBIDDEN" {
		t.Fatalf("register answered %d, %v", status, refusal)
	}
}
