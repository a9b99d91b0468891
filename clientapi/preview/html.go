package preview

import (
	"io"
	"strings"
	"unicode"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
	"golang.org/x/net/html/charset"
)

// Bounds of what is taken from a page.
const (
	maxProperties = 32
	maxValue      = 1024     // bytes of one value
	maxToken      = 64 << 10 // bytes of one tag or text
)

// page is what a page says about itself.
type page struct {
	properties map[string]string // og:…
	image      string            // URL, may be relative
}

// parse reads the head of a page: OpenGraph properties, and what stands in for those
// that are missing. Broken HTML, an unknown encoding and a cut end are as good as the
// part before them. contentType is the header.
func parse(src io.Reader, contentType string) page {
	s := &scanner{page: page{properties: map[string]string{}}, other: map[string]string{}}
	text, err := charset.NewReader(src, contentType)
	if err != nil {
		return s.page
	}
	z := html.NewTokenizer(text)
	z.SetMaxBuf(maxToken)
	for s.more(z) {
	}
	return s.finish()
}

// scanner collects.
type scanner struct {
	page  page
	other map[string]string // by the name of the property that it can stand in for
	title bool              // inside <title>
}

// more takes one token and reports whether there may be more to find.
func (s *scanner) more(z *html.Tokenizer) bool {
	switch z.Next() {
	case html.ErrorToken:
		return false
	case html.TextToken:
		if s.title {
			s.standIn("og:title", string(z.Text()))
		}
	case html.EndTagToken:
		name, _ := z.TagName()
		s.title = false
		return atom.Lookup(name) != atom.Head
	case html.StartTagToken, html.SelfClosingTagToken:
		name, more := z.TagName()
		switch atom.Lookup(name) {
		case atom.Title:
			s.title = true
		case atom.Meta:
			s.meta(attributes(z, more))
		case atom.Link:
			if a := attributes(z, more); strings.EqualFold(a["rel"], "image_src") {
				s.standIn("og:image", a["href"])
			}
		}
	}
	return true
}

func attributes(z *html.Tokenizer, more bool) map[string]string {
	out := map[string]string{}
	for more && len(out) < 16 {
		var key, value []byte
		key, value, more = z.TagAttr()
		if _, twice := out[string(key)]; !twice {
			out[string(key)] = string(value)
		}
	}
	return out
}

func (s *scanner) meta(a map[string]string) {
	name := strings.ToLower(strings.TrimSpace(a["property"]))
	if name == "" {
		name = strings.ToLower(strings.TrimSpace(a["name"]))
	}
	value := a["content"]
	switch {
	case name == "og:image" || name == "og:image:url" || name == "og:image:secure_url":
		if s.page.image == "" {
			s.page.image = strings.TrimSpace(value)
		}
	case strings.HasPrefix(name, "og:image:"): // we say what is true of our copy
	case strings.HasPrefix(name, "og:") && plain(name):
		value = tidy(value)
		if _, there := s.page.properties[name]; !there && value != "" && len(s.page.properties) < maxProperties {
			s.page.properties[name] = value
		}
	case name == "twitter:title", name == "twitter:description", name == "twitter:image":
		s.standIn("og:"+strings.TrimPrefix(name, "twitter:"), value)
	case name == "description":
		s.standIn("og:description", value)
	}
}

// standIn remembers a value; the first one counts.
func (s *scanner) standIn(name, value string) {
	if value = tidy(value); value != "" && s.other[name] == "" {
		s.other[name] = value
	}
}

func (s *scanner) finish() page {
	for name, value := range s.other {
		switch {
		case name == "og:image":
			if s.page.image == "" {
				s.page.image = value
			}
		case s.page.properties[name] == "":
			s.page.properties[name] = value
		}
	}
	return s.page
}

// plain reports whether a name is one that a key of our answer may have.
func plain(name string) bool {
	return len(name) <= 64 && strings.IndexFunc(name, func(r rune) bool {
		return !('a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == ':' || r == '_' || r == '-')
	}) < 0
}

// tidy makes one line of text of bounded length.
func tidy(s string) string {
	s = strings.ToValidUTF8(s, "")
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
	if len(s) > maxValue {
		s = strings.ToValidUTF8(s[:maxValue], "")
	}
	return s
}
