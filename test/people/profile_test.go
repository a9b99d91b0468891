package people

import (
	"net/http"
	"testing"
	"time"

	"hearth/test/harness"
)

// TestProfileSurvivesAKill: who was answered that a name has changed can rely on it: all
// rooms hear of it, although every process is killed at once.
func TestProfileSurvivesAKill(t *testing.T) {
	for _, w := range []harness.Wiring{harness.OneProcess, harness.FourProcesses} {
		t.Run(w.String(), func(t *testing.T) {
			s := harness.Start(t, harness.Options{Wiring: w})
			alice := s.Register(t, "alice")
			var rooms []string
			for range 20 {
				room, err := alice.CreateRoom(nil)
				if err != nil {
					t.Fatal(err)
				}
				rooms = append(rooms, room)
			}
			if _, err := alice.Do(http.MethodPut, harness.Path("profile", alice.UserID, "displayname"), map[string]any{"displayname": "Alice anew"}, nil); err != nil {
				t.Fatal(err)
			}
			for _, p := range s.Processes() {
				if p.Name != "nats" {
					p.Kill()
				}
			}
			for _, p := range s.Processes() {
				if p.Name != "nats" {
					p.Begin()
				}
			}
			for _, p := range s.Processes() {
				if p.Name != "nats" {
					p.Await()
				}
			}
			for _, room := range rooms {
				var member struct {
					Name string `json:"displayname"`
				}
				for end := time.Now().Add(30 * time.Second); member.Name != "Alice anew"; time.Sleep(20 * time.Millisecond) {
					if time.Now().After(end) {
						t.Fatalf("%s has not heard of it: %q", room, member.Name)
					}
					if _, err := alice.Do(http.MethodGet, harness.Path("rooms", room, "state", "m.room.member", alice.UserID), nil, &member); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
	}
}
