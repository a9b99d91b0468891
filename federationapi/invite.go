package federationapi

import (
	"encoding/json"

	"hearth/federationapi/verify"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/internal/pduwire"
	"hearth/roomserver/roomapi"
)

// Limits of the state that comes with an invite.
const (
	maxInviteState = 100
	maxInviteBytes = 256 << 10 // bytes
)

// invite is PUT /_matrix/federation/v2/invite ("Inviting to a room").
func (s *Server) invite(r *matrixhttp.Request) (any, error) {
	body, err := r.Object()
	if err != nil {
		return nil, err
	}
	id, ok := pdu.GetString(body, "room_version")
	if !ok {
		return nil, merr.MissingParam("room_version")
	}
	version, ok := pdu.Version(id)
	if !ok {
		return nil, merr.New(400, "M_INCOMPATIBLE_ROOM_VERSION", "This server does not know the version of the room").With("room_version", id)
	}
	raw, ok := pdu.Get(body, "event")
	if !ok || pdu.Kind(raw) != '{' {
		return nil, merr.MissingParam("event")
	}
	state, _ := pdu.Get(body, "invite_room_state")
	signed, err := s.accept(r, version, raw, state)
	if err != nil {
		return nil, err
	}
	return map[string]any{"event": signed}, nil
}

// inviteV1 is PUT /_matrix/federation/v1/invite, of old servers: for room versions 1 and
// 2, whose events have the same form.
func (s *Server) inviteV1(r *matrixhttp.Request) (any, error) {
	body, err := r.Object()
	if err != nil {
		return nil, err
	}
	version, _ := pdu.Version("1")
	unsigned, _ := pdu.Get(body, "unsigned")
	state, _ := pdu.Get(unsigned, "invite_room_state")
	signed, err := s.accept(r, version, body, state)
	if err != nil {
		return nil, err
	}
	return []any{200, map[string]any{"event": signed}}, nil
}

// accept checks an invite, lets the roomserver take it, and returns it with our signature.
func (s *Server) accept(r *matrixhttp.Request, version *pdu.RoomVersion, raw, state json.RawMessage) (json.RawMessage, error) {
	room, err := roomOf(r)
	if err != nil {
		return nil, err
	}
	e, err := s.memberEvent(r, version, room, raw)
	if err != nil {
		return nil, err
	}
	if membership, _ := pdu.GetString(e.Content, "membership"); membership != "invite" {
		return nil, merr.InvalidParam("Not an invite event")
	}
	if _, domain, err := pdu.ParseUserID(*e.StateKey); err != nil || domain != s.deps.ServerName {
		return nil, merr.InvalidParam("The invited user is not of this server")
	}
	stripped, err := s.inviteState(r, version, room, state)
	if err != nil {
		return nil, err
	}
	answer, err := roomapi.AcceptInvite.Do(r.Context(), s.deps.Bus, &roomapi.AcceptInviteRequest{
		Origin: r.Identity.Server, RoomID: room, RoomVersion: version.ID, Event: pduwire.Of(e), State: stripped,
	})
	if err != nil {
		return nil, err
	}
	return answer.Event.JSON, nil
}

