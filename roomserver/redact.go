package roomserver

import (
	"context"
	"encoding/json"
	"errors"

	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/auth"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

const redactionType = "m.room.redaction"

// redact appends a redaction and applies it.
func (s *Server) redact(ctx context.Context, req *roomapi.RedactRequest) (*roomapi.SendResponse, error) {
	body := map[string]string{}
	if req.Reason != "" {
		body["reason"] = req.Reason
	}
	content, err := json.Marshal(body)
	if err != nil {
		return nil, merr.Internal(err)
	}
	if content, err = canonicalContent(content); err != nil {
		return nil, err
	}
	d := draft{
		typ: redactionType, sender: req.Sender, content: content, redacts: req.EventID,
		device: req.DeviceID, txn: scopedTxn(req.RoomID, "redact", req.TxnID), givenTxn: req.TxnID,
	}
	if err := checkTxn(&d); err != nil {
		return nil, err
	}
	return s.sendDraft(ctx, req.RoomID, d, nil)
}

// addRedaction adds a redaction whose target is known, in this room, and whose
// sender may redact it: 404 or 403 otherwise.
func (b *batch) addRedaction(ctx context.Context, d draft) (*item, error) {
	target, err := b.redactable(ctx, d.redacts)
	if err != nil {
		return nil, err
	}
	if b.room.version.RedactsInContent {
		if d.content, err = withRedacts(d.content, d.redacts); err != nil {
			return nil, err
		}
	}
	it, err := b.add(ctx, d)
	if err != nil {
		return nil, err
	}
	st := &authState{ctx: ctx, b: b}
	levels := auth.LevelsOf(b.room.version, st)
	allowed := auth.MayRedact(it.ev, target.ev, st)
	if st.err != nil {
		return nil, st.err
	}
	// Between servers the rule is that a server may redact what its users sent; among
	// the users of this server, their own events or the power to redact others'.
	if !allowed || target.ev.Sender != d.sender && levels.User(d.sender) < levels.Redact {
		return nil, merr.Forbidden("You may not redact this event")
	}
	return it, b.redact(target, it.stored)
}

func (b *batch) redactable(ctx context.Context, eventID string) (*stored, error) {
	unknown := merr.NotFound("Unknown event")
	target, err := b.s.eventByID(ctx, b.room.room, eventID)
	if errors.Is(err, storage.ErrNotFound) || err == nil && target.hidden() {
		return nil, unknown
	}
	if err != nil {
		return nil, err
	}
	if target.ev.Type == "m.room.create" {
		return nil, merr.Forbidden("m.room.create cannot be redacted")
	}
	return target, nil
}

// eventByID finds an event of a room: storage.ErrNotFound if we do not have it or
// it belongs to another room.
func (s *Server) eventByID(ctx context.Context, r *room, eventID string) (*stored, error) {
	if e := r.pendingByID(eventID); e != nil {
		return e, nil
	}
	row, err := s.store.EventByKey(ctx, storage.EventKey(eventID))
	if err != nil {
		return nil, err
	}
	if row.Room != r.nid {
		return nil, storage.ErrNotFound
	}
	events, err := s.finish(ctx, r.version, []*storage.Event{row})
	if err != nil {
		return nil, err
	}
	if events[0].ev.EventID != eventID { // another spelling of the same hash
		return nil, storage.ErrNotFound
	}
	if e, ok := r.event(row.Nid); ok { // a redacted form that is not on disk yet
		return e, nil
	}
	return events[0], nil
}

// withRedacts puts the target into the content, where room versions from 11 want it.
func withRedacts(content []byte, eventID string) ([]byte, error) {
	if target, ok := pdu.GetString(content, "redacts"); ok {
		if target != eventID {
			return nil, merr.BadJSON("content.redacts names another event")
		}
		return content, nil
	}
	out := append([]byte(`{"redacts":`), pdu.AppendString(nil, eventID)...)
	if len(content) > len("{}") {
		out = append(out, ',')
	}
	return pdu.Canonical(append(out, content[1:]...), true)
}
