// Package people tests what users see of each other in a whole server.
package people

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"hearth/test/harness"
)

// shown waits until a client is told that a user shows a presence, and returns the
// token after it.
func shown(t *testing.T, c *harness.Client, since, user, presence string) string {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		got, err := c.Sync(since, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		since = got.NextBatch
		for _, e := range got.Presence.Events {
			var content struct{ Presence string }
			if err := json.Unmarshal(e.Content, &content); err != nil {
				t.Fatalf("%s: %v", e.Content, err)
			}
			if e.Type == "m.presence" && e.Sender == user && content.Presence == presence {
				return since
			}
		}
	}
	t.Fatalf("%s was not told that %s is %s", c.UserID, user, presence)
	return ""
}

// TestPresence: presence moves from one client to another, also after the process that
// knows it was killed.
func TestPresence(t *testing.T) {
	for _, w := range []harness.Wiring{harness.OneProcess, harness.FourProcesses} {
		t.Run(w.String(), func(t *testing.T) {
			s := harness.Start(t, harness.Options{Wiring: w})
			alice, bob, carol := s.Register(t, "alice"), s.Register(t, "bob"), s.Register(t, "carol")
			room, err := alice.CreateRoom(map[string]any{"preset": "public_chat"})
			if err == nil {
				err = bob.Join(room)
			}
			if err != nil {
				t.Fatal(err)
			}
			first, err := alice.Sync("", 0)
			if err != nil {
				t.Fatal(err)
			}
			since := first.NextBatch
			set := func(presence string) {
				t.Helper()
				if _, err := bob.Do(http.MethodPut, harness.Path("presence", bob.UserID, "status"), map[string]any{"presence": presence}, nil); err != nil {
					t.Fatal(err)
				}
			}
			for _, presence := range []string{"online", "unavailable", "offline", "online"} {
				set(presence)
				since = shown(t, alice, since, bob.UserID, presence)
			}
			if _, err := carol.Do(http.MethodGet, harness.Path("presence", bob.UserID, "status"), nil, nil); err == nil || err.Status != http.StatusForbidden {
				t.Errorf("to a stranger: %v", err)
			}
			for _, p := range s.Processes() {
				if p.Name == "clientapi" || w == harness.OneProcess {
					p.Kill()
					p.Restart()
				}
			}
			if w == harness.FourProcesses { // who told of Bob is gone, who was told is not
				since = shown(t, alice, since, bob.UserID, "offline")
			}
			if _, err := bob.Sync("", 0); err != nil {
				t.Fatal(err)
			}
			shown(t, alice, since, bob.UserID, "online")
		})
	}
}
