package v3

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestMatch(t *testing.T) {
	tests := []struct {
		pattern, s string
		want       bool
	}{
		{"m.room.message", "m.room.message", true},
		{"m.room.message", "m.room.messages", false},
		{"m.*", "m.room", true},
		{"m.*", "n.room", false},
		{"*", "", true},
		{"", "", true},
		{"", "x", false},
		{"*a*b*", "xaybz", true},
		{"*a*b", "xaybz", false},
		{"a**c", "abc", true},
		{"*.*.*", "m.room", false},
	}
	for _, test := range tests {
		if got := match(test.pattern, test.s); got != test.want {
			t.Errorf("match(%q, %q) = %v", test.pattern, test.s, got)
		}
	}
}

func TestMatchOfHostilePatternIsFast(t *testing.T) {
	begin := time.Now()
	if match(strings.Repeat("a*", 200)+"b", strings.Repeat("a", 255)) {
		t.Error("matched a text without b")
	}
	if took := time.Since(begin); took > 10*time.Millisecond {
		t.Errorf("took %s", took)
	}
}

func TestFilterLimits(t *testing.T) {
	for raw, want := range map[string]int{
		``: defaultLimit, `{}`: defaultLimit, ` null`: defaultLimit, `{"room":{"timeline":{"limit":0}}}`: 0,
		`{"room":{"timeline":{"limit":7}}}`: 7, `{"room":{"timeline":{"limit":1e300}}}`: maxLimit,
	} {
		f, err := parseFilter(json.RawMessage(raw))
		if err != nil || f.limit() != want {
			t.Errorf("%s: %v, %v", raw, f, err)
		}
	}
}

func TestFieldPaths(t *testing.T) {
	event := `{"type":"t","content":{"body":"b","a.b":1,"deep":{"x":1,"y":2}},"sender":"s"}`
	tests := []struct{ fields, want string }{
		{`[]`, `{}`},
		{`["type"]`, `{"type":"t"}`},
		{`["content.body","type"]`, `{"content":{"body":"b"},"type":"t"}`},
		{`["content.deep.y","content.deep"]`, `{"content":{"deep":{"x":1,"y":2}}}`},
		{`["content.deep","content.deep.y"]`, `{"content":{"deep":{"x":1,"y":2}}}`},
		{`["content.a\\.b"]`, `{"content":{"a.b":1}}`},
		{`["content.missing","type.x"]`, `{"content":{}}`},
	}
	for _, test := range tests {
		f, err := parseFilter(json.RawMessage(`{"event_fields":` + test.fields + `}`))
		if err != nil {
			t.Fatal(err)
		}
		if got := string(f.fields.appendPicked(nil, []byte(event))); got != test.want {
			t.Errorf("%s: got %s, want %s", test.fields, got, test.want)
		}
	}
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"event_fields":["a.b","a\\.b",""]}`, `{"room":{"rooms":[],"timeline":{"limit":1,"types":["*"],"contains_url":true}}}`,
	} {
		f.Add(s, `{"content":{"a":1},"type":"x"}`)
	}
	f.Fuzz(func(t *testing.T, raw, event string) {
		filter, err := parseFilter(json.RawMessage(raw))
		if err != nil {
			return
		}
		if n := filter.limit(); n < 0 || n > maxLimit {
			t.Errorf("limit %d", n)
		}
		filter.Room.Timeline.hasType(event)
		if filter.fields != nil && json.Valid([]byte(event)) {
			if out := filter.fields.appendPicked(nil, []byte(event)); !json.Valid(out) {
				t.Errorf("%s of %s is %s", raw, event, out)
			}
		}
	})
}
