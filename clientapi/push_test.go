package clientapi

import (
	"fmt"
	"strings"
	"testing"
)

func TestChangePushRules(t *testing.T) {
	s := start(t, true, nil)
	token := s.user("alice")
	const global = "/pushrules/global/"
	s.must("PUT", global+"content/cake", token, `{"pattern":"cake","actions":["notify",{"set_tweak":"sound","value":"cakealarm.wav"}]}`)
	s.must("PUT", global+"content/lie?before=cake", token, `{"pattern":"cake*lie","actions":["notify","dont_notify"]}`)
	s.must("PUT", global+"room/%21dj234r78wl45Gh4D%3Amatrix.org", token, `{"actions":[]}`)
	s.must("PUT", global+"sender/@spambot:matrix.org", token, `{"actions":[]}`)
	s.must("PUT", global+"override/beer", token, `{"conditions":[{"kind":"event_match","key":"content.body","pattern":"beer"},
		{"kind":"room_member_count","is":"<=10"}],"actions":["notify",{"set_tweak":"sound","value":"beeroclock.wav"}]}`)
	same(t, "the spec's rule", s.must("GET", global+"content/lie", token, "").raw,
		`{"rule_id":"lie","default":false,"enabled":true,"pattern":"cake*lie","actions":["notify"]}`)
	rules := s.must("GET", "/pushrules/", token, "")
	first := rules.body["global"].(map[string]any)["content"].([]any)[0].(map[string]any)["rule_id"]
	if first != "lie" {
		t.Errorf("order: %s", rules.raw)
	}
	same(t, "account data", s.must("GET", "/user/@alice:test/account_data/m.push_rules", token, "").raw, rules.raw)

	s.must("PUT", global+"override/.m.rule.master/enabled", token, `{"enabled":true}`)
	s.must("PUT", global+"underride/.m.rule.message/actions", token, `{"actions":["notify",{"set_tweak":"highlight"}]}`)
	same(t, "master", s.must("GET", global+"override/.m.rule.master/enabled", token, "").raw, `{"enabled":true}`)
	same(t, "message", s.must("GET", global+"underride/.m.rule.message/actions", token, "").raw, `{"actions":["notify",{"set_tweak":"highlight"}]}`)
	s.must("DELETE", global+"content/cake", token, "")
	for _, c := range []struct {
		status             int
		code, method, path string
		body               string
	}{
		{404, "M_NOT_FOUND", "GET", global + "content/cake", ``},
		{404, "M_NOT_FOUND", "DELETE", global + "content/cake", ``},
		{404, "M_NOT_FOUND", "PUT", global + "content/cake/enabled", `{"enabled":true}`},
		{404, "M_NOT_FOUND", "PUT", global + "content/cake/actions", `{"actions":[]}`},
		{400, "M_MISSING_PARAM", "PUT", global + "content/lie/enabled", `{}`},
		{400, "M_BAD_JSON", "PUT", global + "content/lie/enabled", `{"enabled":"yes"}`},
		{400, "M_MISSING_PARAM", "PUT", global + "content/lie/actions", `{}`},
		{400, "M_MISSING_PARAM", "PUT", global + "content/x", `{"actions":[]}`},
		{400, "M_MISSING_PARAM", "PUT", global + "override/x", `{}`},
		{400, "M_UNKNOWN", "PUT", global + "override/x?after=none", `{"actions":[]}`},
		{400, "M_UNKNOWN", "PUT", global + "override/x?before=.m.rule.master", `{"actions":[]}`},
		{400, "M_INVALID_PARAM", "PUT", global + "override/.x", `{"actions":[]}`},
		{400, "M_INVALID_PARAM", "PUT", global + "override/a%5Cb", `{"actions":[]}`},
		{400, "M_INVALID_PARAM", "PUT", global + "none/x", `{"actions":[]}`},
		{400, "M_INVALID_PARAM", "DELETE", global + "override/.m.rule.master", ``},
		{405, "M_BAD_JSON", "PUT", "/user/@alice:test/account_data/m.push_rules", `{"global":{}}`},
	} {
		r := s.do(c.method, c.path, token, c.body)
		if r.status != c.status || r.text("errcode") != c.code {
			t.Errorf("%s %s %s: %d %s", c.method, c.path, c.body, r.status, r.raw)
		}
	}
	// Two devices that change different rules at once both succeed.
	done := make(chan bool)
	for i := range 20 {
		go func() {
			r := s.do("PUT", fmt.Sprintf("%ssender/@%d:h", global, i), token, `{"actions":[]}`)
			done <- r.status == 200
		}()
	}
	for range 20 {
		if !<-done {
			t.Error("a change was refused")
		}
	}
	if n := strings.Count(s.must("GET", "/pushrules/global/", token, "").raw, `:h"`); n != 20 {
		t.Errorf("%d of 20 rules are there", n)
	}
}

func TestPushersOverHTTP(t *testing.T) {
	s := start(t, true, nil)
	token := s.user("alice")
	set := `{"kind":"http","app_id":"app","pushkey":"key","app_display_name":"App","device_display_name":"Phone","lang":"en",` +
		`"profile_tag":"x","data":{"url":"https://push.example.org/_matrix/push/v1/notify","format":"event_id_only"}}`
	s.must("POST", "/pushers/set", token, set)
	same(t, "pushers", s.must("GET", "/pushers", token, "").raw, `{"pushers":[{"kind":"http","app_id":"app","pushkey":"key","app_display_name":"App",
		"device_display_name":"Phone","lang":"en","profile_tag":"x","data":{"url":"https://push.example.org/_matrix/push/v1/notify","format":"event_id_only"}}]}`)
	same(t, "missing", s.do("POST", "/pushers/set", token, `{"kind":"http","app_id":"app","pushkey":"key","app_display_name":"a","device_display_name":"b"}`).raw,
		`{"errcode":"M_MISSING_PARAM","error":"Missing parameters: lang, data"}`)
	s.must("POST", "/pushers/set", token, `{"kind":null,"app_id":"app","pushkey":"key"}`)
	same(t, "deleted", s.must("GET", "/pushers", token, "").raw, `{"pushers":[]}`)
}

func TestSuccessorTakesOver(t *testing.T) {
	s := start(t, true, nil)
	token := s.user("alice")
	s.must("PUT", "/user/@alice:test/rooms/!old:test/account_data/m.tag", token, `{"tags":{"m.favourite":{}}}`)
	s.must("PUT", "/pushrules/global/room/!old:test", token, `{"actions":[]}`)
	s.rooms.mu.Lock()
	s.rooms.states = map[string]string{
		"!new:test m.room.create": `{"predecessor":{"room_id":"!old:test"}}`, "!old:test m.room.tombstone": `{"replacement_room":"!new:test"}`,
		testRoom + " m.room.create": `{"predecessor":{"room_id":"!old:test"}}`, // which it is not
	}
	s.rooms.mu.Unlock()
	s.must("POST", "/join/"+testRoom, token, "{}")
	if r := s.do("GET", "/pushrules/global/room/"+testRoom, token, ""); r.status != 404 {
		t.Errorf("a room that claims to replace another: %d %s", r.status, r.raw)
	}
	s.must("POST", "/rooms/!old:test/upgrade", token, `{"new_version":"12"}`)
	same(t, "tags", s.must("GET", "/user/@alice:test/rooms/!new:test/account_data/m.tag", token, "").raw, `{"tags":{"m.favourite":{}}}`)
	same(t, "rule", s.must("GET", "/pushrules/global/room/!new:test", token, "").raw, `{"rule_id":"!new:test","default":false,"enabled":true,"actions":[]}`)
}
