package pushrules

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"hearth/internal/pdu"
)

// Room is what conditions ask of the room that the event is in, as it is now. It is
// asked only when all else of a rule matches.
type Room interface {
	// Members is the number of joined members.
	Members() int
	// MayNotify says whether the sender has the power for notifications of a kind.
	MayNotify(sender, kind string) bool
	// DisplayName is the name of the rules' owner in the room, empty if none.
	DisplayName() string
}

// condition is a compiled condition.
type condition interface {
	holds(e *Event, r Room) bool
	// cost orders the conditions of a rule: cheap ones first.
	cost() int
}

const (
	cheap = iota
	moderate
	dear
)

// compileCondition returns nil for a condition that cannot match.
func compileCondition(raw json.RawMessage) condition {
	var c struct {
		Kind    string          `json:"kind"`
		Key     *string         `json:"key"`
		Pattern *string         `json:"pattern"`
		Value   json.RawMessage `json:"value"`
		Is      string          `json:"is"`
	}
	if json.Unmarshal(raw, &c) != nil {
		return nil
	}
	switch c.Kind {
	case "contains_display_name":
		return containsDisplayName{bodyPath()}
	case "room_member_count":
		return compileCount(c.Is)
	}
	if c.Key == nil {
		return nil
	}
	if c.Kind == "sender_notification_permission" {
		return permission{*c.Key}
	}
	p, ok := newPath(*c.Key)
	if !ok {
		return nil
	}
	switch c.Kind {
	case "event_match":
		if c.Pattern == nil {
			return nil
		}
		return &eventMatch{path: p, glob: newGlob(*c.Pattern), body: *c.Key == bodyKey}
	case "event_property_is":
		if s, ok := newScalar(c.Value); ok {
			return &propertyIs{p, s}
		}
	case "event_property_contains":
		if s, ok := newScalar(c.Value); ok {
			return &propertyContains{p, s}
		}
	}
	return nil
}

const bodyKey = "content.body"

type eventMatch struct {
	path *path
	glob glob
	body bool // content.body, which matches in parts
}

func (m *eventMatch) cost() int {
	if len(m.path.parts) == 1 && m.glob.plain {
		return cheap
	}
	return moderate
}

func (m *eventMatch) holds(e *Event, _ Room) bool {
	text, ok := e.lookup(m.path).fold()
	if !ok {
		return false
	}
	if m.body {
		return m.glob.words(text)
	}
	return m.glob.whole(text)
}

// scalar is a value that is no object, array or fraction.
type scalar struct {
	kind byte // as pdu.Kind
	text string
	int  int64
	raw  []byte
}

// maxInt bounds integers of canonical JSON.
const maxInt = 1<<53 - 1

func newScalar(raw []byte) (s scalar, ok bool) {
	raw = bytes.TrimSpace(raw)
	s.kind, s.raw = pdu.Kind(raw), raw
	switch s.kind {
	case '"':
		ok = json.Unmarshal(raw, &s.text) == nil
	case '0':
		s.int, ok = pdu.Int(raw)
		ok = ok && s.int >= -maxInt && s.int <= maxInt
	case 't', 'n':
		ok = true
	}
	return s, ok
}

func (s *scalar) equals(raw []byte) bool {
	if pdu.Kind(raw) != s.kind {
		return false
	}
	switch s.kind {
	case '"':
		text, ok := pdu.String(raw)
		return ok && text == s.text
	case '0':
		n, ok := pdu.Int(raw)
		return ok && n == s.int
	}
	return bytes.Equal(raw, s.raw)
}

type propertyIs struct {
	path  *path
	value scalar
}

func (p *propertyIs) cost() int { return moderate }

func (p *propertyIs) holds(e *Event, _ Room) bool {
	v := e.lookup(p.path)
	if v.isText {
		return p.value.kind == '"' && v.text == p.value.text
	}
	return p.value.equals(v.raw)
}

type propertyContains struct {
	path  *path
	value scalar
}

func (p *propertyContains) cost() int { return moderate }

func (p *propertyContains) holds(e *Event, _ Room) bool {
	found := false
	pdu.Elements(e.lookup(p.path).raw, func(val []byte) bool {
		found = p.value.equals(val)
		return !found
	})
	return found
}

type containsDisplayName struct{ body *path }

func (containsDisplayName) cost() int { return dear }

func (c containsDisplayName) holds(e *Event, r Room) bool {
	text, ok := e.lookup(c.body).fold()
	if !ok || text == "" {
		return false
	}
	name := r.DisplayName()
	if name == "" {
		return false
	}
	g := glob{parts: []part{{text: fold(name)}}, plain: true}
	return g.words(text)
}

func bodyPath() *path {
	return &path{text: bodyKey, parts: []string{"content", "body"}, prefix: []string{"content", bodyKey}}
}

type memberCount struct {
	op string
	n  int
}

func compileCount(is string) condition {
	digits := strings.TrimLeft(is, "<>=")
	op := is[:len(is)-len(digits)]
	n, err := strconv.Atoi(digits)
	if err != nil || n < 0 || digits[0] == '+' {
		return nil
	}
	switch op {
	case "":
		op = "=="
	case "==", "<", ">", "<=", ">=":
	default:
		return nil
	}
	return memberCount{op, n}
}

func (memberCount) cost() int { return dear }

func (c memberCount) holds(_ *Event, r Room) bool {
	n := r.Members()
	switch c.op {
	case "<":
		return n < c.n
	case ">":
		return n > c.n
	case "<=":
		return n <= c.n
	case ">=":
		return n >= c.n
	}
	return n == c.n
}

type permission struct{ key string }

func (permission) cost() int { return dear }

func (p permission) holds(e *Event, r Room) bool { return r.MayNotify(e.Sender, p.key) }
