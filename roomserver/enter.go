package roomserver

import (
	"context"
	"time"

	"hearth/federationapi/remoteapi"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/internal/pduwire"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

// joinElsewhere joins a room that we are not in, or that no user of ours may let the user
// into, by way of a server that is in it ("Joining Rooms").
func (s *Server) joinElsewhere(ctx context.Context, roomID string, via []string, req *roomapi.JoinRequest) (*roomapi.MembershipResponse, error) {
	if req.IsGuest {
		return nil, merr.New(403, "M_GUEST_ACCESS_FORBIDDEN", "Guests may not join rooms of other servers")
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	leave, err := s.entering.enter(ctx, roomID)
	if err != nil {
		return nil, err
	}
	defer leave()
	servers, err := s.destinations(ctx, roomID, req.UserID, via)
	if err != nil {
		return nil, err
	}
	h := &handshake{s: s, roomID: roomID, userID: req.UserID, content: memberContent{membership: "join", profile: req.Profile, reason: req.Reason}}
	var tried attempts
	for _, server := range servers {
		ev, err := s.joinBy(ctx, h, server)
		if err == nil {
			return &roomapi.MembershipResponse{RoomID: roomID, EventID: ev.EventID}, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if tried.failed(err) {
			break
		}
	}
	return nil, tried.err()
}

// joinBy joins by way of one server.
func (s *Server) joinBy(ctx context.Context, h *handshake, server string) (*pdu.Event, error) {
	m, err := h.make(ctx, server)
	if err != nil {
		return nil, err
	}
	here, err := s.isHere(ctx, h.roomID)
	if err != nil {
		return nil, err
	}
	if here {
		return s.joinAuthorised(ctx, m)
	}
	in := &importing{s: s, roomID: h.roomID, version: m.version, join: m.ev}
	req := &remoteapi.SendJoinRequest{Destination: server, RoomID: h.roomID, RoomVersion: m.version.ID, Event: pduwire.Of(m.ev)}
	if err := remoteapi.ReadJoin(ctx, s.bus, req, in.head, func(kind byte, p pduwire.PDU) error { return in.take(ctx, kind, p) }); err != nil {
		return nil, err
	}
	if err := in.finish(ctx); err != nil {
		return nil, err
	}
	return in.join, nil
}

// knockElsewhere knocks on a room that we are not in ("Knocking upon a room").
func (s *Server) knockElsewhere(ctx context.Context, roomID string, via []string, req *roomapi.JoinRequest) (*roomapi.MembershipResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	leave, err := s.entering.enter(ctx, roomID)
	if err != nil {
		return nil, err
	}
	defer leave()
	servers, err := s.destinations(ctx, roomID, req.UserID, via)
	if err != nil {
		return nil, err
	}
	h := &handshake{s: s, roomID: roomID, userID: req.UserID, content: memberContent{membership: "knock", profile: req.Profile, reason: req.Reason}}
	var tried attempts
	for _, server := range servers {
		m, state, err := s.submit(ctx, h, server)
		if err == nil {
			if err = s.changeOutside(ctx, roomID, outsideChange{version: m.version, ev: m.ev, state: state}); err != nil {
				return nil, err
			}
			return &roomapi.MembershipResponse{RoomID: roomID, EventID: m.ev.EventID}, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if tried.failed(err) {
			break
		}
	}
	return nil, tried.err()
}

// submit makes a knock or a leave and sends it to the server that gave the template. For a
// knock it returns stripped state.
func (s *Server) submit(ctx context.Context, h *handshake, server string) (*made, []byte, error) {
	m, err := h.make(ctx, server)
	if err != nil {
		return nil, nil, err
	}
	resp, err := remoteapi.SendMembership.Do(ctx, s.bus, &remoteapi.SendRequest{
		Destination: server, RoomID: h.roomID, RoomVersion: m.version.ID, Membership: h.content.membership, Event: pduwire.Of(m.ev),
	})
	if err != nil {
		return nil, nil, err
	}
	return m, strippedState(resp.StrippedState), nil
}

// changeOutside stores a change unless we have come to take part in the room meanwhile.
func (s *Server) changeOutside(ctx context.Context, roomID string, c outsideChange) error {
	lr, known, err := s.lockAny(ctx, roomID)
	if err != nil {
		return err
	}
	defer lr.unlock()
	if known && lr.staged.here() {
		return nil // the event comes to us like any other
	}
	return s.storeOutside(ctx, lr, c)
}

// Bounds of what another server may say of a room.
const (
	maxStripped      = 100
	maxStrippedBytes = 256 << 10
)

// strippedState reads state that another server has sent, whole events or stripped ones, and
// returns an array of stripped state. What has not the shape of an event is left out.
func strippedState(given []byte) []byte {
	out := []byte{'['}
	wrapped, err := pdu.Canonical(append(append([]byte(`{"s":`), orEmpty(given)...), '}'), false)
	if err != nil {
		return []byte("[]")
	}
	list, _ := pdu.Get(wrapped, "s")
	n := 0
	pdu.Elements(list, func(val []byte) bool {
		if n++; n > maxStripped {
			return false
		}
		ev := &pdu.Event{}
		key, ok1 := pdu.GetString(val, "state_key")
		var ok2, ok3, ok4 bool
		ev.Type, ok2 = pdu.GetString(val, "type")
		ev.Sender, ok3 = pdu.GetString(val, "sender")
		ev.Content, ok4 = pdu.Get(val, "content")
		if _, _, err := pdu.ParseUserID(ev.Sender); err != nil || !ok1 || !ok2 || !ok3 || !ok4 || pdu.Kind(ev.Content) != '{' {
			return true
		}
		ev.StateKey = &key
		mark := len(out)
		if len(out) > 1 {
			out = append(out, ',')
		}
		if out = appendStripped(out, ev); len(out) > maxStrippedBytes {
			out = out[:mark]
		}
		return true
	})
	return append(out, ']')
}

func orEmpty(list []byte) []byte {
	if len(list) == 0 {
		return []byte("[]")
	}
	return list
}

// joinAuthorised joins a restricted room that we are in, but which only a user of another
// server may let the user into: that server signs the join, and takes it before we do.
func (s *Server) joinAuthorised(ctx context.Context, m *made) (*pdu.Event, error) {
	in := &importing{s: s, roomID: m.ev.RoomID, version: m.version, join: m.ev}
	req := &remoteapi.SendJoinRequest{
		Destination: m.destination, RoomID: m.ev.RoomID, RoomVersion: m.version.ID, Event: pduwire.Of(m.ev), OmitMembers: true,
	}
	omitted := func(h *remoteapi.JoinHeader) error {
		h.MembersOmitted = false // we have the room's state
		return in.head(h)
	}
	if err := remoteapi.ReadJoin(ctx, s.bus, req, omitted, func(byte, pduwire.PDU) error { return nil }); err != nil {
		return nil, err
	}
	resp, err := s.receive(ctx, &roomapi.ReceiveRequest{Origin: m.destination, RoomID: m.ev.RoomID, PDUs: []pduwire.PDU{pduwire.Of(in.join)}})
	if err != nil {
		return nil, err
	}
	if text, refused := resp.Errors[in.join.EventID]; refused {
		return nil, badAnswer("%s", text)
	}
	return in.join, s.awaitEvent(ctx, m.ev.RoomID, in.join.EventID)
}

// How long an event of ours may wait for what it names and we do not have.
const (
	awaitTime = 20 * time.Second
	awaitStep = 100 * time.Millisecond
)

// awaitEvent waits until an event has entered a room: it may wait for others that have to
// be fetched.
func (s *Server) awaitEvent(ctx context.Context, roomID, eventID string) error {
	ctx, cancel := context.WithTimeout(ctx, awaitTime)
	defer cancel()
	r, _, done, err := s.view(ctx, roomID)
	if err != nil {
		return err
	}
	defer done()
	tick := time.NewTicker(awaitStep)
	defer tick.Stop()
	for {
		e, err := s.eventByID(ctx, r, eventID)
		switch {
		case err == nil && e.flags&storage.FlagOutlier == 0 && e.hidden():
			return merr.Forbidden("The room does not allow the event")
		case err == nil && !e.hidden():
			return nil
		case notFoundAs(err, nil) != nil:
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return merr.Unavailable("The room's history is incomplete, try again").WithCause(ctx.Err())
		}
	}
}
