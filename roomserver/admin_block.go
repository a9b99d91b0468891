package roomserver

import (
	"context"
	"sync"

	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/internal/store"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

// closedRooms are the rooms that nobody may enter: those that an administrator has blocked, and
// those that are being deleted. Administrators bound their number.
type closedRooms struct {
	mu      sync.RWMutex
	blocked map[string]string // room id to who has blocked it
	purging map[string]bool
}

// blocker tells whether a room is blocked, and by whom.
func (c *closedRooms) blocker(id string) (userID string, blocked bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	userID, blocked = c.blocked[id]
	return userID, blocked
}

func (c *closedRooms) isPurging(id string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.purging[id]
}

func (c *closedRooms) setPurging(id string, on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if on {
		c.purging[id] = true
	} else {
		delete(c.purging, id)
	}
}

// loadClosed reads which rooms are closed.
func (s *Server) loadClosed(ctx context.Context) (err error) {
	s.closed = &closedRooms{purging: map[string]bool{}}
	if s.closed.blocked, err = s.store.BlockedRooms(ctx); err != nil {
		return err
	}
	purging, err := s.store.Purging(ctx)
	for _, id := range purging {
		s.closed.purging[id] = true
	}
	return err
}

// refuseBlocked is 403 M_FORBIDDEN for a room that is blocked.
func (s *Server) refuseBlocked(roomID string) error {
	if _, blocked := s.closed.blocker(roomID); blocked {
		return merr.Forbidden("This room has been blocked on this server")
	}
	return nil
}

// unlessBlocked refuses a command in a blocked room.
func unlessBlocked[Req, Resp any](s *Server, room func(*Req) string, h func(context.Context, *Req) (*Resp, error)) func(context.Context, *Req) (*Resp, error) {
	return func(ctx context.Context, req *Req) (*Resp, error) {
		if err := s.refuseBlocked(room(req)); err != nil {
			return nil, err
		}
		return h(ctx, req)
	}
}

// blockRoom blocks a room or ends that.
func (s *Server) blockRoom(ctx context.Context, req *roomapi.BlockRoomRequest) (*roomapi.Block, error) {
	if _, _, err := pdu.ParseRoomID(req.RoomID); err != nil {
		return nil, merr.InvalidParam("%s is not a legal room ID", req.RoomID)
	}
	s.blocking.Lock() // so that what is in memory is what was written last
	defer s.blocking.Unlock()
	write := func(tx *store.Tx) error { return storage.UnblockRoom(tx, req.RoomID) }
	if req.Block {
		write = func(tx *store.Tx) error { return storage.BlockRoom(tx, req.RoomID, req.UserID) }
	}
	if err := s.store.DB.Write(ctx, write); err != nil {
		return nil, err
	}
	s.closed.mu.Lock()
	defer s.closed.mu.Unlock()
	if !req.Block {
		delete(s.closed.blocked, req.RoomID)
		return &roomapi.Block{}, nil
	}
	s.closed.blocked[req.RoomID] = req.UserID
	return &roomapi.Block{Blocked: true, UserID: req.UserID}, nil
}

func (s *Server) getBlock(_ context.Context, req *roomapi.RoomRequest) (*roomapi.Block, error) {
	userID, blocked := s.closed.blocker(req.RoomID)
	return &roomapi.Block{Blocked: blocked, UserID: userID}, nil
}

// handleAdmin registers what administrators do.
func (s *Server) handleAdmin() error {
	b := s.bus
	for _, err := range []error{
		bus.Handle(b, roomapi.ListRooms, s.listRooms),
		bus.Handle(b, roomapi.BlockRoom, s.blockRoom),
		bus.Handle(b, roomapi.GetBlock, s.getBlock),
		bus.Handle(b, roomapi.Evacuate, s.evacuate),
		bus.Handle(b, roomapi.MakeRoomAdmin, s.makeRoomAdmin),
		bus.Handle(b, roomapi.InviteBy, s.inviteBy),
		bus.Handle(b, roomapi.ForwardExtremities, s.forwardExtremities),
		bus.Handle(b, roomapi.JoinExtremities, s.joinExtremities),
		bus.Handle(b, roomapi.DeleteRoom, s.deleteRoom),
		bus.Handle(b, roomapi.SentBy, s.sentBy),
		bus.Handle(b, roomapi.CountUser, s.countUser),
		bus.Handle(b, roomapi.LargestRooms, s.largestRooms),
		bus.Handle(b, roomapi.ServerRooms, s.serverRooms),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}
