package federation

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hearth/internal/testkit/cut"
	"hearth/internal/testkit/synapse"
	"hearth/internal/testkit/testca"
	"hearth/test/harness"
)

// patience is how long something may take to come over from another server.
const patience = 45 * time.Second

// peer is a homeserver, ours or another.
type peer interface {
	serverName() string
	// account makes a user and logs in.
	account(t *testing.T, localpart string) *user
	// kill ends the server as kill -9 does; restart starts it again.
	kill()
	restart()
}

func (n *neighbour) serverName() string { return n.name }

func (n *neighbour) account(t *testing.T, localpart string) *user {
	return &user{n.Register(t, localpart), n, nil}
}

func (n *neighbour) kill() {
	for _, p := range n.Processes() {
		p.Kill()
	}
}

func (n *neighbour) restart() {
	for _, p := range n.Processes() {
		p.Restart()
	}
}

// foreign is a Synapse.
type foreign struct{ *synapse.Server }

func (f foreign) serverName() string { return f.Name }

func (f foreign) account(t *testing.T, localpart string) *user {
	s := f.Server.Register(t, localpart, false)
	c := harness.NewClient(f.URL())
	c.UserID, c.DeviceID, c.Token = s.UserID, s.DeviceID, s.AccessToken
	return &user{c, f, nil}
}

func (f foreign) kill()    { f.Kill() }
func (f foreign) restart() { f.Restart() }

// user is somebody who is logged in on a peer.
type user struct {
	*harness.Client
	home peer
	seen *watch
}

// must ends the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// call sends a request and ends the test if it fails.
func (u *user) call(t *testing.T, method, path string, body, out any) {
	t.Helper()
	if _, err := u.Do(method, path, body, out); err != nil {
		t.Fatalf("%s: %s %s: %v", u.UserID, method, path, err)
	}
}

// eventually waits until check says "" , and fails the test with what it says otherwise.
func eventually(t *testing.T, what string, check func() string) {
	t.Helper()
	var last string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if last = check(); last == "" {
			return
		}
	}
	t.Fatalf("%s, not after %v: %s", what, patience, last)
}

var serial atomic.Int64

// fresh is a name that no other part of the tests uses.
func fresh(prefix string) string { return fmt.Sprintf("%s%d", prefix, serial.Add(1)) }

// room makes a room; body is that of createRoom.
func (u *user) room(t *testing.T, body map[string]any) string {
	t.Helper()
	id, err := u.CreateRoom(body)
	must(t, err)
	return id
}

// join joins a room, by way of a server.
func (u *user) join(t *testing.T, room string, via peer) {
	t.Helper()
	if err := u.tryJoin(room, via); err != nil {
		t.Fatalf("%s joins %s: %v", u.UserID, room, err)
	}
}

func (u *user) tryJoin(room string, via peer) error {
	query := url.Values{"server_name": {via.serverName()}, "via": {via.serverName()}}
	if _, err := u.Do(http.MethodPost, harness.Path("join", room)+"?"+query.Encode(), struct{}{}, nil); err != nil {
		return err
	}
	return nil
}

func (u *user) say(t *testing.T, room, text string) string {
	t.Helper()
	id, err := u.SendText(room, fresh("t"), text)
	if err != nil {
		t.Fatalf("%s says %q: %v", u.UserID, text, err)
	}
	return id
}

func (u *user) state(t *testing.T, room, kind, key string, content any) string {
	t.Helper()
	id, err := u.SetState(room, kind, key, content)
	if err != nil {
		t.Fatalf("%s sets %s %q: %v", u.UserID, kind, key, err)
	}
	return id
}

// timeline reads the messages of a room as the user sees them, oldest first, back to the
// beginning.
func (u *user) timeline(room string) ([]harness.Event, error) {
	var all []harness.Event
	from := ""
	for range 200 {
		page, err := u.Messages(room, "b", from, "", 50)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Chunk...)
		if page.End == "" || page.End == from {
			break
		}
		from = page.End
	}
	slices.Reverse(all)
	return all, nil
}

// texts lists the bodies of messages.
func texts(events []harness.Event) []string {
	var out []string
	for _, e := range events {
		var c struct{ Body string }
		if e.Type == "m.room.message" && json.Unmarshal(e.Content, &c) == nil && c.Body != "" {
			out = append(out, c.Body)
		}
	}
	return out
}

