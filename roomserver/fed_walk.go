package roomserver

import (
	"cmp"
	"container/heap"
	"context"
	"slices"

	"hearth/internal/pdu"
	"hearth/internal/pduwire"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

// Limits of walks for other servers.
const (
	maxBackfill = 100
	maxMissing  = 50
	// maxWalk is how many events a walk looks at for those that it may return.
	maxWalk = 2000
	// maxStarts is how many events one may start from.
	maxStarts = 100
	// walkBytes bounds what a walk returns.
	walkBytes = 4 << 20
)

// federationBackfill streams events before and including others, the latest first
// ("Backfilling and retrieving missing events").
func (s *Server) federationBackfill(ctx context.Context, req *roomapi.FederationBackfillRequest, send func([]byte) error) error {
	r, _, done, err := s.admit(ctx, req.RoomID, req.Origin)
	if err != nil {
		return err
	}
	defer done()
	starts, err := s.starts(ctx, r, req.From)
	if err != nil {
		return err
	}
	w := &dagWalk{s: s, room: r, seen: map[int64]bool{}, prev: map[int64][]int64{}, limit: clamp(req.Limit, 1, maxBackfill, maxBackfill), minDepth: minOrd}
	w.push(starts)
	if err := w.run(ctx); err != nil {
		return err
	}
	return w.sendTo(ctx, req.Origin, send)
}

// federationMissing streams events between others, those before Latest first-hand, the
// earliest first.
func (s *Server) federationMissing(ctx context.Context, req *roomapi.FederationMissingRequest, send func([]byte) error) error {
	r, _, done, err := s.admit(ctx, req.RoomID, req.Origin)
	if err != nil {
		return err
	}
	defer done()
	latest, err := s.starts(ctx, r, req.Latest)
	if err != nil {
		return err
	}
	earliest, err := s.starts(ctx, r, req.Earliest)
	if err != nil {
		return err
	}
	w := &dagWalk{s: s, room: r, seen: map[int64]bool{}, prev: map[int64][]int64{}, limit: clamp(req.Limit, 1, maxMissing, maxMissing), minDepth: req.MinDepth}
	for _, e := range slices.Concat(latest, earliest) {
		w.seen[e.nid] = true
	}
	for _, e := range latest {
		if err := w.follow(ctx, e); err != nil {
			return err
		}
	}
	if err := w.run(ctx); err != nil {
		return err
	}
	slices.SortStableFunc(w.found, func(a, b *stored) int {
		return cmp.Or(cmp.Compare(a.depth, b.depth), cmp.Compare(a.ord, b.ord))
	})
	return w.sendTo(ctx, req.Origin, send)
}

// starts finds the events of a room that are named; others are passed over.
func (s *Server) starts(ctx context.Context, r *room, ids []string) ([]*stored, error) {
	found, err := s.eventsByID(ctx, r, ids[:min(len(ids), maxStarts)])
	if err != nil {
		return nil, err
	}
	out := make([]*stored, 0, len(found))
	for _, id := range ids[:min(len(ids), maxStarts)] {
		if e := found[id]; e != nil {
			out = append(out, e)
		}
	}
	return out, nil
}

// dagWalk goes back over prev events, from those with the greatest depth on. Rejected
// events are walked over but not returned. Soft-failed ones are returned where others name
// them ("Soft failure").
type dagWalk struct {
	s        *Server
	room     *room
	seen     map[int64]bool
	prev     map[int64][]int64 // prev events of those that were read ahead
	open     byDepth
	limit    int
	minDepth int64
	walked   int
	found    []*stored
	bytes    int
}

func (w *dagWalk) push(events []*stored) {
	for _, e := range events {
		if !w.seen[e.nid] {
			w.seen[e.nid] = true
			heap.Push(&w.open, e)
		}
	}
}

// follow opens the prev events of an event.
func (w *dagWalk) follow(ctx context.Context, e *stored) error {
	prev, ok := w.prev[e.nid]
	if !ok {
		rows, err := w.s.store.Linked(ctx, []int64{e.nid})
		if err != nil {
			return err
		}
		for _, row := range rows {
			prev = row.Links.Prev
		}
	}
	delete(w.prev, e.nid)
	nids := make([]int64, 0, len(prev))
	for _, nid := range prev {
		if !w.seen[nid] {
			nids = append(nids, nid)
		}
	}
	if len(nids) == 0 {
		return nil
	}
	events, err := w.s.events(ctx, w.room, nids)
	if err != nil {
		return err
	}
	w.push(events)
	return nil
}

func (w *dagWalk) run(ctx context.Context) error {
	for w.open.Len() > 0 && len(w.found) < w.limit && w.bytes < walkBytes {
		if w.walked++; w.walked > maxWalk {
			return nil
		}
		if w.walked%64 == 1 {
			if err := w.ahead(ctx, w.open[0]); err != nil {
				return err
			}
		}
		e := heap.Pop(&w.open).(*stored)
		if e.depth < w.minDepth {
			return nil // so are all that are open
		}
		if e.flags&storage.FlagRejected == 0 {
			w.found = append(w.found, e)
			w.bytes += len(e.ev.JSON)
		}
		if err := w.follow(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// ahead reads what most likely comes next with one query: the events before one in the timeline.
func (w *dagWalk) ahead(ctx context.Context, e *stored) error {
	if e.ord == storage.OutlierOrd {
		return nil
	}
	rows, err := w.s.store.Backwards(ctx, w.room.nid, minOrd, e.ord, min(w.limit-len(w.found), 64))
	if err != nil {
		return err
	}
	for _, row := range rows {
		links, err := storage.UnpackLinks(row.Links)
		if err != nil {
			return err
		}
		w.prev[row.Nid] = links.Prev
	}
	_, err = w.s.finish(ctx, w.room.version, rows) // they are in the cache now
	return err
}

// sendTo sends what was found, as far as the server may see it.
func (w *dagWalk) sendTo(ctx context.Context, server string, send func([]byte) error) error {
	v, err := w.s.newSight(ctx, w.room, server)
	if err != nil {
		return err
	}
	shown := make([]*pdu.Event, len(w.found))
	for i, e := range w.found {
		if shown[i], err = v.shown(ctx, e); err != nil {
			return err
		}
	}
	out := pduwire.NewWriter(send)
	for _, ev := range shown {
		if err := out.Write('e', pduwire.Of(ev)); err != nil {
			return err
		}
	}
	return out.Flush()
}

// byDepth is a heap of events, the one with the greatest depth first.
type byDepth []*stored

func (b byDepth) Len() int      { return len(b) }
func (b byDepth) Swap(i, j int) { b[i], b[j] = b[j], b[i] }
func (b byDepth) Less(i, j int) bool {
	if b[i].depth != b[j].depth {
		return b[i].depth > b[j].depth
	}
	return b[i].ord > b[j].ord
}

// Push implements heap.Interface.
func (b *byDepth) Push(x any) { *b = append(*b, x.(*stored)) }

// Pop implements heap.Interface.
func (b *byDepth) Pop() any {
	old := *b
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*b = old[:len(old)-1]
	return e
}
