package pushrules

import (
	"strings"

	"hearth/internal/pdu"
)

// Event is an event to compare with rules. It remembers what was looked up, so one
// goroutine at a time uses it; it serves any number of users.
type Event struct {
	RoomID, Type, Sender string
	StateKey             *string
	json                 []byte
	objects              map[string]*object
	values               []value
	index                map[string]int // of values, when they are many
}

// value is what a path leads to.
type value struct {
	path   string
	raw    []byte // nil: absent
	text   string
	folded string
	isText bool
	isFold bool // folded is set
}

// object is an object of the event that was looked into.
type object struct {
	raw     []byte
	looked  int
	members map[string][]byte // when it was looked into often
}

// NewEvent wraps an event in the format for clients, canonical JSON; room_id and
// unsigned may be missing.
func NewEvent(roomID, typ, sender string, stateKey *string, json []byte) *Event {
	return &Event{RoomID: roomID, Type: typ, Sender: sender, StateKey: stateKey, json: json}
}

// manyValues and manyLooks are from where on an index is worth its cost.
const (
	manyValues = 16
	manyLooks  = 8
)

// lookup returns the value at a path.
func (e *Event) lookup(p *path) *value {
	if i := e.known(p.text); i >= 0 {
		return &e.values[i]
	}
	v := value{path: p.text}
	switch p.text {
	case "type":
		v.text, v.isText, v.raw = e.Type, true, present
	case "sender":
		v.text, v.isText, v.raw = e.Sender, true, present
	case "room_id":
		v.text, v.isText, v.raw = e.RoomID, true, present
	case "state_key":
		if e.StateKey != nil {
			v.text, v.isText, v.raw = *e.StateKey, true, present
		}
	default:
		v.raw = e.walk(p)
		if pdu.Kind(v.raw) == '"' {
			v.text, v.isText = pdu.String(v.raw)
		}
	}
	e.values = append(e.values, v)
	if e.index != nil {
		e.index[v.path] = len(e.values) - 1
	} else if len(e.values) > manyValues {
		e.index = make(map[string]int, 2*manyValues)
		for i := range e.values {
			e.index[e.values[i].path] = i
		}
	}
	return &e.values[len(e.values)-1]
}

// present stands for the JSON of a value that is known as text.
var present = []byte{'"'}

func (e *Event) known(text string) int {
	if e.index != nil {
		if i, ok := e.index[text]; ok {
			return i
		}
		return -1
	}
	for i := range e.values {
		if e.values[i].path == text {
			return i
		}
	}
	return -1
}

func (e *Event) walk(p *path) []byte {
	o := e.object("", e.json)
	last := len(p.parts) - 1
	for i, name := range p.parts {
		raw := o.get(name)
		if i == last || pdu.Kind(raw) != '{' {
			if i < last {
				return nil
			}
			return raw
		}
		o = e.object(p.prefix[i], raw)
	}
	return nil
}

func (e *Event) object(prefix string, raw []byte) *object {
	if o := e.objects[prefix]; o != nil {
		return o
	}
	if e.objects == nil {
		e.objects = make(map[string]*object, 4)
	}
	o := &object{raw: raw}
	e.objects[prefix] = o
	return o
}

func (o *object) get(name string) []byte {
	if o.members != nil {
		return o.members[name]
	}
	if o.looked++; o.looked > manyLooks {
		o.members = map[string][]byte{}
		pdu.Members(o.raw, func(key string, val []byte) bool {
			o.members[key] = val
			return true
		})
		return o.members[name]
	}
	raw, _ := pdu.Get(o.raw, name)
	return raw
}

// fold returns the text in small letters; ok is false if the value is no string.
func (v *value) fold() (s string, ok bool) {
	if !v.isFold {
		v.folded, v.isFold = fold(v.text), true
	}
	return v.folded, v.isText
}

// path is a dot-separated path (appendices, "Dot-separated property paths").
type path struct {
	text   string
	parts  []string
	prefix []string // prefix[i] is unique for parts[:i+1]
}

// newPath reads a path; ok is false if it has too many parts.
func newPath(key string) (p *path, ok bool) {
	p = &path{text: key}
	var part strings.Builder
	for i := 0; i < len(key); i++ {
		switch c := key[i]; {
		case c == '\\' && i+1 < len(key) && (key[i+1] == '.' || key[i+1] == '\\'):
			i++
			part.WriteByte(key[i])
		case c == '.':
			p.parts = append(p.parts, part.String())
			p.prefix = append(p.prefix, key[:i])
			part.Reset()
		default:
			part.WriteByte(c)
		}
	}
	p.parts = append(p.parts, part.String())
	p.prefix = append(p.prefix, key)
	return p, len(p.parts) <= maxKeyParts
}
