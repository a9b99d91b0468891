package state

import (
	"context"
	"fmt"
	"slices"
)

// Resolve returns the whole state of a snapshot. Errors are the loader's,
// [ErrMissing] and [ErrDamaged].
func Resolve(ctx context.Context, l Loader, s *Snapshot) (View, error) {
	stack, err := layers(ctx, l, s)
	if err != nil {
		return View{}, err
	}
	all, err := combine(stack)
	if err != nil {
		return View{}, err
	}
	all = slices.DeleteFunc(all, func(e Entry) bool { return e.Event == 0 })
	if len(all) != s.N {
		return View{}, fmt.Errorf("%w: %d has %d entries instead of %d", ErrDamaged, s.ID, len(all), s.N)
	}
	return View{base: all}, nil
}

// combine returns the sum of the deltas of stack, which is newest first. Removals
// stay. The result is the caller's.
func combine(stack []*Snapshot) ([]Entry, error) {
	var sum []Entry
	for _, s := range stack {
		older, err := decode(s.Delta)
		if err != nil {
			return nil, fmt.Errorf("snapshot %d: %w", s.ID, err)
		}
		sum = overlay(older, sum)
	}
	return sum, nil
}

// Get returns the event that holds key in a snapshot, 0 if none does. Errors are
// the loader's, [ErrMissing] and [ErrDamaged].
func Get(ctx context.Context, l Loader, s *Snapshot, key Key) (int64, error) {
	events, err := GetMany(ctx, l, s, []Key{key})
	if err != nil {
		return 0, err
	}
	return events[0], nil
}

// GetMany returns the events that hold the keys in a snapshot, in the order of
// keys, 0 where none does. Errors are as for [Get].
func GetMany(ctx context.Context, l Loader, s *Snapshot, keys []Key) ([]int64, error) {
	stack, err := layers(ctx, l, s)
	if err != nil {
		return nil, err
	}
	wanted := make([]Entry, len(keys)) // Event carries the index in keys
	for i, k := range keys {
		wanted[i] = Entry{Key: k, Event: int64(i)}
	}
	slices.SortFunc(wanted, compareEntries)
	found, err := lookup(stack, wanted)
	if err != nil {
		return nil, err
	}
	out := make([]int64, len(keys))
	for i, e := range found {
		out[wanted[i].Event] = e
	}
	return out, nil
}
