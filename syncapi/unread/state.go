package unread

import (
	"math"
	"sync"

	"hearth/roomserver/roomapi"
)

// state is what is known of one user in one room.
type state struct {
	user, room string

	mu      sync.Mutex // guards what follows
	loaded  bool
	upTo    int64 // position of the room log up to which it is true
	version version

	joined int64            // order of the event with which the joined time began
	marks  map[string]int64 // by thread, "" for all: order up to which all is read
	own    map[string]own   // by thread: the user's last event
	items  []item           // unread notifications, in order
	// last and lastInThread are the orders of the last event of others, and of the
	// last one in a thread, that rules were asked about. If both are read, other rules
	// would change nothing.
	last, lastInThread int64

	changed, changedBy int64
}

// own is an event of the user.
type own struct {
	ord int64
	id  string
}

// item is an unread notification.
type item struct {
	ord       int64
	id        string
	thread    string
	highlight bool
}

const noOrd = math.MinInt64

// weight is in units of about 300 bytes.
func (s *state) weight() int { return 1 + len(s.items)/4 + len(s.marks)/4 + len(s.own)/4 }

// reset forgets all but when the counts changed.
func (s *state) reset() {
	s.marks, s.own, s.items = nil, nil, nil
	s.joined, s.last, s.lastInThread = noOrd, noOrd, noOrd
}

func (s *state) markOf(thread string) int64 {
	if ord, ok := s.marks[thread]; ok {
		return ord
	}
	return noOrd
}

// read reports whether an event of a thread is read.
func (s *state) read(ord int64, thread string) bool {
	if ord <= s.joined || ord <= s.markOf("") || ord <= s.markOf(thread) {
		return true
	}
	o, ok := s.own[thread]
	return ok && ord <= o.ord
}

// mark applies a receipt and reports whether the counts changed.
func (s *state) mark(thread string, ord int64) bool {
	if ord <= s.markOf(thread) {
		return false
	}
	if s.marks == nil {
		s.marks = map[string]int64{}
	}
	s.marks[thread] = ord
	return s.drop()
}

// sent notes an event of the user's own and reports whether the counts changed.
func (s *state) sent(thread, id string, ord int64) bool {
	if o, ok := s.own[thread]; ok && o.ord >= ord {
		return false
	}
	if s.own == nil {
		s.own = map[string]own{}
	}
	s.own[thread] = own{ord, id}
	return s.drop()
}

// drop removes what is read.
func (s *state) drop() bool {
	kept := s.items[:0]
	for _, it := range s.items {
		if !s.read(it.ord, it.thread) {
			kept = append(kept, it)
		}
	}
	dropped := len(kept) < len(s.items)
	clear(s.items[len(kept):])
	s.items = kept
	return dropped
}

// saw notes that rules decide about an event of somebody else; thread is empty if it
// is not known.
func (s *state) saw(ord int64, thread string) {
	if thread == roomapi.MainThread || thread == "" {
		s.last = max(s.last, ord)
	}
	if thread != roomapi.MainThread {
		s.lastInThread = max(s.lastInThread, ord)
	}
}

// quiet reports whether other rules would count the same.
func (s *state) quiet() bool {
	all := s.markOf("")
	return s.loaded && s.lastInThread <= all && (s.last <= all || s.read(s.last, roomapi.MainThread))
}

func (s *state) summary() *Room {
	r := &Room{Changed: s.changed, ChangedBy: s.changedBy}
	for _, it := range s.items {
		r.All.add(it.highlight)
		if it.thread == roomapi.MainThread {
			r.Main.add(it.highlight)
			continue
		}
		if r.Threads == nil {
			r.Threads = map[string]Counts{}
		}
		c := r.Threads[it.thread]
		c.add(it.highlight)
		r.Threads[it.thread] = c
	}
	return r
}

// same reports whether two summaries have the same counts.
func (r *Room) same(other *Room) bool {
	if r.All != other.All || r.Main != other.Main || len(r.Threads) != len(other.Threads) {
		return false
	}
	for id, c := range r.Threads {
		if other.Threads[id] != c {
			return false
		}
	}
	return true
}
