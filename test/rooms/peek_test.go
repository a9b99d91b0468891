package rooms

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// open is a room in which everybody may read along.
func open(visibility string) string {
	return `{"preset":"public_chat","initial_state":[{"type":"m.room.guest_access","content":{"guest_access":"can_join"}},` +
		`{"type":"m.room.history_visibility","content":{"history_visibility":"` + visibility + `"}}]}`
}

// TestPeeking asks every endpoint that reads a room as everybody who may stand in some
// relation to it ("Guest Access", "Room History Visibility" and "Room Previews").
func TestPeeking(t *testing.T) {
	each(t, func(t *testing.T, s *server) {
		alice, stranger, guest := s.user("alice"), s.user("stranger"), s.guest()
		former, banned, invited, declined := s.user("former"), s.user("banned"), s.user("invited"), s.user("declined")
		type room struct{ id, first, last string }
		make := func(before, after string) room {
			r := room{id: alice.create(open(before))}
			r.first = alice.send(r.id, "1", "first")
			for _, u := range []*user{former, banned} {
				u.join(r.id)
			}
			for _, u := range []*user{invited, declined} {
				alice.must("POST", in(r.id)+"/invite", `{"user_id":"`+u.id+`"}`)
			}
			former.leave(r.id)
			declined.leave(r.id)
			alice.must("POST", in(r.id)+"/ban", `{"user_id":"`+banned.id+`"}`)
			if after != before {
				alice.must("PUT", in(r.id)+"/state/m.room.history_visibility", `{"history_visibility":"`+after+`"}`)
			}
			r.last = alice.send(r.id, "2", "last")
			return r
		}
		readable, closed := make("world_readable", "world_readable"), make("shared", "shared")
		was, became := make("world_readable", "joined"), make("joined", "world_readable")
		encode := func(id string) string { return strings.ReplaceAll(id, "$", "%24") }

		// What is asked, and whether it is about the present (one who left sees the past),
		// about an event, or for members only.
		const present, first, last, members = 0, 1, 2, 3
		asks := []struct {
			what int
			path func(r room) string
		}{
			{present, func(r room) string { return "/state" }},
			{present, func(r room) string { return "/state/m.room.create" }},
			{present, func(r room) string { return "/state/m.room.member/" + alice.id + "?format=event" }},
			{present, func(r room) string { return "/members" }},
			{present, func(r room) string { return "/members?membership=join" }},
			{present, func(r room) string { return "/messages?dir=b" }},
			{present, func(r room) string { return "/messages?dir=f" }},
			{present, func(r room) string { return "/initialSync" }},
			{first, func(r room) string { return "/event/" + encode(r.first) }},
			{first, func(r room) string { return "/context/" + encode(r.first) }},
			{last, func(r room) string { return "/event/" + encode(r.last) }},
			{last, func(r room) string { return "/context/" + encode(r.last) }},
			{members, func(r room) string { return "/joined_members" }},
		}
		people := []struct {
			name string
			*user
			was bool // a member, once
		}{
			{"stranger", stranger, false}, {"guest", guest, false}, {"former", former, true}, {"banned", banned, true},
			{"invited", invited, false}, {"declined", declined, false},
		}
		for _, c := range []struct {
			name        string
			room        room
			now         bool // everybody may read it now
			first, last bool // everybody may read these
			had         bool // those who were members may read first
		}{
			{"world readable", readable, true, true, true, true},
			{"shared", closed, false, false, false, true},
			{"world readable, then joined", was, false, true, false, true},
			{"joined, then world readable", became, true, false, true, false},
		} {
			for _, p := range people {
				for _, ask := range asks {
					path := ask.path(c.room)
					if p.name == "guest" && ask.what == members { // not an endpoint for guests
						p.refused(403, "M_GUEST_ACCESS_FORBIDDEN", "GET", in(c.room.id)+path, "")
						continue
					}
					want := 200
					switch {
					case ask.what == members:
						want = 403
					case ask.what == present && !c.now && !p.was:
						want = 403
					case ask.what == first && !c.first && !(p.was && c.had), ask.what == last && !c.last:
						want = 404
					}
					// One who was invited sees that much: the invitation shows in the timeline.
					if p.name == "invited" && strings.HasPrefix(path, "/messages") {
						want = 200
					}
					if a := p.do("GET", in(c.room.id)+path, ""); a.status != want {
						t.Errorf("%s, %s: %s: %d %.120s, want %d", c.name, p.name, path, a.status, a.raw, want)
					}
				}
			}
			for _, ask := range asks {
				alice.must("GET", in(c.room.id)+ask.path(c.room), "")
			}
		}
		for _, p := range people {
			if p.name == "guest" {
				continue
			}
			for _, r := range []room{readable, closed, was, became} {
				p.refused(403, "M_FORBIDDEN", "PUT", in(r.id)+"/send/m.room.message/x", `{"body":"x","msgtype":"m.text"}`)
			}
		}
		guest.refused(403, "M_FORBIDDEN", "PUT", in(readable.id)+"/send/m.room.message/x", `{"body":"x","msgtype":"m.text"}`)
		if got := stranger.must("GET", in(became.id)+"/messages?dir=b&limit=100", "").bodies("chunk"); !slices.Equal(got, []string{"last"}) {
			t.Errorf("of a room that became world readable a stranger sees %q", got)
		}
		if got := former.must("GET", in(closed.id)+"/messages?dir=b&limit=100", "").bodies("chunk"); !slices.Equal(got, []string{"first"}) {
			t.Errorf("a former member sees %q", got)
		}
		guest.join(readable.id)
		guest.send(readable.id, "g", "hello")
	})
}

// Of the state, one who left sees how it was then, also in the list of members.
func TestStateAtDeparture(t *testing.T) {
	each(t, func(t *testing.T, s *server) {
		alice, bob := s.user("alice"), s.user("bob")
		room := alice.create(`{"preset":"public_chat","topic":"then"}`)
		bob.join(room)
		bob.leave(room)
		alice.must("PUT", in(room)+"/state/m.room.topic", `{"topic":"now"}`)
		s.user("carol").join(room)
		if got := bob.must("GET", in(room)+"/state/m.room.topic", "").text("topic"); got != "then" {
			t.Errorf("the topic is %q", got)
		}
		if n := len(bob.must("GET", in(room)+"/members?not_membership=leave", "").list("chunk")); n != 1 {
			t.Errorf("%d members", n)
		}
		if n := len(bob.must("GET", in(room)+"/members", "").list("chunk")); n != 2 {
			t.Errorf("%d members with the one who left", n)
		}
		if n := len(alice.must("GET", in(room)+"/members?membership=join", "").list("chunk")); n != 2 {
			t.Errorf("%d joined members now", n)
		}
		at := alice.must("GET", in(room)+"/messages?dir=f&limit=3", "").text("end")
		if n := len(alice.must("GET", in(room)+fmt.Sprintf("/members?at=%s", at), "").list("chunk")); n != 1 {
			t.Errorf("%d members at the beginning", n)
		}
	})
}
