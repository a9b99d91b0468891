package federationapi

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"time"

	"hearth/clientapi/userapi"
	"hearth/federationapi/remoteapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

const (
	maxBoundInvites = 50
	bindBody        = 256 << 10
	bindTimeout     = 30 * time.Second
)

type bindRequest struct {
	Medium  string            `json:"medium"`
	Address string            `json:"address"`
	MXID    string            `json:"mxid"`
	Invites []json.RawMessage `json:"invites"`
}

// onBind is PUT /_matrix/federation/v1/3pid/onbind ("Cases where an association doesn't exist
// for a third-party identifier"): an identity server tells that an address is a user of
// ours now, and brings the invites that waited for it. It signs nothing but those, so
// each is taken for no more than its own signature, which the room's rules check.
func (s *Server) onBind(r *matrixhttp.Request) (any, error) {
	host, _, err := net.SplitHostPort(r.HTTP.RemoteAddr)
	if err != nil {
		host = r.HTTP.RemoteAddr
	}
	leave, err := s.gate.Enter(r.Context(), quick, "address "+host)
	if err != nil {
		return nil, err
	}
	r.Answered(leave)
	body, err := matrixhttp.Decode[bindRequest](r)
	if err != nil {
		return nil, err
	}
	switch {
	case body.Medium == "" || body.Address == "":
		return nil, merr.MissingParam("medium, address")
	case !s.local(body.MXID):
		return nil, merr.InvalidParam("The user is not of this server")
	case len(body.Invites) > maxBoundInvites:
		return nil, merr.InvalidParam("More than %d invites", maxBoundInvites)
	}
	if _, err := userapi.GetUser.Do(r.Context(), s.deps.Bus, &userapi.UserRequest{UserID: body.MXID}); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), bindTimeout)
	defer cancel()
	for _, raw := range body.Invites {
		room, inviter, event, err := boundInvite(body.MXID, raw)
		if err == nil {
			err = s.exchange(ctx, room, inviter, event)
		}
		if err != nil { // the others may be good
			s.deps.Log.WithError(err).Info("a third-party invite did not become an invite")
		}
	}
	return nil, nil
}

// boundInvite makes the member event that an invite asks for.
func boundInvite(mxid string, raw json.RawMessage) (room, inviter string, event json.RawMessage, err error) {
	room, _ = pdu.GetString(raw, "room_id")
	inviter, _ = pdu.GetString(raw, "sender")
	signed, _ := pdu.Get(raw, "signed")
	name, _ := pdu.GetString(raw, "address")
	content := append([]byte(`{"membership":"invite","third_party_invite":{"display_name":`), pdu.AppendString(nil, name)...)
	content = append(append(append(content, `,"signed":`...), objectOrEmpty(signed)...), "}}"...)
	event = append([]byte(`{"content":`), content...)
	for _, m := range [...]struct{ key, value string }{{"room_id", room}, {"sender", inviter}, {"state_key", mxid}, {"type", "m.room.member"}} {
		event = append(pdu.AppendString(append(event, ','), m.key), ':')
		event = pdu.AppendString(event, m.value)
	}
	event = append(event, '}')
	if _, _, err := pdu.ParseRoomID(room); err != nil {
		return "", "", nil, err
	}
	return room, inviter, event, checkExchange(room, event)
}

func objectOrEmpty(val []byte) []byte {
	if pdu.Kind(val) != '{' {
		return []byte("{}")
	}
	return val
}

// exchange completes an invite: here if we are in the room, else by the inviter's server.
func (s *Server) exchange(ctx context.Context, room, inviter string, event json.RawMessage) error {
	known, err := roomapi.FederationRoom.Do(ctx, s.deps.Bus, &roomapi.FederationRoomRequest{RoomID: room})
	switch {
	case errors.Is(err, merr.NotFound("")), err == nil && !known.Joined:
	case err != nil:
		return err
	default:
		_, err = roomapi.AcceptExchange.Do(ctx, s.deps.Bus, &roomapi.AcceptExchangeRequest{
			Origin: s.deps.ServerName, RoomID: room, Event: event,
		})
		return err
	}
	server := pdu.Domain(inviter)
	if server == s.deps.ServerName {
		return merr.NotFound("Unknown room")
	}
	_, err = remoteapi.ExchangeInvite.Do(ctx, s.deps.Bus, &remoteapi.ExchangeRequest{Destination: server, RoomID: room, Event: event})
	return err
}
