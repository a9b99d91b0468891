package pdu

import "strconv"

// maxInteger is the largest integer that canonical JSON allows, 2^53−1.
const maxInteger = 1<<53 - 1

// numberParts is the split text of a JSON number.
type numberParts struct {
	negative         bool
	whole, frac, exp []byte // digits; exp with its sign
	hasFrac, hasExp  bool
}

// number reads a number.
//
// With strict rules (room versions 6+) only integers within ±(2^53−1) pass, with
// no fraction, no exponent and no negative zero. Without them the text is kept as
// it came, because the sender's hashes and signatures cover its own text and what
// other servers put on the wire is already their shortest form. There are two
// exceptions, both in the specification's test vectors: "-0" becomes "0", and a
// number with an exponent whose value is an integer within ±(2^53−1) becomes
// that integer.
func (s *scanner) number() error {
	start := s.pos
	p, ok := s.splitNumber()
	if !ok {
		return errSyntax
	}
	text := s.src[start:s.pos]
	zero := len(p.whole) == 1 && p.whole[0] == '0'
	if s.strict {
		if p.hasFrac || p.hasExp || zero && p.negative || !withinRange(p.whole) {
			return errNumber
		}
	} else if p.hasExp && !s.exact {
		if n, ok := p.integer(); ok {
			s.dst, s.rewritten = strconv.AppendInt(s.dst, n, 10), true
			return nil
		}
	} else if zero && p.negative && !p.hasFrac && !p.hasExp && !s.exact {
		s.dst, s.rewritten = append(s.dst, '0'), true
		return nil
	}
	s.dst = append(s.dst, text...)
	return nil
}

// splitNumber checks the grammar of RFC 8259 and moves past the number.
func (s *scanner) splitNumber() (p numberParts, ok bool) {
	if s.src[s.pos] == '-' {
		p.negative = true
		s.pos++
	}
	p.whole = s.digits()
	if len(p.whole) == 0 || len(p.whole) > 1 && p.whole[0] == '0' {
		return p, false
	}
	if s.pos < len(s.src) && s.src[s.pos] == '.' {
		s.pos++
		p.hasFrac = true
		if p.frac = s.digits(); len(p.frac) == 0 {
			return p, false
		}
	}
	if s.pos < len(s.src) && (s.src[s.pos] == 'e' || s.src[s.pos] == 'E') {
		s.pos++
		p.hasExp = true
		start := s.pos
		if s.pos < len(s.src) && (s.src[s.pos] == '+' || s.src[s.pos] == '-') {
			s.pos++
		}
		if len(s.digits()) == 0 {
			return p, false
		}
		p.exp = s.src[start:s.pos]
	}
	return p, true
}

func (s *scanner) digits() []byte {
	start := s.pos
	for s.pos < len(s.src) && s.src[s.pos] >= '0' && s.src[s.pos] <= '9' {
		s.pos++
	}
	return s.src[start:s.pos]
}

// withinRange reports whether digits without leading zeros are at most 2^53−1.
func withinRange(digits []byte) bool {
	if len(digits) < 16 {
		return true
	}
	return len(digits) == 16 && string(digits) <= "9007199254740991"
}

// integer returns the number's value if it is an integer within ±(2^53−1).
func (p numberParts) integer() (int64, bool) {
	e, err := strconv.Atoi(string(p.exp))
	if err != nil || e > 1<<30 || e < -1<<30 {
		return 0, false
	}
	digits := append(append(make([]byte, 0, len(p.whole)+len(p.frac)), p.whole...), p.frac...)
	point := len(p.whole) + e // where the decimal point is, counted in digits
	for len(digits) > 0 && digits[len(digits)-1] == '0' {
		digits = digits[:len(digits)-1]
	}
	lead := 0
	for lead < len(digits) && digits[lead] == '0' {
		lead++
	}
	digits = digits[lead:]
	point -= lead
	if len(digits) == 0 {
		return 0, true
	}
	if point < len(digits) || point > 16 {
		return 0, false
	}
	var n int64
	for i := range point {
		n *= 10
		if i < len(digits) {
			n += int64(digits[i] - '0')
		}
	}
	if n > maxInteger {
		return 0, false
	}
	if p.negative {
		n = -n
	}
	return n, true
}
