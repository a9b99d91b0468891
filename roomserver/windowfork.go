package roomserver

import (
	"context"

	"hearth/roomserver/roomapi"
	"hearth/roomserver/state"
	"hearth/roomserver/storage"
)

// cutStale lets the timeline begin after an event at which state resolution changed the
// state, if a client that takes the state from the timeline would end with another one than
// the room's: with an event that did not come to hold its key, or that lost it again.
func (w *window) cutStale(ctx context.Context, forked int64) error {
	if w.req.StateAfter || forked < w.first || w.info.Membership != "join" {
		return nil
	}
	stale, err := w.stale(ctx)
	if err != nil || !stale {
		return err
	}
	i := 0
	for i < len(w.timeline) && w.timeline[i].Ord <= forked {
		i++
	}
	w.timeline, w.first = w.timeline[i:], forked+1
	w.info.Limited, w.info.PrevBatch = true, roomapi.Point{Ord: forked}
	return nil
}

// stale reports whether the last event of some piece of state in the timeline does not hold it
// at the timeline's end.
func (w *window) stale(ctx context.Context) (bool, error) {
	end, err := w.snapAt(ctx, w.end)
	if err != nil || end == nil {
		return false, err
	}
	var keys []state.Key
	last := make(map[state.Key]string)
	for _, e := range w.timeline {
		if e.StateKey == nil {
			continue
		}
		key, ok, err := w.s.stateKey(ctx, e.Type, *e.StateKey)
		if err != nil {
			return false, err
		}
		if ok {
			keys = append(keys, key)
			last[key] = e.EventID
		}
	}
	nids, err := state.GetMany(ctx, w.head.chain, end, keys)
	if err != nil {
		return false, err
	}
	for i, nid := range nids {
		if nid == 0 {
			return true, nil
		}
		e, err := w.s.event(ctx, w.room, nid)
		if err != nil {
			return false, err
		}
		if e.ev.EventID != last[keys[i]] {
			return true, nil
		}
	}
	return false, nil
}

// resolved adds the state that changed during the timeline by state resolution: no event of
// the timeline tells it.
func (w *window) resolved(ctx context.Context, nids []int64, target *state.Snapshot) ([]int64, error) {
	if w.req.StateAfter || len(w.timeline) == 0 || w.info.Membership != "join" {
		return nids, nil
	}
	end, err := w.snapAt(ctx, w.end)
	if err != nil || end == nil || end.ID == target.ID {
		return nids, err
	}
	delta, err := state.Diff(ctx, w.head.chain, target, end)
	if err != nil {
		return nil, err
	}
	told := make(map[int64]bool, len(nids)+len(w.timeline))
	for _, nid := range nids {
		told[nid] = true
	}
	for _, d := range delta {
		// A live event after the start of the timeline is part of it, unless a filter has
		// taken it away.
		if d.Event != 0 && !told[d.Event] && d.Event < w.first>>storage.OrdShift {
			nids = append(nids, d.Event)
		}
	}
	return nids, nil
}
