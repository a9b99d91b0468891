package pdu

import "unicode/utf8"

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
