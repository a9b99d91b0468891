package roomserver

import (
	"context"
	"encoding/json"

	"hearth/clientapi/userapi"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/internal/pduwire"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

// acceptInvite takes an invite to a user of ours and signs it ("Inviting to a room").
func (s *Server) acceptInvite(ctx context.Context, req *roomapi.AcceptInviteRequest) (*roomapi.AcceptInviteResponse, error) {
	v, ok := pdu.Version(req.RoomVersion)
	if !ok {
		return nil, merr.New(400, "M_INCOMPATIBLE_ROOM_VERSION", "This server does not know the version of the room").With("room_version", req.RoomVersion)
	}
	if err := s.refuseBlocked(req.RoomID); err != nil {
		return nil, err
	}
	ev, err := s.invitation(v, req)
	if err != nil {
		return nil, err
	}
	if _, err := userapi.GetUser.Do(ctx, s.bus, &userapi.UserRequest{UserID: *ev.StateKey}); err != nil {
		return nil, noSuchUser(err)
	}
	may, err := userapi.MayInvite.Do(ctx, s.bus, &userapi.MayInviteRequest{
		Inviter: ev.Sender, Invitee: *ev.StateKey, RoomID: ev.RoomID, Event: withID(ev),
	})
	if err != nil {
		return nil, err
	}
	signed, err := ev.Sign(s.key)
	if err != nil {
		return nil, err
	}
	resp := &roomapi.AcceptInviteResponse{Event: pduwire.Of(signed)}
	lr, known, err := s.lockAny(ctx, req.RoomID)
	if err != nil {
		return nil, err
	}
	defer lr.unlock()
	if known {
		if lr.version != v {
			return nil, merr.InvalidParam("The room has another version")
		}
		if err := s.checkACL(ctx, lr.room, lr.committed.Load(), req.Origin); err != nil {
			return nil, err
		}
		if lr.staged.hosts.local() {
			return resp, lr.begin().permits(ctx, ev) // it will come to us like any other event
		}
	}
	if may.Hidden {
		return resp, nil // it seems to work, and the user never hears of it
	}
	o, m, err := s.outside(ctx, req.RoomID, *ev.StateKey)
	switch {
	case notFoundAs(err, nil) != nil:
		return nil, err
	case err == nil && o.EventID == ev.EventID:
		return resp, nil // asked again
	case err == nil && m.Membership == storage.MembershipBan:
		return nil, merr.Forbidden("The user is banned from the room")
	}
	return resp, s.storeOutside(ctx, lr, outsideChange{version: v, ev: signed, state: strippedState(req.State)})
}

// withID is an event as others than servers see it: with its id.
func withID(ev *pdu.Event) json.RawMessage {
	out := pdu.AppendString([]byte(`{"event_id":`), ev.EventID)
	rest := ev.JSON[1:]
	if _, has := pdu.Get(ev.JSON, "event_id"); has {
		return ev.JSON
	}
	return append(append(out, ','), rest...)
}

// invitation reads an invite and checks what we are about to sign.
func (s *Server) invitation(v *pdu.RoomVersion, req *roomapi.AcceptInviteRequest) (*pdu.Event, error) {
	ev, err := req.Event.Load(v)
	if err != nil {
		return nil, merr.InvalidParam("The event is not valid").WithCause(err)
	}
	switch {
	case ev.RoomID != req.RoomID:
		return nil, merr.InvalidParam("The event is of another room")
	case ev.Type != memberType || ev.StateKey == nil || membershipIn(ev) != "invite":
		return nil, merr.InvalidParam("Not an invite")
	case pdu.Domain(ev.Sender) != req.Origin:
		return nil, merr.InvalidParam("The sender is not of your server")
	case !s.isLocal(*ev.StateKey):
		return nil, merr.InvalidParam("The invited user is not of this server")
	case ev.Redacted:
		return nil, merr.InvalidParam("The content hash of the event does not match")
	}
	if _, _, err := pdu.ParseUserID(*ev.StateKey); err != nil {
		return nil, merr.InvalidParam("The invited user has no valid id")
	}
	return ev, nil
}

// noSuchUser says to another server that we do not have a user.
func noSuchUser(err error) error {
	if merr.From(err).Code == "M_NOT_FOUND" {
		return merr.NotFound("Unknown user").WithCause(err)
	}
	return err
}
