package roomserver

import (
	"context"
	"errors"

	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/internal/store"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

// Kinds of receipts.
const (
	readReceipt        = "m.read"
	privateReadReceipt = "m.read.private"
)

// setReceipt stores a member's receipt. One that does not move forward in the
// timeline changes nothing ("Receipts").
func (s *Server) setReceipt(ctx context.Context, req *roomapi.ReceiptRequest) (*roomapi.Empty, error) {
	if req.Kind != readReceipt && req.Kind != privateReadReceipt {
		return nil, merr.InvalidParam("Unknown receipt type")
	}
	if len(req.ThreadID) > pdu.MaxIDLength || !storable(req.ThreadID) {
		return nil, merr.InvalidParam("Invalid thread id")
	}
	r, h, done, err := s.view(ctx, req.RoomID)
	if err != nil {
		return nil, notAMember(err)
	}
	defer done()
	if err := s.mustBeMember(ctx, r, h, req.UserID); err != nil {
		return nil, err
	}
	rc, err := s.newReceipt(ctx, r, req)
	if err != nil || rc == nil {
		return &roomapi.Empty{}, err
	}
	rc.Federate = req.Kind == readReceipt && h.hosts.count() > 0
	return &roomapi.Empty{}, s.storeReceipt(ctx, r, rc, req)
}

// newReceipt is the receipt to store; nil if the one that is there is as good.
func (s *Server) newReceipt(ctx context.Context, r *room, req *roomapi.ReceiptRequest) (*storage.Receipt, error) {
	user, ok, err := s.names.lookup(ctx, req.UserID)
	if err != nil {
		return nil, err
	}
	if !ok { // a member has a name, see mustBeMember
		return nil, merr.Forbidden("You are not in this room")
	}
	rc := &storage.Receipt{
		Room: r.nid, User: user, Thread: req.ThreadID, Kind: req.Kind, EventID: req.EventID, TS: s.now().UnixMilli(),
	}
	e, err := s.eventByID(ctx, r, req.EventID)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, merr.NotFound("Unknown event")
	}
	if err != nil {
		return nil, err
	}
	rc.Ord = e.ord
	old, err := s.store.Receipt(ctx, r.nid, user, req.ThreadID, req.Kind)
	if errors.Is(err, storage.ErrNotFound) {
		return rc, nil
	}
	if err != nil {
		return nil, err
	}
	if old.Ord >= rc.Ord {
		return nil, nil
	}
	return rc, nil
}

func (s *Server) storeReceipt(ctx context.Context, r *room, rc *storage.Receipt, req *roomapi.ReceiptRequest) error {
	wait, err := s.stageReceipt(r, rc, req)
	if err != nil {
		return err
	}
	return wait(ctx)
}

// stageReceipt queues the receipt for the writer; wait returns when it is on disk.
func (s *Server) stageReceipt(r *room, rc *storage.Receipt, req *roomapi.ReceiptRequest) (wait func(context.Context) error, err error) {
	done := make(chan error, 1)
	_, err = s.store.DB.Stage(s.store.DB.Generation(), 1, func(first int64) store.Op {
		rc.Pos = first
		entry := &roomapi.Entry{Kind: roomapi.KindReceipt, RoomID: r.id, Receipt: &roomapi.Receipt{
			UserID: req.UserID, Kind: rc.Kind, EventID: rc.EventID, ThreadID: rc.Thread, TS: rc.TS, Pos: first,
		}, Federate: rc.Federate}
		return store.Op{Run: rc.Write, Done: func(err error) {
			if err == nil {
				s.entries.Publish(first, entry)
			}
			done <- err
		}}
	})
	if err != nil {
		return nil, err
	}
	return waitFor(done), nil
}

// receipts lists receipts of a room for a member.
func (s *Server) receipts(ctx context.Context, req *roomapi.ReceiptsRequest) (*roomapi.ReceiptsResponse, error) {
	r, _, done, err := s.view(ctx, req.RoomID)
	if err != nil {
		return nil, err
	}
	defer done()
	user, _, err := s.names.lookup(ctx, req.UserID)
	if err != nil {
		return nil, err
	}
	limit := clamp(req.Limit, 1, 1000, 1000)
	upTo := req.UpTo
	if upTo == 0 {
		upTo = s.store.DB.Head()
	}
	read := s.store.Receipts
	if req.Own {
		read = s.store.OwnReceipts
	}
	rows, err := read(ctx, r.nid, user, req.After, upTo, limit+1)
	if err != nil {
		return nil, err
	}
	resp := &roomapi.ReceiptsResponse{More: len(rows) > limit}
	rows = rows[:min(len(rows), limit)]
	users := make([]int64, len(rows))
	for i, row := range rows {
		users[i] = row.User
	}
	names, err := s.names.texts(ctx, users)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		resp.Receipts = append(resp.Receipts, apiReceipt(&row, names[row.User]))
	}
	return resp, nil
}

func apiReceipt(row *storage.Receipt, userID string) roomapi.Receipt {
	return roomapi.Receipt{
		UserID: userID, Kind: row.Kind, EventID: row.EventID, ThreadID: row.Thread, TS: row.TS, Pos: row.Pos,
	}
}

// clamp returns n within bounds; other stands for a number that was not given.
func clamp(n, low, high, other int) int {
	if n == 0 {
		n = other
	}
	return max(low, min(n, high))
}
