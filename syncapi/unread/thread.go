package unread

import (
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// threadOf finds the thread of an event, over at most roomapi.RelationDepth parents.
func (v *view) threadOf(ev *roomapi.Event) string {
	for step := 0; ; step++ {
		rel, parent, ok := relation(ev)
		switch {
		case !ok || v.err != nil:
			return roomapi.MainThread
		case rel == "m.thread":
			return parent
		case step == roomapi.RelationDepth:
			return roomapi.MainThread
		}
		if ev = v.engine.Recent(v.state.room, parent); ev == nil {
			ev = v.ask(parent)
		}
		if ev == nil {
			return roomapi.MainThread
		}
	}
}

// direct finds the thread of an event without its parents, "" if they matter.
func direct(ev *roomapi.Event) string {
	rel, parent, ok := relation(ev)
	switch {
	case !ok:
		return roomapi.MainThread
	case rel == "m.thread":
		return parent
	}
	return ""
}

// relation reads m.relates_to.
func relation(ev *roomapi.Event) (rel, parent string, ok bool) {
	if ev.StateKey != nil {
		return "", "", false
	}
	content, _ := pdu.Get(ev.JSON, "content")
	relates, ok := pdu.Get(content, "m.relates_to")
	if !ok {
		return "", "", false
	}
	rel, ok = pdu.GetString(relates, "rel_type")
	if !ok || rel == "" {
		return "", "", false
	}
	parent, ok = pdu.GetString(relates, "event_id")
	return rel, parent, ok && len(parent) > 1 && len(parent) <= pdu.MaxIDLength && parent[0] == '$'
}

// ask reads an event of the room; nil if the user may not see it or there is none.
func (v *view) ask(eventID string) *roomapi.Event {
	ev, err := v.source.Event(v.ctx, &roomapi.EventRequest{RoomID: v.state.room, UserID: v.state.user, EventID: eventID})
	if err != nil {
		if e := merr.From(err); e.Status != 404 && e.Status != 403 {
			v.fail(err)
		}
		return nil
	}
	return ev
}
