package inbound

import (
	"context"

	"hearth/clientapi/userapi"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// phase says when an EDU is carried out: before the events of its transaction or after them.
type phase bool

const (
	before phase = true
	after  phase = false
)

// handler carries out one kind of EDU. content is a canonical object. An error means
// that it could not be done now; what is wrong with the EDU itself is no error.
type handler struct {
	phase phase
	do    func(w *worker, ctx context.Context, content []byte) error
	// lasting: the transaction is put off if it fails, because the EDU is not sent again otherwise.
	lasting bool
}

// handlers is the table of EDUs (server-server API). Others are ignored.
func handlers(typ string) (handler, bool) {
	switch typ {
	case "m.typing":
		return handler{phase: after, do: (*worker).typing}, true
	case "m.receipt":
		return handler{phase: after, do: (*worker).receipts}, true
	case "m.presence":
		return handler{phase: after, do: (*worker).presence}, true
	case "m.direct_to_device":
		return handler{phase: before, do: (*worker).toDevice, lasting: true}, true
	case "m.device_list_update":
		return handler{phase: before, do: (*worker).deviceList, lasting: true}, true
	case "m.signing_key_update":
		return handler{phase: before, do: (*worker).signingKey, lasting: true}, true
	}
	return handler{}, false
}

// edus carries out the EDUs of one phase, in their order.
func (w *worker) edus(ctx context.Context, list []edu, when phase) error {
	for _, e := range list {
		h, ok := handlers(e.typ)
		if !ok || h.phase != when {
			continue
		}
		err := h.do(w, ctx, e.content)
		if err == nil {
			continue
		}
		if m := merr.From(err); m.Temporary && h.lasting && !w.last {
			return merr.New(503, m.Code, "Not all of the transaction could be carried out").WithCause(err)
		}
		w.in.d.Log.WithError(err).WithField("server", w.origin).WithField("type", e.typ).Debug("an EDU was not carried out")
	}
	return nil
}

// ours reports whether a user is of the server that sends; EDUs of others are dropped.
func (w *worker) ours(userID string) bool {
	_, domain, err := pdu.ParseUserID(userID)
	return err == nil && domain == w.origin
}

// typing is m.typing ("Typing Notifications").
func (w *worker) typing(ctx context.Context, content []byte) error {
	room, _ := pdu.GetString(content, "room_id")
	user, _ := pdu.GetString(content, "user_id")
	typing, ok := pdu.GetBool(content, "typing")
	if _, _, err := pdu.ParseRoomID(room); err != nil || !ok || !w.ours(user) {
		return nil
	}
	_, err := roomapi.RemoteTyping.Do(ctx, w.in.d.Bus, &roomapi.RemoteTypingRequest{Origin: w.origin, RoomID: room, UserID: user, Typing: typing})
	return err
}

// receipts is m.receipt ("Receipts").
func (w *worker) receipts(ctx context.Context, content []byte) error {
	_, err := roomapi.RemoteReceipts.Do(ctx, w.in.d.Bus, &roomapi.RemoteReceiptsRequest{Origin: w.origin, Content: content})
	return err
}

// toDevice is m.direct_to_device ("Send-to-device messaging").
func (w *worker) toDevice(ctx context.Context, content []byte) error {
	if sender, _ := pdu.GetString(content, "sender"); !w.ours(sender) {
		return nil
	}
	_, err := userapi.SendToDeviceFromRemote.Do(ctx, w.in.d.Bus, &userapi.RemoteToDeviceRequest{Origin: w.origin, Content: content})
	return err
}

// deviceList is m.device_list_update ("Device Management").
func (w *worker) deviceList(ctx context.Context, content []byte) error {
	if user, _ := pdu.GetString(content, "user_id"); !w.ours(user) {
		return nil
	}
	_, err := userapi.DeviceListUpdate.Do(ctx, w.in.d.Bus, &userapi.DeviceListUpdateRequest{Origin: w.origin, Content: content})
	return err
}

// signingKey is m.signing_key_update ("End-to-End Encryption").
func (w *worker) signingKey(ctx context.Context, content []byte) error {
	if user, _ := pdu.GetString(content, "user_id"); !w.ours(user) {
		return nil
	}
	_, err := userapi.SigningKeyUpdate.Do(ctx, w.in.d.Bus, &userapi.SigningKeyUpdateRequest{Origin: w.origin, Content: content})
	return err
}

// presence is m.presence ("Presence").
func (w *worker) presence(ctx context.Context, content []byte) error {
	_, err := userapi.RemotePresence.Do(ctx, w.in.d.Bus, &userapi.RemotePresenceRequest{Origin: w.origin, Content: content})
	return err
}