// sees waits until a message is in the user's view of the room.
func (u *user) sees(t *testing.T, room, text string) harness.Event {
	t.Helper()
	var found harness.Event
	eventually(t, fmt.Sprintf("%s sees %q", u.UserID, text), func() string {
		page, err := u.Messages(room, "b", "", "", 30)
		if err != nil {
			return err.Error()
		}
		for _, e := range page.Chunk {
			if slices.Contains(texts([]harness.Event{e}), text) {
				found = e
				return ""
			}
		}
		return fmt.Sprintf("%q", texts(page.Chunk))
	})
	return found
}

// content reads a piece of state; "" if there is none.
func (u *user) content(room, kind, key string) string {
	var out json.RawMessage
	if _, err := u.Do(http.MethodGet, harness.Path("rooms", room, "state", kind, key), nil, &out); err != nil {
		return ""
	}
	return string(out)
}

// seesState waits until the content of a piece of state has a text in it.
func (u *user) seesState(t *testing.T, room, kind, key, part string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s sees %s in %s %q", u.UserID, part, kind, key), func() string {
		if got := u.content(room, kind, key); !strings.Contains(got, part) {
			return "there is " + got
		}
		return ""
	})
}

// seesMember waits until a user has a membership in the view of u.
func (u *user) seesMember(t *testing.T, room, userID, membership string) {
	t.Helper()
	u.seesState(t, room, "m.room.member", userID, fmt.Sprintf("%q", membership))
}

// invited waits for an invite.
func (u *user) invited(t *testing.T, room string) {
	t.Helper()
	eventually(t, u.UserID+" is invited", func() string {
		s, err := u.Sync("", 0)
		if err != nil {
			return err.Error()
		}
		if _, ok := s.Rooms.Invite[room]; !ok {
			return "no invite"
		}
		return ""
	})
}

// stateMap is the state of a room: type and key to event id.
func (u *user) stateMap(room string) (map[string]string, error) {
	events, err := u.State(room)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, e := range events {
		out[e.Type+"\x00"+*e.StateKey] = e.EventID
	}
	return out, nil
}

// same waits until all users see the same state of a room, and the same messages in it, in
// any order.
func same(t *testing.T, room string, users ...*user) {
	t.Helper()
	eventually(t, "all see the same of "+room, func() string {
		var states, messages []string
		for _, u := range users {
			m, err := u.stateMap(room)
			if err != nil {
				return u.UserID + ": " + err.Error()
			}
			lines := make([]string, 0, len(m))
			for k, v := range m {
				lines = append(lines, strings.ReplaceAll(k, "\x00", " ")+" "+v)
			}
			slices.Sort(lines)
			states = append(states, strings.Join(lines, "\n"))
			events, err := u.timeline(room)
			if err != nil {
				return u.UserID + ": " + err.Error()
			}
			var ids []string
			for _, e := range events {
				if e.Type == "m.room.message" {
					ids = append(ids, e.EventID+" "+string(e.Content))
				}
			}
			slices.Sort(ids)
			messages = append(messages, strings.Join(slices.Compact(ids), "\n"))
		}
		for i := range users[1:] {
			if states[i+1] != states[0] {
				return fmt.Sprintf("the state for %s:\n%s\nfor %s:\n%s", users[0].UserID, states[0], users[i+1].UserID, states[i+1])
			}
			if messages[i+1] != messages[0] {
				return fmt.Sprintf("messages for %s:\n%s\nfor %s:\n%s", users[0].UserID, messages[0], users[i+1].UserID, messages[i+1])
			}
		}
		return ""
	})
}

// sides are two servers that a scenario is played on, once each way.
type sides struct{ a, b peer }

// behind starts a server that others reach through a proxy.
func behind(t *testing.T, ca *testca.CA) (*neighbour, *cut.Proxy) {
	t.Helper()
	p := cut.New(t)
	n := startAs(t, ca, harness.OneProcess, "localhost", fmt.Sprintf("localhost:%d", p.Port))
	p.Target(n.listener)
	return n, p
}

// synapseBehind is behind for a Synapse.
func synapseBehind(t *testing.T, ca *testca.CA) (foreign, *cut.Proxy) {
	t.Helper()
	p := cut.New(t)
	s := synapse.Start(t, ca, func(m map[string]any) { m["server_name"] = fmt.Sprintf("localhost:%d", p.Port) })
	p.Target(fmt.Sprintf("127.0.0.1:%d", s.FederationPort()))
	return foreign{s}, p
}

// servers starts what the scenarios need: two of ours, in both wirings, and a Synapse.
func servers(t *testing.T) (ours, theirs []peer) {
	ca := testca.New(t)
	return []peer{start(t, ca, harness.OneProcess, "localhost"), start(t, ca, harness.FourProcesses, "localhost")},
		[]peer{foreign{synapse.Start(t, ca, nil)}}
}
