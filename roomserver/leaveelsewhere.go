package roomserver

import (
	"context"

	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

// leaveElsewhere rejects an invite or withdraws a knock in a room that we are not in
// ("Leaving Rooms (Rejecting Invites)"). If no server of the room can be reached, the user has
// left for us all the same. done is false if there is nothing to leave from outside.
func (s *Server) leaveElsewhere(ctx context.Context, req *roomapi.MembershipRequest) (eventID string, done bool, err error) {
	o, m, err := s.outside(ctx, req.RoomID, req.Sender)
	if err != nil {
		return "", false, notFoundAs(err, nil)
	}
	was, err := outsideEvent(o)
	if err != nil {
		return "", false, err
	}
	if m.Membership == storage.MembershipLeave { // it has ended
		return o.EventID, true, nil
	}
	leave, err := s.entering.enter(ctx, req.RoomID)
	if err != nil {
		return "", false, err
	}
	defer leave()
	ev, err := s.leaveBy(ctx, req, was)
	if err != nil {
		return "", false, err
	}
	return ev.EventID, true, s.endOutside(ctx, req.RoomID, o, outsideChange{version: ev.Version, ev: ev, state: []byte("[]")})
}

// maxLeaveServers is how many servers are asked to pass a leave on: more would keep the
// user waiting for what is of little use.
const maxLeaveServers = 3

// leaveBy tells the room that the user leaves, or else makes an event that only we know.
func (s *Server) leaveBy(ctx context.Context, req *roomapi.MembershipRequest, was *pdu.Event) (*pdu.Event, error) {
	servers, err := s.destinations(ctx, req.RoomID, req.Sender, nil)
	if err != nil {
		return nil, err
	}
	h := &handshake{s: s, roomID: req.RoomID, userID: req.Sender, content: memberContent{membership: "leave", reason: req.Reason}}
	for _, server := range servers[:min(len(servers), maxLeaveServers)] {
		once, cancel := context.WithTimeout(ctx, makeTime)
		m, _, err := s.submit(once, h, server)
		cancel()
		if err == nil {
			return m.ev, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		s.log.WithError(err).WithField("server", server).Debug("a leave could not be passed on")
	}
	content, err := h.content.canonical()
	if err != nil {
		return nil, err
	}
	return pdu.Build(was.Version, pdu.Template{
		RoomID: req.RoomID, Type: memberType, Sender: req.Sender, StateKey: &req.Sender, Content: content,
		PrevEvents: []pdu.Ref{was.Ref()}, Depth: min(was.Depth+1, pdu.MaxDepth), OriginServerTS: s.now().UnixMilli(),
	}, s.key)
}

// endOutside stores the end of an invite or a knock, if it is still that one.
func (s *Server) endOutside(ctx context.Context, roomID string, was *storage.Outside, c outsideChange) error {
	lr, _, err := s.lockAny(ctx, roomID)
	if err != nil {
		return err
	}
	defer lr.unlock()
	now, _, err := s.outside(ctx, roomID, *c.ev.StateKey)
	if err != nil {
		return notFoundAs(err, nil)
	}
	if now.EventID != was.EventID {
		return nil
	}
	return s.storeOutside(ctx, lr, c)
}
