package search

import (
	"slices"
	"testing"
	"unicode/utf8"
)

// FuzzText: what a text is made of is found in it, by the terms and by comparison.
func FuzzText(f *testing.F) {
	for _, text := range []string{"Hello, wörld", "東京都に住む 한국어", "a_b.c\u200d👩\u200d👩\u200d👧", "ก็ ﷺ \xff\x00 İ ſ ß", "ー々"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		q := ParseQuery(text)
		for _, h := range q.Highlights() {
			if h == "" || utf8.ValidString(text) && !utf8.ValidString(h) {
				t.Errorf("%q: highlight %q", text, h)
			}
		}
		d := index(1, "@a:x", Body, []string{text})
		if !q.Empty() && !q.Match([]string{text}) {
			t.Errorf("%q is not found in itself", text)
		}
		if len(d.terms) < maxTerms && slices.ContainsFunc(q.terms, func(term uint32) bool { return d.count(term) == 0 }) {
			t.Errorf("%q: a term is missing", text)
		}
		back, err := readDocuments(appendDocument(nil, &d, 0))
		if err != nil || len(back) != 1 || !slices.Equal(back[0].terms, d.terms) {
			t.Errorf("%q: came back as %v, %v", text, back, err)
		}
	})
}

// FuzzRows: damaged rows are errors or nonsense, never a panic.
func FuzzRows(f *testing.F) {
	for _, r := range blockOf([]document{index(5, "@a:x", Body, []string{"a b a"}), index(9, "@b:x", Name, []string{"b"})}).rows() {
		f.Add(r.data)
	}
	f.Fuzz(func(_ *testing.T, data []byte) {
		if b, err := readBlock(1, []row{{docsPart, data}, {1, data}}); err == nil {
			b.remove(map[int64]bool{5: true})
		}
		_, _ = readDocuments(data)
		_ = find(data, hash("", "a"), func(uint32, uint32) {})
	})
}
