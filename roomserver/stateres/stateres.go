// Package stateres resolves the conflicts between several states of a room: the
// algorithms of room version 1, of versions 2 to 11 ("version 2") and of version
// 12 ("2.1"), as the room version pages describe them under "State resolution".
//
// The input is the difference between the states, not the states: what
// state.Conflicts finds. Events are numbers here, as in package state; a [Source]
// turns them into edges and bodies. The result does not depend on the order of
// anything in the input.
//
// Servers must agree on the result, so where the text of version 2 can be read in
// two ways this is the reading of the servers in use:
//   - The auth difference counts an event of a state as part of that state's auth
//     chain. Otherwise an event that all states share, but that the auth events of
//     one branch alone name, would be in conflict.
//   - In step 1 the auth chain of a power event is followed from one event of the
//     full conflicted set to the next, and orders events, as long as it does not
//     leave that set.
package stateres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"hearth/internal/pdu"
	"hearth/roomserver/auth"
)

// MaxSets is the largest number of states that can be resolved at once. An event
// has at most 20 previous events.
const MaxSets = 64

// ErrTooManySets says that the input has more than [MaxSets] states.
var ErrTooManySets = errors.New("stateres: too many states")

// ErrDamaged says that a [Source] contradicts itself: an answer of the wrong
// length, a missing event, or an event whose Gen is not above that of its auth
// events.
var ErrDamaged = errors.New("stateres: damaged event graph")

// Node is the skeleton of an event.
type Node struct {
	// Auth holds the auth events.
	Auth []int64
	// Gen is above the Gen of each auth event.
	Gen int64
	// Rejected says that the event was rejected. It then authorises nothing.
	Rejected bool
	// PowerLevels says that it is an m.room.power_levels event with an empty state key.
	PowerLevels bool
}

// Source is where events come from. It must know every event of the states and
// their whole auth chains.
type Source interface {
	// Nodes returns the skeletons of events, in their order. It is asked for
	// distinct events, many at a time.
	Nodes(ctx context.Context, events []int64) ([]Node, error)
	// Events returns the events themselves, in their order. It is asked for
	// distinct events: those in conflict, and what they are checked against.
	Events(ctx context.Context, events []int64) ([]*pdu.Event, error)
}

// State is the unconflicted state map: the keys that have the same event in all
// states.
type State interface {
	// Get returns the event that holds a key, 0 if none does.
	Get(eventType, stateKey string) int64
	// All iterates over all events of the map.
	All() iter.Seq[int64]
}

// Ranked may be implemented by a State that knows which of its events have a Gen above a
// bound, so that the others, which are most in a room with many members, need not be loaded.
// Events more than that do no harm.
type Ranked interface {
	Above(gen int64) iter.Seq[int64]
}

// Input is what is to be resolved.
type Input struct {
	Version *pdu.RoomVersion
	// Conflicted holds, for each state, its events for those keys on which the
	// states do not all agree. A state that has none of them has an empty list.
	Conflicted [][]int64
	// Unconflicted is the rest, common to all states.
	Unconflicted State
}

// Entry is a piece of the resolved state.
type Entry struct {
	auth.StateKey
	Event int64
}

// Resolve resolves the states. The resolved state is in.Unconflicted plus the
// returned entries, sorted by type and state key; a conflicted key that is not
// among them has no event. Errors are those of src, [ErrTooManySets] and
// [ErrDamaged].
func Resolve(ctx context.Context, src Source, in Input) ([]Entry, error) {
	if len(in.Conflicted) > MaxSets {
		return nil, ErrTooManySets
	}
	r := &resolution{ctx: ctx, src: src, in: in, events: map[int64]*pdu.Event{}, nodes: map[int64]*node{}, resolved: map[auth.StateKey]int64{}}
	var err error
	if in.Version.StateResolution == 1 {
		err = r.resolveV1()
	} else {
		err = r.resolveV2(in.Version.StateResolution == 21)
	}
	if err != nil {
		return nil, err
	}
	return r.result(), nil
}

// resolution is one run.
type resolution struct {
	ctx      context.Context
	src      Source
	in       Input
	nodes    map[int64]*node
	events   map[int64]*pdu.Event
	resolved map[auth.StateKey]int64 // R without the unconflicted state
}

// result is the last step of version 2: "replacing any event with the event with
// the same key from the unconflicted state map".
func (r *resolution) result() []Entry {
	out := make([]Entry, 0, len(r.resolved))
	for key, event := range r.resolved {
		if r.in.Unconflicted.Get(key.Type, key.StateKey) == 0 {
			out = append(out, Entry{key, event})
		}
	}
	slices.SortFunc(out, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.StateKey.StateKey, b.StateKey.StateKey))
	})
	return out
}

// loadEvents makes sure that r.events has these events; 0 is passed over.
func (r *resolution) loadEvents(ids []int64) error {
	var missing []int64
	for _, id := range ids {
		if _, ok := r.events[id]; !ok && id != 0 {
			r.events[id] = nil
			missing = append(missing, id)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	list, err := r.src.Events(r.ctx, missing)
	if err != nil {
		return fmt.Errorf("load events: %w", err)
	}
	if len(list) != len(missing) || slices.Contains(list, nil) {
		return fmt.Errorf("%w: events are missing", ErrDamaged)
	}
	for i, ev := range list {
		r.events[missing[i]] = ev
	}
	return nil
}

// conflicted returns all events of the conflicted state set, each once, sorted.
func (r *resolution) conflicted() []int64 {
	all := slices.Concat(r.in.Conflicted...)
	slices.Sort(all)
	all = slices.Compact(all)
	return slices.DeleteFunc(all, func(id int64) bool { return id == 0 })
}

// needed returns the events of the unconflicted state that the rules look at when
// ev is checked.
func (r *resolution) needed(dst []int64, ev *pdu.Event) []int64 {
	for _, key := range auth.SelectFor(ev) {
		if id := r.in.Unconflicted.Get(key.Type, key.StateKey); id != 0 {
			dst = append(dst, id)
		}
	}
	return dst
}

// create is the room's create event, which all states share.
func (r *resolution) create() int64 { return r.in.Unconflicted.Get("m.room.create", "") }
