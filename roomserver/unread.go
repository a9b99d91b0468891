package roomserver

import (
	"context"
	"errors"
	"math"
	"net/http"

	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/roomserver/auth"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

// Bounds of what is read of a room to count what is unread.
const (
	unreadPage  = 128
	unreadBytes = 4 << 20
	// maxThreadsToSkip is how many threads are looked at to find out that the main
	// timeline is all there is to read.
	maxThreadsToSkip = 50
)

// handleUnread registers the streams of this file and of recent.go.
func (s *Server) handleUnread() error {
	return errors.Join(
		bus.HandleStream(s.bus, roomapi.UnreadStream, s.streamUnread),
		bus.HandleStream(s.bus, roomapi.RecentStream, s.streamRecent),
	)
}

// streamUnread sends what it takes to count the unread notifications of a user.
func (s *Server) streamUnread(ctx context.Context, req *roomapi.UnreadRequest, send func([]byte) error) error {
	w := roomapi.NewFrameWriter(send)
	for _, id := range req.Rooms {
		u, err := s.unread(ctx, id, req.UserID, min(req.Limit, roomapi.MaxUnread))
		if unknownRoom(err) {
			continue
		}
		if err != nil {
			return err
		}
		if err := w.Room(u); err != nil {
			return err
		}
		for i := range u.Events {
			if err := w.Unread(&u.Events[i]); err != nil {
				return err
			}
		}
	}
	return w.Flush()
}

func unknownRoom(err error) bool {
	var e *merr.Error
	return errors.As(err, &e) && e.Status == http.StatusNotFound
}

// unread reads one room.
func (s *Server) unread(ctx context.Context, roomID, userID string, limit int) (*roomapi.UnreadRoom, error) {
	pos := s.store.DB.Head() // before the view, which must not be older
	r, h, done, err := s.view(ctx, roomID)
	if err != nil {
		return nil, err
	}
	defer done()
	u := &roomapi.UnreadRoom{RoomID: roomID, Pos: pos}
	if err := s.unreadRoom(ctx, r, h, userID, u); err != nil || !u.Joined || limit <= 0 {
		return u, err
	}
	if u.From, err = s.unreadFrom(ctx, r, u); err != nil {
		return nil, err
	}
	return u, s.unreadEvents(ctx, r, u, limit)
}

// unreadRoom fills in all but the events.
func (s *Server) unreadRoom(ctx context.Context, r *room, h *head, userID string, u *roomapi.UnreadRoom) error {
	u.StatePos, u.Members = h.pos, int(h.joined)
	memberships, err := s.history(ctx, r, memberType, userID, "membership", "leave")
	if err != nil {
		return err
	}
	for i := len(memberships) - 1; i >= 0 && memberships[i].value == "join"; i-- {
		u.Joined, u.JoinedOrd = true, memberships[i].ord
	}
	if !u.Joined {
		*u = roomapi.UnreadRoom{RoomID: u.RoomID, Pos: u.Pos}
		return nil
	}
	user, _, err := s.names.lookup(ctx, userID)
	if err != nil {
		return err
	}
	receipts, err := s.store.UserReceipts(ctx, r.nid, user)
	if err != nil {
		return err
	}
	for _, rc := range receipts {
		u.Marks = append(u.Marks, roomapi.Mark{Thread: rc.Thread, Ord: rc.Ord, Pos: rc.Pos})
	}
	levels, err := s.committedState(ctx, r, h, "m.room.power_levels", "")
	if err != nil {
		return err
	}
	if levels != nil {
		u.Levels = levels.ev.Content
	}
	create, err := s.committedState(ctx, r, h, "m.room.create", "")
	if err != nil || create == nil {
		return err
	}
	u.Creators, u.Privileged = auth.Creators(create.ev), r.version.PrivilegedCreators
	return nil
}

// unreadFrom finds the order after which events may be unread.
func (s *Server) unreadFrom(ctx context.Context, r *room, u *roomapi.UnreadRoom) (int64, error) {
	read := map[string]int64{}
	for _, m := range u.Marks {
		if old, ok := read[m.Thread]; !ok || m.Ord > old {
			read[m.Thread] = m.Ord
		}
	}
	low := u.JoinedOrd
	if ord, ok := read[""]; ok {
		low = max(low, ord)
	}
	main, ok := read[roomapi.MainThread]
	if !ok || main <= low {
		return low, nil
	}
	// What is before the receipt of the main timeline is unread only in threads.
	threads, err := s.store.Threads(ctx, r.nid, math.MaxInt64, maxThreadsToSkip)
	if err != nil {
		return 0, err
	}
	from := main
	for i, t := range threads {
		if t.ThreadOrd <= low {
			return from, nil
		}
		ord, ok := read[storage.EventID(t.Parent, r.version.URLSafeEventIDs)]
		if !ok {
			ord = low
		}
		if ord < t.ThreadOrd {
			from = min(from, max(ord, low))
		}
		if i == maxThreadsToSkip-1 {
			return low, nil // there may be more
		}
	}
	return from, nil
}

// unreadEvents reads the newest events after u.From.
func (s *Server) unreadEvents(ctx context.Context, r *room, u *roomapi.UnreadRoom, limit int) error {
	expired, err := s.expiry(ctx, r)
	if err != nil {
		return err
	}
	high, bytes := storage.OrdAfter(u.Pos), 0
	var found []roomapi.UnreadEvent // newest first
	for scanned := 0; ; {
		// The recent events of a room are often in memory: only their numbers are read.
		nids, err := s.store.TimelineNids(ctx, r.nid, u.From, high, unreadPage)
		if err != nil {
			return err
		}
		page, err := s.events(ctx, r, nids)
		if err != nil {
			return err
		}
		for _, e := range page {
			if scanned++; scanned > limit || bytes > unreadBytes {
				u.Cut, u.From = true, e.ord
				page = nil
				break
			}
			high = e.ord - 1
			if e.hidden() || e.redactedBy != 0 || expired.gone(ctx, e) {
				continue
			}
			thread, err := s.threadOf(ctx, r, e)
			if err != nil {
				return err
			}
			found = append(found, roomapi.UnreadEvent{RoomID: r.id, Thread: thread, Event: e.client})
			bytes += len(e.client.JSON)
		}
		if len(page) < unreadPage {
			break
		}
	}
	for i := len(found) - 1; i >= 0; i-- {
		u.Events = append(u.Events, found[i])
	}
	return nil
}

// threadOf finds the thread that an event belongs to: that of the m.thread
// relationship which it has, or which a parent has over at most RelationDepth steps
// ("Threaded read receipts").
func (s *Server) threadOf(ctx context.Context, r *room, e *stored) (string, error) {
	ev := e.ev
	for step := 0; step <= roomapi.RelationDepth; step++ {
		rel, ok := relationOf(ev.Content)
		if !ok || ev.StateKey != nil {
			break
		}
		if rel.rel == relThread {
			return rel.parent, nil
		}
		if step == roomapi.RelationDepth {
			break
		}
		parent, err := s.eventByID(ctx, r, rel.parent)
		if errors.Is(err, storage.ErrNotFound) {
			break
		}
		if err != nil {
			return "", err
		}
		ev = parent.ev
	}
	return roomapi.MainThread, nil
}
