package clientapi

import (
	"strings"
	"testing"
)

func TestDiscovery(t *testing.T) {
	s := start(t, true, nil)
	s.refuse(404, "M_NOT_FOUND", "GET", "/.well-known/matrix/client", "", "")
	s = start(t, true, func(d *Deps) { d.PublicBaseURL = "https://hs.example.org" })
	a := s.must("GET", "/.well-known/matrix/client", "", "")
	same(t, "well-known", a.raw, `{"m.homeserver":{"base_url":"https://hs.example.org"}}`)
	if a.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("%v", a.header)
	}
	token := s.user("alice")
	l := s.must("POST", "/login", "", `{"type":"m.login.password","user":"alice","password":"`+password+`"}`)
	if !strings.Contains(l.raw, `"well_known":{"m.homeserver":{"base_url":"https://hs.example.org"}}`) {
		t.Errorf("%s", l.raw)
	}
	v := s.must("GET", "/_matrix/client/versions", "", "")
	if !strings.Contains(v.raw, `"v1.1"`) {
		t.Errorf("%s", v.raw)
	}
	c := s.must("GET", "/capabilities", token, "")
	versions := c.body["capabilities"].(map[string]any)["m.room_versions"].(map[string]any)
	if versions["default"] != "12" || len(versions["available"].(map[string]any)) != 12 || strings.Contains(c.raw, "m.account_moderation") {
		t.Errorf("%s", c.raw)
	}
	same(t, "turn", s.must("GET", "/voip/turnServer", token, "").raw, `{}`)
	same(t, "protocols", s.must("GET", "/thirdparty/protocols", token, "").raw, `{}`)
	same(t, "pushers", s.must("GET", "/pushers", token, "").raw, `{"pushers":[]}`)
}

func TestCalls(t *testing.T) {
	const path = "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports"
	s := start(t, true, func(d *Deps) { d.PublicBaseURL = "https://hs.example.org" })
	same(t, "none", s.must("GET", path, s.user("alice"), "").raw, `{"rtc_transports":[]}`)
	s = start(t, true, func(d *Deps) {
		d.PublicBaseURL, d.Calls.LiveKit = "https://hs.example.org", []string{"https://a.example.org", "https://b.example.org"}
	})
	list := `[{"type":"livekit","livekit_service_url":"https://a.example.org"},{"type":"livekit","livekit_service_url":"https://b.example.org"}]`
	same(t, "two", s.must("GET", path, s.user("alice"), "").raw, `{"rtc_transports":`+list+`}`)
	same(t, "well-known", s.must("GET", "/.well-known/matrix/client", "", "").raw,
		`{"m.homeserver":{"base_url":"https://hs.example.org"},"org.matrix.msc4143.rtc_foci":`+list+`}`)
	s.refuse(401, "M_MISSING_TOKEN", "GET", path, "", "")
}

func TestPushRules(t *testing.T) {
	s := start(t, true, nil)
	token := s.user("alice")
	rules := s.must("GET", "/pushrules/", token, "")
	global := rules.body["global"].(map[string]any)
	if len(global["override"].([]any)) != 10 || len(global["underride"].([]any)) != 5 || len(global["content"].([]any)) != 0 {
		t.Errorf("%s", rules.raw)
	}
	same(t, "account data", s.must("GET", "/user/@alice:test/account_data/m.push_rules", token, "").raw, rules.raw)
	same(t, "master", s.must("GET", "/pushrules/global/override/.m.rule.master", token, "").raw,
		`{"rule_id":".m.rule.master","default":true,"enabled":false,"conditions":[],"actions":[]}`)
	same(t, "invite", s.must("GET", "/pushrules/global/override/.m.rule.invite_for_me", token, "").raw,
		`{"rule_id":".m.rule.invite_for_me","default":true,"enabled":true,"conditions":[{"kind":"event_match","key":"type","pattern":"m.room.member"},
		{"kind":"event_match","key":"content.membership","pattern":"invite"},{"kind":"event_match","key":"state_key","pattern":"@alice:test"}],
		"actions":["notify",{"set_tweak":"sound","value":"default"}]}`)
	same(t, "mention", s.must("GET", "/pushrules/global/override/.m.rule.is_user_mention", token, "").raw,
		`{"rule_id":".m.rule.is_user_mention","default":true,"enabled":true,"conditions":[{"kind":"event_property_contains","key":"content.m\\.mentions.user_ids","value":"@alice:test"}],
		"actions":["notify",{"set_tweak":"sound","value":"default"},{"set_tweak":"highlight"}]}`)
	same(t, "tombstone", s.must("GET", "/pushrules/global/override/.m.rule.tombstone", token, "").raw,
		`{"rule_id":".m.rule.tombstone","default":true,"enabled":true,"conditions":[{"kind":"event_match","key":"type","pattern":"m.room.tombstone"},{"kind":"event_match","key":"state_key","pattern":""}],
		"actions":["notify",{"set_tweak":"highlight"}]}`)
	same(t, "one to one", s.must("GET", "/pushrules/global/underride/.m.rule.room_one_to_one", token, "").raw,
		`{"rule_id":".m.rule.room_one_to_one","default":true,"enabled":true,"conditions":[{"kind":"room_member_count","is":"2"},{"kind":"event_match","key":"type","pattern":"m.room.message"}],
		"actions":["notify",{"set_tweak":"sound","value":"default"}]}`)
	same(t, "enabled", s.must("GET", "/pushrules/global/override/.m.rule.master/enabled", token, "").raw, `{"enabled":false}`)
	same(t, "actions", s.must("GET", "/pushrules/global/underride/.m.rule.call/actions", token, "").raw, `{"actions":["notify",{"set_tweak":"sound","value":"ring"}]}`)
}
