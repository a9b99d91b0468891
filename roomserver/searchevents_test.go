package roomserver

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// indexed waits until all that was said can be found.
func (f *fixture) indexed() {
	f.t.Helper()
	if err := f.s.search.Wait(f.t.Context(), f.s.store.DB.Head()); err != nil {
		f.t.Fatal(err)
	}
}

// found searches, all pages, and returns what was found as text.
func (f *fixture) found(req roomapi.SearchRequest) []string {
	f.t.Helper()
	texts := []string{}
	for range 100 {
		page := do(f, roomapi.Search, req)
		for _, r := range page.Results {
			for _, key := range []string{"body", "name", "topic"} {
				if text, ok := pdu.GetString(r.Event.Content(), key); ok {
					texts = append(texts, text)
				}
			}
		}
		if page.Next == "" {
			return texts
		}
		req.From = page.Next
	}
	f.t.Fatal("the pages do not end")
	return nil
}

// Who finds what, in the phases of a user's life in a room: the cases of
// TestHistoryVisibility, by search.
func TestSearchShowsWhatIsVisible(t *testing.T) {
	for setting, want := range map[string][2][]string{ // left, and still there
		"shared":         {{"word before", "word invited", "word joined"}, {"word before", "word invited", "word joined", "word later"}},
		"invited":        {{"word invited", "word joined"}, {"word invited", "word joined", "word later"}},
		"joined":         {{"word joined"}, {"word joined", "word later"}},
		"world_readable": {{"word before", "word invited", "word joined", "word later"}, {"word before", "word invited", "word joined", "word later"}},
	} {
		t.Run(setting, func(t *testing.T) {
			f := newFixture(t, t.TempDir(), "", true)
			room := f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat", InitialState: []roomapi.StateEvent{
				{Type: visibilityType, Content: []byte(`{"history_visibility":"` + setting + `"}`)},
			}})
			f.send(room, alice, "1", "word before")
			for _, user := range []string{bob, carol} {
				do(f, roomapi.Invite, roomapi.MembershipRequest{RoomID: room, Sender: alice, Target: user})
			}
			f.send(room, alice, "2", "word invited")
			f.indexed()
			if got := f.found(roomapi.SearchRequest{UserID: bob, Term: "word"}); len(got) != 0 {
				t.Errorf("bob was never there and finds %q", got)
			}
			for _, user := range []string{bob, carol} {
				f.join(room, user)
			}
			f.send(room, alice, "3", "word joined")
			f.leave(room, bob)
			f.send(room, alice, "4", "word later")
			f.indexed()
			for i, user := range []string{bob, carol} {
				req := roomapi.SearchRequest{UserID: user, Term: "word", Recent: true}
				got := f.found(req)
				slices.Reverse(got)
				if !slices.Equal(got, want[i]) {
					t.Errorf("%s finds %q, want %q", user, got, want[i])
				}
				if n := do(f, roomapi.Search, req).Count; n != len(want[i]) {
					t.Errorf("%s is told of %d results, want %d", user, n, len(want[i]))
				}
			}
			do(f, roomapi.Forget, roomapi.ForgetRequest{RoomID: room, UserID: bob})
			if got := f.found(roomapi.SearchRequest{UserID: bob, Term: "word"}); len(got) != 0 {
				t.Errorf("bob has forgotten the room and finds %q", got)
			}
			if got := f.found(roomapi.SearchRequest{UserID: "@nobody:test.example", Term: "word"}); len(got) != 0 {
				t.Errorf("a stranger finds %q", got)
			}
		})
	}
}

