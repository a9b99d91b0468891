package state

import (
	"context"
	"slices"
)

// Diff returns what turns the state of a into that of b, sorted by key: for each
// key that differs, b's event, or 0 if b has none. The cost depends on the
// changes since the nearest Fenwick ancestor that both share, not on the size of
// the states, unless they share none. Errors are the loader's, [ErrMissing] and
// [ErrDamaged].
func Diff(ctx context.Context, l Loader, a, b *Snapshot) ([]Entry, error) {
	if a.ID == b.ID {
		return nil, nil
	}
	table, err := compare(ctx, l, []*Snapshot{a, b})
	if err != nil {
		return nil, err
	}
	var out []Entry
	for i, e := range table.keys {
		if from, to := table.events[2*i], table.events[2*i+1]; from != to {
			out = append(out, Entry{Key: e.Key, Event: to})
		}
	}
	return out, nil
}

// Conflict is a key on which several states disagree.
type Conflict struct {
	Key Key
	// Events holds the event of each state, in the order of the heads; 0 where
	// the state has no such key. Events may repeat.
	Events []int64
}

// Conflicts compares several states, as state resolution does. It returns the
// keys on which they do not all agree, sorted; every other key of a state has the
// same event in all of them, so any of the heads serves as the unconflicted state
// map once the conflicted keys are taken out. agreed counts the keys that were
// looked at because some head changed them and that turned out to agree.
//
// The cost depends on the changes since the nearest common Fenwick ancestor, as
// for [Diff]. Errors are the loader's, [ErrMissing] and [ErrDamaged].
func Conflicts(ctx context.Context, l Loader, heads []*Snapshot) (conflicts []Conflict, agreed int, err error) {
	if len(heads) < 2 {
		return nil, 0, nil
	}
	table, err := compare(ctx, l, heads)
	if err != nil {
		return nil, 0, err
	}
	for i, e := range table.keys {
		events := table.events[i*len(heads) : (i+1)*len(heads)]
		if same(events) {
			agreed++
			continue
		}
		conflicts = append(conflicts, Conflict{Key: e.Key, Events: slices.Clone(events)})
	}
	return conflicts, agreed, nil
}

func same(events []int64) bool {
	for _, e := range events[1:] {
		if e != events[0] {
			return false
		}
	}
	return true
}

// comparison holds, for each key that some head has changed since the common
// ancestor, the event of each head: events[key*heads+head].
type comparison struct {
	keys   []Entry
	events []int64
}

func compare(ctx context.Context, l Loader, heads []*Snapshot) (comparison, error) {
	stacks := make([][]*Snapshot, len(heads))
	for i, h := range heads {
		var err error
		if stacks[i], err = layers(ctx, l, h); err != nil {
			return comparison{}, err
		}
	}
	common, depth := meet(stacks)
	sides := make([][]Entry, len(heads))
	var keys []Entry
	for i, stack := range stacks {
		var err error
		if sides[i], err = combine(stack[:len(stack)-depth]); err != nil {
			return comparison{}, err
		}
		keys = overlay(keys, sides[i])
	}
	base, err := lookup(common, keys)
	if err != nil {
		return comparison{}, err
	}
	t := comparison{keys: keys, events: make([]int64, len(keys)*len(heads))}
	for h, side := range sides {
		for i, k := range keys {
			event := base[i]
			if len(side) > 0 && side[0].Key == k.Key {
				event, side = side[0].Event, side[1:]
			}
			t.events[i*len(heads)+h] = event
		}
	}
	return t, nil
}

// meet returns the layers that all stacks end with, newest first, and how many
// they are.
func meet(stacks [][]*Snapshot) (common []*Snapshot, depth int) {
	first := stacks[0]
	depth = len(first)
	for _, stack := range stacks[1:] {
		n := 0
		for n < depth && n < len(stack) && stack[len(stack)-1-n].ID == first[len(first)-1-n].ID {
			n++
		}
		depth = n
	}
	return first[len(first)-depth:], depth
}
