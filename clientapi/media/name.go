package media

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"hearth/clientapi/media/storage"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

// maxID is the length of a media id in bytes.
const maxID = 255

// maxName is the length of a file name in bytes, as on most file systems.
const maxName = 255

// cleanName makes a file name that names a file and shows what it is: no directories,
// no control characters, none that change the direction of text. It may be empty.
func cleanName(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '/', r == '\\':
			return '_'
		case r == utf8.RuneError, unicode.Is(unicode.Cc, r), unicode.Is(unicode.Bidi_Control, r),
			r == '\u2028', r == '\u2029':
			return -1
		}
		return r
	}, s)
	for len(s) > maxName {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	if strings.Trim(s, ". ") == "" {
		return ""
	}
	return s
}

// disposition is the value of Content-Disposition (RFC 6266). Names beyond ASCII, and
// those with a percent sign, which some browsers decode, are written as RFC 8187 says.
func disposition(shown bool, name string) string {
	kind := "attachment"
	if shown {
		kind = "inline"
	}
	switch name = cleanName(name); {
	case name == "":
		return kind
	case strings.IndexFunc(name, func(r rune) bool { return r > '~' || r == '%' }) < 0:
		return kind + `; filename="` + strings.ReplaceAll(name, `"`, `\"`) + `"`
	}
	var b strings.Builder
	b.WriteString(kind + "; filename*=utf-8''")
	for i := range len(name) {
		c := name[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$&+-.^_`|~", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// ParseMXC reads an mxc:// URI: a server name and a media id of A–Z, a–z, 0–9, _ and -
// (client-server API, "Matrix Content URIs"). A text that is none names nothing: the
// error is 404 M_NOT_FOUND.
func ParseMXC(uri string) (MXC, error) {
	rest, ok := strings.CutPrefix(uri, "mxc://")
	origin, id, found := strings.Cut(rest, "/")
	if !ok || !found {
		return MXC{}, notFound()
	}
	return newTarget(origin, id)
}

// target returns the URI that the path of a request names.
func target(r *matrixhttp.Request) (storage.MXC, error) {
	return newTarget(r.Param("serverName"), r.Param("mediaId"))
}

func newTarget(origin, id string) (storage.MXC, error) {
	if _, _, err := pdu.ParseServerName(origin); err != nil || id == "" || len(id) > maxID {
		return storage.MXC{}, notFound()
	}
	for i := range len(id) {
		c := id[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-') {
			return storage.MXC{}, notFound()
		}
	}
	return storage.MXC{Origin: origin, ID: id}, nil
}

func notFound() error { return merr.NotFound("Media not found") }
