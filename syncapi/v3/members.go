package v3

import (
	"hearth/roomserver/roomapi"
	"hearth/syncapi/core"
)

// addMembers adds to the delta's state the member events that a lazily loading
// client needs to show the answer and was not sent yet: those of the timeline's
// senders, of the heroes, and the user's own in a room that is told whole
// (client-server API, "Lazy-loading room members"). read returns a user's member
// event as the reader may see it, nil if there is none.
func (r *round) addMembers(c *core.Change, d *delta, read func(id string) (*roomapi.Event, error)) error {
	if !r.lazy() {
		return nil
	}
	there := map[string]bool{} // its member event is in the answer
	for _, list := range [][]*roomapi.Event{d.state, d.timeline} {
		for _, e := range list {
			if e.Type == memberType && e.StateKey != nil {
				there[*e.StateKey] = true
			}
		}
	}
	for _, id := range r.speakers(d) {
		if there[id] {
			continue
		}
		there[id] = true
		if !d.whole && !r.full && !r.filter.Room.State.IncludeRedundant && r.device.Known(c.RoomID, id, r.known) {
			continue
		}
		e, err := read(id)
		if err != nil {
			return err
		}
		if e != nil {
			d.state = append(d.state, e)
		}
	}
	return nil
}

// speakers lists the users whose member events the client needs, without repetition.
func (r *round) speakers(d *delta) []string {
	var list []string
	seen := map[string]bool{}
	add := func(id string) {
		if !seen[id] {
			seen[id] = true
			list = append(list, id)
		}
	}
	if d.whole || r.full {
		add(r.req.UserID)
	}
	for _, e := range d.timeline {
		add(e.Sender)
	}
	if d.summary != nil {
		for _, id := range d.summary.Heroes {
			add(id)
		}
	}
	return list
}

// markMembers remembers which member events the answer carries.
func (r *round) markMembers(c *core.Change, lists ...[]*roomapi.Event) {
	if !r.lazy() {
		return
	}
	r.device.Answered(r.now.Room) // even if the answer fails: the marks are of it
	for _, list := range lists {
		for _, e := range list {
			if e.Type == memberType && e.StateKey != nil {
				r.device.Mark(c.RoomID, *e.StateKey, r.now.Room)
			}
		}
	}
}
