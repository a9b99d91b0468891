package roomserver

import (
	"cmp"
	"context"
	"slices"

	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

// Bounds of walks over relations.
const (
	maxDescendants = 1000
	maxThreads     = 100
)

// relations pages through the children of an event that the user may see.
func (s *Server) relations(ctx context.Context, req *roomapi.RelationsRequest) (*roomapi.MessagesResponse, error) {
	r, _, done, err := s.view(ctx, req.RoomID)
	if err != nil {
		return nil, err
	}
	defer done()
	v, parent, err := s.visibleEvent(ctx, r, req.UserID, req.EventID)
	if err != nil {
		return nil, err
	}
	rows, err := s.descendants(ctx, r, parent, req)
	if err != nil {
		return nil, err
	}
	resp := &roomapi.MessagesResponse{}
	limit := clamp(req.Limit, 1, maxPage, 50)
	bytes := 0
	for _, row := range rows {
		if len(resp.Events) == limit || bytes > maxPageBytes {
			break
		}
		e, err := s.event(ctx, r, row.Nid)
		if err != nil {
			return nil, err
		}
		resp.End.Ord = row.Ord
		if !req.Backwards {
			resp.End.Ord++
		}
		if v.sees(e) {
			resp.Events = append(resp.Events, seen(v, e))
			bytes += len(e.client.JSON) + 300
		}
	}
	if len(rows) == 0 || rows[len(rows)-1].Ord == resp.End.Ord || !req.Backwards && rows[len(rows)-1].Ord+1 == resp.End.Ord {
		resp.End = roomapi.Point{} // all rows were looked at
	}
	return resp, s.bundle(ctx, r, v, req.Ignored, resp.Events...)
}

// descendants lists children, and with Recurse theirs, in the order that was asked
// for. A place between events is, as everywhere, after the event with its order; the
// page after one that ended at an event begins beside that event.
func (s *Server) descendants(ctx context.Context, r *room, parent *stored, req *roomapi.RelationsRequest) ([]storage.Relation, error) {
	f, ok, err := s.childFilter(ctx, req)
	if err != nil || !ok {
		return nil, err
	}
	low, high := int64(minOrd), int64(maxOrd)
	from, to := &high, &low
	if !req.Backwards {
		from, to = &low, &high
	}
	if !req.From.IsZero() {
		*from = ordOf(req.From)
		if !req.Backwards {
			*from--
		}
	}
	if !req.To.IsZero() {
		*to = ordOf(req.To)
	}
	if !req.Recurse {
		n := clamp(req.Limit, 1, maxPage, 50) + 1
		return s.store.Children(ctx, r.nid, storage.EventKey(parent.ev.EventID), f, low, high, !req.Backwards, n)
	}
	return s.recurse(ctx, r, parent, f, low, high, !req.Backwards)
}

// childFilter translates the filter; ok is false if nothing can match.
func (s *Server) childFilter(ctx context.Context, req *roomapi.RelationsRequest) (f storage.ChildFilter, ok bool, err error) {
	for _, part := range []struct {
		name string
		nid  *int64
	}{{req.RelType, &f.Rel}, {req.EventType, &f.Type}} {
		if part.name == "" {
			continue
		}
		if *part.nid, ok, err = s.names.lookup(ctx, part.name); err != nil || !ok {
			return f, false, err
		}
	}
	return f, true, nil
}

// recurse collects descendants level by level. The filter applies to what is
// returned and to the way there alike.
func (s *Server) recurse(ctx context.Context, r *room, parent *stored, f storage.ChildFilter, low, high int64, oldestFirst bool) ([]storage.Relation, error) {
	var all []storage.Relation
	seen := map[int64]bool{parent.nid: true}
	level := []*stored{parent}
	for range roomapi.RelationDepth {
		var nids []int64
		for _, e := range level {
			children, err := s.store.Children(ctx, r.nid, storage.EventKey(e.ev.EventID), f, minOrd, maxOrd, false, maxDescendants)
			if err != nil {
				return nil, err
			}
			for _, c := range children {
				if seen[c.Nid] || len(seen) > maxDescendants {
					continue
				}
				seen[c.Nid] = true
				nids = append(nids, c.Nid)
				if c.Ord > low && c.Ord < high {
					all = append(all, c)
				}
			}
		}
		var err error
		if level, err = s.events(ctx, r, nids); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(all, func(a, b storage.Relation) int {
		if oldestFirst {
			return cmp.Compare(a.Ord, b.Ord)
		}
		return cmp.Compare(b.Ord, a.Ord)
	})
	return all, nil
}

// threads pages through the roots of a room's threads.
func (s *Server) threads(ctx context.Context, req *roomapi.ThreadsRequest) (*roomapi.MessagesResponse, error) {
	r, h, done, err := s.view(ctx, req.RoomID)
	if err != nil {
		return nil, notAMember(err)
	}
	defer done()
	v, err := s.visibility(ctx, r, req.UserID)
	if err != nil {
		return nil, err
	}
	if err := s.mayPage(ctx, r, h, v); err != nil {
		return nil, err
	}
	before := int64(maxOrd)
	if !req.From.IsZero() {
		before = ordOf(req.From)
	}
	limit := clamp(req.Limit, 1, maxThreads, 20)
	resp := &roomapi.MessagesResponse{}
	for range maxScan / maxThreads {
		rows, err := s.store.Threads(ctx, r.nid, before, maxThreads)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			if len(resp.Events) == limit {
				resp.End = roomapi.Point{Ord: before}
				return resp, s.bundle(ctx, r, v, req.Ignored, resp.Events...)
			}
			before = row.ThreadOrd
			root, err := s.threadRoot(ctx, r, v, &row, req.Participated)
			if err != nil {
				return nil, err
			}
			if root != nil {
				resp.Events = append(resp.Events, root)
			}
		}
		if len(rows) < maxThreads {
			return resp, s.bundle(ctx, r, v, req.Ignored, resp.Events...)
		}
	}
	resp.End = roomapi.Point{Ord: before}
	return resp, s.bundle(ctx, r, v, req.Ignored, resp.Events...)
}

// threadRoot returns the root of a thread; nil if the user may not see it or does
// not take part in a thread that they should.
func (s *Server) threadRoot(ctx context.Context, r *room, v *visibility, row *storage.Related, participated bool) (*roomapi.Event, error) {
	stub, err := s.store.EventByKey(ctx, row.Parent)
	if err != nil {
		return nil, notFoundAs(err, nil)
	}
	if stub.Room != r.nid {
		return nil, nil
	}
	root, err := s.event(ctx, r, stub.Nid)
	if err != nil || !v.sees(root) {
		return nil, err
	}
	if participated && root.ev.Sender != v.userID {
		a := aggregator{s: s, room: r, v: v, parent: root.client, related: row}
		if _, in, err := a.count(ctx); err != nil || !in {
			return nil, err
		}
	}
	return seen(v, root), nil
}
