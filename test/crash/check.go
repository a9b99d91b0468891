package crash

import (
	"fmt"
	"maps"
	"slices"
)

// Kinds of problems.
const (
	lost      = "lost"      // acknowledged and not there, or not in a view
	repeated  = "repeated"  // there more than once
	unknown   = "unknown"   // nobody sent it, or it is in a view only
	reordered = "reordered" // not in the order of /messages or of its sender
	changed   = "changed"   // one transaction id, several events
	stale     = "stale"     // not the last value or state
)

// Problem is a broken promise.
type Problem struct{ Kind, Text string }

// String returns the kind and the text.
func (p Problem) String() string { return p.Kind + ": " + p.Text }

// checker collects problems.
type checker struct {
	h     *History
	found []Problem
}

func (c *checker) problem(kind, format string, args ...any) {
	c.found = append(c.found, Problem{kind, fmt.Sprintf(format, args...)})
}

// Check returns all promises that h breaks.
func Check(h *History) []Problem {
	c := &checker{h: h}
	for _, room := range slices.Sorted(maps.Keys(h.Messages)) {
		c.room(room, h.Messages[room])
	}
	c.acks()
	for _, view := range slices.Sorted(maps.Keys(h.Views)) {
		for _, room := range slices.Sorted(maps.Keys(h.Messages)) {
			c.view(view, room, h.Views[view][room])
		}
		for room := range h.Views[view] {
			if _, ok := h.Messages[room]; !ok {
				c.problem(unknown, "%s saw room %s", view, room)
			}
		}
	}
	c.state()
	for _, v := range h.Values {
		if v.Want != v.Got {
			c.problem(stale, "%s is %q, the last acknowledged write was %q", v.Name, v.Got, v.Want)
		}
	}
	return c.found
}

// room checks the history of a room by itself.
func (c *checker) room(room string, events []Event) {
	ids, txns := map[string]bool{}, map[string]string{}
	baseline := map[string]bool{}
	for i, e := range c.h.Baseline[room] {
		baseline[e.ID] = true
		if i >= len(events) || events[i].ID != e.ID {
			c.problem(lost, "%s: event %d is not %s, with which the room was made", room, i, e.ID)
		}
	}
	for i, e := range events {
		if ids[e.ID] {
			c.problem(repeated, "%s: %s is in /messages again at %d", room, e.ID, i)
			continue
		}
		ids[e.ID] = true
		if e.Txn == "" {
			if !baseline[e.ID] {
				c.problem(unknown, "%s: nobody sent %s", room, e.ID)
			}
			continue
		}
		if in, ok := c.h.Attempts[e.Txn]; !ok || in != room {
			c.problem(unknown, "%s: %s carries transaction %s, which was sent to %q", room, e.ID, e.Txn, in)
		}
		if first, ok := txns[e.Txn]; ok {
			c.problem(repeated, "%s: transaction %s made %s and %s", room, e.Txn, first, e.ID)
		}
		txns[e.Txn] = e.ID
	}
}

// acks checks that each 200 is kept, and the order of each sender.
func (c *checker) acks() {
	type place struct {
		room  string
		index int
		txn   string
	}
	where := map[string]place{}
	for room, events := range c.h.Messages {
		for i, e := range events {
			where[e.ID] = place{room, i, e.Txn}
		}
	}
	byTxn := map[string]Ack{}
	for _, sender := range slices.Sorted(maps.Keys(c.h.Acks)) {
		last := map[string]Ack{} // by room
		for _, ack := range c.h.Acks[sender] {
			if before, ok := byTxn[ack.Txn]; ok {
				if before != ack {
					c.problem(changed, "transaction %s was answered with %s in %s and with %s in %s",
						ack.Txn, before.ID, before.Room, ack.ID, ack.Room)
				}
				continue
			}
			byTxn[ack.Txn] = ack
			at, ok := where[ack.ID]
			switch {
			case !ok || at.room != ack.Room:
				c.problem(lost, "%s: %s was acknowledged (transaction %s) and is not in /messages", ack.Room, ack.ID, ack.Txn)
				continue
			case at.txn != ack.Txn:
				c.problem(changed, "%s: transaction %s was answered with %s, which is of transaction %s", ack.Room, ack.Txn, ack.ID, at.txn)
			}
			if before, ok := last[ack.Room]; ok && where[before.ID].index > at.index {
				c.problem(reordered, "%s: %s sent %s after %s was acknowledged, and it is before it", ack.Room, sender, ack.ID, before.ID)
			}
			last[ack.Room] = ack
		}
	}
}

// view compares what somebody saw of a room with its history.
func (c *checker) view(view, room string, seen []Event) {
	place := map[string]int{}
	for i, e := range c.h.Messages[room] {
		place[e.ID] = i
	}
	count, last := map[string]int{}, -1
	for _, e := range seen {
		count[e.ID]++
		at, ok := place[e.ID]
		switch {
		case !ok:
			c.problem(unknown, "%s saw %s in %s, which is not in /messages", view, e.ID, room)
		case count[e.ID] > 1:
			c.problem(repeated, "%s saw %s in %s %d times", view, e.ID, room, count[e.ID])
		case at < last:
			c.problem(reordered, "%s saw %s in %s too late", view, e.ID, room)
		default:
			last = at
		}
	}
	for _, e := range c.h.Messages[room] {
		if count[e.ID] == 0 {
			c.problem(lost, "%s did not see %s in %s", view, e.ID, room)
		}
	}
}

// state compares the state that each reader worked out with the server's.
func (c *checker) state() {
	for _, view := range slices.Sorted(maps.Keys(c.h.StateViews)) {
		for room, want := range c.h.State {
			got := c.h.StateViews[view][room]
			for key, id := range want {
				if got[key] != id {
					c.problem(stale, "%s has %q as state %s of %s, /state has %s", view, got[key], key, room, id)
				}
			}
			for key, id := range got {
				if _, ok := want[key]; !ok {
					c.problem(unknown, "%s has state %s (%s) of %s, /state has not", view, key, id, room)
				}
			}
		}
	}
}
