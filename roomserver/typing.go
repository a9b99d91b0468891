package roomserver

import (
	"context"
	"slices"
	"sync"
	"time"

	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
)

// Bounds of typing notifications.
const (
	maxTypingTimeout = 2 * time.Minute
	maxTypingUsers   = 50 // shown in one room; who types after them is not shown
	maxTypingRooms   = 20_000
)

// typing knows who is typing where. It is in memory only, and a client renews its
// notification every few seconds.
type typing struct {
	now     func() time.Time
	publish func(*roomapi.Typing)

	mu     sync.Mutex // guards what follows
	serial int64
	rooms  map[string]map[string]time.Time // room → user → until when
}

func newTyping(now func() time.Time, publish func(*roomapi.Typing)) *typing {
	// Serials must grow across restarts; a serial a millisecond is more than enough.
	return &typing{now: now, publish: publish, serial: now().UnixMilli(), rooms: make(map[string]map[string]time.Time)}
}

// setTyping starts or stops a notification of a member.
func (s *Server) setTyping(ctx context.Context, req *roomapi.TypingRequest) (*roomapi.Empty, error) {
	r, h, done, err := s.view(ctx, req.RoomID)
	if err != nil {
		return nil, notAMember(err)
	}
	defer done()
	if err := s.mustBeMember(ctx, r, h, req.UserID); err != nil {
		return nil, err
	}
	if !req.Typing {
		s.typing.stop(req.RoomID, req.UserID)
		return &roomapi.Empty{}, nil
	}
	if req.TimeoutMS <= 0 {
		return nil, merr.InvalidParam("timeout must be positive")
	}
	s.typing.start(req.RoomID, req.UserID, min(time.Duration(min(req.TimeoutMS, 1<<31))*time.Millisecond, maxTypingTimeout))
	return &roomapi.Empty{}, nil
}

func (t *typing) start(roomID, userID string, timeout time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	users := t.rooms[roomID]
	if users == nil {
		if len(t.rooms) >= maxTypingRooms {
			return
		}
		users = make(map[string]time.Time)
		t.rooms[roomID] = users
	}
	_, known := users[userID]
	if !known && len(users) >= maxTypingUsers {
		return
	}
	users[userID] = t.now().Add(timeout)
	if !known {
		t.tell(roomID)
	}
}

func (t *typing) stop(roomID, userID string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.rooms[roomID][userID]; !ok {
		return
	}
	delete(t.rooms[roomID], userID)
	t.tell(roomID)
}

// tell publishes the set of a room. t.mu is held.
func (t *typing) tell(roomID string) {
	t.serial = max(t.serial+1, t.now().UnixMilli())
	update := &roomapi.Typing{Serial: t.serial, RoomID: roomID, UserIDs: []string{}}
	for userID := range t.rooms[roomID] {
		update.UserIDs = append(update.UserIDs, userID)
	}
	slices.Sort(update.UserIDs)
	if len(update.UserIDs) == 0 {
		delete(t.rooms, roomID)
	}
	t.publish(update)
}

// run ends notifications that were not renewed.
func (t *typing) run(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			t.expire()
		}
	}
}

func (t *typing) expire() {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	for roomID, users := range t.rooms {
		before := len(users)
		for userID, until := range users {
			if !until.After(now) {
				delete(users, userID)
			}
		}
		if len(users) != before {
			t.tell(roomID)
		}
	}
}
