package pushrules

import (
	"strings"
	"unicode/utf8"
)

// glob is a pattern in which * stands for any text and ? for one character
// (appendices, "Glob-style matching"), in small letters.
type glob struct {
	// parts are what stands between the stars.
	parts []part
	plain bool // neither star nor question mark
}

// part is a piece of a pattern without stars.
type part struct {
	text string
	any  bool // has a ? in it
}

// maxSteps bounds what comparing one pattern with one text costs. Only patterns with
// many question marks reach it, on texts that were made for it; such a text does not
// match.
const maxSteps = 1 << 20

func newGlob(pattern string) glob {
	pattern = fold(pattern)
	g := glob{plain: !strings.ContainsAny(pattern, "*?")}
	for _, p := range strings.Split(pattern, "*") {
		g.parts = append(g.parts, part{text: p, any: strings.Contains(p, "?")})
	}
	// Stars beside each other are one star.
	kept := g.parts[:1]
	for i, p := range g.parts[1:] {
		if p.text != "" || i == len(g.parts)-2 {
			kept = append(kept, p)
		}
	}
	g.parts = kept
	return g
}

// fold makes matches case-insensitive.
func fold(s string) string { return strings.ToLower(s) }

// whole reports whether the pattern matches the whole of a folded text.
func (g *glob) whole(text string) bool {
	if g.plain {
		return text == g.parts[0].text
	}
	steps := maxSteps
	n, ok := g.parts[0].at(text, &steps)
	if !ok {
		return false
	}
	if len(g.parts) == 1 {
		return n == len(text)
	}
	rest := text[n:]
	for _, p := range g.parts[1 : len(g.parts)-1] {
		_, end := p.find(rest, 0, &steps)
		if end < 0 {
			return false
		}
		rest = rest[end:]
	}
	return g.parts[len(g.parts)-1].suffix(rest, &steps)
}

// words reports whether the pattern matches a part of a folded text that starts and
// ends at word boundaries.
func (g *glob) words(text string) bool {
	steps := maxSteps
	last := len(g.parts) - 1
	pos := 0
	for i, p := range g.parts {
		open, closed := i == 0, i == last
		if p.text == "" && (!closed || !open) { // a star at the edge reaches the edge of the text
			continue
		}
		at := pos
		for {
			start, end := p.find(text, at, &steps)
			if end < 0 {
				return false
			}
			if (!open || boundary(text, start, start)) && (!closed || boundary(text, end, end-1)) {
				pos = end
				break
			}
			// Not the one after start: it may stand in the middle of a character.
			_, size := utf8.DecodeRuneInString(text[start:])
			at = start + max(size, 1)
			if at > len(text) {
				return false
			}
		}
	}
	return true
}

// boundary reports whether a match may start or end at offset at; inner is the
// offset of the character of the match that stands there.
func boundary(text string, at, inner int) bool {
	if at == 0 || at == len(text) {
		return true
	}
	outer := at - 1
	if inner < at {
		outer = at
	}
	return !wordByte(text[outer]) || inner >= 0 && inner < len(text) && !wordByte(text[inner])
}

// wordByte reports whether a byte is a letter, digit or underscore of ASCII. Bytes
// of other characters are none.
func wordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}

// at matches at the beginning of text and returns how many bytes it has matched.
func (p part) at(text string, steps *int) (n int, ok bool) {
	if !p.any {
		return len(p.text), strings.HasPrefix(text, p.text)
	}
	for i := 0; i < len(p.text); i++ {
		if *steps--; *steps < 0 || n >= len(text) {
			return 0, false
		}
		if p.text[i] == '?' {
			_, size := utf8.DecodeRuneInString(text[n:])
			n += size
			continue
		}
		if text[n] != p.text[i] {
			return 0, false
		}
		n++
	}
	return n, true
}

// find returns where the first match at from or later begins and ends; end is -1 if
// there is none.
func (p part) find(text string, from int, steps *int) (start, end int) {
	if !p.any {
		i := strings.Index(text[from:], p.text)
		if i < 0 {
			return 0, -1
		}
		return from + i, from + i + len(p.text)
	}
	for from < len(text) && *steps > 0 {
		if n, ok := p.at(text[from:], steps); ok {
			return from, from + n
		}
		_, size := utf8.DecodeRuneInString(text[from:])
		from += size
	}
	return 0, -1
}

// suffix reports whether text ends with a match.
func (p part) suffix(text string, steps *int) bool {
	if !p.any {
		return strings.HasSuffix(text, p.text)
	}
	// As many characters from the end as the part has.
	from := len(text)
	for range utf8.RuneCountInString(p.text) {
		if from == 0 {
			return false
		}
		_, size := utf8.DecodeLastRuneInString(text[:from])
		from -= size
	}
	n, ok := p.at(text[from:], steps)
	return ok && from+n == len(text)
}
