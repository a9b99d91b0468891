package roomserver

import (
	"context"
	"slices"
	"strconv"

	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

// Bounds of what one aggregation looks at.
const (
	maxEdits      = 50
	maxReferences = 100
)

// bundle adds to events the aggregations of their children ("Aggregations of child
// events"). State events get none.
func (s *Server) bundle(ctx context.Context, r *room, v *visibility, ignored []string, events ...*roomapi.Event) error {
	parents := make([][]byte, 0, len(events))
	for _, e := range events {
		if e.StateKey == nil {
			parents = append(parents, storage.EventKey(e.EventID))
		}
	}
	if len(parents) == 0 {
		return nil
	}
	related, err := s.store.Related(ctx, r.nid, parents)
	if err != nil || len(related) == 0 {
		return err
	}
	byKey := make(map[string]*storage.Related, len(related))
	for i := range related {
		byKey[string(related[i].Parent)] = &related[i]
	}
	for _, e := range events {
		if e.StateKey != nil {
			continue
		}
		if rel := byKey[string(storage.EventKey(e.EventID))]; rel != nil {
			a := aggregator{s: s, room: r, v: v, ignored: ignored, parent: e, related: rel}
			if e.Relations, err = a.all(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// aggregator sums up the children of one event.
type aggregator struct {
	s       *Server
	room    *room
	v       *visibility
	ignored []string
	parent  *roomapi.Event
	related *storage.Related
}

// all returns the m.relations object; nil if there is nothing to tell.
func (a *aggregator) all(ctx context.Context) ([]byte, error) {
	var out []byte
	for _, part := range []struct {
		name string
		f    func(context.Context) ([]byte, error)
	}{{relReference, a.references}, {relReplace, a.edit}, {relThread, a.thread}} {
		value, err := part.f(ctx)
		if err != nil {
			return nil, err
		}
		if value == nil {
			continue
		}
		out = append(out, ",\""+part.name+"\":"...)
		out = append(out, value...)
	}
	if out == nil {
		return nil, nil
	}
	out[0] = '{'
	return append(out, '}'), nil
}

// children returns the visible children of one kind, newest first, at most limit.
func (a *aggregator) children(ctx context.Context, rel string, f storage.ChildFilter, limit int) ([]*stored, error) {
	nid, ok, err := a.s.names.lookup(ctx, rel)
	if err != nil || !ok {
		return nil, err
	}
	f.Rel = nid
	rows, err := a.s.store.Children(ctx, a.room.nid, a.related.Parent, f, minOrd, maxOrd, false, limit)
	if err != nil {
		return nil, err
	}
	nids := make([]int64, len(rows))
	for i, row := range rows {
		nids[i] = row.Nid
	}
	events, err := a.s.events(ctx, a.room, nids)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(events, func(e *stored) bool {
		return !a.v.sees(e) || slices.Contains(a.ignored, e.ev.Sender)
	}), nil
}

func (a *aggregator) references(ctx context.Context) ([]byte, error) {
	children, err := a.children(ctx, relReference, storage.ChildFilter{}, maxReferences)
	if err != nil || len(children) == 0 {
		return nil, err
	}
	out := []byte(`{"chunk":[`)
	for i, e := range slices.Backward(children) {
		out = append(out, `{"event_id":`...)
		out = pdu.AppendString(out, e.ev.EventID)
		out = append(out, '}')
		if i > 0 {
			out = append(out, ',')
		}
	}
	return append(out, ']', '}'), nil
}

// edit is the newest valid replacement ("Validity of replacement events").
func (a *aggregator) edit(ctx context.Context) ([]byte, error) {
	if own, ok := relationOf(a.parent.Content()); ok && own.rel == relReplace {
		return nil, nil
	}
	sender, _, err := a.s.names.lookup(ctx, a.parent.Sender)
	if err != nil {
		return nil, err
	}
	typ, _, err := a.s.names.lookup(ctx, a.parent.Type)
	if err != nil {
		return nil, err
	}
	edits, err := a.children(ctx, relReplace, storage.ChildFilter{Sender: sender, Type: typ}, maxEdits)
	if err != nil {
		return nil, err
	}
	var newest *stored
	for _, e := range edits {
		if e.ev.Type != "m.room.encrypted" && !hasKey(e.ev.Content, "m.new_content") {
			continue
		}
		if newest == nil || e.ev.OriginServerTS > newest.ev.OriginServerTS ||
			e.ev.OriginServerTS == newest.ev.OriginServerTS && e.ev.EventID > newest.ev.EventID {
			newest = e
		}
	}
	if newest == nil {
		return nil, nil
	}
	return a.render(seen(a.v, newest)), nil
}

func (a *aggregator) thread(ctx context.Context) ([]byte, error) {
	if a.related.ThreadCount <= 0 {
		return nil, nil
	}
	latest, err := a.latest(ctx)
	if err != nil || latest == nil {
		return nil, err
	}
	c := seen(a.v, latest)
	if err := a.s.bundle(ctx, a.room, a.v, a.ignored, c); err != nil { // a thread's event starts none itself
		return nil, err
	}
	count, participated, err := a.count(ctx)
	if err != nil || count <= 0 {
		return nil, err
	}
	out := append([]byte(`{"count":`), strconv.FormatInt(count, 10)...)
	out = append(out, `,"current_user_participated":`...)
	out = strconv.AppendBool(out, participated)
	out = append(out, `,"latest_event":`...)
	out = append(out, a.render(c)...)
	return append(out, '}'), nil
}

// latest is the newest event of the thread that the user sees.
func (a *aggregator) latest(ctx context.Context) (*stored, error) {
	for _, limit := range []int{1, 50} {
		events, err := a.children(ctx, relThread, storage.ChildFilter{}, limit)
		if err != nil {
			return nil, err
		}
		if len(events) > 0 {
			return events[0], nil
		}
	}
	return nil, nil
}

// count is the number of events in the thread but for those of ignored users, and
// whether the user takes part.
func (a *aggregator) count(ctx context.Context) (count int64, participated bool, err error) {
	rel, _, err := a.s.names.lookup(ctx, relThread)
	if err != nil {
		return 0, false, err
	}
	of := func(userID string) (int64, error) {
		user, ok, err := a.s.names.lookup(ctx, userID)
		if err != nil || !ok {
			return 0, err
		}
		return a.s.store.CountChildren(ctx, a.room.nid, a.related.Parent, rel, user)
	}
	count = a.related.ThreadCount
	for _, userID := range a.ignored {
		n, err := of(userID)
		if err != nil {
			return 0, false, err
		}
		count -= n
	}
	own, err := of(a.v.userID)
	return count, own > 0 || a.parent.Sender == a.v.userID, err
}

func (a *aggregator) render(e *roomapi.Event) []byte {
	return e.AppendJSON(nil, roomapi.Render{RoomID: a.room.id, UserID: a.v.userID, Now: a.s.now()})
}
