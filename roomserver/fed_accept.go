package roomserver

import (
	"context"
	"errors"

	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/internal/pduwire"
	"hearth/internal/store"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

// accepted is a member event of another server's user that has entered a room.
type accepted struct {
	room *room
	head *head // with the event
	e    *stored
}

// accept lets the event of a send_join, send_knock or send_leave enter its room and waits for
// the disk. It must be of the origin's user about that user, 400 M_INVALID_PARAM if not, and
// allowed, 403 if not. done must be called.
func (s *Server) accept(ctx context.Context, req *roomapi.AcceptRequest) (a *accepted, done func(), err error) {
	if req.Membership != "leave" {
		if err := s.refuseBlocked(req.RoomID); err != nil {
			return nil, nil, err
		}
	}
	if req, err = s.recommendAccept(ctx, req); err != nil {
		return nil, nil, err
	}
	for attempt := 0; ; attempt++ {
		eventID, err := s.tryAccept(ctx, req)
		if errors.Is(err, store.ErrStale) && attempt < 3 {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		r, h, done, err := s.view(ctx, req.RoomID)
		if err != nil {
			return nil, nil, err
		}
		e, err := s.eventByID(ctx, r, eventID)
		if err == nil && e.hidden() {
			err = merr.Forbidden("The room does not allow the event")
		}
		if err != nil {
			done()
			return nil, nil, err
		}
		return &accepted{room: r, head: h, e: e}, done, nil
	}
}

// recommendAccept puts the signature of the room's policy server on the event if it is to be had.
func (s *Server) recommendAccept(ctx context.Context, req *roomapi.AcceptRequest) (*roomapi.AcceptRequest, error) {
	r, h, done, err := s.view(ctx, req.RoomID)
	if err != nil {
		return req, nil // whoever lets the event in tells what is wrong
	}
	defer done()
	ev, err := submittedEvent(r.version, req)
	if err != nil || !h.hosts.local() || s.checkACL(ctx, r, h, req.Origin) != nil {
		return req, nil
	}
	events := []*pdu.Event{ev}
	if err := s.recommend(ctx, r, h, events); err != nil {
		return nil, err
	}
	signed := *req
	signed.Event = pduwire.Of(events[0])
	return &signed, nil
}

func (s *Server) tryAccept(ctx context.Context, req *roomapi.AcceptRequest) (eventID string, err error) {
	lr, err := s.resident(ctx, req.RoomID, req.Origin)
	if err != nil {
		return "", err
	}
	wait, eventID, err := s.stageAccept(ctx, lr, req)
	lr.unlock()
	if err != nil || wait == nil {
		return eventID, err
	}
	return eventID, wait(ctx)
}

func (s *Server) stageAccept(ctx context.Context, lr *lockedRoom, req *roomapi.AcceptRequest) (wait func(context.Context) error, eventID string, err error) {
	ev, err := submittedEvent(lr.version, req)
	if err != nil {
		return nil, "", err
	}
	b := lr.begin()
	if e, err := s.eventByID(ctx, lr.room, ev.EventID); err == nil && e.flags&storage.FlagOutlier == 0 {
		wait, err := s.barrier(lr.generation) // asked again; it may be staged only
		return wait, ev.EventID, err
	} else if notFoundAs(err, nil) != nil {
		return nil, "", err
	}
	if req.Membership == "join" {
		if ev, err = b.countersign(ctx, ev); err != nil {
			return nil, "", err
		}
	}
	if err := b.permits(ctx, ev); err != nil {
		return nil, "", err
	}
	v, wait, err := s.step(ctx, lr, &incoming{ev: ev, federate: true})
	if err == nil && v.missing() {
		err = merr.InvalidParam("The event names events that this server does not know")
	}
	return wait, ev.EventID, err
}

// submittedEvent reads the event and checks what it is ("send_join": validation).
func submittedEvent(v *pdu.RoomVersion, req *roomapi.AcceptRequest) (*pdu.Event, error) {
	ev, err := req.Event.Load(v)
	if err != nil {
		return nil, merr.InvalidParam("The event is not valid").WithCause(err)
	}
	switch {
	case ev.RoomID != req.RoomID:
		return nil, merr.InvalidParam("The event is of another room")
	case ev.Type != memberType || ev.StateKey == nil:
		return nil, merr.InvalidParam("Not a member event")
	case membershipIn(ev) != req.Membership:
		return nil, merr.InvalidParam("Not a %s event", req.Membership)
	case pdu.Domain(ev.Sender) != req.Origin:
		return nil, merr.InvalidParam("The sender is not of your server")
	case !ev.StateKeyEquals(ev.Sender):
		return nil, merr.InvalidParam("The event is not about its sender")
	case ev.Redacted:
		return nil, merr.InvalidParam("The content hash of the event does not match")
	}
	return ev, nil
}

// countersign signs a join to a restricted room that a user of ours lets the user into. Whether
// that is so is found out again: the event need not be made from our template.
func (b *batch) countersign(ctx context.Context, ev *pdu.Event) (*pdu.Event, error) {
	by, ok := pdu.GetString(ev.Content, authorisedVia)
	if !ok || !b.room.version.RestrictedJoins || !b.s.isLocal(by) {
		return ev, nil
	}
	if _, err := b.vouch(ctx, ev.Sender); err != nil {
		return nil, err
	}
	return ev.Sign(b.s.key)
}

// acceptJoin takes a join and streams what the joining server needs of the room.
func (s *Server) acceptJoin(ctx context.Context, req *roomapi.AcceptRequest, send func([]byte) error) error {
	if req.Membership != "join" {
		return merr.InvalidParam("Not a join")
	}
	a, done, err := s.accept(ctx, req)
	if err != nil {
		return err
	}
	defer done()
	nids, err := s.stateBefore(ctx, a.head, a.e)
	if err != nil {
		return err
	}
	chain, err := s.authChain(ctx, append([]int64{a.e.nid}, nids...))
	if err != nil {
		return err
	}
	head := append([]byte(`],"event":`), a.e.ev.JSON...)
	head = append(head, `,"members_omitted":false,"origin":`...)
	head = pdu.AppendString(head, s.serverName)
	head = append(head, `,"servers_in_room":[`...)
	head = pdu.AppendString(head, s.serverName)
	for _, server := range a.head.hosts.list() {
		head = pdu.AppendString(append(head, ','), server)
	}
	head = append(head, `],"state":[`...)
	x, err := s.expiryOf(ctx, a.room, a.head)
	if err != nil {
		return err
	}
	w := &listWriter{s: s, version: a.room.version, send: send, expiry: x}
	return w.events(ctx, []eventList{{`{"auth_chain":[`, chain}, {string(head), nids}})
}

// acceptMembership takes a knock, which it answers with what the room shows to those who
// knock, or a leave.
func (s *Server) acceptMembership(ctx context.Context, req *roomapi.AcceptRequest) (*roomapi.AcceptResponse, error) {
	if req.Membership != "knock" && req.Membership != "leave" {
		return nil, merr.InvalidParam("Neither a knock nor a leave")
	}
	a, done, err := s.accept(ctx, req)
	if err != nil {
		return nil, err
	}
	defer done()
	resp := &roomapi.AcceptResponse{}
	if req.Membership == "knock" {
		resp.StrippedState, err = s.shownOutside(ctx, s.committedLookup(a.room, a.head), "")
	}
	return resp, err
}

// shownOutside is the state that other servers get with an invite or for a knock: whole
// events ("knock_room_state"), which have all that stripped state has. who is a user whose
// member event goes along, unless empty.
func (s *Server) shownOutside(ctx context.Context, state lookup, who string) ([]byte, error) {
	out := []byte{'['}
	add := func(typ, key string) error {
		e, err := state(ctx, typ, key)
		if err != nil || e == nil {
			return err
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(out, e.ev.JSON...)
		return nil
	}
	for _, typ := range strippedTypes {
		if err := add(typ, ""); err != nil {
			return nil, err
		}
	}
	if who != "" {
		if err := add(memberType, who); err != nil {
			return nil, err
		}
	}
	return append(out, ']'), nil
}
