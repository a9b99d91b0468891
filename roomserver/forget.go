package roomserver

import (
	"context"
	"errors"

	"hearth/internal/merr"
	"hearth/internal/store"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

// forget hides a room that the user has left: 400 if they have not. Forgetting
// twice changes nothing.
func (s *Server) forget(ctx context.Context, req *roomapi.ForgetRequest) (*roomapi.Empty, error) {
	// Under the room's lock, so that no join gets between the check and the write.
	lr, known, err := s.lockAny(ctx, req.RoomID)
	if err != nil {
		return nil, err
	}
	defer lr.unlock()
	membership, err := s.membershipToForget(ctx, lr, known, req.UserID)
	if err != nil {
		return nil, err
	}
	switch membership {
	case "leave", "ban":
	case "":
		return nil, merr.NotFound("You were never in this room")
	default:
		return nil, merr.New(400, "M_UNKNOWN", "You are still in this room")
	}
	wait, err := s.stageForget(ctx, lr, req.UserID)
	if err != nil || wait == nil {
		return &roomapi.Empty{}, err
	}
	return &roomapi.Empty{}, wait(ctx)
}

// membershipToForget is a user's membership, from outside if that is newer; "" if there is none.
func (s *Server) membershipToForget(ctx context.Context, lr *lockedRoom, known bool, userID string) (string, error) {
	_, m, err := s.outside(ctx, lr.id, userID)
	if err == nil {
		return storage.MembershipName(m.Membership), nil
	}
	if notFoundAs(err, nil) != nil {
		return "", err
	}
	if !known {
		return "", merr.NotFound("Unknown room").WithCause(errNoRoom)
	}
	membership, _, err := lr.begin().membership(ctx, userID)
	return membership, err
}

func (s *Server) stageForget(ctx context.Context, lr *lockedRoom, userID string) (wait func(context.Context) error, err error) {
	user, _, err := s.names.lookup(ctx, userID)
	if err != nil {
		return nil, err
	}
	if _, forgotten, err := s.store.Member(ctx, user, lr.nid); err == nil && forgotten {
		return nil, nil
	} else if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return nil, err
	}
	done := make(chan error, 1)
	entry := &roomapi.Entry{Kind: roomapi.KindForget, RoomID: lr.id, UserID: userID}
	_, err = s.store.DB.Stage(lr.generation, 1, func(first int64) store.Op {
		return store.Op{
			Run: func(tx *store.Tx) error {
				return storage.Forget(tx, first, user, lr.nid, int64(roomapi.KindForget))
			},
			Done: func(err error) {
				if err == nil {
					s.entries.Publish(first, entry)
				}
				done <- err
			},
		}
	})
	return waitFor(done), err
}
