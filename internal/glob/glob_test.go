package glob

import (
	"strings"
	"testing"
	"time"
)

func TestMatch(t *testing.T) {
	for _, tc := range []struct {
		pattern, text string
		want          bool
	}{
		{"", "", true}, {"", "a", false}, {"a", "a", true}, {"a", "b", false},
		{"*", "", true}, {"*", "anything", true}, {"?", "", false}, {"?", "é", true}, {"??", "é", false},
		{"*.example", "a.example", true}, {"*.example", "example", false}, {"a*b*c", "aXbYc", true}, {"a*b*c", "aXbY", false},
		{"ab*ba", "aba", false}, {"a?c", "abc", true}, {"a?c", "ac", false}, {"*:bad.example", "@a:bad.example", true},
		{"**a**", "xay", true}, {"a*", "ba", false}, {"a.c", "abc", false},
	} {
		if got := New(tc.pattern).Match(tc.text); got != tc.want {
			t.Errorf("%q matches %q: %v", tc.pattern, tc.text, got)
		}
	}
}

func TestMatchTakesLittleTime(t *testing.T) {
	begin := time.Now()
	p := New(strings.Repeat("*a", 120) + "*b*")
	for range 100 {
		if p.Match(strings.Repeat("a", 255)) {
			t.Fatal("matches")
		}
	}
	if d := time.Since(begin); d > 2*time.Second {
		t.Errorf("100 matches took %v", d)
	}
}
