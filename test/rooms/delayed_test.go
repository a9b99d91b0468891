package rooms

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

const delays = "/_matrix/client/unstable/org.matrix.msc4140"

// eventually waits until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// later schedules a message and returns the id of the delay.
func (u *user) later(room, txn, body string, ms int) string {
	u.t.Helper()
	return u.must("PUT", fmt.Sprintf("%s/send/m.room.message/%s?org.matrix.msc4140.delay=%d", in(room), txn, ms),
		fmt.Sprintf(`{"msgtype":"m.text","body":%q}`, body)).text("delay_id")
}

func (u *user) said(room, body string) func() bool {
	return func() bool {
		return slices.Contains(u.must("GET", in(room)+"/messages?dir=b&limit=100", "").bodies("chunk"), body)
	}
}

func TestDelayedEvents(t *testing.T) {
	each(t, func(t *testing.T, s *server) {
		alice, bob := s.user("alice"), s.user("bob")
		room := alice.create(`{"preset":"public_chat"}`)
		bob.join(room)

		// The time comes by itself; the sender is told which delay it was.
		start := time.Now()
		id := alice.later(room, "1", "in time", 300)
		if again := alice.later(room, "1", "in time", 300); again != id || id == "" {
			t.Errorf("the same request gives %q and %q", id, again)
		}
		if alice.said(room, "in time")() {
			t.Error("sent at once")
		}
		eventually(t, "the event is sent", alice.said(room, "in time"))
		if took := time.Since(start); took < 300*time.Millisecond {
			t.Errorf("sent after %v", took)
		}
		if n := strings.Count(alice.must("GET", in(room)+"/messages?dir=b", "").raw, `"body":"in time"`); n != 1 {
			t.Errorf("sent %d times", n)
		}
		own := alice.must("GET", in(room)+"/messages?dir=b&limit=1", "")
		if own.text("chunk", 0, "unsigned", "org.matrix.msc4140.delay_id") != id || own.at("chunk", 0, "unsigned", "transaction_id") != nil {
			t.Errorf("alice sees %s", own.raw)
		}
		if other := bob.must("GET", in(room)+"/messages?dir=b&limit=1", ""); strings.Contains(other.raw, id) {
			t.Errorf("bob sees %s", other.raw)
		}
		eventually(t, "the outcome is known", func() bool {
			return alice.must("GET", delays+"/delayed_events/"+id, "").text("event_id") == own.text("chunk", 0, "event_id")
		})

		// State, in the other form; what is asked for.
		state := alice.must("PUT", delays+in(room)+"/delayed_event/m.room.topic/2", `{"delay_ms":60000,"state_key":"","content":{"topic":"later"}}`).text("delay_id")
		one := alice.must("GET", delays+"/delayed_events/"+state, "")
		if one.text("room_id") != room || one.text("type") != "m.room.topic" || one.at("state_key") != "" || one.at("delay_ms") != 60000.0 ||
			one.text("content", "topic") != "later" || one.at("scheduled_at") == nil || one.at("finalised_ts") != nil {
			t.Errorf("one: %s", one.raw)
		}
		third := alice.later(room, "3", "later still", 90000)
		list := alice.must("GET", delays+"/delayed_events?status=scheduled", "")
		if len(list.list("delayed_events")) != 2 || list.text("delayed_events", 0, "delay_id") != state || list.text("scheduled", 1, "delay_id") != third {
			t.Errorf("list: %s", list.raw)
		}
		for _, path := range []string{"/delayed_events/" + state, "/delayed_events/none"} {
			bob.refused(404, "M_NOT_FOUND", "GET", delays+path, "")
			bob.refused(404, "M_NOT_FOUND", "POST", delays+path+"/send", "")
		}
		before := one.at("scheduled_at").(float64)
		time.Sleep(5 * time.Millisecond)
		alice.must("POST", delays+"/delayed_events/"+state+"/restart", "")
		if now := alice.must("GET", delays+"/delayed_events/"+state, "").at("scheduled_at").(float64); now <= before {
			t.Errorf("restarted at %v, scheduled at %v", now, before)
		}
		alice.must("POST", delays+"/delayed_events/"+state, `{"action":"send"}`)
		if topic := alice.must("GET", in(room)+"/state/m.room.topic", "").text("topic"); topic != "later" {
			t.Errorf("the topic is %q", topic)
		}
		alice.must("POST", delays+"/delayed_events/"+third+"/cancel", "")
		for _, c := range []struct {
			id, action string
			conflict   bool
		}{{state, "send", false}, {state, "cancel", true}, {state, "restart", true}, {third, "cancel", false}, {third, "send", true}, {third, "restart", true}} {
			path := delays + "/delayed_events/" + c.id + "/" + c.action
			if c.conflict {
				alice.refused(409, "M_UNKNOWN", "POST", path, "")
			} else {
				alice.must("POST", path, "")
			}
		}
		ended := alice.must("GET", delays+"/delayed_events?status=finalised", "")
		if len(ended.list("finalised")) != 3 || ended.text("finalised", 0, "outcome") != "cancel" || ended.text("finalised", 1, "reason") != "action" ||
			ended.text("finalised", 2, "reason") != "delay" {
			t.Errorf("ended: %s", ended.raw)
		}

		// Whether it may be sent is seen when it is sent.
		refused := bob.must("PUT", in(room)+"/state/m.room.topic?org.matrix.msc4140.delay=1", `{"topic":"bob's"}`).text("delay_id")
		eventually(t, "the error is known", func() bool {
			return bob.must("GET", delays+"/delayed_events/"+refused, "").text("error", "errcode") == "M_FORBIDDEN"
		})
		waiting := bob.must("PUT", in(room)+"/state/m.room.topic?org.matrix.msc4140.delay=60000", `{"topic":"bob's"}`).text("delay_id")
		bob.refused(403, "M_FORBIDDEN", "POST", delays+"/delayed_events/"+waiting+"/send", "")
		if bob.must("GET", delays+"/delayed_events/"+waiting, "").at("finalised_ts") != nil {
			t.Error("an event that could not be sent yet is not scheduled any more")
		}
	})
}

