package v3

import (
	"hearth/syncapi/internal/render"
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
	tail    []byte // what every answer ends with: members, each with its comma before
}

func (a *answer) begin() {
	if a.begun {
		return
	}
	a.begun = true
	a.buf = append(a.buf, `{"next_batch":`...)
	a.buf = render.String(a.buf, a.now.String())
}

// events writes a top-level section with events; list holds them with commas between.
func (a *answer) events(name string, list []byte) error {
	if len(list) == 0 {
		return nil
	}
	a.begin()
	a.buf = append(a.buf, ',')
	a.buf = append(render.String(a.buf, name), `:{"events":[`...)
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
	a.buf = append(render.String(a.buf, roomID), ':')
	a.buf = append(a.buf, body...)
	return a.flush(chunkSize)
}

func (a *answer) open(section string) {
	a.section = section
	a.buf = append(render.String(a.buf, section), `:{`...)
}

// finish ends the body and sends what is left.
func (a *answer) finish() error {
	a.begin()
	if a.rooms {
		a.buf = append(a.buf, `}}`...)
	}
	a.buf = append(append(a.buf, a.tail...), '}')
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
