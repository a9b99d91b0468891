package roomserver

import (
	"context"
	"errors"
	"slices"

	"hearth/internal/pdu"
	"hearth/internal/store"
	"hearth/roomserver/auth"
	"hearth/roomserver/storage"
)

// outlierChunk is how many outliers one write brings.
const outlierChunk = 500

// nextOutlier returns a number for an event that is not live: negative, never used before.
func (s *Server) nextOutlier() int64 { return s.outlierSeq.Add(-1) }

// storeOutliers stores events whose state is unknown: what other events need as auth
// events, or what a state given by another server consists of. The result has them by
// id, with those that we had before. Each is checked against its own auth events
// ("Checks performed on receipt of a PDU", 4): those that fail are stored as
// rejected. Events whose auth events are neither known nor in the list are left out,
// and so are events of other rooms. Signatures and hashes must have been checked. It
// waits for the disk, in parts; the room's head stays as it is.
func (s *Server) storeOutliers(ctx context.Context, lr *lockedRoom, events []*pdu.Event) (map[string]*stored, error) {
	o := &outliers{s: s, room: lr, known: make(map[string]*stored, len(events))}
	if err := o.prepare(ctx, events); err != nil {
		return nil, err
	}
	defer o.release()
	for _, ev := range authOrder(events) {
		if o.known[ev.EventID] != nil || ev.RoomID != lr.id || o.foreign[ev.EventID] {
			continue
		}
		if err := o.add(ctx, ev); err != nil {
			return nil, err
		}
	}
	if err := o.flush(ctx); err != nil {
		return nil, err
	}
	if err := o.wait(ctx); err != nil {
		return nil, err
	}
	given := make(map[string]*stored, len(events))
	for _, ev := range events {
		if e := o.known[ev.EventID]; e != nil {
			given[ev.EventID] = e
		}
	}
	return given, nil
}

// outliers is one run of storeOutliers.
type outliers struct {
	s     *Server
	room  *lockedRoom
	known map[string]*stored
	// foreign are ids that events of other rooms have.
	foreign map[string]bool
	release func()
	rows    storage.Append
	fresh   map[int64]bool // names that rows already brings
	added   []*stored
	waits   []func(context.Context) error
}

// prepare reads what is known of the events and of their auth events, and the names.
func (o *outliers) prepare(ctx context.Context, events []*pdu.Event) error {
	ids := make([]string, 0, 2*len(events))
	texts := make([]string, 0, 2*len(events))
	for _, ev := range events {
		ids = append(append(ids, ev.EventID), ev.AuthEvents...)
		texts = append(texts, ev.Type, ev.Sender)
		if ev.StateKey != nil {
			texts = append(texts, *ev.StateKey)
		}
	}
	if o.room.version.DomainlessRoomIDs {
		ids = append(ids, createID(o.room.id))
	}
	var err error
	if o.known, err = o.s.eventsByID(ctx, o.room.room, ids); err != nil {
		return err
	}
	own := ids[:0:0]
	for _, ev := range events {
		own = append(own, ev.EventID)
	}
	if o.foreign, o.release, err = o.s.claim(ctx, o.room.room, own); err != nil {
		return err
	}
	return o.s.names.prefetch(ctx, texts)
}

// createID is the event id of a room's create event, for versions in which the room
// id is made of it.
func createID(roomID string) string { return "$" + roomID[min(1, len(roomID)):] }

// eventsByID finds many events of a room; those that we do not have are left out.
func (s *Server) eventsByID(ctx context.Context, r *room, ids []string) (map[string]*stored, error) {
	found := make(map[string]*stored, len(ids))
	wanted := make(map[string]bool, len(ids))
	for _, id := range ids {
		wanted[id] = true
	}
	r.mu.Lock()
	for _, e := range r.pending {
		if wanted[e.ev.EventID] {
			found[e.ev.EventID] = e
		}
	}
	r.mu.Unlock()
	keys := make([][]byte, 0, len(wanted))
	for id := range wanted {
		if found[id] == nil {
			keys = append(keys, storage.EventKey(id))
		}
	}
	if len(keys) == 0 {
		return found, nil
	}
	rows, err := s.store.EventsByKey(ctx, keys)
	if err != nil {
		return nil, err
	}
	own := rows[:0]
	for _, row := range rows {
		if row.Room == r.nid {
			own = append(own, row)
		}
	}
	events, err := s.finish(ctx, r.version, own)
	if err != nil {
		return nil, err
	}
	for _, e := range events {
		if wanted[e.ev.EventID] && found[e.ev.EventID] == nil { // not another spelling of the same hash
			found[e.ev.EventID] = e
		}
	}
	return found, nil
}

// authOrder returns events with each after its auth events, as far as these are in
// the list. Events of a circle are left out, and of one that occurs twice the second.
func authOrder(events []*pdu.Event) []*pdu.Event {
	byID := make(map[string]*pdu.Event, len(events))
	for _, ev := range events {
		if byID[ev.EventID] == nil {
			byID[ev.EventID] = ev
		}
	}
	waits := make(map[string]int, len(byID)) // auth events that have not come yet
	users := make(map[string][]*pdu.Event, len(byID))
	ready := make([]*pdu.Event, 0, len(byID))
	for _, ev := range events {
		if byID[ev.EventID] != ev {
			continue
		}
		for _, a := range ev.AuthEvents {
			if byID[a] != nil {
				waits[ev.EventID]++
				users[a] = append(users[a], ev)
			}
		}
		switch {
		case waits[ev.EventID] > 0:
		case ev.Type == "m.room.create": // where the room id is made of it, no event names it
			ready = slices.Insert(ready, 0, ev)
		default:
			ready = append(ready, ev)
		}
	}
	for i := 0; i < len(ready); i++ {
		for _, user := range users[ready[i].EventID] {
			if waits[user.EventID]--; waits[user.EventID] == 0 {
				ready = append(ready, user)
			}
		}
	}
	return ready
}

