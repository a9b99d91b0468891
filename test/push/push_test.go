// Package push tests notifications in a whole server: unread counts, pushes that
// survive kill -9, and what GET /notifications lists.
package push

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth/test/harness"
)

// gateway is a push gateway that keeps what it took.
type gateway struct {
	*httptest.Server
	mu   sync.Mutex
	down bool
	got  []notification
}

type notification struct {
	EventID string `json:"event_id"`
	RoomID  string `json:"room_id"`
	Type    string `json:"type"`
	Sender  string `json:"sender_display_name"`
	Target  bool   `json:"user_is_target"`
	Counts  struct {
		Unread *int `json:"unread"`
	} `json:"counts"`
	Content map[string]any `json:"content"`
}

func newGateway(t *testing.T) *gateway {
	g := &gateway{}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		defer g.mu.Unlock()
		var req struct{ Notification notification }
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
			t.Errorf("notification: %v", err)
		}
		if g.down {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		g.got = append(g.got, req.Notification)
		_, _ = io.WriteString(w, `{"rejected":[]}`) // the server may be gone
	}))
	t.Cleanup(g.Close)
	return g
}

func (g *gateway) setDown(down bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.down = down
}

// wait waits for a notification that is the one looked for.
func (g *gateway) wait(t *testing.T, what string, is func(*notification) bool) *notification {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		g.mu.Lock()
		for i := range g.got {
			if is(&g.got[i]) {
				n := g.got[i]
				g.mu.Unlock()
				return &n
			}
		}
		g.mu.Unlock()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	t.Fatalf("%s: the gateway has heard %+v", what, g.got)
	return nil
}

func (g *gateway) event(t *testing.T, id string) *notification {
	t.Helper()
	return g.wait(t, id, func(n *notification) bool { return n.EventID == id })
}

func TestNotifications(t *testing.T) {
	for _, w := range []harness.Wiring{harness.OneProcess, harness.FourProcesses} {
		t.Run(w.String(), func(t *testing.T) {
			s := harness.Start(t, harness.Options{Wiring: w, Config: func(m map[string]any) {
				m["outbound"] = map[string]any{"allow_networks": []string{"127.0.0.1"}}
			}})
			day(t, s, newGateway(t))
		})
	}
}

func call(t *testing.T, c *harness.Client, method, path string, body, out any) {
	t.Helper()
	if _, err := c.Do(method, "/_matrix/client/v3"+path, body, out); err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
}

