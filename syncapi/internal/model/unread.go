package model

import (
	"encoding/json"

	"hearth/roomserver/roomapi"
)

// Past is a room as a user has lived through it.
type Past struct {
	User     string
	Pos      int64
	Events   []*roomapi.Event // present forms
	IsJoined bool
	Joined   int64 // order of the event with which the joined time began
	Members  int
	Marks    map[string]int64 // receipts as orders, by thread
}

// Past returns a room as a user has lived through it.
func (o *Owners) Past(user, room string) *Past {
	p := &Past{User: user, Marks: map[string]int64{}}
	forms := map[string]*roomapi.Event{}
	for _, entry := range o.Rooms(0) {
		p.Pos = entry.Pos
		if e := entry.Entry; e.RoomID != room {
			continue
		} else if e.Redacted != nil {
			forms[e.Redacted.EventID] = e.Redacted
			p.add(e.Event)
		} else if e.Event != nil {
			p.add(e.Event)
		} else if rc := e.Receipt; rc != nil && rc.UserID == user {
			for _, ev := range p.Events {
				if ev.EventID == rc.EventID {
					p.Marks[rc.ThreadID] = max(p.Marks[rc.ThreadID], ev.Ord)
				}
			}
		}
	}
	for i, ev := range p.Events {
		if form := forms[ev.EventID]; form != nil {
			p.Events[i] = form
		}
	}
	return p
}

func (p *Past) add(ev *roomapi.Event) {
	p.Events = append(p.Events, ev)
	if ev.Type != "m.room.member" {
		return
	}
	if was, is := len(ev.PrevContent) > 0 && membership(string(ev.PrevContent)) == "join", ev.Membership == "join"; was != is {
		if is {
			p.Members++
		} else {
			p.Members--
		}
		if *ev.StateKey == p.User {
			p.IsJoined, p.Joined = is, ev.Ord
		}
	}
}

// Thread finds the thread of an event.
func (p *Past) Thread(ev *roomapi.Event) string {
	for range roomapi.RelationDepth + 1 {
		rel, parent, ok := relation(ev)
		if !ok {
			break
		}
		if rel == "m.thread" {
			return parent
		}
		ev = nil
		for _, other := range p.Events {
			if other.EventID == parent {
				ev = other
			}
		}
		if ev == nil {
			break
		}
	}
	return "main"
}

// relation reads m.relates_to of a message.
func relation(ev *roomapi.Event) (rel, parent string, ok bool) {
	var c struct {
		Relates struct {
			Rel    string `json:"rel_type"`
			Parent string `json:"event_id"`
		} `json:"m.relates_to"`
	}
	if ev.StateKey != nil || json.Unmarshal(ev.Content(), &c) != nil {
		return "", "", false
	}
	return c.Relates.Rel, c.Relates.Parent, c.Relates.Rel != "" && c.Relates.Parent != ""
}

// Unread answers roomapi.UnreadStream for one room.
func (o *Owners) Unread(req *roomapi.UnreadRequest, room string) *roomapi.UnreadRoom {
	p := o.Past(req.UserID, room)
	u := &roomapi.UnreadRoom{
		RoomID: room, Pos: p.Pos, StatePos: p.Pos, Joined: p.IsJoined, JoinedOrd: p.Joined, Members: p.Members,
	}
	for thread, ord := range p.Marks {
		u.Marks = append(u.Marks, roomapi.Mark{Thread: thread, Ord: ord})
	}
	for _, ev := range p.Events {
		if ev.Ord > p.Joined && len(ev.RedactedBecause) == 0 && req.Limit > 0 {
			u.Events = append(u.Events, roomapi.UnreadEvent{RoomID: room, Thread: p.Thread(ev), Event: ev})
		}
	}
	return u
}
