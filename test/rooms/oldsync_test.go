package rooms

import (
	"fmt"
	"net/url"
	"slices"
	"testing"
	"time"
)

// room finds a room in the answer of /initialSync.
func (a *answer) room(id string) *answer {
	for _, r := range a.list("rooms") {
		if r.(map[string]any)["room_id"] == id {
			return &answer{t: a.t, body: r, raw: a.raw}
		}
	}
	return nil
}

func TestInitialSync(t *testing.T) {
	each(t, func(t *testing.T, s *server) {
		alice, bob := s.user("alice"), s.user("bob")
		room := alice.create(`{"preset":"public_chat","visibility":"public","name":"Den"}`)
		bob.join(room)
		for i := range 4 {
			alice.send(room, fmt.Sprint(i), fmt.Sprint("message ", i))
		}
		left, invited, declined := alice.create(`{"preset":"public_chat","topic":"then"}`), alice.create(`{}`), alice.create(`{}`)
		bob.join(left)
		bob.leave(left)
		alice.must("PUT", in(left)+"/state/m.room.topic", `{"topic":"now"}`)
		for _, id := range []string{invited, declined} {
			alice.must("POST", in(id)+"/invite", `{"user_id":"`+bob.id+`"}`)
		}
		bob.leave(declined)
		bob.must("PUT", "/user/"+bob.id+"/account_data/org.example.a", `{"a":1}`)
		bob.must("PUT", "/user/"+bob.id+"/rooms/"+url.PathEscape(room)+"/account_data/org.example.b", `{"b":2}`)

		a := bob.must("GET", "/initialSync?limit=2", "")
		if len(a.list("rooms")) != 2 || a.at("presence") == nil || a.text("account_data", 0, "type") != "org.example.a" {
			t.Errorf("%s", a.raw)
		}
		r := a.room(room)
		if got := r.bodies("messages", "chunk"); !slices.Equal(got, []string{"message 2", "message 3"}) {
			t.Errorf("the last messages are %q", got)
		}
		if r.text("membership") != "join" || r.text("visibility") != "public" || r.at("account_data", 0, "content", "b") != 2.0 ||
			len(r.list("account_data")) != 1 || len(r.list("state")) < 8 {
			t.Errorf("room: %v", r.body)
		}
		earlier := bob.must("GET", in(room)+"/messages?dir=b&limit=1&from="+r.text("messages", "start"), "")
		if got := earlier.bodies("chunk"); !slices.Equal(got, []string{"message 1"}) {
			t.Errorf("before the first message: %q", got)
		}
		i := a.room(invited)
		if i.text("membership") != "invite" || i.text("invite", "content", "membership") != "invite" || i.text("invite", "event_id") == "" {
			t.Errorf("invited: %v", i.body)
		}
		a = bob.must("GET", "/initialSync?archived=true&limit=0", "")
		if l := a.room(left); l.text("membership") != "leave" || len(l.list("messages", "chunk")) != 0 || topic(l) != "then" {
			t.Errorf("left: %v", l.body)
		}
		if d := a.room(declined); d.text("membership") != "leave" || len(a.list("rooms")) != 4 {
			t.Errorf("declined: %v", d.body)
		}
		one := bob.must("GET", in(room)+"/initialSync?limit=1", "")
		if got := one.bodies("messages", "chunk"); !slices.Equal(got, []string{"message 3"}) || one.text("room_id") != room ||
			one.text("membership") != "join" || len(one.list("account_data")) != 1 {
			t.Errorf("%s", one.raw)
		}
		bob.refused(403, "M_FORBIDDEN", "GET", in(declined)+"/initialSync", "")
		bob.refused(403, "M_FORBIDDEN", "GET", in("!unknown:"+name)+"/initialSync", "")
		bob.refused(400, "M_INVALID_PARAM", "GET", "/initialSync?limit=x", "")
	})
}

// topic is the topic in the state of a room.
func topic(r *answer) string {
	for i := range r.list("state") {
		if r.text("state", i, "type") == "m.room.topic" {
			return r.text("state", i, "content", "topic")
		}
	}
	return ""
}

