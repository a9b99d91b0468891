package core

import (
	"container/list"
	"errors"
	"net/http"
	"slices"
	"sort"

	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
)

// room is a room in which something happened lately or in which a loaded user is.
type room struct {
	id     string            // fixed
	joined map[*User]*member // loaded users who have joined
	recent *recent           // nil: nothing happened after Engine.floor
	// The last event and receipt are at these positions or earlier.
	eventBound, receiptBound int64
	// bump is the position of the last event that counts as activity; 0: not known.
	bump int64
	// encrypted and plain say that it is known to be encrypted, or not to be.
	encrypted, plain bool
	// facts are what filters of rooms look at, nil if not known; they hold since factsPos.
	facts    *Facts
	factsPos int64
}

func (e *Engine) newRoom(id string) *room {
	r := &room{id: id, eventBound: e.floor, receiptBound: e.floor, factsPos: e.floor}
	e.rooms[id] = r
	return r
}

// limit takes the bounds from a row that was true at pos, unless an entry after pos
// may have been missed.
func (r *room) limit(pos int64, row *roomapi.Membership) {
	event, receipt := row.LastEvent, row.LastReceipt
	if c := r.recent; c != nil {
		if c.known > pos {
			return
		}
		event, receipt = max(event, c.lastEvent), max(receipt, c.lastReceipt)
	} else if r.eventBound > pos || r.receiptBound > pos {
		return
	}
	r.eventBound, r.receiptBound = event, receipt
}

// recent is what is kept of a room in which something happened after the floor.
type recent struct {
	at    *list.Element // in Engine.order
	known int64         // every entry of the room after it was seen
	// positions of the last entry of a kind; 0: none after known
	lastEvent, lastReceipt, lastCounts, lastMember int64
	// lastPeers: somebody joined or ceased to be joined, or the room was encrypted
	lastPeers int64

	events       []placed // oldest first
	eventsFrom   int64    // events has all after it
	receipts     []*roomapi.Receipt
	receiptsFrom int64 // receipts has all after it that were not replaced
	typing       *roomapi.Typing
	members      map[string]*roomapi.Event // some current member events, by user

	bytes int
}

// placed is an event with its log position.
type placed struct {
	pos   int64
	event *roomapi.Event
}

// recentBytes is what a room costs besides its events, roughly.
const recentBytes = 600

const receiptBytes = 300

func eventBytes(e *roomapi.Event) int {
	return 400 + len(e.JSON) + len(e.PrevContent) + len(e.RedactedBecause)
}

// touch returns the recent of a room, making both if need be, and marks it as used.
func (e *Engine) touch(id string) *room {
	r := e.rooms[id]
	if r == nil {
		r = e.newRoom(id)
	}
	if r.recent == nil {
		// Nothing happened between the last entry of a kind and now.
		events, receipts := min(e.floor, r.eventBound), min(e.floor, r.receiptBound)
		r.recent = &recent{known: events, eventsFrom: events, receiptsFrom: receipts, bytes: recentBytes}
		r.recent.at = e.order.PushBack(r)
		e.bytes += recentBytes
	} else {
		e.order.MoveToBack(r.recent.at)
	}
	return r
}

// grow accounts for n more bytes of r.
func (e *Engine) grow(c *recent, n int) {
	c.bytes += n
	e.bytes += n
}

// addEvent appends an event at pos.
func (e *Engine) addEvent(c *recent, pos int64, ev *roomapi.Event) {
	c.lastEvent = pos
	c.events = append(c.events, placed{pos, ev})
	e.grow(c, eventBytes(ev))
	for len(c.events) > e.limits.Events {
		c.eventsFrom = c.events[0].pos
		e.grow(c, -eventBytes(c.events[0].event))
		c.events[0] = placed{}
		c.events = c.events[1:] // append moves the rest to a new array now and then
	}
}

// cutEvents lets the events at hand begin after pos.
func (e *Engine) cutEvents(c *recent, pos int64) {
	for _, p := range c.events {
		e.grow(c, -eventBytes(p.event))
	}
	c.events, c.eventsFrom = nil, pos
}

// replaceEvent puts the redacted form of an event in its place.
func (e *Engine) replaceEvent(c *recent, ev *roomapi.Event) {
	for i := range c.events {
		if old := c.events[i].event; old.EventID == ev.EventID {
			e.grow(c, eventBytes(ev)-eventBytes(old))
			c.events[i].event = ev
		}
	}
	for user, old := range c.members {
		if old.EventID == ev.EventID {
			e.grow(c, eventBytes(ev)-eventBytes(old))
			c.members[user] = ev
		}
	}
}

