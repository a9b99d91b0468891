package clientapi

import (
	"hearth/clientapi/delayed"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// send is PUT /rooms/{roomId}/send/{eventType}/{txnId}. The content passes the
// strict gate once, in the roomserver.
func (s *Server) send(r *matrixhttp.Request) (any, error) {
	s.presence.act(r)
	room, err := roomID(r)
	if err != nil {
		return nil, err
	}
	content, err := r.RawObject()
	if err != nil {
		return nil, err
	}
	txn, err := transaction(r)
	if err != nil {
		return nil, err
	}
	ts, err := timestamp(r)
	if err != nil {
		return nil, err
	}
	if err := s.limits.send.take(r.Identity.UserID); err != nil {
		return nil, err
	}
	if err := s.mayBeReadable(r, room, r.Param("eventType")); err != nil {
		return nil, err
	}
	if err := s.policy.MaySend(r.Context(), r.Identity.UserID, room, r.Param("eventType"), nil, content); err != nil {
		return nil, err
	}
	later, err := s.delay(r, delayed.Event{RoomID: room, Type: r.Param("eventType"), TxnID: txn, Content: content, Timestamp: ts})
	if later != nil || err != nil {
		return later, err
	}
	if s.shadowed(r) {
		return eventID(madeUpEvent(r)), nil
	}
	s.sending.begin(r)
	answer, err := roomapi.Send.Do(r.Context(), s.bus, &roomapi.SendRequest{
		RoomID: room, Sender: r.Identity.UserID, DeviceID: r.Identity.DeviceID, TxnID: txn,
		Type: r.Param("eventType"), Content: content, Timestamp: ts,
	})
	if err != nil {
		return nil, err
	}
	return eventID(answer.EventID), nil
}

// setState is PUT /rooms/{roomId}/state/{eventType}/{stateKey}.
func (s *Server) setState(r *matrixhttp.Request) (any, error) {
	room, err := roomID(r)
	if err != nil {
		return nil, err
	}
	content, err := r.RawObject()
	if err != nil {
		return nil, err
	}
	ts, err := timestamp(r)
	if err != nil {
		return nil, err
	}
	if err := s.limits.send.take(r.Identity.UserID); err != nil {
		return nil, err
	}
	stateKey := r.Param("stateKey")
	if err := s.maySet(r, room, r.Param("eventType"), stateKey, content); err != nil {
		return nil, err
	}
	later, err := s.delay(r, delayed.Event{RoomID: room, Type: r.Param("eventType"), StateKey: &stateKey, Content: content, Timestamp: ts})
	if later != nil || err != nil {
		return later, err
	}
	if s.shadowed(r) {
		return eventID(madeUpEvent(r)), nil
	}
	s.sending.begin(r)
	answer, err := roomapi.Send.Do(r.Context(), s.bus, &roomapi.SendRequest{
		RoomID: room, Sender: r.Identity.UserID, DeviceID: r.Identity.DeviceID,
		Type: r.Param("eventType"), StateKey: &stateKey, Content: content, Timestamp: ts,
	})
	if err != nil {
		return nil, err
	}
	return eventID(answer.EventID), nil
}

// redact is PUT /rooms/{roomId}/redact/{eventId}/{txnId}.
func (s *Server) redact(r *matrixhttp.Request) (any, error) {
	room, err := roomID(r)
	if err != nil {
		return nil, err
	}
	req, err := matrixhttp.Decode[reasonRequest](r)
	if err != nil {
		return nil, err
	}
	txn, err := transaction(r)
	if err != nil {
		return nil, err
	}
	if err := s.limits.send.take(r.Identity.UserID); err != nil {
		return nil, err
	}
	if s.shadowed(r) {
		return eventID(madeUpEvent(r)), nil
	}
	s.sending.begin(r)
	answer, err := roomapi.Redact.Do(r.Context(), s.bus, &roomapi.RedactRequest{
		RoomID: room, Sender: r.Identity.UserID, DeviceID: r.Identity.DeviceID, TxnID: txn,
		EventID: r.Param("eventId"), Reason: req.Reason,
	})
	if err != nil {
		return nil, err
	}
	return eventID(answer.EventID), nil
}

// transaction returns the transaction id of the path.
func transaction(r *matrixhttp.Request) (string, error) {
	txn := r.Param("txnId")
	if !plainText(txn) {
		return "", merr.InvalidParam("Invalid transaction id")
	}
	return txn, nil
}

func eventID(id string) matrixhttp.Raw {
	return append(pdu.AppendString([]byte(`{"event_id":`), id), '}')
}
