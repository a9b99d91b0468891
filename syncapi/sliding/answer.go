package sliding

import (
	"maps"
	"slices"
	"strconv"

	"hearth/syncapi/internal/render"
	"hearth/syncapi/viewapi"
)

// chunkSize is the number of bytes after which a part of the answer is sent.
const chunkSize = 64 << 10

// answer writes the body of a response. Nothing is written before there is
// something to tell, so an empty answer can be thrown away.
type answer struct {
	send   func([]byte) error
	pos    viewapi.Pos
	txn    string
	counts map[string]int

	buf        []byte
	begun      bool
	rooms      bool // "rooms" is open or closed
	extensions bool // "extensions" is open
}

func (a *answer) release(b *render.Buffers) { b.Put(a.buf) }

// start writes what stands before the rooms.
func (a *answer) start() {
	if a.begun {
		return
	}
	a.begun = true
	a.buf = append(a.buf, `{"pos":`...)
	a.buf = render.String(a.buf, a.pos.String())
	if a.txn != "" {
		a.buf = append(a.buf, `,"txn_id":`...)
		a.buf = render.String(a.buf, a.txn)
	}
	a.buf = append(a.buf, `,"lists":{`...)
	for _, name := range slices.Sorted(maps.Keys(a.counts)) {
		a.buf = append(render.String(render.Comma(a.buf), name), `:{"count":`...)
		a.buf = append(strconv.AppendInt(a.buf, int64(a.counts[name]), 10), '}')
	}
	a.buf = append(a.buf, `},"rooms":{`...)
}

// room writes a room; an empty body is nothing.
func (a *answer) room(roomID string, body []byte) error {
	if len(body) == 0 {
		return nil
	}
	a.start()
	if a.rooms {
		a.buf = append(a.buf, ',')
	}
	a.rooms = true
	a.buf = append(render.String(a.buf, roomID), ':')
	a.buf = append(a.buf, body...)
	return a.flush(chunkSize)
}

// extension writes an extension after all rooms; an empty body is nothing.
func (a *answer) extension(name string, body []byte) error {
	if len(body) == 0 {
		return nil
	}
	a.start()
	if a.extensions {
		a.buf = append(a.buf, ',')
	} else {
		a.extensions = true
		a.buf = append(a.buf, `},"extensions":{`...)
	}
	a.buf = append(render.String(a.buf, name), ':')
	a.buf = append(a.buf, body...)
	return a.flush(chunkSize)
}

// finish ends the body and sends what is left.
func (a *answer) finish() error {
	a.start()
	if !a.extensions {
		a.buf = append(a.buf, `},"extensions":{`...)
	}
	a.buf = append(a.buf, `}}`...)
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
