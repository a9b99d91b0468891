package roomserver

import (
	"context"
	"errors"

	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

// send appends a message or state event.
func (s *Server) send(ctx context.Context, req *roomapi.SendRequest) (*roomapi.SendResponse, error) {
	content, err := canonicalContent(req.Content)
	if err != nil {
		return nil, err
	}
	d := draft{
		typ: req.Type, sender: req.Sender, stateKey: req.StateKey, content: content, ts: req.Timestamp,
		device: req.DeviceID, txn: scopedTxn(req.RoomID, "send/"+req.Type, req.TxnID), givenTxn: req.TxnID,
	}
	if err := checkSendable(&d); err != nil {
		return nil, err
	}
	if d.typ == memberType && !s.isLocal(*d.stateKey) && isInvite(content) {
		eventID, err := s.inviteElsewhere(ctx, req.RoomID, d, func(b *batch) (string, error) { return b.mayInvite(ctx, d.sender, *d.stateKey) })
		return &roomapi.SendResponse{EventID: eventID}, err
	}
	return s.sendDraft(ctx, req.RoomID, d, contentChecks[req.Type])
}

// isInvite reports whether a content of m.room.member is an invite.
func isInvite(content []byte) bool {
	membership, _ := pdu.GetString(content, "membership")
	return membership == "invite"
}

// check looks at a draft against the room and may correct it.
type check func(ctx context.Context, b *batch, d *draft) error

// contentChecks are what types that the server itself relies on ask for beyond the
// auth rules. It is never written after initialisation.
var contentChecks = map[string]check{
	memberType:               checkMember,
	"m.room.canonical_alias": checkCanonicalAlias,
}

// scopedTxn puts the endpoint into the transaction id: a device may use one id
// once for each endpoint ("Transaction identifiers").
func scopedTxn(roomID, endpoint, txn string) string {
	if txn == "" {
		return ""
	}
	return roomID + "/" + endpoint + "/" + txn
}

// canonicalContent checks a content object that a client sent. Local events obey
// the strict number rules whatever the room's version.
func canonicalContent(content []byte) ([]byte, error) {
	if len(content) == 0 {
		return []byte("{}"), nil
	}
	return pdu.Canonical(content, true)
}

// maxTxn bounds a transaction id, in bytes with its scope.
const maxTxn = 1024

func checkTxn(d *draft) error {
	if len(d.txn) > maxTxn || !storable(d.txn) || !storable(d.device) {
		return merr.InvalidParam("Invalid transaction id")
	}
	return nil
}

// checkSendable refuses what no client may send through the plain send and state
// endpoints.
func checkSendable(d *draft) error {
	if err := checkTxn(d); err != nil {
		return err
	}
	switch d.typ {
	case "":
		return merr.InvalidParam("The event type is empty")
	case "m.room.create":
		return merr.Forbidden("m.room.create can only be sent by creating a room")
	case redactionType:
		if d.stateKey != nil {
			return merr.Forbidden("m.room.redaction is not a state event")
		}
		target, ok := pdu.GetString(d.content, "redacts")
		if !ok {
			return merr.BadJSON("m.room.redaction needs content.redacts")
		}
		d.redacts = target
	case memberType:
		if d.stateKey == nil {
			return merr.BadJSON("m.room.member is a state event")
		}
	}
	return nil
}

// sendDraft appends one event, once for each transaction id.
func (s *Server) sendDraft(ctx context.Context, roomID string, d draft, check check) (*roomapi.SendResponse, error) {
	var eventID string
	var twin *pendingTxn
	err := s.update(ctx, roomID, func(b *batch) (err error) {
		eventID, twin, err = b.known(ctx, d)
		if err != nil || eventID != "" || twin != nil {
			return err
		}
		checked := d // a second attempt starts from what the client sent
		if check != nil {
			if err := check(ctx, b, &checked); err != nil {
				return err
			}
		}
		eventID, err = b.send(ctx, checked)
		return err
	})
	if err != nil {
		return nil, notAMember(err)
	}
	if twin != nil { // the same request is on its way to the disk
		if eventID, err = twin.wait(ctx); err != nil {
			return nil, err
		}
	}
	return &roomapi.SendResponse{EventID: eventID}, nil
}

// send adds d to the batch. State that would not change is not sent again: the
// event that is there answers.
func (b *batch) send(ctx context.Context, d draft) (eventID string, err error) {
	if d.stateKey != nil {
		same, err := b.unchanged(ctx, &d)
		if err != nil {
			return "", err
		}
		if same != nil {
			return same.ev.EventID, nil
		}
	}
	if d.typ == redactionType {
		it, err := b.addRedaction(ctx, d)
		if err != nil {
			return "", err
		}
		return it.ev.EventID, nil
	}
	if err := b.checkRelation(ctx, &d); err != nil {
		return "", err
	}
	it, err := b.add(ctx, d)
	if err != nil {
		return "", err
	}
	return it.ev.EventID, nil
}

func (b *batch) unchanged(ctx context.Context, d *draft) (*stored, error) {
	e, err := b.stateEvent(ctx, d.typ, *d.stateKey)
	if err != nil || e == nil || e.ev.Sender != d.sender || string(e.ev.Content) != string(d.content) {
		return nil, err
	}
	return e, nil
}

// pendingTxn is a transaction id whose event is staged but not on disk yet.
type pendingTxn struct {
	eventID string
	done    chan struct{} // closed when settled
	err     error         // valid once done is closed
}

func (p *pendingTxn) wait(ctx context.Context) (string, error) {
	select {
	case <-p.done:
		return p.eventID, p.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func txnKey(sender, device, txn string) string { return sender + "\n" + device + "\n" + txn }

// known looks for an earlier request with the same transaction id: on disk, which
// gives its event id, or on the way there.
func (b *batch) known(ctx context.Context, d draft) (eventID string, twin *pendingTxn, err error) {
	if d.txn == "" {
		return "", nil, nil
	}
	if p := b.room.pendingTxn(txnKey(d.sender, d.device, d.txn)); p != nil {
		return "", p, nil
	}
	sender, ok, err := b.s.names.lookup(ctx, d.sender)
	if err != nil || !ok {
		return "", nil, err
	}
	nid, err := b.s.store.TxnEvent(ctx, sender, d.device, d.txn)
	if errors.Is(err, storage.ErrNotFound) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	e, err := b.s.event(ctx, b.room.room, nid)
	if err != nil {
		return "", nil, err
	}
	return e.ev.EventID, nil, nil
}
