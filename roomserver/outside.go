package roomserver

import (
	"context"
	"errors"
	"slices"

	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/internal/pduwire"
	"hearth/internal/store"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

// outsideChange is a change of the membership of a user of ours in a room that we are
// not in: an invite, a knock, or the end of one. Nobody here can authorize its event.
type outsideChange struct {
	version *pdu.RoomVersion
	ev      *pdu.Event // its state key is the user
	state   []byte     // stripped state, an array
}

// ensureRoom gives a room that is unknown a number and a row without state, so that
// what is stored of it can name it. It waits for the disk.
func (s *Server) ensureRoom(ctx context.Context, lr *lockedRoom, v *pdu.RoomVersion) error {
	if lr.nid != 0 {
		return nil
	}
	rows := storage.Append{NewRoom: s.newRow(lr, v)}
	done := make(chan error, 1)
	_, err := s.store.DB.Stage(lr.generation, 0, func(int64) store.Op {
		return store.Op{Run: rows.Write, Done: func(err error) { done <- err }}
	})
	if err == nil {
		err = waitFor(done)(ctx)
	}
	if err != nil {
		lr.nid = 0
	}
	return err
}

// newRow numbers a room and returns its row, without state.
func (s *Server) newRow(lr *lockedRoom, v *pdu.RoomVersion) *storage.Room {
	lr.nid, lr.version = s.roomSeq.Add(1), v
	return &storage.Room{Nid: lr.nid, ID: lr.id, Version: v.ID}
}

// storeOutside stores such a change and tells it. It waits for the disk.
func (s *Server) storeOutside(ctx context.Context, lr *lockedRoom, c outsideChange) error {
	rows := &storage.OutsideChange{}
	if lr.nid == 0 {
		rows.Append.NewRoom = s.newRow(lr, c.version)
	}
	name := func(text string) (nid int64, err error) {
		nid, fresh, err := s.names.intern(ctx, text)
		if fresh {
			rows.Append.Names = append(rows.Append.Names, storage.Name{Nid: nid, S: text})
		}
		return nid, err
	}
	user, err := name(*c.ev.StateKey)
	if err != nil {
		return err
	}
	sender, err := name(c.ev.Sender)
	if err != nil {
		return err
	}
	membership := storage.MembershipNumber(membershipIn(c.ev))
	rows.Append.Members = []storage.Member{{User: user, Room: lr.nid, Membership: membership, Sender: sender}}
	rows.Outside = storage.Outside{
		Room: lr.nid, User: user, Version: c.version.ID, EventID: c.ev.EventID, JSON: c.ev.JSON, State: c.state,
	}
	done := make(chan error, 1)
	_, err = s.store.DB.Stage(lr.generation, 1, func(first int64) store.Op {
		rows.Outside.Pos = first
		entry := outsideEntry(lr.id, first, c.ev)
		return store.Op{Run: rows.Write, Done: func(err error) {
			if err == nil {
				s.names.settled(rows.Append.Names)
				s.entries.Publish(first, entry)
			}
			done <- err
		}}
	})
	if err != nil {
		return err
	}
	return waitFor(done)(ctx)
}

// outsideEntry is the log entry of such a change.
func outsideEntry(roomID string, pos int64, ev *pdu.Event) *roomapi.Entry {
	client := clientEvent(&stored{ord: storage.OutlierOrd, flags: storage.FlagOutlier, ev: ev}, nil, nil)
	client.Pos, client.Ord = pos, 0
	return &roomapi.Entry{Kind: roomapi.KindOutside, RoomID: roomID, UserID: *ev.StateKey, Event: client}
}

// outsideEvent reads the member event back.
func outsideEvent(o *storage.Outside) (*pdu.Event, error) {
	v, ok := pdu.Version(o.Version)
	if !ok {
		return nil, storage.ErrNotFound
	}
	return pdu.Load(v, o.JSON, o.EventID)
}

// putOutside adds the changes from outside to a part of the log.
func (s *Server) putOutside(ctx context.Context, page *storage.LogPage, refs map[int64]storage.RoomRef, put func(int64, roomapi.Entry)) error {
	first := page.Last + 1
	for _, row := range page.Rest {
		if row.Kind == storage.OutsideKind {
			first = min(first, row.Pos)
		}
	}
	if first > page.Last {
		return nil
	}
	list, err := s.store.OutsideAt(ctx, first, page.Last)
	if err != nil {
		return err
	}
	for i := range list {
		ev, err := outsideEvent(&list[i])
		if err != nil || ev.StateKey == nil {
			continue // an empty entry: no reader could make anything of it
		}
		put(list[i].Pos, *outsideEntry(refs[list[i].Room].ID, list[i].Pos, ev))
	}
	return nil
}

// outside returns a user's membership in a room from outside: storage.ErrNotFound if the
// user has none, or the room's own state says what it is.
func (s *Server) outside(ctx context.Context, roomID, userID string) (*storage.Outside, storage.Member, error) {
	var m storage.Member
	row, err := s.store.Room(ctx, roomID)
	if err != nil {
		return nil, m, err
	}
	user, ok, err := s.names.lookup(ctx, userID)
	if err != nil {
		return nil, m, err
	}
	if !ok {
		return nil, m, storage.ErrNotFound
	}
	if m, _, err = s.store.Member(ctx, user, row.Nid); err != nil {
		return nil, m, err
	}
	if m.Nid != 0 {
		return nil, m, storage.ErrNotFound
	}
	o, err := s.store.OutsideOf(ctx, row.Nid, user)
	return &o, m, err
}

// ownOutside returns the member event of the user who asks, in a room that we are not in; nil if
// it is not that event.
func (s *Server) ownOutside(ctx context.Context, req *roomapi.EventRequest) (*roomapi.Event, error) {
	o, _, err := s.outside(ctx, req.RoomID, req.UserID)
	if err != nil || o.EventID != req.EventID {
		return nil, notFoundAs(err, nil)
	}
	ev, err := outsideEvent(o)
	if err != nil {
		return nil, err
	}
	return outsideEntry(req.RoomID, o.Pos, ev).Event, nil
}

// outsideState is inviteState for a room that we are not in.
func (s *Server) outsideState(ctx context.Context, req *roomapi.InviteStateRequest) (*roomapi.InviteStateResponse, error) {
	o, m, err := s.outside(ctx, req.RoomID, req.UserID)
	if err != nil {
		return nil, err
	}
	none := merr.NotFound("There is no invite or knock")
	if m.Membership != storage.MembershipInvite && m.Membership != storage.MembershipKnock {
		return nil, none
	}
	ev, err := outsideEvent(o)
	if err != nil || ev.StateKey == nil {
		return nil, none.WithCause(err)
	}
	out := append([]byte{}, o.State[:len(o.State)-1]...)
	if len(out) > 1 {
		out = append(out, ',')
	}
	return &roomapi.InviteStateResponse{Events: append(appendStripped(out, ev), ']')}, nil
}

// isHere reports whether we take part in a room: a user of ours is joined, or nobody
// else is, so that no other server could have gone on with it.
func (s *Server) isHere(ctx context.Context, roomID string) (bool, error) {
	_, h, done, err := s.view(ctx, roomID)
	if errors.Is(err, errNoRoom) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer done()
	return h.here(), nil
}

func (h *head) here() bool { return h.hosts.local() || h.hosts.count() == 0 }

// outsider is the server of a user of another server whose invite or knock an event ends;
// "" if it does not. If it is not in the room, it hears of it in no other way.
func (s *Server) outsider(ev, replaced *pdu.Event) string {
	if replaced == nil || ev.Type != memberType || ev.StateKey == nil || s.isLocal(*ev.StateKey) {
		return ""
	}
	was, is := membershipIn(replaced), membershipIn(ev)
	if (was == "invite" || was == "knock") && (is == "leave" || is == "ban") {
		return pdu.Domain(*ev.StateKey)
	}
	return ""
}

// receiveOutside takes PDUs of a room that we are not in: those that end an invite or a knock
// of a user of ours. Such a PDU must name the invite or knock as an auth event, so that nobody
// can make one who was not in the room. An invite is ended by the server that it came from.
func (s *Server) receiveOutside(ctx context.Context, req *roomapi.ReceiveRequest) (*roomapi.ReceiveResponse, error) {
	if _, err := s.store.Room(ctx, req.RoomID); err != nil {
		return nil, notFoundAs(err, merr.NotFound("Unknown room").WithCause(errNoRoom))
	}
	resp := &roomapi.ReceiveResponse{Errors: make(map[string]string)}
	for i := range req.PDUs {
		err := s.takeOutside(ctx, req, &req.PDUs[i])
		if err != nil && !eventsFault(err) {
			return nil, err
		}
		if err != nil {
			resp.Errors[req.PDUs[i].EventID] = merr.From(err).Message
		}
	}
	return resp, nil
}

func (s *Server) takeOutside(ctx context.Context, req *roomapi.ReceiveRequest, p *pduwire.PDU) error {
	notHere := merr.Forbidden("This server is not in the room")
	userID, _ := pdu.GetString(p.JSON, "state_key")
	o, m, err := s.outside(ctx, req.RoomID, userID)
	if err != nil {
		return notFoundAs(err, notHere)
	}
	was, err := outsideEvent(o)
	if err != nil {
		return notHere.WithCause(err)
	}
	ev, err := p.Load(was.Version)
	if err != nil {
		return err
	}
	ends := membershipIn(ev) == "leave" || membershipIn(ev) == "ban"
	switch {
	case ev.RoomID != req.RoomID || ev.Type != memberType || !ev.StateKeyEquals(userID) || !ends || ev.Redacted:
		return notHere
	case !slices.Contains(ev.AuthEvents, o.EventID) || pdu.Domain(ev.Sender) != req.Origin:
		return notHere
	case m.Membership == storage.MembershipInvite && pdu.Domain(was.Sender) != req.Origin:
		return notHere
	case m.Membership != storage.MembershipInvite && m.Membership != storage.MembershipKnock:
		return nil // it has ended
	}
	return s.endOutside(ctx, req.RoomID, o, outsideChange{version: ev.Version, ev: ev, state: []byte("[]")})
}