func TestDelayedEventsRefused(t *testing.T) {
	s := start(t, true)
	alice := s.user("alice")
	room := alice.create(`{}`)
	send := in(room) + "/send/m.room.message/x?org.matrix.msc4140.delay="
	alice.refused(400, "M_INVALID_PARAM", "PUT", send+"0", `{}`)
	alice.refused(400, "M_INVALID_PARAM", "PUT", send+"-5", `{}`)
	alice.refused(400, "M_INVALID_PARAM", "PUT", send+"soon", `{}`)
	alice.refused(403, "M_FORBIDDEN", "PUT", send+"9007199254740991", `{}`)
	alice.refused(400, "M_BAD_JSON", "PUT", send+"5", `[]`)
	alice.refused(413, "M_TOO_LARGE", "PUT", send+"5", `{"body":"`+strings.Repeat("x", 66_000)+`"}`)
	form := delays + in(room) + "/delayed_event/m.room.message/y"
	alice.refused(400, "M_MISSING_PARAM", "PUT", form, `{"content":{}}`)
	alice.refused(400, "M_MISSING_PARAM", "PUT", form, `{"delay_ms":5}`)
	alice.refused(400, "M_BAD_JSON", "PUT", form, `{"delay_ms":"5","content":{}}`)
	alice.refused(400, "M_BAD_JSON", "PUT", form, `{"delay_ms":5,"content":[]}`)
	alice.refused(400, "M_INVALID_PARAM", "PUT", form, `{"delay_ms":5,"content":{},"state_key":"`+strings.Repeat("x", 256)+`"}`)
	alice.refused(400, "M_INVALID_PARAM", "PUT", form, `{"delay_ms":5,"content":{},"state_key":"\u0000"}`)
	alice.refused(400, "M_INVALID_PARAM", "POST", delays+"/delayed_events/x/wait", "")
	alice.refused(400, "M_MISSING_PARAM", "POST", delays+"/delayed_events/x", "{}")
	nobody := &user{server: s}
	nobody.refused(401, "M_MISSING_TOKEN", "GET", delays+"/delayed_events", "")
	limit := alice.must("GET", "/capabilities", "").at("capabilities", "org.matrix.msc4140.delayed_events", "max_scheduled").(float64)
	for i := range int(limit) {
		alice.later(room, fmt.Sprint("many", i), "many", 60_000)
	}
	a := alice.do("PUT", send+"60000", `{}`)
	if after, _ := a.at("retry_after_ms").(float64); a.status != 429 || a.text("errcode") != "M_LIMIT_EXCEEDED" || after < 1000 || after > 60_000 {
		t.Errorf("one more than the limit: %d %s", a.status, a.raw)
	}
}
