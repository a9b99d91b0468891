package pdu

import (
	"errors"
	"unicode/utf8"
)

// maxNesting is how deep arrays and objects may nest; deeper input is refused
// before any work is done on it.
const maxNesting = 100

// Faults of the scanner. They are turned into Matrix errors once, in gateError.
var (
	errSyntax    = errors.New("not valid JSON")
	errUTF8      = errors.New("string is not valid UTF-8")
	errSurrogate = errors.New("lone surrogate in a string")
	errNesting   = errors.New("nested too deeply")
	errDuplicate = errors.New("duplicate key in an object")
	errNumber    = errors.New("number is not allowed by canonical JSON")
	errNotObject = errors.New("not a JSON object")
	errSize      = errors.New("too large")
)

// Character classes of a JSON string's bytes.
const (
	plainByte  = iota // copied as it is
	highByte          // part of a multi-byte sequence: UTF-8 is checked for the run
	endByte           // the closing quote
	escapeByte        // backslash
	badByte           // control characters must be escaped
)

var byteClass = func() (t [256]uint8) {
	for i := range t {
		switch {
		case i < 0x20:
			t[i] = badByte
		case i == '"':
			t[i] = endByte
		case i == '\\':
			t[i] = escapeByte
		case i >= 0x80:
			t[i] = highByte
		}
	}
	return t
}()

// scanner reads foreign JSON from src and writes canonical JSON to dst, in one
// pass. Members of an object are written in the order in which they come and put
// in order when the object closes, so input that is sorted already is never
// copied twice. The work is linear in the input: each byte is moved at most once
// per level that is out of order, and there are at most maxNesting levels.
type scanner struct {
	src     []byte
	pos     int
	dst     []byte
	strict  bool     // number rules of canonical JSON
	limit   int      // of dst
	drop    []string // top-level keys that are checked and then left out
	members []member // of all open objects; a stack
	scratch []byte   // for putting members in order
}

// member is one member of an open object, as offsets in dst. The key runs from
// start to colon, with its quotes; the value from colon+1 to end.
type member struct{ start, colon, end int }

// object reads one object with nothing but white space around it.
func (s *scanner) object() error {
	s.space()
	if s.pos >= len(s.src) {
		return errSyntax
	}
	if s.src[s.pos] != '{' {
		// Tell other values from noise: both are refused, with different codes.
		if err := s.value(1); err != nil {
			return err
		}
		return errNotObject
	}
	if err := s.value(1); err != nil {
		return err
	}
	s.space()
	if s.pos != len(s.src) {
		return errSyntax
	}
	return nil
}