func TestEvents(t *testing.T) {
	each(t, func(t *testing.T, s *server) {
		alice, bob, carol := s.user("alice"), s.user("bob"), s.user("carol")
		one, two, others := alice.create(`{"preset":"public_chat"}`), alice.create(`{"preset":"public_chat"}`), alice.create(`{"preset":"public_chat"}`)
		for _, id := range []string{one, two} {
			bob.join(id)
		}
		from := bob.must("GET", "/initialSync", "").text("end")
		if a := bob.must("GET", "/events?timeout=0&from="+from, ""); len(a.list("chunk")) != 0 || a.text("start") != from {
			t.Errorf("nothing new: %s", a.raw)
		}
		alice.send(one, "1", "a")
		alice.send(others, "2", "not for bob")
		alice.send(two, "3", "b")
		alice.send(one, "4", "c")
		a := bob.must("GET", "/events?from="+from, "")
		if got := a.bodies("chunk"); !slices.Equal(got, []string{"a", "b", "c"}) || a.text("chunk", 1, "room_id") != two {
			t.Errorf("events: %s", a.raw)
		}
		from = a.text("end")

		// What wakes one who waits: a message, an invitation, one's own leaving.
		private := alice.create(`{}`)
		for _, c := range []struct {
			act  func()
			room string
		}{
			{func() { alice.send(two, "5", "d") }, two},
			{func() { alice.must("POST", in(private)+"/invite", `{"user_id":"`+bob.id+`"}`) }, private},
			{func() { alice.must("POST", in(one)+"/kick", `{"user_id":"`+bob.id+`"}`) }, one},
			{func() { bob.join(others) }, others},
		} {
			begin := time.Now()
			waiting := make(chan *answer, 1)
			go func() { waiting <- bob.do("GET", "/events?timeout=20000&from="+from, "") }()
			select {
			case a := <-waiting:
				t.Fatalf("answered before anything happened: %s", a.raw)
			case <-time.After(50 * time.Millisecond):
			}
			c.act()
			a = <-waiting
			if took := time.Since(begin); took > 10*time.Second {
				t.Errorf("woken after %v", took)
			}
			if n := len(a.list("chunk")); n == 0 || a.text("chunk", n-1, "room_id") != c.room {
				t.Errorf("in %s: %d %s", c.room, a.status, a.raw)
			}
			from = a.text("end")
		}
		begin := time.Now()
		if a = bob.must("GET", "/events?timeout=300&from="+from, ""); len(a.list("chunk")) != 0 || time.Since(begin) < 250*time.Millisecond {
			t.Errorf("after %v: %s", time.Since(begin), a.raw)
		}
		alice.send(one, "6", "after bob was kicked")
		if a = bob.must("GET", "/events?timeout=0&from="+from, ""); len(a.list("chunk")) != 0 {
			t.Errorf("of a room that was left: %s", a.raw)
		}

		// More than one answer holds, in several rooms: all come, in order.
		want := []string{}
		for i := range 260 {
			want = append(want, fmt.Sprint("n", i))
			alice.send([]string{two, others}[i%2], fmt.Sprint("n", i), want[i])
		}
		got := []string{}
		for {
			a = bob.must("GET", "/events?timeout=0&from="+from, "")
			if len(a.list("chunk")) == 0 {
				break
			}
			got = append(got, a.bodies("chunk")...)
			from = a.text("end")
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d of %d events, or out of order", len(got), len(want))
		}
		bob.must("PUT", "/user/"+bob.id+"/account_data/m.ignored_user_list", fmt.Sprintf(`{"ignored_users":{%q:{}}}`, alice.id))
		alice.send(two, "7", "to deaf ears")
		if a = bob.must("GET", "/events?timeout=0&from="+from, ""); len(a.list("chunk")) != 0 {
			t.Errorf("of an ignored user: %s", a.raw)
		}
		for _, bad := range []string{"from=x", "from=szzzzzzzz", "timeout=x", "room_id=x"} {
			carol.refused(400, "M_INVALID_PARAM", "GET", "/events?"+bad+"&timeout=0", "")
		}
	})
}

func TestPeekingEvents(t *testing.T) {
	each(t, func(t *testing.T, s *server) {
		alice, guest := s.user("alice"), s.guest()
		room, closed := alice.create(open("world_readable")), alice.create(open("shared"))
		from := guest.must("GET", in(room)+"/initialSync", "").text("messages", "end")
		waiting := make(chan *answer, 1)
		go func() {
			waiting <- guest.do("GET", "/events?timeout=20000&room_id="+url.QueryEscape(room)+"&from="+from, "")
		}()
		time.Sleep(50 * time.Millisecond)
		alice.send(closed, "1", "elsewhere")
		alice.send(room, "2", "hello")
		a := <-waiting
		if got := a.bodies("chunk"); !slices.Equal(got, []string{"hello"}) {
			t.Errorf("%d %s", a.status, a.raw)
		}
		guest.refused(403, "M_FORBIDDEN", "GET", "/events?timeout=0&room_id="+url.QueryEscape(closed), "")
		guest.refused(403, "M_FORBIDDEN", "GET", "/events?timeout=0&room_id="+url.QueryEscape("!unknown:"+name), "")
	})
}

func TestOneEvent(t *testing.T) {
	each(t, func(t *testing.T, s *server) {
		alice, bob := s.user("alice"), s.user("bob")
		room := alice.create(`{"preset":"public_chat"}`)
		event := alice.send(room, "1", "hello")
		a := alice.must("GET", "/events/"+url.PathEscape(event), "")
		if a.text("event_id") != event || a.text("room_id") != room || a.text("content", "body") != "hello" {
			t.Errorf("%s", a.raw)
		}
		bob.refused(404, "M_NOT_FOUND", "GET", "/events/"+url.PathEscape(event), "")
		bob.refused(404, "M_NOT_FOUND", "GET", "/events/%24unknown", "")
	})
}
