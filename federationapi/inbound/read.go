package inbound

import (
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

// Limits of a transaction.
const (
	maxPDUs = 50
	maxEDUs = 100
	maxEDU  = 64 << 10 // bytes
	maxText = 255      // bytes of an EDU's type
)

// transaction is the body of a transaction, read no further than needed to share it out.
type transaction struct {
	rooms []*roomPDUs // in the order in which they first occur
	edus  []edu
	// lost are the ids of events that name no room.
	lost []string
}

// roomPDUs are the events of one room, in their order.
type roomPDUs struct {
	id   string
	pdus [][]byte
}

type edu struct {
	typ     string
	content []byte
}

// read checks the shape of a transaction: 400 M_BAD_JSON if it has none. What is
// wrong with a single event or EDU concerns it alone.
func read(body []byte) (*transaction, error) {
	t := &transaction{}
	pdus, ok := pdu.Get(body, "pdus")
	if !ok {
		return nil, merr.BadJSON("The transaction lacks pdus")
	}
	byID := map[string]*roomPDUs{}
	if err := list(pdus, "pdus", maxPDUs, func(raw []byte) { t.sort(raw, byID) }); err != nil {
		return nil, err
	}
	edus, ok := pdu.Get(body, "edus")
	if !ok || pdu.Kind(edus) == 'n' {
		return t, nil
	}
	err := list(edus, "edus", maxEDUs, func(raw []byte) {
		typ, _ := pdu.GetString(raw, "edu_type")
		content, _ := pdu.Get(raw, "content")
		if typ != "" && len(typ) <= maxText && pdu.Kind(content) == '{' && len(content) <= maxEDU {
			t.edus = append(t.edus, edu{typ, content})
		}
	})
	return t, err
}

// sort puts an event to those of its room.
func (t *transaction) sort(raw []byte, byID map[string]*roomPDUs) {
	id, _ := pdu.GetString(raw, "room_id")
	if _, _, err := pdu.ParseRoomID(id); err != nil {
		t.lose(raw)
		return
	}
	room := byID[id]
	if room == nil {
		room = &roomPDUs{id: id}
		byID[id] = room
		t.rooms = append(t.rooms, room)
	}
	room.pdus = append(room.pdus, raw)
}

// lose notes an event whose room, and so whose format, is not known. The answer can
// tell of it if it says its id itself, as in room versions 1 and 2.
func (t *transaction) lose(raw []byte) {
	id, _ := pdu.GetString(raw, "event_id")
	if _, _, err := pdu.ParseEventID(id); err == nil {
		t.lost = append(t.lost, id)
	}
}

func list(val []byte, name string, most int, f func(raw []byte)) error {
	n := 0
	ok := pdu.Elements(val, func(raw []byte) bool {
		if n++; n <= most {
			f(raw)
		}
		return n <= most
	})
	switch {
	case n > most:
		return merr.BadJSON("%s must have at most %d entries", name, most)
	case !ok:
		return merr.BadJSON("%s must be an array", name)
	}
	return nil
}
