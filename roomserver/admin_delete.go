package roomserver

import (
	"context"
	"time"

	"hearth/internal/merr"
	"hearth/internal/store"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

const (
	// purgeRows is how many rows are deleted at once, so that other writes need not wait for long.
	purgeRows = 200
	// purgePause is the time between two such writes.
	purgePause = 5 * time.Millisecond
	// purgeRetry is when a purge that failed is taken up again.
	purgeRetry = 30 * time.Second
)

// deleteRoom makes a room unknown, and leaves its rows to runPurges.
func (s *Server) deleteRoom(ctx context.Context, req *roomapi.DeleteRoomRequest) (*roomapi.Empty, error) {
	if s.closed.isPurging(req.RoomID) {
		return &roomapi.Empty{}, nil
	}
	lr, _, err := s.lockAny(ctx, req.RoomID)
	if err != nil {
		return nil, err
	}
	defer lr.unlock()
	if lr.nid == 0 {
		return nil, merr.NotFound("Unknown room").WithCause(errNoRoom)
	}
	if lr.staged != nil && lr.staged.hosts.local() && !req.Force {
		return nil, merr.New(400, "M_UNKNOWN", "Users are still joined to this room")
	}
	s.closed.setPurging(req.RoomID, true) // from here on nobody gets at the room
	if err := s.store.DB.Write(ctx, func(tx *store.Tx) error { return storage.BeginPurge(tx, lr.nid, lr.id) }); err != nil {
		s.closed.setPurging(req.RoomID, false)
		return nil, err
	}
	lr.staged = nil
	lr.gone.Store(true)
	select {
	case s.purges <- struct{}{}:
	default: // it is looked for anyway
	}
	return &roomapi.Empty{}, nil
}

// runPurges deletes the rows of rooms that are unknown already.
func (s *Server) runPurges(ctx context.Context) {
	for {
		err := s.purgeAll(ctx)
		if err != nil && ctx.Err() == nil {
			s.log.WithError(err).Warn("a room could not be deleted yet")
		}
		select {
		case <-ctx.Done():
			return
		case <-s.purges:
		case <-time.After(purgeRetry):
		}
	}
}

func (s *Server) purgeAll(ctx context.Context) error {
	rooms, err := s.store.Purging(ctx)
	if err != nil {
		return err
	}
	for nid, id := range rooms {
		if err := s.purge(ctx, nid, id); err != nil {
			return err
		}
		s.closed.setPurging(id, false)
	}
	return nil
}

// purge deletes the rows of one room. Whatever stops it, it can begin again.
func (s *Server) purge(ctx context.Context, nid int64, id string) error {
	if err := s.search.RemoveRoom(ctx, id); err != nil {
		return err
	}
	for table := range storage.PurgeTables {
		for {
			keys, err := s.store.PurgeFind(ctx, table, nid, storage.PurgePage)
			if err != nil {
				return err
			}
			for part := keys; len(part) > 0; {
				n := min(len(part), purgeRows)
				if err := s.store.DB.Write(ctx, func(tx *store.Tx) error { return storage.PurgeRows(tx, table, nid, part[:n]) }); err != nil {
					return err
				}
				part = part[n:]
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(purgePause):
				}
			}
			if len(keys) < storage.PurgePage {
				break
			}
		}
	}
	return s.store.DB.Write(ctx, func(tx *store.Tx) error { return storage.EndPurge(tx, nid) })
}
