package invitefilter

import (
	"encoding/json"
	"testing"
)

func TestDecide(t *testing.T) {
	for _, tc := range []struct {
		config, inviter string
		want            Verdict
	}{
		{`{}`, "@a:x", Allow},
		{`{"default_action":"block"}`, "@a:x", Block},
		{`{"default_action":"block","allowed_users":5}`, "@a:x", Block},
		{`{"default_action":"other"}`, "@a:x", Allow},
		{`{"default_action":["block"]}`, "@a:x", Allow},
		{`{"blocked_servers":["*"]}`, "@a:x", Block},
		{`{"enabled":false,"blocked_servers":["*"]}`, "@a:x", Allow},
		{`{"allowed_servers":["good.org"],"blocked_servers":["*"]}`, "@a:good.org", Allow},
		{`{"allowed_servers":["good.org"],"blocked_servers":["*"]}`, "@a:good.org:8448", Allow},
		{`{"allowed_servers":["good.org"],"blocked_servers":["*"]}`, "@a:bad.org", Block},
		{`{"blocked_users":["@no:good.org"],"allowed_servers":["good.org"]}`, "@no:good.org", Block},
		{`{"allowed_users":["@yes:bad.org"],"blocked_servers":["bad.org"]}`, "@yes:bad.org", Allow},
		{`{"allowed_users":["@yes*"],"ignored_users":["@yes:x"]}`, "@yes:x", Allow},
		{`{"ignored_servers":["really*"],"blocked_servers":["*"]}`, "@a:really.bad", Ignore},
		{`{"blocked_servers":["[::1]"]}`, "@a:[::1]", Block},
		{`{"blocked_servers":["::1"]}`, "@a:[::1]:8448", Block},
		{`{"blocked_servers":"*"}`, "@a:x", Allow},
		{`{"blocked_servers":[1]}`, "@a:x", Allow},
		{`[]`, "@a:x", Allow}, {`nonsense`, "@a:x", Allow}, {``, "@a:x", Allow},
	} {
		if got := Parse(json.RawMessage(tc.config)).Decide(tc.inviter); got != tc.want {
			t.Errorf("%s by %s: %v, want %v", tc.config, tc.inviter, got, tc.want)
		}
	}
}

func TestIgnores(t *testing.T) {
	for raw, want := range map[string]bool{
		`{"ignored_users":{"@a:x":{}}}`: true, `{"ignored_users":{"@b:x":{}}}`: false, `{"ignored_users":["@a:x"]}`: false, `null`: false, ``: false,
	} {
		if got := Ignores(json.RawMessage(raw), "@a:x"); got != want {
			t.Errorf("%s: %v", raw, got)
		}
	}
}
