package federation

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/test/harness"
)

// TestScenarios plays each scenario between each pair of servers: two Hearths, Hearth with
// Synapse, and Synapse with Hearth.
func TestScenarios(t *testing.T) {
	ours, theirs := servers(t)
	pairs := []struct {
		name string
		sides
	}{
		{"Hearth and Hearth", sides{ours[0], ours[1]}},
		{"Hearth and Synapse", sides{ours[0], theirs[0]}},
		{"Synapse and Hearth", sides{theirs[0], ours[1]}},
	}
	for _, pair := range pairs {
		t.Run(pair.name, func(t *testing.T) {
			for _, s := range scenarios() {
				t.Run(s.name, func(t *testing.T) {
					t.Parallel()
					s.play(t, pair.sides)
				})
			}
		})
	}
}

type scenario struct {
	name string
	play func(t *testing.T, s sides)
}

func scenarios() []scenario {
	list := []scenario{}
	for _, v := range []string{"6", "10", "11", "12"} {
		list = append(list, scenario{"a conversation in version " + v, func(t *testing.T, s sides) { conversation(t, s, v) }})
	}
	return append(list,
		scenario{"invite", invite},
		scenario{"reject and rescind", reject},
		scenario{"knock", knock},
		scenario{"restricted join", restricted},
		scenario{"leave and come back", comeBack},
		scenario{"history", history},
		scenario{"ban and ACL", ban},
		scenario{"ephemeral", ephemeral},
		scenario{"profiles and directory", profiles},
		scenario{"media", media},
		scenario{"devices and keys", devices},
		scenario{"upgrade", upgrade},
		scenario{"space", space},
	)
}

func conversation(t *testing.T, s sides, version string) {
	alice, bob := s.a.account(t, fresh("alice")), s.b.account(t, fresh("bob"))
	alias := fresh("talk")
	room := alice.room(t, map[string]any{"preset": "public_chat", "room_version": version, "room_alias_name": alias, "name": "Talk"})
	alice.say(t, room, "before")
	bob.join(t, "#"+alias+":"+s.a.serverName(), s.a)
	alice.seesMember(t, room, bob.UserID, "join")
	bob.seesState(t, room, "m.room.name", "", "Talk")

	first := alice.say(t, room, "hello from a")
	bob.sees(t, room, "hello from a")
	bob.say(t, room, "hello from b")
	alice.sees(t, room, "hello from b")

	_, err := alice.Send(room, "m.room.message", fresh("t"), map[string]any{
		"msgtype": "m.text", "body": "* hello, edited",
		"m.new_content": map[string]string{"msgtype": "m.text", "body": "hello, edited"},
		"m.relates_to":  map[string]string{"rel_type": "m.replace", "event_id": first},
	})
	must(t, err)
	bob.sees(t, room, "* hello, edited")
	_, err = bob.Send(room, "m.reaction", fresh("t"), map[string]any{
		"m.relates_to": map[string]string{"rel_type": "m.annotation", "event_id": first, "key": "👍"},
	})
	must(t, err)
	wrong := bob.say(t, room, "a mistake")
	alice.sees(t, room, "a mistake")
	bob.call(t, http.MethodPut, harness.Path("rooms", room, "redact", wrong, fresh("t")), map[string]string{"reason": "wrong"}, nil)
	eventually(t, "the redaction comes over", func() string {
		var e harness.Event
		if _, err := alice.Do(http.MethodGet, harness.Path("rooms", room, "event", wrong), nil, &e); err != nil {
			return err.Error()
		}
		if len(texts([]harness.Event{e})) > 0 {
			return "the text is still there"
		}
		return ""
	})
	alice.state(t, room, "m.room.topic", "", map[string]string{"topic": "of version " + version})
	bob.seesState(t, room, "m.room.topic", "", "of version "+version)
	same(t, room, alice, bob)
}

func invite(t *testing.T, s sides) {
	alice, bob := s.a.account(t, fresh("alice")), s.b.account(t, fresh("bob"))
	room := alice.room(t, map[string]any{"preset": "private_chat", "name": "Secret", "invite": []string{bob.UserID}, "is_direct": true})
	bob.invited(t, room)
	bob.join(t, room, s.a)
	alice.seesMember(t, room, bob.UserID, "join")
	bob.say(t, room, "thank you")
	alice.sees(t, room, "thank you")
	third := s.b.account(t, fresh("carol"))
	must(t, bob.Invite(room, third.UserID))
	third.invited(t, room)
	third.join(t, room, s.b)
	alice.seesMember(t, room, third.UserID, "join")
	same(t, room, alice, bob, third)
}

