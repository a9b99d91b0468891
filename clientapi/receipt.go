package clientapi

import (
	"encoding/json"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// Kinds of receipts and markers.
const (
	kindRead        = "m.read"
	kindReadPrivate = "m.read.private"
	kindFullyRead   = "m.fully_read"
)

// receipt is POST /rooms/{roomId}/receipt/{receiptType}/{eventId}.
func (s *Server) receipt(r *matrixhttp.Request) (any, error) {
	s.presence.act(r)
	room, err := roomID(r)
	if err != nil {
		return nil, err
	}
	req, err := matrixhttp.Decode[struct {
		ThreadID json.RawMessage `json:"thread_id"`
	}](r)
	if err != nil {
		return nil, err
	}
	thread := ""
	if req.ThreadID != nil {
		if json.Unmarshal(req.ThreadID, &thread) != nil || !plainText(thread) {
			return nil, merr.InvalidParam("thread_id must be a non-empty string")
		}
	}
	switch kind := r.Param("receiptType"); kind {
	case kindRead, kindReadPrivate:
		return nil, s.setReceipt(r, room, kind, r.Param("eventId"), thread)
	case kindFullyRead:
		if thread != "" {
			return nil, merr.InvalidParam("m.fully_read has no thread_id")
		}
		return nil, s.setFullyRead(r, room, r.Param("eventId"))
	default:
		return nil, merr.InvalidParam("Unknown receipt type")
	}
}

// readMarkers is POST /rooms/{roomId}/read_markers.
func (s *Server) readMarkers(r *matrixhttp.Request) (any, error) {
	room, err := roomID(r)
	if err != nil {
		return nil, err
	}
	req, err := matrixhttp.Decode[struct {
		FullyRead   string `json:"m.fully_read"`
		Read        string `json:"m.read"`
		ReadPrivate string `json:"m.read.private"`
	}](r)
	if err != nil {
		return nil, err
	}
	if req.FullyRead != "" {
		if err := s.setFullyRead(r, room, req.FullyRead); err != nil {
			return nil, err
		}
	}
	for _, receipt := range []struct{ kind, event string }{{kindRead, req.Read}, {kindReadPrivate, req.ReadPrivate}} {
		if receipt.event == "" {
			continue
		}
		if err := s.setReceipt(r, room, receipt.kind, receipt.event, ""); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func (s *Server) setReceipt(r *matrixhttp.Request, room, kind, event, thread string) error {
	if _, _, err := pdu.ParseEventID(event); err != nil {
		return merr.InvalidParam("Invalid event id")
	}
	_, err := roomapi.SetReceipt.Do(r.Context(), s.bus, &roomapi.ReceiptRequest{
		RoomID: room, UserID: r.Identity.UserID, Kind: kind, EventID: event, ThreadID: thread,
	})
	return err
}

// setFullyRead moves the fully read marker, which is account data of the room, to
// an event of the room.
func (s *Server) setFullyRead(r *matrixhttp.Request, room, event string) error {
	if _, _, err := pdu.ParseEventID(event); err != nil {
		return merr.InvalidParam("Invalid event id")
	}
	_, err := roomapi.GetEvent.Do(r.Context(), s.bus, &roomapi.EventRequest{RoomID: room, UserID: r.Identity.UserID, EventID: event})
	if err != nil {
		return err
	}
	_, err = userapi.SetAccountData.Do(r.Context(), s.bus, &userapi.SetAccountDataRequest{
		UserID: r.Identity.UserID,
		Data:   userapi.AccountData{RoomID: room, Type: kindFullyRead, Content: json.RawMessage(eventID(event))},
	})
	return err
}