func TestSearchSelects(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		den := f.create(roomapi.CreateRequest{Creator: alice, Name: "apple den", Topic: "apple and pear", Preset: "public_chat"})
		loft := f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat"})
		f.join(den, bob)
		f.send(den, alice, "1", "apple one")
		f.send(loft, alice, "2", "apple two")
		f.send(den, bob, "3", "apple three")
		secret := f.send(den, alice, "4", "apple four")
		do(f, roomapi.Redact, roomapi.RedactRequest{RoomID: den, Sender: alice, EventID: secret})
		f.state(den, alice, "m.room.encryption", "", `{"algorithm":"m.megolm.v1.aes-sha2"}`)
		do(f, roomapi.Send, roomapi.SendRequest{RoomID: den, Sender: alice, Type: "m.room.encrypted", Content: []byte(`{"body":"apple","algorithm":"x"}`)})
		f.indexed()
		everything := []string{"apple three", "apple two", "apple one", "apple and pear", "apple den"}
		for name, c := range map[string]struct {
			req  roomapi.SearchRequest
			want []string
		}{
			"all":                {roomapi.SearchRequest{}, everything},
			"small pages":        {roomapi.SearchRequest{Limit: 1}, everything},
			"rooms":              {roomapi.SearchRequest{Rooms: []string{loft}}, []string{"apple two"}},
			"no rooms":           {roomapi.SearchRequest{Rooms: []string{}}, []string{}},
			"not rooms":          {roomapi.SearchRequest{NotRooms: []string{den}}, []string{"apple two"}},
			"a group of a room":  {roomapi.SearchRequest{InRoom: loft}, []string{"apple two"}},
			"another's room":     {roomapi.SearchRequest{UserID: bob, Rooms: []string{loft}}, []string{}},
			"senders":            {roomapi.SearchRequest{Filter: roomapi.EventFilter{Senders: []string{bob}}}, []string{"apple three"}},
			"not senders":        {roomapi.SearchRequest{Filter: roomapi.EventFilter{NotSenders: []string{alice}}}, []string{"apple three"}},
			"a group of a user":  {roomapi.SearchRequest{BySender: bob, Limit: 1}, []string{"apple three"}},
			"keys":               {roomapi.SearchRequest{Keys: []string{"content.name", "content.topic"}}, []string{"apple and pear", "apple den"}},
			"types":              {roomapi.SearchRequest{Filter: roomapi.EventFilter{Types: []string{"m.room.to*"}}}, []string{"apple and pear"}},
			"not types":          {roomapi.SearchRequest{Filter: roomapi.EventFilter{NotTypes: []string{"m.room.message"}}}, []string{"apple and pear", "apple den"}},
			"keys without types": {roomapi.SearchRequest{Keys: []string{"content.name"}, Filter: roomapi.EventFilter{Types: []string{"m.room.message"}}}, []string{}},
			"ignored":            {roomapi.SearchRequest{Ignored: []string{bob}}, everything[1:]},
			"ignored state":      {roomapi.SearchRequest{UserID: bob, Ignored: []string{alice}}, []string{"apple three", "apple and pear", "apple den"}},
			"two words":          {roomapi.SearchRequest{Term: "pear APPLE"}, []string{"apple and pear"}},
			"nothing":            {roomapi.SearchRequest{Term: "?!"}, []string{}},
		} {
			c.req.Recent = true
			if c.req.UserID == "" {
				c.req.UserID = alice
			}
			if c.req.Term == "" {
				c.req.Term = "apple"
			}
			if got := f.found(c.req); !slices.Equal(got, c.want) {
				t.Errorf("%s: %q, want %q", name, got, c.want)
			}
		}
		refused(f, roomapi.Search, roomapi.SearchRequest{UserID: alice, Term: strings.Repeat("a", 1001)}, "M_INVALID_PARAM")
		for _, from := range []string{"1", "_", "1_-5", "zzzzzzzz_1", "1_1_1"} {
			refused(f, roomapi.Search, roomapi.SearchRequest{UserID: alice, Term: "apple", From: from}, "M_INVALID_PARAM")
		}
	})
}

