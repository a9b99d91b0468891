package roomserver

import (
	"context"
	"encoding/json"

	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// acceptExchange completes a third-party invite that a user of ours has made: the invited
// server knows by now who the invited user is ("Third-party invites").
func (s *Server) acceptExchange(ctx context.Context, req *roomapi.AcceptExchangeRequest) (*roomapi.Empty, error) {
	given, err := pdu.Canonical(req.Event, true)
	if err != nil {
		return nil, err
	}
	sender, _ := pdu.GetString(given, "sender")
	target, _ := pdu.GetString(given, "state_key")
	content, _ := pdu.Get(given, "content")
	invite, _ := pdu.Get(content, "third_party_invite")
	signed, ok := pdu.Get(invite, "signed")
	token, ok2 := pdu.GetString(signed, "token")
	if _, _, err := pdu.ParseUserID(target); err != nil || !ok || !ok2 {
		return nil, merr.InvalidParam("Not a third-party invite")
	}
	if !s.isLocal(sender) {
		return nil, merr.Forbidden("The invite is not of a user of this server")
	}
	lr, err := s.resident(ctx, req.RoomID, req.Origin)
	if err != nil {
		return nil, err
	}
	source, err := lr.begin().stateEvent(ctx, "m.room.third_party_invite", token)
	lr.unlock()
	if err != nil {
		return nil, err
	}
	if source == nil {
		return nil, merr.Forbidden("The room has no such third-party invite")
	}
	name, _ := pdu.GetString(source.ev.Content, "display_name")
	own, err := json.Marshal(map[string]any{
		"membership": "invite", "third_party_invite": map[string]any{"display_name": name, "signed": json.RawMessage(signed)},
	})
	if err != nil {
		return nil, merr.Internal(err)
	}
	d := draft{typ: memberType, sender: sender, stateKey: &target, content: own}
	if s.isLocal(target) {
		return &roomapi.Empty{}, s.update(ctx, req.RoomID, func(b *batch) error {
			_, err := b.send(ctx, d)
			return err
		})
	}
	_, err = s.inviteElsewhere(ctx, req.RoomID, d, func(b *batch) (string, error) {
		before, e, err := b.membership(ctx, target)
		if err != nil || before != "invite" {
			return "", err
		}
		return e.ev.EventID, nil
	})
	return &roomapi.Empty{}, err
}
