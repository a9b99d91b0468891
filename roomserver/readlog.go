package roomserver

import (
	"context"
	"slices"

	"hearth/internal/bus"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/state"
	"hearth/roomserver/storage"
)

// readLog serves the room log to a reader that missed something. A position that
// has nothing to tell any more is an empty entry.
func (s *Server) readLog(ctx context.Context, after int64, limit int) ([]bus.Positioned[roomapi.Entry], int64, error) {
	head := s.store.DB.Head()
	page, err := s.store.Log(ctx, after, head, limit)
	if err != nil {
		return nil, 0, err
	}
	if page.Last <= after {
		return nil, head, nil
	}
	entries := make([]bus.Positioned[roomapi.Entry], page.Last-after)
	for i := range entries {
		entries[i] = bus.Positioned[roomapi.Entry]{Pos: after + 1 + int64(i), Entry: &roomapi.Entry{}}
	}
	put := func(pos int64, e roomapi.Entry) { entries[pos-after-1].Entry = &e }
	if err := s.putEvents(ctx, page.Events, put); err != nil {
		return nil, 0, err
	}
	if err := s.putOthers(ctx, &page, put); err != nil {
		return nil, 0, err
	}
	return entries, head, nil
}

func (s *Server) putEvents(ctx context.Context, rows []*storage.Event, put func(int64, roomapi.Entry)) error {
	nids := make([]int64, 0, len(rows))
	for _, row := range rows {
		nids = append(nids, row.Room)
	}
	refs, err := s.store.RoomIDs(ctx, nids)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if row.Flags&storage.HiddenFlags != 0 {
			continue
		}
		ref := refs[row.Room]
		v, ok := pdu.Version(ref.Version)
		if !ok {
			continue // an empty entry: no reader could make anything of it
		}
		events, err := s.finish(ctx, v, []*storage.Event{row})
		if err != nil {
			return err
		}
		told, err := s.toldAgain(ctx, ref.ID, events[0])
		if err != nil {
			return err
		}
		if told == nil {
			continue
		}
		entry := roomapi.Entry{Kind: roomapi.KindEvent, RoomID: ref.ID, Event: told, Federate: row.Flags&storage.FlagFederate != 0, Reset: row.Flags&storage.FlagReset != 0}
		if events[0].ev.Redacts != "" {
			if entry.Redacted, err = s.redactedBy(ctx, v, events[0]); err != nil {
				return err
			}
		}
		if row.Flags&storage.FlagForked != 0 {
			if err := s.putChange(ctx, ref.ID, row, &entry); err != nil {
				return err
			}
		}
		put(row.Ord>>storage.OrdShift, entry)
	}
	return nil
}

// toldAgain is an event as the log tells it later: with the time when it expires, and nil if it has. State and redactions
// are told for what they change.
func (s *Server) toldAgain(ctx context.Context, roomID string, e *stored) (*roomapi.Event, error) {
	needed := e.ev.StateKey != nil || e.ev.Type == redactionType
	if e.flags&storage.FlagPurged != 0 && !needed {
		return nil, nil
	}
	r, h, done, err := s.view(ctx, roomID)
	if unknownRoom(err) {
		return e.client, nil
	}
	if err != nil {
		return nil, err
	}
	defer done()
	x, err := s.expiryOf(ctx, r, h)
	if err != nil || x.cut == never {
		return e.client, err
	}
	if !needed && x.gone(ctx, e) {
		return nil, nil
	}
	told := *e.client
	told.Expires = e.ev.OriginServerTS + x.now - x.cut
	return &told, nil
}

// putChange adds how the room's state changed by more than the event itself.
func (s *Server) putChange(ctx context.Context, roomID string, row *storage.Event, entry *roomapi.Entry) error {
	r, h, done, err := s.view(ctx, roomID)
	if err != nil {
		return err
	}
	defer done()
	before, err := s.store.CurBefore(ctx, row.Room, row.Ord)
	if err != nil {
		return err
	}
	work := h.chain.work()
	from, err := work.one(ctx, before)
	if err != nil {
		return err
	}
	to, err := work.one(ctx, row.Cur)
	if err != nil {
		return err
	}
	delta, err := state.Diff(ctx, work, from, to)
	if err != nil {
		return err
	}
	key := state.Key{Type: row.Type, StateKey: row.StateKey}
	if row.IsState && !changes(delta, key) {
		nid, err := state.Get(ctx, work, to, key)
		if err != nil {
			return err
		}
		delta = append(delta, state.Entry{Key: key, Event: nid})
	}
	entry.Reset = row.Flags&storage.FlagReset != 0 || len(delta) > maxTold
	told, gone, err := s.told(ctx, r, delta, row.Nid, entry.Reset)
	if err != nil {
		return err
	}
	entry.Gone = gone
	for _, e := range told {
		entry.State = append(entry.State, e.client)
	}
	return nil
}

// changes reports whether a list of changes has a key.
func changes(delta []state.Entry, key state.Key) bool {
	return slices.ContainsFunc(delta, func(e state.Entry) bool { return e.Key == key })
}

// redactedBy returns the present form of the event that a redaction has redacted; nil if it did not.
func (s *Server) redactedBy(ctx context.Context, v *pdu.RoomVersion, redaction *stored) (*roomapi.Event, error) {
	row, err := s.store.EventByKey(ctx, storage.EventKey(redaction.ev.Redacts))
	if err != nil {
		return nil, notFoundAs(err, nil)
	}
	if row.RedactedBy != redaction.nid {
		return nil, nil
	}
	events, err := s.finish(ctx, v, []*storage.Event{row})
	if err != nil {
		return nil, err
	}
	return events[0].client, nil
}

func (s *Server) putOthers(ctx context.Context, page *storage.LogPage, put func(int64, roomapi.Entry)) error {
	var rooms, users []int64
	for _, rc := range page.Receipts {
		rooms, users = append(rooms, rc.Room), append(users, rc.User)
	}
	for _, row := range page.Rest {
		rooms = append(rooms, row.Room)
		if row.User != 0 {
			users = append(users, row.User)
		}
	}
	refs, err := s.store.RoomIDs(ctx, rooms)
	if err != nil {
		return err
	}
	names, err := s.names.texts(ctx, users)
	if err != nil {
		return err
	}
	for i := range page.Receipts {
		rc := &page.Receipts[i]
		if refs[rc.Room].ID == "" {
			continue // the room is being deleted
		}
		receipt := apiReceipt(rc, names[rc.User])
		put(rc.Pos, roomapi.Entry{Kind: roomapi.KindReceipt, RoomID: refs[rc.Room].ID, Receipt: &receipt, Federate: rc.Federate})
	}
	for _, row := range page.Rest {
		if row.Kind == storage.OutsideKind || refs[row.Room].ID == "" {
			continue
		}
		put(row.Pos, roomapi.Entry{Kind: roomapi.Kind(row.Kind), RoomID: refs[row.Room].ID, UserID: names[row.User]})
	}
	return s.putOutside(ctx, page, refs, put)
}
