// Package appservice has a real application service work with Hearth: a bridge that is
// built on matrix-appservice-bridge, in js/. It shows what people on both sides see of
// each other, and that restarts of either side lose, move and repeat nothing.
package appservice

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/test/harness"
)

const town = "#_net_town:localhost"

var wirings = []harness.Wiring{harness.OneProcess, harness.FourProcesses}

func TestBridge(t *testing.T) {
	for _, w := range wirings {
		t.Run(w.String(), func(t *testing.T) {
			s, b := start(t, w)
			alice := s.Register(t, "alice")
			room := join(t, alice, town) // nobody has made it: the bridge is asked
			b.await("the alias query", func(l line) bool { return l.AliasQuery == town })
			for _, name := range []string{"anna", "ben"} {
				awaitMember(t, alice, room, ghost(name))
			}
			t.Run("both people of the network talk with Alice", func(t *testing.T) { talk(t, alice, b, room) })
			t.Run("receipts and typing notifications", func(t *testing.T) { ephemeral(t, alice, b, room) })
			t.Run("a user that is not there yet is invited", func(t *testing.T) { invite(t, alice, b, room) })
			t.Run("pings", func(t *testing.T) { ping(t, b, room) })
			t.Run("third-party lookups", func(t *testing.T) { lookUp(t, alice, b, room) })
			t.Run("reserved names", func(t *testing.T) { reserved(t, s, alice, room) })
			b.check()
		})
	}
}

func join(t *testing.T, c *harness.Client, alias string) string {
	t.Helper()
	var out struct {
		RoomID string `json:"room_id"`
	}
	if _, err := c.Do(http.MethodPost, harness.Path("join", alias), struct{}{}, &out); err != nil {
		t.Fatal(err)
	}
	return out.RoomID
}

func awaitMember(t *testing.T, c *harness.Client, room, user string) {
	t.Helper()
	await(t, user+" to join", func() bool {
		var out struct {
			Joined map[string]any `json:"joined"`
		}
		_, err := c.Do(http.MethodGet, harness.Path("rooms", room, "joined_members"), nil, &out)
		return err == nil && out.Joined[user] != nil
	})
}

func talk(t *testing.T, alice *harness.Client, b *bridge, room string) {
	if _, err := alice.SendText(room, "t1", "hello, network"); err != nil {
		t.Fatal(err)
	}
	b.await("Alice's message", func(l line) bool { return l.Heard == "hello, network" && l.Sender == alice.UserID })
	for _, name := range []string{"anna", "ben"} {
		b.must("say", map[string]any{"name": name, "room": room, "text": "this is " + name})
	}
	await(t, "what the people of the network say", func() bool {
		page, err := alice.Messages(room, "b", "", "", 20)
		if err != nil {
			t.Fatal(err)
		}
		said := map[string]string{}
		for _, e := range page.Chunk {
			if e.Type == "m.room.message" {
				said[e.Sender] = string(e.Content)
			}
		}
		return strings.Contains(said[ghost("anna")], "this is anna") && strings.Contains(said[ghost("ben")], "this is ben")
	})
}

func ephemeral(t *testing.T, alice *harness.Client, b *bridge, room string) {
	id, err := alice.SendText(room, "t2", "read this")
	if err == nil {
		err = alice.Receipt(room, id)
	}
	if err != nil {
		t.Fatal(err)
	}
	b.await("the receipt", func(l line) bool {
		return l.Ephemeral.Type == "m.receipt" && l.Ephemeral.RoomID == room && strings.Contains(string(l.Ephemeral.Content), id)
	})
	typing := map[string]any{"typing": true, "timeout": 20_000}
	if _, err := alice.Do(http.MethodPut, harness.Path("rooms", room, "typing", alice.UserID), typing, nil); err != nil {
		t.Fatal(err)
	}
	b.await("the typing notification", func(l line) bool {
		return l.Ephemeral.Type == "m.typing" && l.Ephemeral.RoomID == room && strings.Contains(string(l.Ephemeral.Content), alice.UserID)
	})
}

func invite(t *testing.T, alice *harness.Client, b *bridge, room string) {
	carl := ghost("carl")
	if _, err := alice.Do(http.MethodPost, harness.Path("rooms", room, "invite"), map[string]string{"user_id": carl}, nil); err != nil {
		t.Fatal(err)
	}
	b.await("the user query", func(l line) bool { return l.UserQuery == carl })
	awaitMember(t, alice, room, carl)
	var who struct {
		UserID string `json:"user_id"`
	}
	if b.ask("whoami", map[string]any{"name": "carl"}, &who); who.UserID != carl {
		t.Errorf("whoami: %q", who.UserID)
	}
}