// addReceipt notes a receipt; it replaces the one before of the same user, kind and thread.
func (e *Engine) addReceipt(c *recent, pos int64, rc *roomapi.Receipt) {
	if rc.Pos != pos {
		same := *rc
		same.Pos = pos
		rc = &same
	}
	c.lastReceipt = pos
	if i := slices.IndexFunc(c.receipts, func(old *roomapi.Receipt) bool {
		return old.UserID == rc.UserID && old.Kind == rc.Kind && old.ThreadID == rc.ThreadID
	}); i >= 0 {
		c.receipts = slices.Delete(c.receipts, i, i+1)
		e.grow(c, -receiptBytes)
	}
	c.receipts = append(c.receipts, rc)
	e.grow(c, receiptBytes)
	if len(c.receipts) > e.limits.Receipts {
		c.receiptsFrom = c.receipts[0].Pos
		c.receipts = slices.Delete(c.receipts, 0, 1)
		e.grow(c, -receiptBytes)
	}
}

// keepMember caches a member event that the owner gave when the cursor was at
// before, unless a later one may exist.
func (e *Engine) keepMember(c *recent, user string, ev *roomapi.Event, before int64) {
	if c.known > before || c.lastMember > before || len(c.members) >= e.limits.Members || c.members[user] != nil {
		return
	}
	if c.members == nil {
		c.members = map[string]*roomapi.Event{}
	}
	c.members[user] = ev
	e.grow(c, eventBytes(ev))
}

// renewMember replaces a cached member event.
func (e *Engine) renewMember(c *recent, user string, ev *roomapi.Event) {
	if old := c.members[user]; old != nil {
		e.grow(c, eventBytes(ev)-eventBytes(old))
		c.members[user] = ev
	}
}

// forgetMember drops a cached member event.
func (e *Engine) forgetMember(c *recent, user string) {
	if old := c.members[user]; old != nil {
		e.grow(c, -eventBytes(old))
		delete(c.members, user)
	}
}

// dropMembers drops all cached member events.
func (e *Engine) dropMembers(c *recent) {
	for user := range c.members {
		e.forgetMember(c, user)
	}
}

// shrink drops what is kept of the rooms that were quiet for the longest time.
func (e *Engine) shrink() {
	for e.bytes > e.limits.Bytes {
		first := e.order.Front()
		if first == nil {
			return
		}
		r := first.Value.(*room)
		c := r.recent
		e.order.Remove(first)
		e.bytes -= c.bytes
		e.floor = max(e.floor, c.lastEvent, c.lastReceipt)
		r.recent = nil
		e.release(r)
	}
}

// release forgets a room that nobody needs.
func (e *Engine) release(r *room) {
	if r.recent == nil && len(r.joined) == 0 {
		delete(e.rooms, r.id)
	}
}

// eventsAfter returns the events after from; covered says that these are all.
func (e *Engine) eventsAfter(r *room, from int64) (events []*roomapi.Event, covered bool) {
	if from >= e.eventBound(r) {
		return nil, true
	}
	if r == nil || r.recent == nil {
		return nil, false
	}
	c := r.recent
	if from < c.eventsFrom {
		return nil, false
	}
	i := sort.Search(len(c.events), func(i int) bool { return c.events[i].pos > from })
	now := e.now().UnixMilli()
	for _, p := range c.events[i:] {
		if p.event.Expires != 0 && p.event.Expires <= now {
			return nil, false // the owner knows what is left
		}
		events = append(events, p.event)
	}
	return events, true
}

// receiptsAfter returns the receipts after from; covered says that these are all.
func (e *Engine) receiptsAfter(r *room, from int64) (receipts []*roomapi.Receipt, covered bool) {
	bound := e.floor
	if r != nil {
		bound = r.receiptBound
	}
	if from >= bound {
		return nil, true
	}
	if r == nil || r.recent == nil {
		return nil, false
	}
	c := r.recent
	if from < c.receiptsFrom {
		return nil, false
	}
	i := sort.Search(len(c.receipts), func(i int) bool { return c.receipts[i].Pos > from })
	return slices.Clone(c.receipts[i:]), true
}

// eventBound is a position after which the room has no event.
func (e *Engine) eventBound(r *room) int64 {
	if r == nil {
		return e.floor
	}
	return r.eventBound
}

// countsAfter says whether the numbers of members changed after from.
func (e *Engine) countsAfter(r *room, from int64) Tri {
	known := e.eventBound(r)
	if from >= known {
		return No
	}
	if r != nil && r.recent != nil {
		if r.recent.lastCounts > from {
			return Yes
		}
		known = r.recent.known
	}
	if from < known {
		return Unknown
	}
	return No
}

// gone reports whether the owner said that there is nothing for the user.
func gone(err error) bool {
	var e *merr.Error
	return errors.As(err, &e) && (e.Status == http.StatusNotFound || e.Status == http.StatusForbidden)
}
