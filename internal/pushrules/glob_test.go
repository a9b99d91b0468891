package pushrules

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestWholeMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"lunc?*", "Lunch plans", true},
		{"lunc?*", "LUNCH", true},
		{"lunc?*", " lunch", false},
		{"lunc?*", "lunc", false},
		{"*", "", true},
		{"", "", true},
		{"", "x", false},
		{"?", "é", true},
		{"?", "", false},
		{"a*a", "a", false},
		{"a*a", "aa", true},
		{"*b", "ab", true},
		{"*?b", "b", false},
		{"a**b*c", "a-b-b-c", true},
		{"*ÄÖ?", "äöü", true},
		{"m.room.*", "m.room.message", true},
		{"a?c*", "abc", true},
		{"*a?", "aXa", false},
	} {
		g := newGlob(c.pattern)
		if got := g.whole(fold(c.text)); got != c.want {
			t.Errorf("%q on %q: %v", c.pattern, c.text, got)
		}
	}
}

func TestWordMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"ex*ple", "An example event.", true},
		{"ex*ple", "exple", true},
		{"ex*ple", "An exciting triple-whammy", true},
		{"ex*ple", "An example2 event", false},
		{"cake", "Let them eat Cake!", true},
		{"cake", "pancake cakes", false},
		{"cake", "pancake cake", true},
		{"cake", "cake_", false},
		{"cake", "cakeé", true},
		{"cake*lie", "the cake is a lie", true},
		{"cake*lie", "the cake belies", false},
		{"cake*lie", "cake: lies, all a lie.", true},
		{"c?ke", "a CAKE", true},
		{"c?ke", "a cke", false},
		{"@room", "hi @room!", true},
		{"*cake", "pancake", true},
		{"cake*", "cakes", true},
		{"cake*", "pancakes", false},
		{"*", "", true},
		{"水", "喝水吧", true},
	} {
		g := newGlob(c.pattern)
		if got := g.words(fold(c.text)); got != c.want {
			t.Errorf("%q in %q: %v", c.pattern, c.text, got)
		}
	}
}

// What is made to be slow must not be.
func TestHostilePatternsAreFast(t *testing.T) {
	body := strings.Repeat("a", 64<<10)
	for _, p := range []string{
		strings.Repeat("*", 200),
		strings.Repeat("*a", 200) + "b",
		strings.Repeat("a?*", 300) + "b",
		strings.Repeat("a?", 500) + "b",
		strings.Repeat("a", 1000) + "b",
		strings.Repeat("a", 1000),
		strings.Repeat("?", MaxPattern-1) + "b",
	} {
		g := newGlob(p)
		start := time.Now()
		g.whole(body)
		g.words(body)
		if took := time.Since(start); took > 50*time.Millisecond {
			t.Errorf("%.20q… took %v", p, took)
		}
	}
}

// reference matches with the regular expressions of the standard library.
func reference(pattern string, words bool) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`(?s)`)
	for _, r := range pattern {
		switch r {
		case '*':
			b.WriteString(`.*`)
		case '?':
			b.WriteString(`.`)
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	if !words {
		return regexp.MustCompile(`^` + "(?:" + b.String() + `)$`)
	}
	return regexp.MustCompile(b.String())
}

// referenceWords tries every part of the text.
func referenceWords(pattern, text string) bool {
	re := reference(pattern, false)
	bounds := []int{}
	for i := range text {
		bounds = append(bounds, i)
	}
	bounds = append(bounds, len(text))
	for _, from := range bounds {
		for _, to := range bounds {
			if to < from || !re.MatchString(text[from:to]) {
				continue
			}
			left := from == 0 || !wordByte(text[from-1]) || from < len(text) && !wordByte(text[from])
			right := to == len(text) || !wordByte(text[to]) || to > 0 && !wordByte(text[to-1])
			if left && right && to > from {
				return true
			}
		}
	}
	return false
}

func FuzzGlob(f *testing.F) {
	f.Add("ex*ple", "An example event.")
	f.Add("a?*é", "aéé")
	f.Add("*?", "x")
	f.Add("a b", "a b")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if len(pattern) > 20 || len(text) > 40 || strings.ToValidUTF8(pattern+text, "") != pattern+text {
			return
		}
		pattern, text = fold(pattern), fold(text)
		g := newGlob(pattern)
		if got, want := g.whole(text), reference(pattern, false).MatchString(text); got != want {
			t.Errorf("whole: %q on %q: %v, want %v", pattern, text, got, want)
		}
		if text == "" || strings.Trim(pattern, "*") == "" {
			return
		}
		if got, want := g.words(text), referenceWords(pattern, text); got != want {
			t.Errorf("words: %q in %q: %v, want %v", pattern, text, got, want)
		}
	})
}
