package devicekeys

import (
	"context"
	"encoding/json"
	"sort"
	"time"

	"hearth/clientapi/storage"
	"hearth/clientapi/userapi"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

// rememberTxn is how long a transaction id of a device is remembered.
const rememberTxn = 7 * 24 * time.Hour

func toDeviceLimits() storage.ToDeviceLimits {
	return storage.ToDeviceLimits{
		Messages: userapi.MaxQueue, Bytes: userapi.MaxQueueBytes, Forget: rememberTxn.Milliseconds(),
	}
}

// sendToDevice puts messages into queues (PUT /sendToDevice/{eventType}/{txnId}).
func (k *Keys) sendToDevice(ctx context.Context, req *userapi.SendToDeviceRequest) (*userapi.Empty, error) {
	sender, local := k.localpart(req.Sender)
	if !local && req.TxnID != "" {
		return nil, merr.NotFound("User not found")
	}
	if !plain(req.Type, userapi.MaxKey) {
		return nil, invalid("Invalid event type")
	}
	messages, err := k.messages(req)
	if err != nil {
		return nil, err
	}
	txn := ""
	if req.TxnID != "" {
		// One id may be used with each type: it belongs to the path.
		txn = req.Type + "\n" + req.TxnID
	}
	dropped, err := k.users.SendToDevice(ctx, sender, req.SenderDevice, txn, req.Part, messages, toDeviceLimits())
	if err != nil {
		return nil, err
	}
	k.warn(dropped)
	return &userapi.Empty{}, nil
}

// warn tells the administrator of messages that did not fit.
func (k *Keys) warn(dropped []storage.Dropped) {
	for _, d := range dropped {
		k.metrics.dropped.Add(float64(d.Messages))
		if k.log != nil {
			k.log.WithFields(map[string]any{"user_id": k.userID(d.Localpart), "device_id": d.Device, "messages": d.Messages}).
				Warn("to-device queue is full, the oldest messages were dropped")
		}
	}
}

// messages renders the messages of a request in a fixed order.
func (k *Keys) messages(req *userapi.SendToDeviceRequest) ([]storage.ToDevice, error) {
	var list []storage.ToDevice
	for user, devices := range req.Messages {
		localpart, ok := k.localpart(user)
		if !ok {
			continue
		}
		for device, content := range devices {
			if pdu.Kind(content) != '{' {
				return nil, merr.BadJSON("A message must be an object")
			}
			if len(content) > userapi.MaxToDevice {
				return nil, merr.TooLarge("A message is larger than %d bytes", userapi.MaxToDevice)
			}
			if !plain(device, userapi.MaxKey) {
				continue // no device has such a name
			}
			list = append(list, storage.ToDevice{Localpart: localpart, Device: device, Event: toDeviceEvent(req.Sender, req.Type, content)})
		}
	}
	sort.Slice(list, func(i, j int) bool {
		return list[i].Localpart < list[j].Localpart || list[i].Localpart == list[j].Localpart && list[i].Device < list[j].Device
	})
	return list, nil
}

// toDeviceEvent is a message as its device gets it.
func toDeviceEvent(sender, kind string, content json.RawMessage) []byte {
	event := append([]byte(`{"content":`), content...)
	event = pdu.AppendString(append(event, `,"sender":`...), sender)
	event = pdu.AppendString(append(event, `,"type":`...), kind)
	return append(event, '}')
}

// deviceSync reads what a device is told of itself.
func (k *Keys) deviceSync(ctx context.Context, req *userapi.DeviceSyncRequest) (*userapi.DeviceSyncResponse, error) {
	localpart, err := k.local(req.UserID)
	if err != nil {
		return nil, err
	}
	limit := userapi.MaxToDeviceBatch
	if req.NoMessages {
		limit = 0
	}
	d, err := k.users.DeviceSync(ctx, localpart, req.DeviceID, req.After, limit, userapi.MaxToDeviceBytes)
	if err != nil {
		return nil, err
	}
	if req.Acknowledged > 0 {
		if err := k.users.Acknowledge(ctx, localpart, req.DeviceID, req.Acknowledged); err != nil {
			return nil, err
		}
	}
	answer := &userapi.DeviceSyncResponse{
		Last: d.Last, More: d.More, OneTimeKeys: d.Counts, UnusedFallback: d.Unused, Pos: d.Pos,
	}
	for _, e := range d.Events {
		answer.Messages = append(answer.Messages, e)
	}
	return answer, nil
}

func (k *Keys) logPosition(context.Context, *userapi.Empty) (*userapi.Position, error) {
	return &userapi.Position{Pos: k.users.Head()}, nil
}

func (k *Keys) deviceQueue(ctx context.Context, req *userapi.DeviceRequest) (*userapi.DeviceQueue, error) {
	localpart, err := k.local(req.UserID)
	if err != nil {
		return nil, err
	}
	queued, bytes, dropped, err := k.users.Queue(ctx, localpart, req.DeviceID)
	return &userapi.DeviceQueue{Messages: queued, Bytes: bytes, Dropped: dropped}, err
}