func reject(t *testing.T, s sides) {
	alice, bob := s.a.account(t, fresh("alice")), s.b.account(t, fresh("bob"))
	room := alice.room(t, map[string]any{"preset": "private_chat"})
	must(t, alice.Invite(room, bob.UserID))
	bob.invited(t, room)
	must(t, bob.Leave(room))
	alice.seesMember(t, room, bob.UserID, "leave")

	must(t, alice.Invite(room, bob.UserID))
	bob.invited(t, room)
	alice.call(t, http.MethodPost, harness.Path("rooms", room, "kick"), map[string]string{"user_id": bob.UserID}, nil)
	eventually(t, "the invite is gone", func() string {
		got, err := bob.Sync("", 0)
		if err != nil {
			return err.Error()
		}
		if _, ok := got.Rooms.Invite[room]; ok {
			return "it is there"
		}
		return ""
	})
	if bob.tryJoin(room, s.a) == nil {
		t.Error("bob joined without an invite")
	}
}

func knock(t *testing.T, s sides) {
	alice, bob := s.a.account(t, fresh("alice")), s.b.account(t, fresh("bob"))
	room := alice.room(t, map[string]any{"preset": "private_chat", "initial_state": []any{
		map[string]any{"type": "m.room.join_rules", "state_key": "", "content": map[string]string{"join_rule": "knock"}},
	}})
	bob.call(t, http.MethodPost, harness.Path("knock", room)+"?server_name="+s.a.serverName()+"&via="+s.a.serverName(), map[string]string{"reason": "please"}, nil)
	alice.seesMember(t, room, bob.UserID, "knock")
	must(t, alice.Invite(room, bob.UserID))
	bob.invited(t, room)
	bob.join(t, room, s.a)
	bob.say(t, room, "let in")
	alice.sees(t, room, "let in")
	same(t, room, alice, bob)
}

func restricted(t *testing.T, s sides) {
	alice, bob := s.a.account(t, fresh("alice")), s.b.account(t, fresh("bob"))
	club := alice.room(t, map[string]any{"preset": "public_chat", "creation_content": map[string]string{"type": "m.space"}})
	room := alice.room(t, map[string]any{"preset": "private_chat", "initial_state": []any{
		map[string]any{"type": "m.room.join_rules", "state_key": "", "content": map[string]any{
			"join_rule": "restricted", "allow": []any{map[string]string{"type": "m.room_membership", "room_id": club}},
		}},
	}})
	if bob.tryJoin(room, s.a) == nil {
		t.Fatal("bob joined without being in the space")
	}
	bob.join(t, club, s.a)
	alice.seesMember(t, club, bob.UserID, "join")
	bob.join(t, room, s.a)
	alice.seesMember(t, room, bob.UserID, "join")
	bob.say(t, room, "in by the space")
	alice.sees(t, room, "in by the space")
	same(t, room, alice, bob)
}

func comeBack(t *testing.T, s sides) {
	alice, bob := s.a.account(t, fresh("alice")), s.b.account(t, fresh("bob"))
	room := alice.room(t, map[string]any{"preset": "public_chat"})
	bob.join(t, room, s.a)
	alice.seesMember(t, room, bob.UserID, "join")
	must(t, bob.Leave(room))
	alice.seesMember(t, room, bob.UserID, "leave")
	alice.say(t, room, "while bob is away")
	alice.state(t, room, "m.room.name", "", map[string]string{"name": "Renamed"})
	bob.join(t, room, s.a)
	alice.seesMember(t, room, bob.UserID, "join")
	bob.seesState(t, room, "m.room.name", "", "Renamed")
	bob.say(t, room, "back")
	alice.sees(t, room, "back")
	same(t, room, alice, bob)
}

func history(t *testing.T, s sides) {
	alice, bob := s.a.account(t, fresh("alice")), s.b.account(t, fresh("bob"))
	room := alice.room(t, map[string]any{"preset": "public_chat"})
	var want []string
	for i := range 120 {
		text := fmt.Sprintf("message %d", i)
		want = append(want, text)
		alice.say(t, room, text)
	}
	bob.join(t, room, s.a)
	eventually(t, "bob sees all that was said before", func() string {
		events, err := bob.timeline(room)
		if err != nil {
			return err.Error()
		}
		if got := texts(events); !slices.Equal(got, want) {
			return fmt.Sprintf("%d messages: %.200q", len(got), got)
		}
		return ""
	})
}

