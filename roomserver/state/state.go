// Package state keeps the states of a room as a chain of small deltas.
//
// A room's state is a map from (event type, state key) to the event that holds
// it. Types, state keys and events are numbers here: the ids of rows elsewhere.
//
// A state is stored as a [Snapshot]. Snapshots of one branch of the room's
// history are numbered 0, 1, 2 …; number s keeps the sum of the changes since its
// Fenwick parent, the ancestor with number s & (s−1). So a state is the sum of at
// most 1 + log2(s) deltas, most deltas are one or a few entries, and the
// ancestors that a new snapshot needs are always on its predecessor's chain. A
// fork of the history simply continues from another snapshot; several snapshots
// may follow the same one.
//
// [View] is the other form: a state in memory, immutable, cheap to derive.
//
// The package does no I/O of its own. Everything here is a pure function of its
// arguments and a [Loader], and safe for concurrent use.
package state

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
)

// ErrDamaged says that a stored snapshot is not what this package wrote.
var ErrDamaged = errors.New("state: damaged snapshot")

// ErrMissing says that a [Loader] did not return the snapshots that it was asked for.
var ErrMissing = errors.New("state: missing snapshot")

// Key names a piece of state: the numeric ids of an event type and a state key.
type Key struct{ Type, StateKey int64 }

// Compare orders keys by type, then by state key.
func (k Key) Compare(o Key) int {
	if c := cmp.Compare(k.Type, o.Type); c != 0 {
		return c
	}
	return cmp.Compare(k.StateKey, o.StateKey)
}

// Entry says which event holds a key. Event 0 means that no event does: in a list
// of changes the key is removed. Other event numbers may have either sign.
type Entry struct {
	Key
	Event int64
}

func compareEntries(a, b Entry) int { return a.Key.Compare(b.Key) }

// Snapshot is one stored state: what storage keeps as one row. It is immutable.
type Snapshot struct {
	// ID is the caller's number for the row; never 0.
	ID int64
	// Seq counts the snapshots before this one on its branch; 0 is a root.
	Seq int
	// Prev is the snapshot that this one was derived from; 0 for a root.
	Prev int64
	// Parent is the Fenwick parent, which Delta is relative to; 0 for a root.
	Parent int64
	// Chain holds the Fenwick ancestors, from Parent to the root. Empty for a root.
	Chain []int64
	// N is the number of entries of the whole state.
	N int
	// Delta holds the keys that were changed since Parent with what they hold now,
	// encoded; for a root, all entries.
	Delta []byte
}

// Loader fetches stored snapshots. It should answer from a cache where it can:
// the functions here ask for whole chains, whose members repeat.
type Loader interface {
	// Load returns the snapshots with these ids, in this order.
	Load(ctx context.Context, ids []int64) ([]*Snapshot, error)
}

// load fetches the ancestors of s, nearest first.
func load(ctx context.Context, l Loader, ids []int64) ([]*Snapshot, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	out, err := l.Load(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("load state snapshots: %w", err)
	}
	if len(out) != len(ids) {
		return nil, ErrMissing
	}
	for i, s := range out {
		if s == nil || s.ID != ids[i] {
			return nil, fmt.Errorf("%w: %d", ErrMissing, ids[i])
		}
	}
	return out, nil
}

// layers returns s and its ancestors, newest first, the root last.
func layers(ctx context.Context, l Loader, s *Snapshot) ([]*Snapshot, error) {
	ancestors, err := load(ctx, l, s.Chain)
	if err != nil {
		return nil, err
	}
	return append([]*Snapshot{s}, ancestors...), nil
}

// normalize returns a sorted copy of changes. Of several entries with one key the
// last counts.
func normalize(changes []Entry) []Entry {
	out := slices.Clone(changes)
	if slices.IsSortedFunc(out, compareEntries) && !hasDuplicate(out) {
		return out
	}
	slices.SortStableFunc(out, compareEntries)
	kept := out[:0]
	for i, e := range out {
		if i+1 < len(out) && out[i+1].Key == e.Key {
			continue
		}
		kept = append(kept, e)
	}
	return kept
}

func hasDuplicate(sorted []Entry) bool {
	for i := 1; i < len(sorted); i++ {
		if sorted[i].Key == sorted[i-1].Key {
			return true
		}
	}
	return false
}

// overlay returns the entries of both lists, sorted; where both have a key, that
// of newer. Removals stay.
func overlay(older, newer []Entry) []Entry {
	if len(older) == 0 {
		return newer
	}
	if len(newer) == 0 {
		return older
	}
	out := make([]Entry, 0, len(older)+len(newer))
	for len(older) > 0 && len(newer) > 0 {
		c := compareEntries(older[0], newer[0])
		switch {
		case c < 0:
			out, older = append(out, older[0]), older[1:]
		case c > 0:
			out, newer = append(out, newer[0]), newer[1:]
		default:
			out, older, newer = append(out, newer[0]), older[1:], newer[1:]
		}
	}
	out = append(out, older...)
	return append(out, newer...)
}
