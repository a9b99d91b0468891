package rooms

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// found waits until a search finds something, and returns the category of its answer.
func (u *user) found(path, events string) *answer {
	u.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		a := u.must("POST", path, `{"search_categories":{"room_events":`+events+`}}`)
		a.body = a.at("search_categories", "room_events")
		if len(a.list("results")) > 0 || time.Now().After(end) {
			return a
		}
	}
}

// results are the bodies of what was found.
func results(a *answer) []string {
	found := []string{}
	for i := range a.list("results") {
		found = append(found, a.text("results", i, "result", "content", "body"))
	}
	return found
}

func TestSearch(t *testing.T) {
	each(t, func(t *testing.T, s *server) {
		alice, bob := s.user("alice"), s.user("bob")
		alice.must("PUT", "/profile/"+alice.id+"/displayname", `{"displayname":"Alice"}`)
		den, loft := alice.create(`{"preset":"public_chat","name":"Den"}`), alice.create(`{"preset":"public_chat"}`)
		bob.join(den)
		alice.send(den, "1", "apples one")
		bob.send(den, "2", "two apples, bob's")
		alice.send(loft, "3", "apples three")
		alice.send(loft, "4", "last apples")
		words := `"search_term":"apples","order_by":"recent","filter":{"limit":3}`
		for end := time.Now().Add(10 * time.Second); !slices.Contains(results(alice.found("/search", `{`+words+`}`)), "last apples"); {
			if time.Now().After(end) {
				t.Fatal("the last message is not found")
			}
		}
		grouped := `{` + words + `,"groupings":{"group_by":[{"key":"room_id"},{"key":"sender"}]},"include_state":true,` +
			`"event_context":{"before_limit":1,"after_limit":1,"include_profile":true}}`
		a := alice.found("/search", grouped)
		if got := results(a); !slices.Equal(got, []string{"last apples", "apples three", "two apples, bob's"}) {
			t.Fatalf("found %q", got)
		}
		if a.at("count") != 4.0 || a.text("highlights", 0) != "apples" || a.at("results", 0, "rank").(float64) <= 0 {
			t.Errorf("count %v, highlights %v, rank %v", a.at("count"), a.at("highlights"), a.at("results", 0, "rank"))
		}
		if a.text("results", 0, "result", "room_id") != loft || a.text("results", 0, "result", "event_id") == "" {
			t.Errorf("result %v", a.at("results", 0, "result"))
		}
		context := func(i int, keys ...any) any { return a.at(append([]any{"results", i, "context"}, keys...)...) }
		if context(0, "events_before", 0, "content", "body") != "apples three" || len(context(0, "events_after").([]any)) != 0 {
			t.Errorf("context %v", context(0))
		}
		if context(0, "profile_info", alice.id, "displayname") != "Alice" {
			t.Errorf("profiles %v", context(0, "profile_info"))
		}
		before := alice.must("GET", in(loft)+"/messages?dir=b&from="+context(0, "start").(string), "")
		if got := before.bodies("chunk"); len(got) != 0 || len(before.list("chunk")) == 0 {
			t.Errorf("before the context: %q", got)
		}
		if n := len(a.list("state", loft)); n < 5 || len(a.list("state", den)) < 6 {
			t.Errorf("%d events of state", n)
		}
		if a.at("groups", "room_id", loft, "order") != 0.0 || a.at("groups", "room_id", den, "order") != 1.0 ||
			len(a.list("groups", "room_id", loft, "results")) != 2 || len(a.list("groups", "sender", bob.id, "results")) != 1 {
			t.Errorf("groups %v", a.at("groups"))
		}
		next := func(token string) []string {
			b := alice.found("/search?next_batch="+url.QueryEscape(token), `{`+words+`}`)
			return results(b)
		}
		if got := next(a.text("next_batch")); !slices.Equal(got, []string{"apples one"}) {
			t.Errorf("the next page: %q", got)
		}
		if got := next(a.text("groups", "sender", alice.id, "next_batch")); !slices.Equal(got, []string{"apples one"}) {
			t.Errorf("the next page of alice: %q", got)
		}
		if last := alice.found("/search?next_batch="+a.text("next_batch"), grouped); last.at("next_batch") != nil || last.at("groups", "room_id", den, "next_batch") != nil {
			t.Errorf("after the last page: %s", last.raw)
		}
		alice.must("PUT", "/user/"+alice.id+"/account_data/m.ignored_user_list", fmt.Sprintf(`{"ignored_users":{%q:{}}}`, bob.id))
		if got := results(alice.found("/search", `{`+words+`}`)); !slices.Equal(got, []string{"last apples", "apples three", "apples one"}) {
			t.Errorf("with bob ignored: %q", got)
		}
	})
}

func TestBadSearches(t *testing.T) {
	s := start(t, true)
	alice := s.user("alice")
	for body, code := range map[string]string{
		`{}`:                       "M_MISSING_PARAM",
		`{"search_categories":[]}`: "M_BAD_JSON",
		`{"search_categories":{"room_events":{}}}`:                                                         "M_MISSING_PARAM",
		`{"search_categories":{"room_events":{"search_term":5}}}`:                                          "M_BAD_JSON",
		`{"search_categories":{"room_events":{"search_term":"a","keys":["content.x"]}}}`:                   "M_INVALID_PARAM",
		`{"search_categories":{"room_events":{"search_term":"a","order_by":"age"}}}`:                       "M_INVALID_PARAM",
		`{"search_categories":{"room_events":{"search_term":"a","filter":{"limit":0}}}}`:                   "M_INVALID_PARAM",
		`{"search_categories":{"room_events":{"search_term":"a","filter":{"limit":"1"}}}}`:                 "M_BAD_JSON",
		`{"search_categories":{"room_events":{"search_term":"a","groupings":{"group_by":[{"key":"x"}]}}}}`: "M_INVALID_PARAM",
		`{"search_categories":{"room_events":{"search_term":"a","event_context":{"before_limit":"x"}}}}`:   "M_BAD_JSON",
		`{"search_categories":{"room_events":{"search_term":"a","filter":{"rooms":[5]}}}}`:                 "M_BAD_JSON",
		`{"search_categories":{"room_events":{"search_term":"` + strings.Repeat("a", 1001) + `"}}}`:        "M_INVALID_PARAM",
	} {
		alice.refused(400, code, "POST", "/search", body)
	}
	ok := `{"search_categories":{"room_events":{"search_term":"a"}}}`
	for _, token := range []string{"x", "!", "AAAA", "Cgo", "MV8xCngKeQ", "MV8xCnJvb21faWQK"} {
		alice.refused(400, "M_INVALID_PARAM", "POST", "/search?next_batch="+url.QueryEscape(token), ok)
	}
	a := alice.must("POST", "/search", ok)
	if a.at("search_categories", "room_events", "count") != 0.0 || len(a.list("search_categories", "room_events", "results")) != 0 {
		t.Errorf("%s", a.raw)
	}
	if a := alice.must("POST", "/search", `{"search_categories":{"x":{}}}`); a.raw != `{"search_categories":{}}` {
		t.Errorf("%s", a.raw)
	}
	guest := s.guest()
	guest.refused(403, "M_GUEST_ACCESS_FORBIDDEN", "POST", "/search", ok)
}