func (s *scanner) space() {
	for s.pos < len(s.src) {
		switch s.src[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// value reads one value. level counts the arrays and objects that would be open
// inside it, were it one.
func (s *scanner) value(level int) error {
	if s.pos >= len(s.src) {
		return errSyntax
	}
	switch c := s.src[s.pos]; c {
	case '"':
		return s.str()
	case '{':
		return s.obj(level)
	case '[':
		return s.arr(level)
	case 't':
		return s.word("true")
	case 'f':
		return s.word("false")
	case 'n':
		return s.word("null")
	default:
		if c == '-' || c >= '0' && c <= '9' {
			return s.number()
		}
		return errSyntax
	}
}

func (s *scanner) word(w string) error {
	if len(s.src)-s.pos < len(w) || string(s.src[s.pos:s.pos+len(w)]) != w {
		return errSyntax
	}
	s.pos += len(w)
	s.dst = append(s.dst, w...)
	return nil
}

func (s *scanner) arr(level int) error {
	if level > maxNesting {
		return errNesting
	}
	s.pos++
	s.dst = append(s.dst, '[')
	s.space()
	if s.pos < len(s.src) && s.src[s.pos] == ']' {
		s.pos++
		s.dst = append(s.dst, ']')
		return nil
	}
	for {
		s.space()
		if err := s.value(level + 1); err != nil {
			return err
		}
		s.space()
		if s.pos >= len(s.src) {
			return errSyntax
		}
		c := s.src[s.pos]
		s.pos++
		switch c {
		case ',':
			s.dst = append(s.dst, ',')
			if len(s.dst) > s.limit {
				return errSize
			}
		case ']':
			s.dst = append(s.dst, ']')
			return nil
		default:
			return errSyntax
		}
	}
}

func (s *scanner) obj(level int) error {
	if level > maxNesting {
		return errNesting
	}
	s.pos++
	open, first := len(s.dst), len(s.members)
	s.dst = append(s.dst, '{')
	s.space()
	if s.pos < len(s.src) && s.src[s.pos] == '}' {
		s.pos++
		s.dst = append(s.dst, '}')
		return nil
	}
	for {
		if err := s.member(level); err != nil {
			return err
		}
		s.space()
		if s.pos >= len(s.src) {
			return errSyntax
		}
		c := s.src[s.pos]
		s.pos++
		switch c {
		case ',':
			s.dst = append(s.dst, ',')
			if len(s.dst) > s.limit {
				return errSize
			}
		case '}':
			s.dst = append(s.dst, '}')
			return s.closeObject(open, first, level == 1)
		default:
			return errSyntax
		}
	}
}

func (s *scanner) member(level int) error {
	s.space()
	if s.pos >= len(s.src) || s.src[s.pos] != '"' {
		return errSyntax
	}
	m := member{start: len(s.dst)}
	if err := s.str(); err != nil {
		return err
	}
	m.colon = len(s.dst)
	s.space()
	if s.pos >= len(s.src) || s.src[s.pos] != ':' {
		return errSyntax
	}
	s.pos++
	s.dst = append(s.dst, ':')
	s.space()
	if err := s.value(level + 1); err != nil {
		return err
	}
	m.end = len(s.dst)
	s.members = append(s.members, m)
	return nil
}

// str copies a string, checks UTF-8 and rewrites escapes to their shortest form.
func (s *scanner) str() error {
	src := s.src
	i := s.pos + 1
	s.dst = append(s.dst, '"')
	for {
		run, high := i, false
		for i < len(src) {
			class := byteClass[src[i]]
			if class > highByte {
				break
			}
			high = high || class == highByte
			i++
		}
		if high && !utf8.Valid(src[run:i]) {
			return errUTF8
		}
		s.dst = append(s.dst, src[run:i]...)
		if i >= len(src) {
			return errSyntax
		}
		switch src[i] {
		case '"':
			s.dst = append(s.dst, '"')
			s.pos = i + 1
			return nil
		case '\\':
			n, err := s.escape(src[i:])
			if err != nil {
				return err
			}
			i += n
		default:
			return errSyntax
		}
	}
}

// escape rewrites the escape sequence at the start of b and returns its length.
func (s *scanner) escape(b []byte) (int, error) {
	if len(b) < 2 {
		return 0, errSyntax
	}
	switch b[1] {
	case '"', '\\', 'b', 'f', 'n', 'r', 't':
		s.dst = append(s.dst, '\\', b[1])
		return 2, nil
	case '/':
		s.dst = append(s.dst, '/')
		return 2, nil
	case 'u':
	default:
		return 0, errSyntax
	}
	r, ok := hex4(b[2:])
	if !ok {
		return 0, errSyntax
	}
	if r < 0xD800 || r > 0xDFFF {
		s.dst = appendRune(s.dst, r)
		return 6, nil
	}
	if r > 0xDBFF || len(b) < 8 || b[6] != '\\' || b[7] != 'u' {
		return 0, errSurrogate
	}
	low, ok := hex4(b[8:])
	if !ok {
		return 0, errSyntax
	}
	if low < 0xDC00 || low > 0xDFFF {
		return 0, errSurrogate
	}
	s.dst = utf8.AppendRune(s.dst, (r-0xD800)<<10+(low-0xDC00)+0x10000)
	return 12, nil
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// appendRune appends r as canonical JSON writes it inside a string.
func appendRune(dst []byte, r rune) []byte {
	switch {
	case r == '"' || r == '\\':
		return append(dst, '\\', byte(r))
	case r >= 0x20:
		return utf8.AppendRune(dst, r)
	}
	switch r {
	case '\b':
		return append(dst, '\\', 'b')
	case '\t':
		return append(dst, '\\', 't')
	case '\n':
		return append(dst, '\\', 'n')
	case '\f':
		return append(dst, '\\', 'f')
	case '\r':
		return append(dst, '\\', 'r')
	}
	const hex = "0123456789abcdef"
	return append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
}
