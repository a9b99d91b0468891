package pdu

import "errors"

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

// scanner reads foreign JSON from src and writes canonical JSON to dst, in one
// pass. Members of an object are written in the order in which they come and put
// in order when the object closes, so input that is sorted already is never
// copied twice. The work is linear in the input: each byte is moved at most once
// per level that is out of order, and there are at most maxNesting levels, or a
// bound on what is moved.
type scanner struct {
	src     []byte
	pos     int
	dst     []byte
	strict  bool     // number rules of canonical JSON
	limit   int      // of dst
	nesting int      // 0: maxNesting
	moves   int      // bytes that may still be moved; 0: any number
	exact   bool     // numbers keep their text in any case
	drop    []string // top-level keys that are checked and then left out
	members []member // of all open objects; a stack
	scratch []byte   // for putting members in order
	// rewritten says that a number lost its text.
	rewritten bool
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

// deepest is how many levels may be open.
func (s *scanner) deepest() int {
	if s.nesting != 0 {
		return s.nesting
	}
	return maxNesting
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
	if level > s.deepest() {
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
	if level > s.deepest() {
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