func ping(t *testing.T, b *bridge, room string) {
	var pong struct {
		Milliseconds *int `json:"duration_ms"`
	}
	if b.ask("ping", map[string]any{}, &pong); pong.Milliseconds == nil {
		t.Error("the answer has no duration")
	}
	b.await("the ping", func(l line) bool { return l.Pinged == "of the test" })
	b.must("selfPing", map[string]any{"room": room})
}

func lookUp(t *testing.T, alice *harness.Client, b *bridge, room string) {
	var protocols map[string]struct {
		Instances []struct {
			ID string `json:"instance_id"`
		} `json:"instances"`
	}
	if _, err := alice.Do(http.MethodGet, harness.Path("thirdparty", "protocols"), nil, &protocols); err != nil {
		t.Fatal(err)
	}
	if len(protocols["net"].Instances) != 1 {
		t.Fatalf("protocols: %+v", protocols)
	}
	for path, want := range map[string]string{"location/net?place=town": town, "user/net?name=anna": ghost("anna")} {
		var found []struct{ Alias, UserID string }
		if _, err := alice.Do(http.MethodGet, "/_matrix/client/v3/thirdparty/"+path, nil, &found); err != nil {
			t.Fatal(err)
		}
		if len(found) != 1 || found[0].Alias+found[0].UserID != want {
			t.Errorf("%s: %+v", path, found)
		}
	}
	b.must("publish", map[string]any{"room": room})
	var page struct {
		Chunk []struct {
			RoomID string `json:"room_id"`
		} `json:"chunk"`
	}
	of := map[string]string{"third_party_instance_id": protocols["net"].Instances[0].ID}
	if _, err := alice.Do(http.MethodPost, harness.Path("publicRooms"), of, &page); err != nil {
		t.Fatal(err)
	}
	if len(page.Chunk) != 1 || page.Chunk[0].RoomID != room {
		t.Errorf("the network's directory: %+v", page)
	}
}

func reserved(t *testing.T, s *harness.Server, alice *harness.Client, room string) {
	register := map[string]any{"username": "_net_mallory", "password": "a password", "auth": map[string]string{"type": "m.login.dummy"}}
	if _, err := s.Client().Do(http.MethodPost, harness.Path("register"), register, nil); err == nil || err.Code != "M_EXCLUSIVE" {
		t.Errorf("register: %v", err)
	}
	alias := harness.Path("directory", "room", "#_net_mine:localhost")
	if _, err := alice.Do(http.MethodPut, alias, map[string]string{"room_id": room}, nil); err == nil || err.Code != "M_EXCLUSIVE" {
		t.Errorf("alias: %v", err)
	}
	mask := harness.Path("account", "whoami") + "?user_id=" + url.QueryEscape(ghost("anna"))
	var who struct {
		UserID string `json:"user_id"`
	}
	if _, err := alice.Do(http.MethodGet, mask, nil, &who); err != nil || who.UserID != alice.UserID {
		t.Errorf("Alice is %q, %v", who.UserID, err)
	}
}

// messages is how many Alice sends while things are killed.
const messages = 400

func TestRestarts(t *testing.T) {
	for _, w := range wirings {
		t.Run(w.String(), func(t *testing.T) {
			s, b := start(t, w)
			alice := s.Register(t, "alice")
			room := join(t, alice, town)
			awaitMember(t, alice, room, ghost("ben"))
			sent := make(chan []string, 1)
			go func() { sent <- sendAll(t, alice, room) }()
			victims := s.Processes()
			for round := range 8 {
				time.Sleep(150 * time.Millisecond)
				if round%2 == 0 {
					b.kill()
					time.Sleep(100 * time.Millisecond)
					b.start()
					continue
				}
				victims[(round/2)%len(victims)].Restart()
			}
			want := <-sent
			if t.Failed() {
				return
			}
			await(t, "the last message to arrive", func() bool { return slices.Contains(b.delivered(), want[len(want)-1]) })
			again := b.check()
			var got []string
			for _, id := range b.delivered() {
				if slices.Contains(want, id) {
					got = append(got, id)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%d messages arrived of %d, or in another order", len(got), len(want))
			}
			t.Logf("%d messages in %d transactions, %d of which came again", len(got), b.transactions(), again)
		})
	}
}

// sendAll sends messages one after the other, each until it is confirmed, and returns
// their events.
func sendAll(t *testing.T, c *harness.Client, room string) (ids []string) {
	for i := range messages {
		txn := fmt.Sprint("m", i)
		for deadline := time.Now().Add(30 * time.Second); ; {
			id, err := c.SendText(room, txn, txn)
			if err == nil {
				ids = append(ids, id)
				break
			}
			if time.Now().After(deadline) {
				t.Errorf("message %d: %v", i, err)
				return ids
			}
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return ids
}
