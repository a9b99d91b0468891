package state

import (
	"iter"
	"slices"
	"sort"
)

// View is a state in memory. It is an immutable value: With returns another one
// and leaves this as it is, sharing most of the memory, so that a chain of staged
// states costs about the square root of the state's size for each step. The zero
// View is the empty state. An entry takes 24 bytes.
type View struct {
	base []Entry // sorted, without removals; shared and never written
	over []Entry // sorted changes on top of base; shared and never written
	diff int     // what over adds to len(base)
}

// NewView returns the state with these entries, in any order. Entries with Event 0
// are left out, and of several with one key the last counts.
func NewView(entries []Entry) View {
	return View{base: slices.DeleteFunc(normalize(entries), func(e Entry) bool { return e.Event == 0 })}
}

// Len returns the number of entries.
func (v View) Len() int { return len(v.base) + v.diff }

// Get returns the event that holds key, 0 if none does.
func (v View) Get(key Key) int64 {
	if i, ok := search(v.over, key); ok {
		return v.over[i].Event
	}
	if i, ok := search(v.base, key); ok {
		return v.base[i].Event
	}
	return 0
}

// search is slices.BinarySearchFunc without the calls through a function value.
func search(entries []Entry, key Key) (int, bool) {
	lo, hi := 0, len(entries)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		k := &entries[mid].Key
		if k.Type < key.Type || k.Type == key.Type && k.StateKey < key.StateKey {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, lo < len(entries) && entries[lo].Key == key
}

// With returns the state after changes, in any order; of several with one key the
// last counts, and Event 0 removes a key.
func (v View) With(changes ...Entry) View {
	if len(changes) == 0 {
		return v
	}
	sorted := normalize(changes)
	diff := v.diff
	for _, e := range sorted {
		diff += count(e.Event) - count(v.Get(e.Key))
	}
	next := View{base: v.base, over: overlay(v.over, sorted), diff: diff}
	if n := len(next.over); n > 16 && n*n > 2*len(next.base) {
		return View{base: next.Entries()}
	}
	return next
}

// Entries returns all entries, sorted by key, in new memory.
func (v View) Entries() []Entry {
	out := make([]Entry, 0, v.Len())
	for e := range v.All() {
		out = append(out, e)
	}
	return out
}

// All iterates over all entries, sorted by key.
func (v View) All() iter.Seq[Entry] { return walk(v.base, v.over) }

// OfType iterates over the entries with one event type, sorted by state key.
func (v View) OfType(eventType int64) iter.Seq[Entry] {
	return walk(typeRange(v.base, eventType), typeRange(v.over, eventType))
}

func typeRange(entries []Entry, eventType int64) []Entry {
	from := sort.Search(len(entries), func(i int) bool { return entries[i].Type >= eventType })
	entries = entries[from:]
	return entries[:sort.Search(len(entries), func(i int) bool { return entries[i].Type > eventType })]
}

// walk merges base and over and leaves removals out.
func walk(base, over []Entry) iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		base, over := base, over
		for len(base) > 0 || len(over) > 0 {
			c := -1
			if len(base) == 0 {
				c = 1
			} else if len(over) > 0 {
				c = compareEntries(base[0], over[0])
			}
			e := Entry{}
			if c < 0 {
				e, base = base[0], base[1:]
			} else {
				e, over = over[0], over[1:]
				if c == 0 {
					base = base[1:]
				}
			}
			if e.Event != 0 && !yield(e) {
				return
			}
		}
	}
}

// Diff returns what turns v into to, sorted by key: to's event for each key that
// differs, 0 where to has none. It is cheap when one was derived from the other.
func (v View) Diff(to View) []Entry {
	var out []Entry
	if len(v.base) == len(to.base) && (len(v.base) == 0 || &v.base[0] == &to.base[0]) {
		for _, e := range overlay(v.over, to.over) {
			if event := to.Get(e.Key); event != v.Get(e.Key) {
				out = append(out, Entry{Key: e.Key, Event: event})
			}
		}
		return out
	}
	a, b := v.Entries(), to.Entries()
	for len(a) > 0 || len(b) > 0 {
		switch c := order(a, b); {
		case c < 0:
			out, a = append(out, Entry{Key: a[0].Key}), a[1:]
		case c > 0:
			out, b = append(out, b[0]), b[1:]
		default:
			if a[0].Event != b[0].Event {
				out = append(out, b[0])
			}
			a, b = a[1:], b[1:]
		}
	}
	return out
}

// order compares the first entries of two lists of which one is not empty; an
// empty list comes last.
func order(a, b []Entry) int {
	switch {
	case len(a) == 0:
		return 1
	case len(b) == 0:
		return -1
	}
	return compareEntries(a[0], b[0])
}
