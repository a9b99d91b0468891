package pdu

import (
	"bytes"
	"errors"
	"slices"
	"unicode/utf8"

	"hearth/internal/merr"
)

// MaxJSON is the largest object, in bytes, that [Canonical], [SignJSON]
// and [VerifyJSON] take. It leaves room for a federation transaction of 50 PDUs
// and 100 EDUs; an HTTP handler sets its own, smaller limit on the body.
const MaxJSON = 16 << 20

// Canonical is the gate for foreign JSON: it checks src and returns it as
// canonical JSON (appendices, "Canonical JSON") in new memory.
//
// src must be one JSON object. Refused are: anything that is not JSON or not
// UTF-8, lone surrogates, control characters in strings, keys that occur twice
// in one object (after unescaping), more than 100 levels of nesting, and more
// than [MaxJSON] bytes, before or after. Keys are compared exactly, and written escaped.
//
// With strictNumbers only integers within ±(2^53−1) pass; without it other
// numbers keep their text, as room versions 1 to 5 need.
//
// Errors are *merr.Error: M_NOT_JSON or M_BAD_JSON with status 400, or
// M_TOO_LARGE with status 413.
func Canonical(src []byte, strictNumbers bool) ([]byte, error) {
	if len(src) > MaxJSON {
		return nil, gateError(errSize)
	}
	s := scanner{src: src, dst: make([]byte, 0, len(src)), strict: strictNumbers, limit: MaxJSON}
	if err := s.object(); err != nil {
		return nil, gateError(err)
	}
	if len(s.dst) > MaxJSON {
		return nil, gateError(errSize)
	}
	return s.dst, nil
}

// Limits of [Envelope].
const (
	maxEnvelopeNesting = 2000
	maxEnvelopeMoves   = 64 << 20 // bytes
)

// Envelope is [Canonical] without strict numbers for the body of a request between
// servers. It lets values nest up to 2,000 levels deep: an event that does not pass
// the gate must be dropped alone, and not take the transaction along in which an honest
// server sends it. The work stays bounded, since such bodies are sorted already.
//
// signed is what a signature covers. body is the same with all numbers as they were
// written, so that the gate of each event still sees them.
func Envelope(src []byte) (signed, body []byte, err error) {
	s, err := envelope(src, false)
	if err != nil || !s.rewritten {
		return s.dst, s.dst, err
	}
	exact, err := envelope(src, true)
	return s.dst, exact.dst, err
}

func envelope(src []byte, exact bool) (*scanner, error) {
	if len(src) > MaxJSON {
		return &scanner{}, gateError(errSize)
	}
	s := &scanner{
		src: src, dst: make([]byte, 0, len(src)), limit: MaxJSON, nesting: maxEnvelopeNesting, moves: maxEnvelopeMoves, exact: exact,
	}
	if err := s.object(); err != nil {
		return &scanner{}, gateError(err)
	}
	if len(s.dst) > MaxJSON {
		return &scanner{}, gateError(errSize)
	}
	return s, nil
}

// gateError turns a scanner's fault into the error that clients and other
// servers see.
func gateError(err error) *merr.Error {
	switch {
	case errors.Is(err, errSize):
		return merr.TooLarge("JSON is too large")
	case errors.Is(err, errSyntax), errors.Is(err, errUTF8), errors.Is(err, errSurrogate):
		return merr.NotJSON("Invalid JSON: %s", err)
	default:
		return merr.BadJSON("Invalid JSON: %s", err)
	}
}

// closeObject puts the members of the object that starts at open in order. first
// is the object's first entry in s.members. Keys in s.drop are left out if the
// object is the outermost.
func (s *scanner) closeObject(open, first int, outermost bool) error {
	members := s.members[first:]
	s.members = s.members[:first]
	sorted := true
	for i := 1; i < len(members) && sorted; i++ {
		sorted = s.compare(members[i-1], members[i]) < 0
	}
	if !sorted {
		slices.SortFunc(members, s.compare)
		for i := 1; i < len(members); i++ {
			if s.compare(members[i-1], members[i]) == 0 {
				return errDuplicate
			}
		}
	}
	kept := members
	if outermost && len(s.drop) > 0 {
		kept = slices.DeleteFunc(members, s.dropped)
	}
	if sorted && len(kept) == len(members) {
		return nil
	}
	if s.moves != 0 {
		if s.moves -= len(s.dst) - open; s.moves <= 0 {
			return errSize
		}
	}
	s.scratch = append(s.scratch[:0], s.dst[open:]...)
	out := append(s.dst[:open], '{')
	for i, m := range kept {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, s.scratch[m.start-open:m.end-open]...)
	}
	s.dst = append(out, '}')
	return nil
}

func (s *scanner) dropped(m member) bool {
	key := s.dst[m.start+1 : m.colon-1]
	for _, d := range s.drop {
		if string(key) == d {
			return true
		}
	}
	return false
}

func (s *scanner) compare(a, b member) int {
	return compareKeys(s.dst[a.start+1:a.colon-1], s.dst[b.start+1:b.colon-1])
}

// compareKeys orders the canonical text of two keys, without quotes, by the code
// points that they stand for, which is the order of their UTF-8 bytes.
func compareKeys(a, b []byte) int {
	if bytes.IndexByte(a, '\\') < 0 && bytes.IndexByte(b, '\\') < 0 {
		return bytes.Compare(a, b)
	}
	for len(a) > 0 && len(b) > 0 {
		x, n := nextByte(a)
		y, m := nextByte(b)
		if x != y {
			return int(x) - int(y)
		}
		a, b = a[n:], b[m:]
	}
	return len(a) - len(b)
}

// nextByte returns the first byte that the canonical text of a string stands for
// and how many bytes of text it takes. Escapes in canonical text are ASCII.
func nextByte(b []byte) (c byte, n int) {
	if b[0] != '\\' || len(b) < 2 {
		return b[0], 1
	}
	switch b[1] {
	case 'b':
		return '\b', 2
	case 't':
		return '\t', 2
	case 'n':
		return '\n', 2
	case 'f':
		return '\f', 2
	case 'r':
		return '\r', 2
	case 'u':
		if r, ok := hex4(b[2:]); ok && r < utf8.RuneSelf {
			return byte(r), 6
		}
	}
	return b[1], 2
}
