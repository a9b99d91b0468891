package state

import (
	"context"
	"fmt"
	"slices"
)

// Root returns the first snapshot of a branch: a state written in full. Entries
// may come in any order; those with Event 0 are left out, and of several with one
// key the last counts.
func Root(id int64, entries []Entry) *Snapshot {
	kept := slices.DeleteFunc(normalize(entries), func(e Entry) bool { return e.Event == 0 })
	return &Snapshot{ID: id, N: len(kept), Delta: encode(kept)}
}

// Append returns the snapshot after prev with changes applied. Changes may come
// in any order, of several with one key the last counts, and Event 0 removes a
// key. If nothing really changes the result is prev itself and newID is not used.
//
// prev may have other successors: that is a fork. Errors are the loader's,
// [ErrMissing] and [ErrDamaged].
func Append(ctx context.Context, l Loader, prev *Snapshot, newID int64, changes []Entry) (*Snapshot, error) {
	stack, err := layers(ctx, l, prev)
	if err != nil {
		return nil, err
	}
	net, added, err := dropUnchanged(normalize(changes), stack)
	if err != nil {
		return nil, err
	}
	if len(net) == 0 {
		return prev, nil
	}
	next := &Snapshot{ID: newID, Seq: prev.Seq + 1, Prev: prev.ID, N: prev.N + added}
	parent := 0 // index in stack: clear the trailing ones of prev.Seq, that is the lowest one of next.Seq
	for s := prev.Seq; s > next.Seq&(next.Seq-1) && parent < len(stack); s &= s - 1 {
		parent++
	}
	if parent >= len(stack) {
		return nil, fmt.Errorf("%w: chain of %d is too short", ErrDamaged, prev.ID)
	}
	for _, s := range stack[:parent] {
		older, err := decode(s.Delta)
		if err != nil {
			return nil, fmt.Errorf("snapshot %d: %w", s.ID, err)
		}
		net = overlay(older, net)
	}
	// A key that has got back what it holds in the parent stays in the delta: to
	// find those few would cost more than all the rest.
	next.Parent = stack[parent].ID
	next.Chain = append(make([]int64, 0, len(stack)-parent), next.Parent)
	next.Chain = append(next.Chain, stack[parent].Chain...)
	next.Delta = encode(net)
	return next, nil
}

func count(event int64) int {
	if event == 0 {
		return 0
	}
	return 1
}

// dropUnchanged returns the sorted changes that differ from the state of stack,
// which is newest first, and how many entries they add to it.
func dropUnchanged(changes []Entry, stack []*Snapshot) (kept []Entry, added int, err error) {
	old, err := lookup(stack, changes)
	if err != nil {
		return nil, 0, err
	}
	kept = make([]Entry, 0, len(changes))
	for i, e := range changes {
		if e.Event != old[i] {
			kept = append(kept, e)
			added += count(e.Event) - count(old[i])
		}
	}
	return kept, added, nil
}

// lookup returns the events that hold the keys of wanted, which is sorted, in the
// state of stack, which is newest first; 0 where there is none.
func lookup(stack []*Snapshot, wanted []Entry) ([]int64, error) {
	out := make([]int64, len(wanted))
	pending := make([]int, len(wanted)) // indices not found yet
	for i := range pending {
		pending[i] = i
	}
	for _, s := range stack {
		if len(pending) == 0 {
			break
		}
		left, err := lookupDelta(s.Delta, wanted, out, pending)
		if err != nil {
			return nil, fmt.Errorf("snapshot %d: %w", s.ID, err)
		}
		pending = left
	}
	return out, nil
}

// lookupDelta fills out for the indices in pending whose keys are in delta, and
// returns the other indices, in the memory of pending.
func lookupDelta(delta []byte, wanted []Entry, out []int64, pending []int) ([]int, error) {
	c := open(delta)
	left := pending[:0]
	found := c.next()
	for _, i := range pending {
		found = found && c.seek(wanted[i].Key)
		if found && c.cur.Key == wanted[i].Key {
			out[i] = c.cur.Event
		} else {
			left = append(left, i)
		}
	}
	if c.bad {
		return nil, ErrDamaged
	}
	return left, nil
}