func TestSearchShowsWhatIsAround(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		room := f.create(roomapi.CreateRequest{Creator: alice, Preset: "public_chat", Profile: roomapi.Profile{DisplayName: "Alice"}})
		do(f, roomapi.Join, roomapi.JoinRequest{RoomIDOrAlias: room, UserID: bob, Profile: roomapi.Profile{DisplayName: "Bob then"}})
		f.send(room, alice, "1", "one")
		hit := f.send(room, bob, "2", "needle two")
		f.send(room, carol0(f, room), "3", "three")
		f.send(room, alice, "4", "four")
		content := fmt.Sprintf(`{"msgtype":"m.text","body":"* edited","m.new_content":{"msgtype":"m.text","body":"edited"},"m.relates_to":{"rel_type":"m.replace","event_id":%q}}`, hit)
		do(f, roomapi.Send, roomapi.SendRequest{RoomID: room, Sender: bob, Type: "m.room.message", Content: []byte(content)})
		do(f, roomapi.UpdateProfile, roomapi.UpdateProfileRequest{UserID: bob, Profile: roomapi.Profile{DisplayName: "Bob now"}})
		f.indexed()
		page := do(f, roomapi.Search, roomapi.SearchRequest{
			UserID: alice, Term: "needle", Ignored: []string{carol}, Context: &roomapi.SearchContext{Before: 1, After: 2, Profiles: true},
		})
		if len(page.Results) != 1 || page.Results[0].RoomID != room || page.Results[0].Rank <= 0 {
			t.Fatalf("results: %+v", page.Results)
		}
		r := page.Results[0]
		bodies := func(events []*roomapi.Event) (list []string) {
			for _, e := range events {
				body, _ := pdu.GetString(e.Content(), "body")
				list = append(list, body)
			}
			return list
		}
		if got := bodies(r.Before); !slices.Equal(got, []string{"one"}) {
			t.Errorf("before: %q", got)
		}
		// Of carol, whom alice ignores, the join is shown, but not what she says.
		if len(r.After) != 1 || r.After[0].Membership != "join" {
			t.Errorf("after: %q", bodies(r.After))
		}
		if !strings.Contains(string(r.Event.Relations), "m.replace") {
			t.Errorf("the edit is not bundled: %s", r.Event.Relations)
		}
		names := map[string]string{}
		for _, p := range r.Profiles {
			names[p.UserID] = p.Profile.DisplayName
		}
		if names[bob] != "Bob then" || names[alice] != "Alice" {
			t.Errorf("profiles: %v", names)
		}
		before := do(f, roomapi.Messages, roomapi.MessagesRequest{RoomID: room, UserID: alice, Backwards: true, From: r.Start, Limit: 1})
		if len(before.Events) != 1 || before.Events[0].StateKey == nil || *before.Events[0].StateKey != bob {
			t.Errorf("the page before the context begins with %+v", before.Events)
		}
	})
}

// carol0 lets carol join and returns her id.
func carol0(f *fixture, room string) string {
	f.join(room, carol)
	return carol
}

// Results whose sum is larger than an answer come on several pages.
func TestSearchAnswersAreBounded(t *testing.T) {
	f := newFixture(t, t.TempDir(), "", false) // over NATS, which bounds what it carries
	room := f.create(roomapi.CreateRequest{Creator: alice})
	for i := range 24 {
		f.send(room, alice, fmt.Sprint(i), fmt.Sprintf("n%d needle ", i)+strings.Repeat("x ", 29_000))
	}
	f.indexed()
	req := roomapi.SearchRequest{
		UserID: alice, Term: "needle", Recent: true, Limit: 100, Context: &roomapi.SearchContext{Before: 20, After: 20},
	}
	got := f.found(req)
	if len(got) != 24 || !strings.HasPrefix(got[0], "n23 ") || !strings.HasPrefix(got[23], "n0 ") {
		t.Errorf("found %d", len(got))
	}
	if first := do(f, roomapi.Search, req); first.Next == "" || len(first.Results) == 0 {
		t.Error("all in one answer")
	}
}

func TestSearchIndexIsBuiltAgain(t *testing.T) {
	f := newFixture(t, t.TempDir(), "", true)
	room := f.create(roomapi.CreateRequest{Creator: alice})
	f.send(room, alice, "1", "kept word")
	gone := f.send(room, alice, "2", "redacted word")
	do(f, roomapi.Redact, roomapi.RedactRequest{RoomID: room, Sender: alice, EventID: gone})
	f.indexed()
	f.restart()
	f.indexed()
	if got := f.found(roomapi.SearchRequest{UserID: alice, Term: "word"}); !slices.Equal(got, []string{"kept word"}) {
		t.Errorf("after a restart: %q", got)
	}
	f.stop()
	files, err := filepath.Glob(filepath.Join(f.dir, "search.db*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no index: %v", err)
	}
	for _, name := range files {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	f.start()
	f.indexed()
	if got := f.found(roomapi.SearchRequest{UserID: alice, Term: "word"}); !slices.Equal(got, []string{"kept word"}) {
		t.Errorf("built again: %q", got)
	}
}