func ban(t *testing.T, s sides) {
	alice, bob := s.a.account(t, fresh("alice")), s.b.account(t, fresh("bob"))
	room := alice.room(t, map[string]any{"preset": "public_chat"})
	bob.join(t, room, s.a)
	alice.seesMember(t, room, bob.UserID, "join")
	alice.call(t, http.MethodPost, harness.Path("rooms", room, "ban"), map[string]string{"user_id": bob.UserID, "reason": "test"}, nil)
	eventually(t, "bob is out", func() string {
		if _, err := bob.SendText(room, fresh("t"), "still here"); err == nil {
			return "he can talk"
		}
		return ""
	})
	if bob.tryJoin(room, s.a) == nil {
		t.Error("a banned user joined")
	}
	alice.call(t, http.MethodPost, harness.Path("rooms", room, "unban"), map[string]string{"user_id": bob.UserID}, nil)
	eventually(t, "bob may come back", func() string {
		if err := bob.tryJoin(room, s.a); err != nil {
			return err.Error()
		}
		return ""
	})
	alice.seesMember(t, room, bob.UserID, "join")
	alice.state(t, room, "m.room.server_acl", "", map[string]any{"allow": []string{"*"}, "deny": []string{strings.ToUpper(s.b.serverName()), "localhost"}})
	// What the banned server says from now on reaches nobody else.
	bob.seesState(t, room, "m.room.server_acl", "", "deny")
	_, _ = bob.SendText(room, fresh("t"), "from behind the ACL") // its own server may refuse it
	alice.say(t, room, "without them")
	time.Sleep(2 * time.Second)
	events, err := alice.timeline(room)
	must(t, err)
	if slices.Contains(texts(events), "from behind the ACL") {
		t.Error("a message of a server that the ACL denies came through")
	}
}

func ephemeral(t *testing.T, s sides) {
	alice, bob := s.a.account(t, fresh("alice")), s.b.account(t, fresh("bob"))
	room := alice.room(t, map[string]any{"preset": "public_chat"})
	bob.join(t, room, s.a)
	alice.seesMember(t, room, bob.UserID, "join")
	said := alice.say(t, room, "read this")
	bob.sees(t, room, "read this")
	in := func(u *user, want ...string) func() string {
		since := ""
		var all strings.Builder
		return func() string {
			got, err := u.SyncFilter(context.Background(), since, "", time.Second)
			if err != nil {
				return err.Error()
			}
			since = got.NextBatch
			for _, e := range append(got.Rooms.Join[room].Ephemeral.Events, got.Presence.Events...) {
				fmt.Fprintf(&all, "%s %s %s\n", e.Type, e.Sender, e.Content)
			}
			for _, w := range want {
				if !strings.Contains(all.String(), w) {
					return "no " + w + " in " + all.String()
				}
			}
			return ""
		}
	}
	must(t, bob.Receipt(room, said))
	eventually(t, "the receipt comes over", in(alice, "m.receipt", said, bob.UserID))
	watch := in(alice, "m.typing", `["`+bob.UserID+`"]`)
	eventually(t, "typing comes over", func() string {
		if _, err := bob.Do(http.MethodPut, harness.Path("rooms", room, "typing", bob.UserID), map[string]any{"typing": true, "timeout": 20000}, nil); err != nil {
			return err.Error()
		}
		return watch()
	})
	bob.call(t, http.MethodPut, harness.Path("presence", bob.UserID, "status"), map[string]string{"presence": "online", "status_msg": "hi there"}, nil)
	eventually(t, "presence comes over", in(alice, "hi there"))
}

func profiles(t *testing.T, s sides) {
	alice, bob := s.a.account(t, fresh("alice")), s.b.account(t, fresh("bob"))
	bob.call(t, http.MethodPut, harness.Path("profile", bob.UserID, "displayname"), map[string]string{"displayname": "Bob the Great"}, nil)
	var profile struct{ DisplayName string }
	alice.call(t, http.MethodGet, harness.Path("profile", bob.UserID), nil, &profile)
	if profile.DisplayName != "Bob the Great" {
		t.Errorf("the profile says %q", profile.DisplayName)
	}
	if _, err := alice.Do(http.MethodGet, harness.Path("profile", "@nobody:"+s.b.serverName()), nil, nil); err == nil || err.Status != http.StatusNotFound {
		t.Errorf("the profile of nobody: %v", err)
	}
	alias := fresh("listed")
	room := bob.room(t, map[string]any{"preset": "public_chat", "visibility": "public", "room_alias_name": alias, "name": "Listed " + alias})
	var found struct {
		RoomID  string `json:"room_id"`
		Servers []string
	}
	alice.call(t, http.MethodGet, harness.Path("directory", "room", "#"+alias+":"+s.b.serverName()), nil, &found)
	if found.RoomID != room || !slices.Contains(found.Servers, s.b.serverName()) {
		t.Errorf("the alias leads to %+v", found)
	}
	eventually(t, "the room is in the directory", func() string {
		var list struct {
			Chunk []struct {
				RoomID string `json:"room_id"`
			}
		}
		if _, err := alice.Do(http.MethodPost, harness.Path("publicRooms")+"?server="+s.b.serverName(), map[string]any{"limit": 100}, &list); err != nil {
			return err.Error()
		}
		for _, r := range list.Chunk {
			if r.RoomID == room {
				return ""
			}
		}
		return fmt.Sprint(list)
	})
}

