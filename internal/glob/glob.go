// Package glob matches the patterns of the appendix "Glob-style matching": * stands for any
// text, also none, and ? for any one character.
package glob

import (
	"strings"
	"unicode/utf8"
)

// Pattern is a pattern that is ready to match. The zero value matches the empty text.
type Pattern struct {
	text string
	// before and after are what stands in front of the first and behind the last wildcard.
	before, after string
	exact         bool
}

// New prepares a pattern. Every text is one.
func New(pattern string) Pattern {
	first := strings.IndexAny(pattern, "*?")
	if first < 0 {
		return Pattern{text: pattern, exact: true}
	}
	return Pattern{text: pattern, before: pattern[:first], after: pattern[strings.LastIndexAny(pattern, "*?")+1:]}
}

// Exact reports whether the pattern has no wildcards.
func (p Pattern) Exact() bool { return p.exact }

// String returns the pattern.
func (p Pattern) String() string { return p.text }

// Match reports whether the whole text matches. It goes back to the last * alone, so its work
// is bounded by the product of the lengths.
func (p Pattern) Match(text string) bool {
	if p.exact || p.text == "" {
		return p.text == text
	}
	if !strings.HasPrefix(text, p.before) || !strings.HasSuffix(text, p.after) {
		return false
	}
	return match(p.text, text)
}

func match(pattern, text string) bool {
	p, t, star, mark := 0, 0, -1, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, t
			p++
		case p < len(pattern) && pattern[p] == '?':
			_, size := utf8.DecodeRuneInString(text[t:])
			p++
			t += size
		case p < len(pattern) && pattern[p] == text[t]:
			p++
			t++
		case star >= 0:
			_, size := utf8.DecodeRuneInString(text[mark:])
			mark += size
			p, t = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