// authEvents returns the auth events of an event; ok is false if not all are among
// the known.
func authEvents(ev *pdu.Event, known map[string]*stored) (list []*stored, ok bool) {
	list = make([]*stored, len(ev.AuthEvents))
	for i, id := range ev.AuthEvents {
		if list[i] = known[id]; list[i] == nil {
			return nil, false
		}
	}
	return list, true
}

// checkAuthEvents checks an event against its auth events and nothing else. create
// is the room's create event, for versions in which it is no auth event; nil
// otherwise. It returns a *auth.Rejection if the rules forbid the event.
func checkAuthEvents(ev *pdu.Event, list []*stored, create *stored) error {
	events := make([]*pdu.Event, len(list), len(list)+1)
	rejected := make(map[*pdu.Event]bool)
	for i, e := range list {
		events[i] = e.ev
		rejected[e.ev] = e.flags&storage.FlagRejected != 0
	}
	if err := auth.CheckAuthEvents(ev, events, func(e *pdu.Event) bool { return rejected[e] }); err != nil {
		return err
	}
	if create != nil {
		events = append(events, create.ev)
	}
	return auth.Check(ev, auth.NewEvents(events...))
}

func (o *outliers) add(ctx context.Context, ev *pdu.Event) error {
	list, ok := authEvents(ev, o.known)
	if !ok {
		return nil
	}
	var create *stored
	if o.room.version.DomainlessRoomIDs && ev.EventID != createID(o.room.id) {
		if create = o.known[createID(o.room.id)]; create == nil {
			return nil
		}
	}
	e := &stored{nid: o.s.nextOutlier(), ord: storage.OutlierOrd, depth: ev.Depth, gen: 1, flags: storage.FlagOutlier, ev: ev}
	var rejection *auth.Rejection
	switch err := checkAuthEvents(ev, list, create); {
	case errors.As(err, &rejection):
		e.flags |= storage.FlagRejected
	case err != nil:
		return err
	}
	links := storage.Links{Auth: make([]int64, len(list))}
	for i, a := range list {
		links.Auth[i] = a.nid
		e.gen = max(e.gen, a.gen+1)
	}
	e.auth = links.Auth
	e.client = clientEvent(e, nil, nil)
	o.known[ev.EventID] = e
	return o.write(ctx, e, links)
}

// write adds the row of an event to the next write.
func (o *outliers) write(ctx context.Context, e *stored, links storage.Links) (err error) {
	expired, err := o.s.expiry(ctx, o.room.room)
	if err != nil {
		return err
	}
	body := e.ev
	if expiresAtOnce(body, expired.cut) {
		if body, err = body.Redact(); err != nil {
			return err
		}
		e.ev, e.flags = body, e.flags|storage.FlagPurged
		e.client = clientEvent(e, nil, nil)
	}
	row := storage.Event{
		Nid: e.nid, Room: o.room.nid, Key: storage.EventKey(e.ev.EventID), Ord: e.ord, Flags: e.flags, TS: e.ev.OriginServerTS,
		Depth: e.depth, Gen: e.gen, Links: links.Pack(), JSON: body.JSON,
	}
	if row.Type, err = o.name(ctx, e.ev.Type); err != nil {
		return err
	}
	if row.Sender, err = o.name(ctx, e.ev.Sender); err != nil {
		return err
	}
	if e.ev.StateKey != nil {
		row.IsState = true
		if row.StateKey, err = o.name(ctx, *e.ev.StateKey); err != nil {
			return err
		}
	}
	o.rows.Events = append(o.rows.Events, row)
	o.added = append(o.added, e)
	if len(o.rows.Events) < outlierChunk {
		return nil
	}
	return o.flush(ctx)
}

func (o *outliers) name(ctx context.Context, s string) (int64, error) {
	nid, fresh, err := o.s.names.intern(ctx, s)
	if fresh && !o.fresh[nid] {
		if o.fresh == nil {
			o.fresh = make(map[int64]bool)
		}
		o.fresh[nid] = true
		o.rows.Names = append(o.rows.Names, storage.Name{Nid: nid, S: s})
	}
	return nid, err
}

// maxOutlierWrites is how many writes may wait for the disk.
const maxOutlierWrites = 4

// flush queues what has come together as one write.
func (o *outliers) flush(ctx context.Context) error {
	if len(o.rows.Events) == 0 {
		return nil
	}
	rows, added, s := o.rows, o.added, o.s
	o.rows, o.added, o.fresh = storage.Append{}, nil, nil
	done := make(chan error, 1)
	_, err := s.store.DB.Stage(o.room.generation, 0, func(int64) store.Op {
		return store.Op{Run: rows.Write, Done: func(err error) {
			if err == nil {
				s.names.settled(rows.Names)
				for _, e := range added {
					s.cache.Put(e.nid, e)
				}
			}
			done <- err
		}}
	})
	if err != nil {
		return err
	}
	o.waits = append(o.waits, waitFor(done))
	if len(o.waits) < maxOutlierWrites {
		return nil
	}
	wait := o.waits[0]
	o.waits = o.waits[1:]
	return wait(ctx)
}

func (o *outliers) wait(ctx context.Context) error {
	for _, wait := range o.waits {
		if err := wait(ctx); err != nil {
			return err
		}
	}
	return nil
}
