package config

import (
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// TestWebhookInExample: what the example says in comments is a configuration.
func TestWebhookInExample(t *testing.T) {
	text := Example()
	from := strings.Index(text, "#   - url: http://localhost:8080")
	to := strings.Index(text, "antispam: []")
	if from < 0 || to < from {
		t.Fatal("it is not there")
	}
	sample := regexp.MustCompile(`(?m)^#   `).ReplaceAllString(text[from:to], "  ")
	c := parse(t, text[:from]+"antispam:\n"+sample+text[to+len("antispam: []\n"):])
	if len(c.Antispam) != 1 {
		t.Fatalf("%+v", c.Antispam)
	}
	want := Antispam{URL: "http://localhost:8080/api/1/spam_check"}
	want.defaults()
	if !reflect.DeepEqual(c.Antispam[0], want) {
		t.Errorf("%+v", c.Antispam[0])
	}
	for _, f := range fieldsOf(reflect.ValueOf(&want).Elem(), "") {
		if !strings.Contains(sample, f.path+":") {
			t.Errorf("%s is not in the example", f.path)
		}
	}
}

func TestBadPolicy(t *testing.T) {
	const head = "server_name: example.org\nantispam:\n  - "
	for text, want := range map[string]string{
		head + "{url: 'ftp://x'}":                              "antispam[0].url: must be an address",
		head + "{url: 'http://x', timeout: 0}":                 "antispam[0].timeout: must be from 1s to 1m",
		head + "{url: 'http://x', callbacks: [user_may_fly]}":  `antispam[0].callbacks: "user_may_fly" is no callback`,
		head + "{url: 'http://x', fail_open: [x]}":             `antispam[0].fail_open: "x" is no callback`,
		"server_name: example.org\nprobation: {invites: -1}\n": "probation.invites: and joins and rooms must not be negative",
	} {
		if _, err := Parse("x", []byte(text), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
