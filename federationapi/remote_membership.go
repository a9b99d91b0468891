package federationapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"

	"hearth/federationapi/keys"
	"hearth/federationapi/remoteapi"
	"hearth/federationapi/transport"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/internal/pduwire"
)

// makeMembership asks for a template of a member event.
func (r *remote) makeMembership(ctx context.Context, req *remoteapi.MakeRequest) (resp *remoteapi.MakeResponse, err error) {
	if !slices.Contains([]string{"join", "knock", "leave"}, req.Membership) {
		return nil, merr.InvalidParam("The membership must be join, knock or leave")
	}
	err = r.each(ctx, req.Destinations, func(ctx context.Context, destination string) error {
		resp, err = r.makeAt(ctx, destination, req)
		return err
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

func (r *remote) makeAt(ctx context.Context, destination string, req *remoteapi.MakeRequest) (*remoteapi.MakeResponse, error) {
	query := url.Values{}
	if req.Membership != "leave" {
		query["ver"] = req.Versions
	}
	answer, err := r.object(ctx, destination, path(v1+"/make_"+req.Membership, req.RoomID, req.UserID), query, true)
	if err != nil {
		return nil, err
	}
	id := "1" // "If not provided, the room version is assumed to be either 1 or 2"
	if val, ok := pdu.Get(answer, "room_version"); ok {
		if id, ok = pdu.String(val); !ok {
			return nil, transport.Malformed("room_version is no string")
		}
	}
	if _, ok := pdu.Version(id); !ok || len(req.Versions) > 0 && !slices.Contains(req.Versions, id) {
		return nil, merr.New(http.StatusBadRequest, "M_INCOMPATIBLE_ROOM_VERSION", "The room has a version that this server does not support").
			With("room_version", id[:min(len(id), 32)])
	}
	event, _ := pdu.Get(answer, "event")
	if err := checkTemplate(event, req); err != nil {
		return nil, err
	}
	return &remoteapi.MakeResponse{Destination: destination, RoomVersion: id, Event: json.RawMessage(event)}, nil
}

// checkTemplate makes the checks that the spec demands of make_join, make_knock and make_leave.
func checkTemplate(event []byte, req *remoteapi.MakeRequest) error {
	content, _ := pdu.Get(event, "content")
	for _, want := range []struct {
		object     []byte
		key, value string
	}{
		{event, "room_id", req.RoomID}, {event, "sender", req.UserID}, {event, "state_key", req.UserID},
		{event, "type", "m.room.member"}, {content, "membership", req.Membership},
	} {
		if got, ok := pdu.GetString(want.object, want.key); !ok || got != want.value {
			return transport.Malformed("the template has another %s than was asked for", want.key)
		}
	}
	if len(event) > pdu.MaxEventSize {
		return transport.Malformed("the template is too large")
	}
	return nil
}

// sendMembership sends a knock or a leave.
func (r *remote) sendMembership(ctx context.Context, req *remoteapi.SendRequest) (*remoteapi.SendResponse, error) {
	switch req.Membership {
	case "knock":
		answer, err := r.put(ctx, req.Destination, path(v1+"/send_knock", req.RoomID, req.Event.EventID), req.Event.JSON, 0)
		if err != nil {
			return nil, err
		}
		list, _ := pdu.Get(answer, "knock_room_state")
		if _, err := raws(list, maxStripped); err != nil {
			return nil, err
		}
		return &remoteapi.SendResponse{StrippedState: strippedState(list)}, nil
	case "leave":
		_, err := r.put(ctx, req.Destination, path(v2+"/send_leave", req.RoomID, req.Event.EventID), req.Event.JSON, 0)
		if transport.Unrecognized(err) {
			_, err = r.putOld(ctx, req.Destination, path(v1+"/send_leave", req.RoomID, req.Event.EventID), req.Event.JSON, 0)
		}
		return &remoteapi.SendResponse{}, err
	}
	return nil, merr.InvalidParam("The membership must be knock or leave")
}

// maxStripped bounds the events that describe a room to who is not in it.
const maxStripped = 200

// strippedState keeps of a list what can be stripped state events.
func strippedState(list []byte) json.RawMessage {
	out := []json.RawMessage{}
	pdu.Elements(list, func(e []byte) bool {
		content, _ := pdu.Get(e, "content")
		_, isType := pdu.GetString(e, "type")
		_, isKey := pdu.GetString(e, "state_key")
		_, isSender := pdu.GetString(e, "sender")
		if isType && isKey && isSender && pdu.Kind(content) == '{' && len(e) <= pdu.MaxEventSize {
			out = append(out, e)
		}
		return true
	})
	return encode(out)
}

// sendInvite asks the server of the invited user to sign an invite.
func (r *remote) sendInvite(ctx context.Context, req *remoteapi.InviteRequest) (*remoteapi.InviteResponse, error) {
	v, err := version(req.RoomVersion)
	if err != nil {
		return nil, err
	}
	state := req.State
	if len(state) == 0 {
		state = json.RawMessage("[]")
	}
	body := encode(map[string]any{"room_version": v.ID, "event": req.Event.JSON, "invite_room_state": state})
	answer, err := r.put(ctx, req.Destination, path(v2+"/invite", req.RoomID, req.Event.EventID), body, 0)
	if transport.Unrecognized(err) && v.EventFormat == 1 {
		old, _ := pdu.Set(req.Event.JSON, "unsigned", encode(map[string]any{"invite_room_state": state}))
		answer, err = r.putOld(ctx, req.Destination, path(v1+"/invite", req.RoomID, req.Event.EventID), old, 0)
	}
	if err != nil {
		return nil, err
	}
	event, _ := pdu.Get(answer, "event")
	signed, err := r.cosigned(ctx, v, req.Event, event, req.Destination)
	if err != nil {
		return nil, err
	}
	return &remoteapi.InviteResponse{Event: signed}, nil
}

// cosigned checks that an answer is our event with another server's signature, and returns
// our event with the good signatures of that server.
func (r *remote) cosigned(ctx context.Context, v *pdu.RoomVersion, ours pduwire.PDU, answer []byte, server string) (pduwire.PDU, error) {
	e, err := pdu.Parse(v, answer)
	if err != nil {
		return ours, transport.Malformed("the event: %w", err)
	}
	if !sameButSigned(ours.JSON, e.JSON) || e.EventID != ours.EventID {
		return ours, transport.Malformed("it is not the event that was sent")
	}
	// Our own signature may have been lost on the way; only theirs is looked at.
	theirs, _ := pdu.Get(e.JSON, "signatures")
	theirs, _ = pdu.Get(theirs, server)
	signatures, _ := pdu.Get(ours.JSON, "signatures")
	all, ok := pdu.Set(signatures, server, theirs)
	if !ok || pdu.Kind(theirs) != '{' {
		return ours, transport.Malformed("the server did not sign the event")
	}
	merged, ok := pdu.Set(ours.JSON, "signatures", all)
	if !ok || len(merged) > pdu.MaxEventSize {
		return ours, transport.Malformed("the event is too large with the signature")
	}
	if e, err = pdu.Load(v, merged, ours.EventID); err != nil {
		return ours, transport.Malformed("the event: %w", err)
	}
	if err := r.signedBy(ctx, e, server); err != nil {
		return ours, transport.Malformed("the signature: %w", err)
	}
	return pduwire.PDU{EventID: ours.EventID, JSON: merged, Redacted: ours.Redacted}, nil
}

// maxCosigned is how many signatures of one server a signed event may have.
const maxCosigned = 3

// signedBy checks the signatures of a server: there must be one, and all must hold.
func (r *remote) signedBy(ctx context.Context, e *pdu.Event, server string) error {
	var wants []keys.Want
	for _, s := range e.Signatures() {
		if s.Server == server {
			wants = append(wants, keys.Want{Server: server, KeyID: s.KeyID, At: keys.At(e.Version, e.OriginServerTS)})
		}
	}
	if len(wants) == 0 || len(wants) > maxCosigned {
		return errors.New("there is none, or there are too many")
	}
	for i, found := range r.ring.Keys(ctx, wants) {
		if found.Err != nil {
			return found.Err
		}
		if err := e.VerifySignature(server, wants[i].KeyID, found.Key); err != nil {
			return err
		}
	}
	return nil
}

// sameButSigned reports whether two canonical events differ in signatures at most.
func sameButSigned(a, b []byte) bool {
	a, ok := pdu.Delete(a, "signatures")
	b, also := pdu.Delete(b, "signatures")
	return ok && also && string(a) == string(b)
}

// exchangeInvite asks a server of the room to complete a third-party invite.
func (r *remote) exchangeInvite(ctx context.Context, req *remoteapi.ExchangeRequest) (*remoteapi.Empty, error) {
	_, err := r.put(ctx, req.Destination, path(v1+"/exchange_third_party_invite", req.RoomID), req.Event, 0)
	return &remoteapi.Empty{}, err
}
