package roomserver

import (
	"context"

	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

const (
	maxRecent = 200
	maxWindow = 50_000
)

// streamRecent sends the newest events of all rooms that a user has joined.
func (s *Server) streamRecent(ctx context.Context, req *roomapi.RecentRequest, send func([]byte) error) error {
	w := roomapi.NewFrameWriter(send)
	user, ok, err := s.names.lookup(ctx, req.UserID)
	if err != nil || !ok {
		return err
	}
	before := req.Before
	if head := s.store.DB.Head(); before <= 0 || before > head+1 {
		before = head + 1
	}
	low := before - min(max(req.Window, 1), maxWindow) - 1
	limit := clamp(req.Limit, 1, maxRecent, maxRecent)
	rows, err := s.store.RecentEvents(ctx, user, low, before, limit)
	if err != nil {
		return err
	}
	next := max(low+1, 0)
	if len(rows) == limit {
		next = rows[len(rows)-1].Nid
	}
	if next > 1 {
		if err := w.Next(next); err != nil {
			return err
		}
	}
	ids, err := s.roomIDs(ctx, rows)
	if err != nil {
		return err
	}
	rooms := map[int64]*roomapi.UnreadRoom{}
	for _, row := range rows {
		if err := s.sendRecent(ctx, w, req.UserID, ids[row.Room].ID, row, rooms); err != nil {
			return err
		}
	}
	return w.Flush()
}

func (s *Server) roomIDs(ctx context.Context, rows []*storage.Event) (map[int64]storage.RoomRef, error) {
	var nids []int64
	seen := map[int64]bool{}
	for _, row := range rows {
		if !seen[row.Room] {
			seen[row.Room] = true
			nids = append(nids, row.Room)
		}
	}
	return s.store.RoomIDs(ctx, nids)
}

// sendRecent sends an event, and its room if it is the first.
func (s *Server) sendRecent(ctx context.Context, w *roomapi.FrameWriter, userID, roomID string, row *storage.Event, rooms map[int64]*roomapi.UnreadRoom) error {
	r, h, done, err := s.view(ctx, roomID)
	if err != nil {
		return err
	}
	defer done()
	u := rooms[row.Room]
	if u == nil {
		u = &roomapi.UnreadRoom{RoomID: roomID, Pos: s.store.DB.Head()}
		rooms[row.Room] = u
		if err := s.unreadRoom(ctx, r, h, userID, u); err != nil {
			return err
		}
		if err := w.Room(u); err != nil {
			return err
		}
	}
	events, err := s.finish(ctx, r.version, []*storage.Event{row})
	if err != nil {
		return err
	}
	e := events[0]
	expired, err := s.expiry(ctx, r)
	if err != nil {
		return err
	}
	if !u.Joined || e.hidden() || e.redactedBy != 0 || e.ord <= u.JoinedOrd || expired.gone(ctx, e) {
		return nil
	}
	thread, err := s.threadOf(ctx, r, e)
	if err != nil {
		return err
	}
	return w.Unread(&roomapi.UnreadEvent{RoomID: roomID, Thread: thread, Event: e.client})
}
