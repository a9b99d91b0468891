package xmatrix

import (
	"errors"
	"fmt"
	"strings"

	"hearth/internal/pdu"
)

// Limits of a header. Ours has less than 1,000 bytes and four parameters.
const (
	maxHeader = 4 << 10
	maxParams = 32
)

// Parse reads the value of an Authorization header (RFC 9110, section 11.4). Names of
// the scheme and of parameters may have any case; values may be quoted; colons need no
// quotes; unknown parameters are ignored. The error is [ErrNoHeader] for another
// scheme, else it says what is wrong with this one.
func Parse(value string) (Header, error) {
	var h Header
	if len(value) > maxHeader {
		return h, errors.New("the header is too long")
	}
	scheme, rest, found := strings.Cut(value, " ")
	if !strings.EqualFold(scheme, "X-Matrix") {
		return h, ErrNoHeader
	}
	if !found {
		return h, errors.New("the header has no parameters")
	}
	known := map[string]*string{
		"origin": &h.Origin, "destination": &h.Destination, "key": &h.KeyID, "sig": &h.Signature,
	}
	p := params{rest: rest}
	for n := 0; ; n++ {
		name, value, more, err := p.next()
		if err != nil {
			return Header{}, err
		}
		if !more {
			return h, h.check()
		}
		if n == maxParams {
			return Header{}, errors.New("the header has too many parameters")
		}
		into := known[strings.ToLower(name)]
		switch {
		case into == nil:
		case *into != "":
			return Header{}, fmt.Errorf("the parameter %s is there twice", name)
		case value == "":
			return Header{}, fmt.Errorf("the parameter %s is empty", name)
		default:
			*into = value
		}
	}
}

// check refuses what no server would send.
func (h Header) check() error {
	if _, _, err := pdu.ParseServerName(h.Origin); err != nil {
		return errors.New("the origin is not a server name")
	}
	if !ValidKeyID(h.KeyID) {
		return errors.New("the key is not the id of an ed25519 key")
	}
	if h.Signature == "" {
		return errors.New("there is no signature")
	}
	return nil
}

// params reads a list of parameters.
type params struct{ rest string }

const space = " \t"

// next returns the next parameter; more is false at the end.
func (p *params) next() (name, value string, more bool, err error) {
	p.rest = strings.TrimLeft(p.rest, space+",") // empty elements of lists are allowed
	if p.rest == "" {
		return "", "", false, nil
	}
	end := strings.IndexFunc(p.rest, func(c rune) bool { return !isToken(c) })
	if end <= 0 {
		return "", "", false, errors.New("a parameter has no name or no value")
	}
	name, p.rest = p.rest[:end], strings.TrimLeft(p.rest[end:], space)
	rest, ok := strings.CutPrefix(p.rest, "=")
	if !ok {
		return "", "", false, errors.New("a parameter has no value")
	}
	p.rest = strings.TrimLeft(rest, space)
	if strings.HasPrefix(p.rest, `"`) {
		value, ok = p.quoted()
	} else {
		value, ok = p.bare()
	}
	if !ok {
		return "", "", false, errors.New("the value of a parameter is malformed")
	}
	p.rest = strings.TrimLeft(p.rest, space)
	if p.rest != "" && p.rest[0] != ',' {
		return "", "", false, errors.New("there is no comma between parameters")
	}
	return name, value, true, nil
}

func isToken(c rune) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' ||
		c < 0x80 && strings.ContainsRune("!#$%&'*+-.^_`|~", c)
}

// bare reads a value without quotes: a token, and what old servers put there.
func (p *params) bare() (string, bool) {
	end := strings.IndexFunc(p.rest, func(c rune) bool { return !isToken(c) && !strings.ContainsRune(":/=[]", c) })
	if end < 0 {
		end = len(p.rest)
	}
	value := p.rest[:end]
	p.rest = p.rest[end:]
	return value, value != ""
}

// quoted reads a value in quotes.
func (p *params) quoted() (string, bool) {
	var value strings.Builder
	for i := 1; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == '"':
			p.rest = p.rest[i+1:]
			return value.String(), true
		case c == '\\':
			if i++; i == len(p.rest) {
				return "", false
			}
			value.WriteByte(p.rest[i])
		case c < ' ' && c != '\t' || c == 0x7f:
			return "", false
		default:
			value.WriteByte(c)
		}
	}
	return "", false
}