// inviteState reads the state that comes with an invite into stripped state, an array.
// What has no shape is left out. An event in the format of the room's version must be
// valid and of the room, and rooms of version 12, whose id stands for the create
// event, must show that event; many servers send the short form alone still, so that
// passes too.
func (s *Server) inviteState(r *matrixhttp.Request, version *pdu.RoomVersion, room string, state json.RawMessage) (json.RawMessage, error) {
	out := []byte{'['}
	var failed error
	created, n := false, 0
	pdu.Elements(state, func(entry []byte) bool {
		n++
		var stripped []byte
		if stripped, failed = s.stripped(r, version, room, entry); failed != nil {
			return false
		}
		if stripped == nil || len(out)+len(stripped) > maxInviteBytes {
			return n < maxInviteState
		}
		if typ, _ := pdu.GetString(stripped, "type"); typ == "m.room.create" {
			created = true
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(out, stripped...)
		return n < maxInviteState
	})
	if failed == nil && version.DomainlessRoomIDs && !created {
		failed = merr.New(400, "M_MISSING_PARAM", "The m.room.create event is missing from invite_room_state")
	}
	return append(out, ']'), failed
}

// stripped is the short form of a state event; nil if it has no shape.
func (s *Server) stripped(r *matrixhttp.Request, version *pdu.RoomVersion, room string, entry []byte) ([]byte, error) {
	typ, ok1 := pdu.GetString(entry, "type")
	key, ok2 := pdu.GetString(entry, "state_key")
	sender, ok3 := pdu.GetString(entry, "sender")
	content, ok4 := pdu.Get(entry, "content")
	if _, _, err := pdu.ParseUserID(sender); err != nil || !ok1 || !ok2 || !ok3 || !ok4 || pdu.Kind(content) != '{' {
		return nil, nil
	}
	if len(typ) > pdu.MaxIDLength || len(key) > pdu.MaxIDLength {
		return nil, nil
	}
	if _, whole := pdu.Get(entry, "hashes"); whole {
		e, err := verify.Event(r.Context(), s.keys, version, entry)
		switch {
		case err != nil && merr.From(err).Temporary:
			return nil, nil
		case err != nil:
			return nil, merr.InvalidParam("An event of invite_room_state is not valid: %s", text(err))
		case e.RoomID != room:
			return nil, merr.InvalidParam("An event of invite_room_state is of another room")
		}
		content = e.Content
	}
	if _, err := pdu.Canonical(content, false); err != nil {
		return nil, nil // it is nested too deeply
	}
	dst := append([]byte(`{"content":`), content...)
	dst = pdu.AppendString(append(dst, `,"sender":`...), sender)
	dst = pdu.AppendString(append(dst, `,"state_key":`...), key)
	dst = pdu.AppendString(append(dst, `,"type":`...), typ)
	return append(dst, '}'), nil
}

// exchangeInvite is PUT /_matrix/federation/v1/exchange_third_party_invite ("Cases where an
// association doesn't exist for a third-party identifier").
func (s *Server) exchangeInvite(r *matrixhttp.Request) (any, error) {
	room, err := roomOf(r)
	if err != nil {
		return nil, err
	}
	body, err := r.Object()
	if err != nil {
		return nil, err
	}
	if err := checkExchange(room, body); err != nil {
		return nil, err
	}
	_, err = roomapi.AcceptExchange.Do(r.Context(), s.deps.Bus, &roomapi.AcceptExchangeRequest{
		Origin: r.Identity.Server, RoomID: room, Event: body,
	})
	return nil, err
}

// checkExchange checks the shape of the member event that is to be completed.
func checkExchange(room string, body []byte) error {
	typ, _ := pdu.GetString(body, "type")
	of, _ := pdu.GetString(body, "room_id")
	sender, _ := pdu.GetString(body, "sender")
	invited, _ := pdu.GetString(body, "state_key")
	content, _ := pdu.Get(body, "content")
	membership, _ := pdu.GetString(content, "membership")
	third, _ := pdu.Get(content, "third_party_invite")
	signed, _ := pdu.Get(third, "signed")
	mxid, _ := pdu.GetString(signed, "mxid")
	token, _ := pdu.GetString(signed, "token")
	signatures, _ := pdu.Get(signed, "signatures")
	_, _, err := pdu.ParseUserID(sender)
	_, _, err2 := pdu.ParseUserID(invited)
	switch {
	case of != room:
		return merr.InvalidParam("The event is of another room than the path")
	case typ != "m.room.member" || membership != "invite":
		return merr.InvalidParam("Not an invite event")
	case err != nil || err2 != nil:
		return merr.InvalidParam("sender and state_key must be user ids")
	case token == "" || pdu.Kind(signatures) != '{':
		return merr.InvalidParam("The event has no third_party_invite that is signed")
	case mxid != invited:
		return merr.InvalidParam("The third-party invite is signed for another user")
	}
	return nil
}