func day(t *testing.T, s *harness.Server, g *gateway) {
	alice, bob := s.Register(t, "alice"), s.Register(t, "bob")
	call(t, alice, http.MethodPost, "/pushers/set", map[string]any{
		"kind": "http", "app_id": "org.example.app", "pushkey": "key", "app_display_name": "App", "device_display_name": "Phone",
		"lang": "en", "data": map[string]any{"url": g.URL + "/_matrix/push/v1/notify"},
	}, nil)
	id := must(t)(bob.CreateRoom(map[string]any{"preset": "private_chat"}))
	if err := bob.Invite(id, alice.UserID); err != nil {
		t.Fatal(err)
	}
	invite := g.wait(t, "invite", func(n *notification) bool { return n.RoomID == id && n.Target })
	if invite.Type != "m.room.member" || invite.Sender != "bob" {
		t.Errorf("invite: %+v", invite)
	}
	if err := alice.Join(id); err != nil {
		t.Fatal(err)
	}
	since := unread(t, alice, id, "", 0, 0)
	first := must(t)(bob.SendText(id, "1", "hello"))
	if n := g.event(t, first); n.Counts.Unread == nil || *n.Counts.Unread != 1 || n.Content["body"] != "hello" {
		t.Errorf("first: %+v", n)
	}
	since = unread(t, alice, id, since, 1, 0)

	// The gateway is away, and then the server dies.
	g.setDown(true)
	second := must(t)(bob.Send(id, "m.room.message", "2", map[string]any{
		"msgtype": "m.text", "body": "alice!", "m.mentions": map[string]any{"user_ids": []string{alice.UserID}},
	}))
	for _, p := range s.Processes() {
		if p.Name == "clientapi" || p.Name == "hearth" || len(s.Processes()) == 1 {
			p.Kill()
			p.Restart()
		}
	}
	g.setDown(false)
	g.event(t, second)
	since = unread(t, alice, id, since, 2, 1)

	list(t, alice, "", []string{second, first}, false)
	list(t, alice, "&only=highlight", []string{second}, false)
	if err := alice.Receipt(id, second); err != nil {
		t.Fatal(err)
	}
	g.wait(t, "the badge", func(n *notification) bool { return n.EventID == "" && n.Counts.Unread != nil && *n.Counts.Unread == 0 })
	since = unread(t, alice, id, since, 0, 0)
	list(t, alice, "", []string{second, first}, true)

	// All is muted, so nothing counts and nothing is sent.
	call(t, alice, http.MethodPut, "/pushrules/global/room/"+url.PathEscape(id), map[string]any{"actions": []string{}}, nil)
	since = changed(t, alice, since)
	must(t)(bob.SendText(id, "3", "muted"))
	unread(t, alice, id, since, 0, 0)
	// To log out ends it.
	third := must(t)(bob.Send(id, "m.room.message", "4", map[string]any{
		"msgtype": "m.text", "body": "x", "m.mentions": map[string]any{"user_ids": []string{alice.UserID}},
	}))
	g.event(t, third)
	call(t, alice, http.MethodPost, "/logout", struct{}{}, nil)
	must(t)(bob.Send(id, "m.room.message", "5", map[string]any{
		"msgtype": "m.text", "body": "gone", "m.mentions": map[string]any{"user_ids": []string{alice.UserID}},
	}))
	time.Sleep(500 * time.Millisecond)
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, n := range g.got {
		if n.Content["body"] == "gone" || n.Content["body"] == "muted" {
			t.Errorf("sent: %+v", n)
		}
	}
}

func must(t *testing.T) func(string, error) string {
	return func(s string, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

// unread syncs until the counts are told, and checks them.
func unread(t *testing.T, c *harness.Client, room, since string, notifications, highlights int) string {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); {
		r, err := c.Sync(since, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		since = r.NextBatch
		if j, ok := r.Rooms.Join[room]; ok && j.Unread.Notifications == notifications && j.Unread.Highlights == highlights {
			return since
		}
	}
	t.Fatalf("the counts never become %d and %d", notifications, highlights)
	return ""
}

// changed syncs until push rules are told.
func changed(t *testing.T, c *harness.Client, since string) string {
	t.Helper()
	for range 10 {
		r, err := c.Sync(since, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		since = r.NextBatch
		for _, e := range r.AccountData.Events {
			if e.Type == "m.push_rules" {
				return since
			}
		}
	}
	t.Fatal("no push rules")
	return ""
}

// list checks GET /notifications, a page at a time.
func list(t *testing.T, c *harness.Client, query string, want []string, read bool) {
	t.Helper()
	var got []string
	from := ""
	for range 10 {
		var page struct {
			Next          string `json:"next_token"`
			Notifications []struct {
				Actions []any
				Event   struct {
					ID string `json:"event_id"`
				}
				Read   bool
				RoomID string `json:"room_id"`
				TS     int64
			}
		}
		call(t, c, http.MethodGet, "/notifications?limit=1"+query+from, nil, &page)
		for _, n := range page.Notifications {
			got = append(got, n.Event.ID)
			if n.Read != read || n.RoomID == "" || n.TS == 0 || len(n.Actions) == 0 {
				t.Errorf("notification: %+v", n)
			}
		}
		if page.Next == "" {
			break
		}
		from = "&from=" + page.Next
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("notifications %s: %v, want %v", query, got, want)
	}
}
