package core

import (
	"testing"

	"hearth/internal/bus"
	"hearth/roomserver/roomapi"
	"hearth/syncapi/internal/model"
)

// entry is a log entry with a message of a user of another server, and what state resolution
// changed with it.
func entry(pos int64, e roomapi.Entry) bus.Positioned[roomapi.Entry] {
	e.Kind, e.RoomID = roomapi.KindEvent, "!a:h"
	e.Event = &roomapi.Event{EventID: "$m", Type: "m.room.message", Sender: "@x:other", Pos: pos}
	return bus.Positioned[roomapi.Entry]{Pos: pos, Entry: &e}
}

func stateEvent(id, typ, key, membership string) *roomapi.Event {
	return &roomapi.Event{EventID: id, Type: typ, Sender: "@x:other", StateKey: &key, Membership: membership, JSON: []byte(`{"content":{}}`)}
}

func TestStateResolution(t *testing.T) {
	for name, c := range map[string]struct {
		entry   roomapi.Entry
		covered bool
		counts  Tri
		now     Membership
	}{
		"nothing":           {roomapi.Entry{}, true, No, Join},
		"a name":            {roomapi.Entry{State: []*roomapi.Event{stateEvent("$n", "m.room.name", "", "")}}, false, Yes, Join},
		"something is gone": {roomapi.Entry{Gone: []roomapi.StateKey{{Type: "m.room.name"}}}, false, Yes, Join},
		"reset":             {roomapi.Entry{Reset: true}, false, Yes, Join},
		"alice is out":      {roomapi.Entry{State: []*roomapi.Event{stateEvent("$b", "m.room.member", alice, "ban")}}, false, Yes, Ban},
		"alice never was":   {roomapi.Entry{Gone: []roomapi.StateKey{{Type: "m.room.member", StateKey: alice}}}, false, Yes, Leave},
		"reset without her": {roomapi.Entry{Reset: true, State: []*roomapi.Event{stateEvent("$l", "m.room.member", alice, "leave")}}, false, Yes, Leave},
	} {
		t.Run(name, func(t *testing.T) {
			e, _ := setup(t, DefaultLimits(), func(o *model.Owners) { o.Create("!a:h", alice, "shared") })
			u := acquire(t, e, alice)
			e.mu.Lock() // its name and its encryption are known
			r := e.touch("!a:h")
			r.facts, r.plain = &Facts{Name: "Den"}, true
			e.mu.Unlock()
			start, _ := e.Cursors()
			bell := u.Bell.Listen()
			defer bell.Close()
			apply(e, entry(start+1, c.entry))
			select {
			case <-bell.C():
			default:
				t.Error("nobody was woken")
			}
			got := changes(e, u, start)["!a:h"]
			if got.Membership != c.now {
				t.Errorf("alice is %v", got.Membership)
			}
			if c.now == Join && (got.Covered != c.covered || got.Counts != c.counts) {
				t.Errorf("covered %v, counts %v", got.Covered, got.Counts)
			}
			touched := len(c.entry.State)+len(c.entry.Gone) > 0 && c.now == Join || c.entry.Reset
			if known := r.facts != nil; known == touched {
				t.Errorf("the room's name is known: %v", known)
			}
			if r.plain == c.entry.Reset {
				t.Errorf("known not to be encrypted: %v", r.plain)
			}
			apply(e, entry(start+2, roomapi.Entry{}))
			if later := changes(e, u, start+1)["!a:h"]; c.now == Join && (!later.Covered || len(later.Events) != 1) {
				t.Errorf("an event after it: %+v", later)
			}
		})
	}
}
