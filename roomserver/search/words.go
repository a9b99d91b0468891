package search

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/clipperhouse/uax29/v2/words"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// maxWord is the number of bytes of a word that count.
const maxWord = 64

// fold makes equal what only differs in case or in the form of its characters
// (full-width letters, ligatures, decomposed accents).
func fold(text string) string {
	for i := 0; i < len(text); i++ {
		if text[i] >= utf8.RuneSelf {
			return norm.NFKC.String(cases.Fold().String(norm.NFKC.String(text)))
		}
	}
	return strings.ToLower(text)
}

// dense reports whether a rune is of a script that is written without spaces between
// words, or (Hangul) whose words carry endings that a search must not depend on.
func dense(r rune) bool {
	if r < 0x0e00 {
		return false
	}
	return unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul, unicode.Thai,
		unicode.Lao, unicode.Khmer, unicode.Myanmar, unicode.Bopomofo) || r == 'ー'
}

// split cuts a text into words and runs of dense characters. Everything is folded.
func split(text string, word, run func(string)) {
	text = fold(text)
	for text != "" {
		n := strings.IndexFunc(text, dense)
		if n < 0 {
			n = len(text)
		}
		splitWords(text[:n], word)
		text = text[n:]
		if n = strings.IndexFunc(text, func(r rune) bool { return !dense(r) && !unicode.Is(unicode.M, r) }); n < 0 {
			n = len(text)
		}
		if n > 0 {
			run(text[:n])
		}
		text = text[n:]
	}
}

// splitWords follows the word boundaries of Unicode (UAX 29), and cuts what these keep
// together, such as a file name, at its punctuation.
func splitWords(text string, word func(string)) {
	for it := words.FromString(text); it.Next(); {
		for _, w := range strings.FieldsFunc(strings.Map(visible, it.Value()), between) {
			if !strings.ContainsFunc(w, counts) {
				continue
			}
			if len(w) > maxWord {
				w = strings.ToValidUTF8(w[:maxWord], "")
			}
			word(w)
		}
	}
}

func between(r rune) bool {
	return !counts(r) && !unicode.Is(unicode.M, r) && !unicode.Is(unicode.Sk, r)
}

// counts reports whether a character makes a word of what it stands in. Symbols do,
// for the sake of emoji.
func counts(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.Is(unicode.So, r)
}

// visible drops joiners, soft hyphens and variation selectors.
func visible(r rune) rune {
	if unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Variation_Selector, r) {
		return -1
	}
	return r
}

// pairs calls f for each two neighbours of a run.
func pairs(run string, f func(string)) {
	previous := -1
	for i, r := range run {
		if previous >= 0 {
			f(run[previous : i+utf8.RuneLen(r)])
		}
		previous = i
	}
}

// Kinds of what is indexed, as a set.
type Kinds uint8

// The keys that can be searched.
const (
	Body  Kinds = 1 << iota // content.body of m.room.message
	Name                    // content.name of m.room.name
	Topic                   // content.topic of m.room.topic, with the plain text of content.m.topic
	Any   = Body | Name | Topic
)

// Prefixes keep the other terms of a document apart from words, which hold no control characters.
const (
	senderPrefix = "\x01"
	namePrefix   = "\x02"
	topicPrefix  = "\x03"
)

// hash is FNV-1a, folded to 32 bits. What is stored depends on it.
func hash(prefix, s string) uint32 {
	h := uint64(14695981039346656037)
	for i := 0; i < len(prefix); i++ {
		h = (h ^ uint64(prefix[i])) * 1099511628211
	}
	for i := 0; i < len(s); i++ {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	h ^= h >> 29
	return uint32(h ^ h>>32)
}
