package rooms

import (
	"fmt"
	"net/url"
	"slices"
	"testing"
)

// relate sends a message that relates to another.
func (u *user) relate(room, txn, rel, event string) string {
	u.t.Helper()
	return u.must("PUT", in(room)+"/send/m.room.message/"+txn, fmt.Sprintf(
		`{"msgtype":"m.text","body":"child","m.relates_to":{"rel_type":%q,"event_id":%q}}`, rel, event)).text("event_id")
}

func TestFilterByChildren(t *testing.T) {
	each(t, func(t *testing.T, s *server) {
		alice, bob := s.user("alice"), s.user("bob")
		room := alice.create(`{"preset":"public_chat"}`)
		bob.join(room)
		alice.send(room, "1", "tea alone")
		threaded, referred := alice.send(room, "2", "tea threaded"), alice.send(room, "3", "tea referred")
		bob.relate(room, "4", "m.thread", threaded)
		alice.relate(room, "5", "m.reference", referred)
		last := alice.send(room, "6", "last tea")
		alice.found("/search", `{"search_term":"last"}`)
		for filter, want := range map[string][]string{
			`{"related_by_rel_types":["m.thread"]}`:                                      {"tea threaded"},
			`{"related_by_rel_types":["m.reference","m.thread"]}`:                        {"tea threaded", "tea referred"},
			`{"related_by_senders":["` + alice.id + `"]}`:                                {"tea referred"},
			`{"related_by_senders":["` + alice.id + `"],"related_by_rel_types":["m.x"]}`: {},
		} {
			q := url.QueryEscape(filter)
			if got := alice.must("GET", in(room)+"/messages?dir=f&limit=100&filter="+q, "").bodies("chunk"); !slices.Equal(got, want) {
				t.Errorf("messages %s: %q", filter, got)
			}
			if got := alice.must("GET", in(room)+"/context/"+url.PathEscape(last)+"?limit=100&filter="+q, "").bodies("events_before"); len(got) != len(want) {
				t.Errorf("context %s: %q", filter, got)
			}
			whole := alice.must("GET", "/sync?filter="+url.QueryEscape(`{"room":{"timeline":`+filter+`}}`), "")
			if got := whole.bodies("rooms", "join", room, "timeline", "events"); !slices.Equal(got, want) {
				t.Errorf("sync %s: %q", filter, got)
			}
			a := alice.must("POST", "/search", `{"search_categories":{"room_events":{"search_term":"tea","order_by":"recent","filter":`+filter+`}}}`)
			a.body = a.at("search_categories", "room_events")
			got := results(a)
			slices.Reverse(got)
			if !slices.Equal(got, want) {
				t.Errorf("search %s: %q", filter, got)
			}
		}
		// What comes later is selected too, by what relates to it then.
		filter := url.QueryEscape(`{"room":{"timeline":{"related_by_rel_types":["m.thread"]}}}`)
		since := alice.must("GET", "/sync?filter="+filter, "").text("next_batch")
		later := alice.send(room, "7", "later")
		bob.relate(room, "8", "m.thread", later)
		next := alice.must("GET", "/sync?filter="+filter+"&since="+since, "")
		if got := next.bodies("rooms", "join", room, "timeline", "events"); !slices.Equal(got, []string{"later"}) {
			t.Errorf("later: %q in %s", got, next.raw)
		}
		for _, bad := range []string{`{"related_by_rel_types":5}`, `{"related_by_senders":{}}`, `{"related_by_senders":[1]}`} {
			alice.refused(400, "M_BAD_JSON", "GET", in(room)+"/messages?dir=f&filter="+url.QueryEscape(bad), "")
			alice.refused(400, "M_BAD_JSON", "POST", "/user/"+alice.id+"/filter", `{"room":{"timeline":`+bad+`}}`)
			alice.refused(400, "M_BAD_JSON", "POST", "/search", `{"search_categories":{"room_events":{"search_term":"tea","filter":`+bad+`}}}`)
		}
	})
}
