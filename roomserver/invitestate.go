package roomserver

import (
	"context"

	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// strippedTypes are the state that an invited or knocking user gets to see
// ("Stripped state").
var strippedTypes = [...]string{
	"m.room.create", "m.room.name", "m.room.avatar", "m.room.topic", "m.room.join_rules", "m.room.canonical_alias", "m.room.encryption",
}

// inviteState returns stripped state to an invited or knocking user: what the room
// shows of itself, and the member events of the user and of who invited them.
func (s *Server) inviteState(ctx context.Context, req *roomapi.InviteStateRequest) (*roomapi.InviteStateResponse, error) {
	if resp, err := s.outsideState(ctx, req); err == nil || notFoundAs(err, nil) != nil {
		return resp, err
	}
	r, h, done, err := s.view(ctx, req.RoomID)
	if err != nil {
		return nil, err
	}
	defer done()
	own, err := s.committedState(ctx, r, h, memberType, req.UserID)
	if err != nil {
		return nil, err
	}
	if own == nil || own.client.Membership != "invite" && own.client.Membership != "knock" {
		return nil, merr.NotFound("There is no invite or knock")
	}
	out := []byte{'['}
	add := func(e *stored) {
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = appendStripped(out, e.ev)
	}
	for _, typ := range strippedTypes {
		e, err := s.committedState(ctx, r, h, typ, "")
		if err != nil {
			return nil, err
		}
		if e != nil {
			add(e)
		}
	}
	if own.ev.Sender != req.UserID {
		inviter, err := s.committedState(ctx, r, h, memberType, own.ev.Sender)
		if err != nil {
			return nil, err
		}
		if inviter != nil {
			add(inviter)
		}
	}
	add(own)
	return &roomapi.InviteStateResponse{Events: append(out, ']')}, nil
}

// appendStripped writes a stripped state event.
func appendStripped(dst []byte, ev *pdu.Event) []byte {
	dst = append(dst, `{"content":`...)
	dst = append(dst, ev.Content...)
	dst = append(dst, `,"sender":`...)
	dst = pdu.AppendString(dst, ev.Sender)
	dst = append(dst, `,"state_key":`...)
	dst = pdu.AppendString(dst, *ev.StateKey)
	dst = append(dst, `,"type":`...)
	dst = pdu.AppendString(dst, ev.Type)
	return append(dst, '}')
}
