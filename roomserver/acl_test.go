package roomserver

import (
	"strings"
	"testing"
	"time"
)

func TestServerACL(t *testing.T) {
	for _, c := range []struct {
		content string
		allowed string // servers, separated by spaces
		denied  string
	}{
		{`{}`, "", "a.example"},
		{`{"allow":["*"]}`, "a.example a.example:8448 1.2.3.4 [::1]:8448", ""},
		{`{"allow":["*"],"allow_ip_literals":false}`, "a.example 1.2.3.4.example", "1.2.3.4 1.2.3.4:80 [::1] [::1]:8448"},
		{`{"allow":["*"],"allow_ip_literals":"false"}`, "1.2.3.4", ""},
		{`{"allow":["*"],"deny":["*.evil.example","evil.example"]}`, "notevil.example evil.example.org", "evil.example sub.evil.example EVIL.example evil.example:1"},
		{`{"allow":["*.GOOD.example"],"deny":[]}`, "a.good.example A.Good.Example", "good.example a.bad.example"},
		{`{"allow":["?.example"]}`, "a.example", "ab.example .example"},
		{`{"allow":"*"}`, "", "a.example"},
		{`{"allow":["*",7],"deny":{"a":"*"}}`, "a.example", ""},
		{`{"allow":["*"],"deny":["*"]}`, "", "a.example"},
		{`{"allow":["a*b*c"]}`, "abc axxbyybzzc", "acb abcd"},
		{`{"allow":["***","a"]}`, "whatever", ""},
	} {
		a := parseACL([]byte(c.content))
		for _, server := range strings.Fields(c.allowed) {
			if !a.allows(server) {
				t.Errorf("%s denies %s", c.content, server)
			}
		}
		for _, server := range strings.Fields(c.denied) {
			if a.allows(server) {
				t.Errorf("%s allows %s", c.content, server)
			}
		}
	}
}

func TestServerACLIsCheap(t *testing.T) {
	pattern := `"` + strings.Repeat("*a", 120) + `b"`
	content := `{"allow":["*"],"deny":[` + strings.Repeat(pattern+",", 250) + pattern + `]}`
	begin := time.Now()
	if !parseACL([]byte(content)).allows(strings.Repeat("a", 250)) {
		t.Error("denied")
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("%v", took)
	}
}
