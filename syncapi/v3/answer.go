package v3

import (
	"encoding/json"

	"hearth/syncapi/viewapi"
)

// chunkSize is the number of bytes after which a part of the answer is sent.
const chunkSize = 64 << 10

// Sections of "rooms", in the order in which they are written.
const (
	sectionJoin   = "join"
	sectionInvite = "invite"
	sectionKnock  = "knock"
	sectionLeave  = "leave"
)

// answer writes the body of a response. Nothing is written before there is
// something to tell, so an empty answer can be thrown away.
type answer struct {
	send    func([]byte) error
	now     viewapi.Token
	buf     []byte
	begun   bool
	rooms   bool   // "rooms" is open
	section string // which section of rooms is open
}

func (a *answer) begin() {
	if a.begun {
		return
	}
	a.begun = true
	a.buf = append(a.buf, `{"next_batch":`...)
	a.buf = appendString(a.buf, a.now.String())
}

// events writes a top-level section with events; list holds them with commas between.
func (a *answer) events(name string, list []byte) error {
	if len(list) == 0 {
		return nil
	}
	a.begin()
	a.buf = append(a.buf, ',')
	a.buf = append(appendString(a.buf, name), `:{"events":[`...)
	a.buf = append(a.buf, list...)
	a.buf = append(a.buf, `]}`...)
	return a.flush(chunkSize)
}

// room writes a room into a section; an empty body is nothing. All rooms of a
// section come together, and no top-level section follows.
func (a *answer) room(section, roomID string, body []byte) error {
	if len(body) == 0 {
		return nil
	}
	a.begin()
	switch {
	case !a.rooms:
		a.rooms = true
		a.buf = append(a.buf, `,"rooms":{`...)
		a.open(section)
	case a.section != section:
		a.buf = append(a.buf, `},`...)
		a.open(section)
	default:
		a.buf = append(a.buf, ',')
	}
	a.buf = append(appendString(a.buf, roomID), ':')
	a.buf = append(a.buf, body...)
	return a.flush(chunkSize)
}

func (a *answer) open(section string) {
	a.section = section
	a.buf = append(appendString(a.buf, section), `:{`...)
}

// finish ends the body and sends what is left.
func (a *answer) finish() error {
	a.begin()
	if a.rooms {
		a.buf = append(a.buf, `}}`...)
	}
	a.buf = append(a.buf, '}')
	return a.flush(0)
}

func (a *answer) flush(above int) error {
	if len(a.buf) <= above {
		return nil
	}
	err := a.send(a.buf)
	a.buf = a.buf[:0]
	return err
}

// object writes the members of a JSON object.
type object struct {
	buf   []byte
	start int
}

// open begins an object at the end of buf.
func open(buf []byte) object {
	return object{buf: append(buf, '{'), start: len(buf) + 1}
}

func (o *object) empty() bool { return len(o.buf) == o.start }

func (o *object) key(name string) {
	if !o.empty() {
		o.buf = append(o.buf, ',')
	}
	o.buf = append(appendString(o.buf, name), ':')
}

// events writes a member with a list of events, which list appends with commas
// between; without events nothing, unless always.
func (o *object) events(name string, always bool, list func(dst []byte) []byte) {
	before := len(o.buf)
	o.key(name)
	o.buf = append(o.buf, `{"events":[`...)
	n := len(o.buf)
	o.buf = list(o.buf)
	if len(o.buf) == n && !always {
		o.buf = o.buf[:before]
		return
	}
	o.buf = append(o.buf, `]}`...)
}

// comma appends what must stand before the next element or member.
func comma(dst []byte) []byte {
	if n := len(dst); n == 0 || dst[n-1] == '[' || dst[n-1] == '{' {
		return dst
	}
	return append(dst, ',')
}

func appendString(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= 0x7f {
			quoted, _ := json.Marshal(s) // a string always marshals
			return append(dst, quoted...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}