func media(t *testing.T, s sides) {
	alice, bob := s.a.account(t, fresh("alice")), s.b.account(t, fresh("bob"))
	var picture bytes.Buffer
	must(t, png.Encode(&picture, image.NewRGBA(image.Rect(0, 0, 200, 100))))
	uri := upload(t, alice, picture.Bytes())
	server, id, _ := strings.Cut(strings.TrimPrefix(uri, "mxc://"), "/")
	got := download(t, bob, fmt.Sprintf("/_matrix/client/v1/media/download/%s/%s", server, id))
	if !bytes.Equal(got, picture.Bytes()) {
		t.Errorf("%d bytes came over of %d", len(got), picture.Len())
	}
	thumb := download(t, bob, fmt.Sprintf("/_matrix/client/v1/media/thumbnail/%s/%s?width=32&height=32&method=scale", server, id))
	if c, _, err := image.DecodeConfig(bytes.NewReader(thumb)); err != nil || c.Width > 320 {
		t.Errorf("the thumbnail: %+v %v", c, err)
	}
}

func upload(t *testing.T, u *user, body []byte) string {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, u.Base()+"/_matrix/media/v3/upload?filename=a.png", bytes.NewReader(body))
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+u.Token)
	req.Header.Set("Content-Type", "image/png")
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	defer resp.Body.Close()
	var out struct {
		URI string `json:"content_uri"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil || out.URI == "" {
		t.Fatalf("upload: %s %v", resp.Status, err)
	}
	return out.URI
}

func download(t *testing.T, u *user, path string) []byte {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, u.Base()+path, nil)
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+u.Token)
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 10<<20))
	must(t, err)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s %s", path, resp.Status, body)
	}
	return body
}

func upgrade(t *testing.T, s sides) {
	alice, bob := s.a.account(t, fresh("alice")), s.b.account(t, fresh("bob"))
	room := alice.room(t, map[string]any{"preset": "public_chat", "room_version": "10"})
	bob.join(t, room, s.a)
	alice.seesMember(t, room, bob.UserID, "join")
	var out struct {
		Replacement string `json:"replacement_room"`
	}
	alice.call(t, http.MethodPost, harness.Path("rooms", room, "upgrade"), map[string]string{"new_version": "11"}, &out)
	bob.seesState(t, room, "m.room.tombstone", "", out.Replacement)
	bob.join(t, out.Replacement, s.a)
	bob.say(t, out.Replacement, "in the new room")
	alice.sees(t, out.Replacement, "in the new room")
	bob.seesState(t, out.Replacement, "m.room.create", "", room)
}

func space(t *testing.T, s sides) {
	alice, bob := s.a.account(t, fresh("alice")), s.b.account(t, fresh("bob"))
	child := alice.room(t, map[string]any{"preset": "public_chat", "name": "Child"})
	parent := alice.room(t, map[string]any{"preset": "public_chat", "name": "Parent", "creation_content": map[string]string{"type": "m.space"}})
	alice.state(t, parent, "m.space.child", child, map[string]any{"via": []string{s.a.serverName()}})
	bob.join(t, parent, s.a)
	eventually(t, "the hierarchy shows the child, in which nobody here is", func() string {
		var out struct {
			Rooms []struct {
				RoomID string `json:"room_id"`
				Name   string `json:"name"`
			}
		}
		if _, err := bob.Do(http.MethodGet, "/_matrix/client/v1/rooms/"+parent+"/hierarchy", nil, &out); err != nil {
			return err.Error()
		}
		for _, r := range out.Rooms {
			if r.RoomID == child && r.Name == "Child" {
				return ""
			}
		}
		return fmt.Sprint(out)
	})
}
