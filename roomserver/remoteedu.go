package roomserver

import (
	"context"
	"errors"
	"time"

	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

// remoteTypingTimeout ends a notification of another server's user that is never ended:
// the EDU has no timeout of its own.
const remoteTypingTimeout = 60 * time.Second

// maxRemoteReceipts is how many receipts of one EDU are read.
const maxRemoteReceipts = 2000

// federationRoom tells how to read a room's PDUs.
func (s *Server) federationRoom(ctx context.Context, req *roomapi.FederationRoomRequest) (*roomapi.FederationRoomResponse, error) {
	r, h, done, err := s.view(ctx, req.RoomID)
	if errors.Is(err, errNoRoom) {
		if row, rowErr := s.store.Room(ctx, req.RoomID); rowErr == nil { // a user of ours is invited, or knocks
			return &roomapi.FederationRoomResponse{Version: row.Version}, nil
		}
	}
	if err != nil {
		return nil, err
	}
	defer done()
	if req.Origin != "" {
		if err := s.checkACL(ctx, r, h, req.Origin); err != nil {
			return nil, err
		}
	}
	return &roomapi.FederationRoomResponse{Version: r.version.ID, Joined: h.hosts.local()}, nil
}

// remoteTyping takes an m.typing EDU.
func (s *Server) remoteTyping(ctx context.Context, req *roomapi.RemoteTypingRequest) (*roomapi.Empty, error) {
	if pdu.Domain(req.UserID) != req.Origin {
		return &roomapi.Empty{}, nil
	}
	r, h, done, err := s.view(ctx, req.RoomID)
	if errors.Is(err, errNoRoom) {
		return &roomapi.Empty{}, nil
	}
	if err != nil {
		return nil, err
	}
	defer done()
	if in, err := s.takesPart(ctx, r, h, req.Origin, req.UserID); err != nil || !in {
		return &roomapi.Empty{}, err
	}
	if req.Typing {
		s.typing.start(req.RoomID, req.UserID, remoteTypingTimeout)
	} else {
		s.typing.stop(req.RoomID, req.UserID)
	}
	return &roomapi.Empty{}, nil
}

// takesPart reports whether a user is joined and the server may speak for them.
func (s *Server) takesPart(ctx context.Context, r *room, h *head, origin, userID string) (bool, error) {
	if ok, err := s.allowed(ctx, r, h, origin); err != nil || !ok {
		return false, err
	}
	err := s.mustBeMember(ctx, r, h, userID)
	if errors.Is(err, merr.Forbidden("")) {
		return false, nil
	}
	return err == nil, err
}

// remoteReceipts takes the content of an m.receipt EDU: a receipt that moves backwards,
// names an unknown event or is not of the origin's users is passed over.
func (s *Server) remoteReceipts(ctx context.Context, req *roomapi.RemoteReceiptsRequest) (*roomapi.Empty, error) {
	var waits []func(context.Context) error
	var failed error
	n := 0
	pdu.Members(req.Content, func(roomID string, kinds []byte) bool {
		users, ok := pdu.Get(kinds, readReceipt)
		if !ok || n >= maxRemoteReceipts || failed != nil {
			return failed == nil
		}
		failed = s.roomReceipts(ctx, req.Origin, roomID, users, &n, &waits)
		return true
	})
	for _, wait := range waits {
		if err := wait(ctx); err != nil {
			return nil, err
		}
	}
	if failed != nil {
		return nil, failed
	}
	return &roomapi.Empty{}, nil
}

// roomReceipts takes the receipts of one room.
func (s *Server) roomReceipts(ctx context.Context, origin, roomID string, users []byte, n *int, waits *[]func(context.Context) error) error {
	r, h, done, err := s.view(ctx, roomID)
	if errors.Is(err, errNoRoom) {
		return nil
	}
	if err != nil {
		return err
	}
	defer done()
	var failed error
	pdu.Members(users, func(userID string, receipt []byte) bool {
		if *n++; *n > maxRemoteReceipts {
			return false
		}
		if pdu.Domain(userID) != origin {
			return true
		}
		var in bool
		if in, failed = s.takesPart(ctx, r, h, origin, userID); failed != nil || !in {
			return failed == nil
		}
		var wait func(context.Context) error
		if wait, failed = s.remoteReceipt(ctx, r, userID, receipt); wait != nil {
			*waits = append(*waits, wait)
		}
		return failed == nil
	})
	return failed
}

func (s *Server) remoteReceipt(ctx context.Context, r *room, userID string, receipt []byte) (wait func(context.Context) error, err error) {
	req := &roomapi.ReceiptRequest{RoomID: r.id, UserID: userID, Kind: readReceipt}
	ids, _ := pdu.Get(receipt, "event_ids")
	pdu.Elements(ids, func(id []byte) bool { // the last one counts
		req.EventID, _ = pdu.String(id)
		return true
	})
	data, _ := pdu.Get(receipt, "data")
	req.ThreadID, _ = pdu.GetString(data, "thread_id")
	if req.EventID == "" || len(req.EventID) > pdu.MaxIDLength || len(req.ThreadID) > pdu.MaxIDLength || !storable(req.ThreadID) {
		return nil, nil
	}
	rc, err := s.newReceipt(ctx, r, req)
	if errors.Is(err, merr.NotFound("")) {
		return nil, nil
	}
	if err != nil || rc == nil || rc.Ord == storage.OutlierOrd {
		return nil, err
	}
	if ts, ok := pdu.GetInt(data, "ts"); ok && ts > 0 {
		rc.TS = ts
	}
	return s.stageReceipt(r, rc, req)
}

// handleInput registers the calls that bring what other servers send.
func (s *Server) handleInput() error {
	for _, err := range []error{
		bus.Handle(s.bus, roomapi.FederationRoom, s.federationRoom),
		bus.Handle(s.bus, roomapi.Receive, s.receive),
		bus.Handle(s.bus, roomapi.RemoteTyping, s.remoteTyping),
		bus.Handle(s.bus, roomapi.RemoteReceipts, s.remoteReceipts),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}
