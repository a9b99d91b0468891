package clientapi

import (
	"encoding/json"
	"maps"
	"slices"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

type sendToDeviceRequest struct {
	Messages map[string]map[string]json.RawMessage `json:"messages"`
}

// toDevicePart bounds the messages that are handed to the user store at a time, in
// bytes.
const toDevicePart = 512 << 10

// sendToDevice is PUT /sendToDevice/{eventType}/{txnId}. It is answered when all
// messages are stored; a request that is repeated because it was not answered goes on
// where it was interrupted.
func (s *Server) sendToDevice(r *matrixhttp.Request) (any, error) {
	txn, err := transaction(r)
	if err != nil {
		return nil, err
	}
	req, err := matrixhttp.Decode[sendToDeviceRequest](r)
	if err != nil {
		return nil, err
	}
	if req.Messages == nil {
		return nil, merr.MissingParam("messages")
	}
	servers, err := byServer(req.Messages)
	if err != nil {
		return nil, err
	}
	if r.Identity.ShadowBanned { // own devices still talk with each other
		own := servers[s.serverName][r.Identity.UserID]
		servers = map[string]map[string]map[string]json.RawMessage{s.serverName: {}}
		if own != nil {
			servers[s.serverName][r.Identity.UserID] = own
		}
	}
	for part, messages := range toDeviceParts(servers[s.serverName]) {
		_, err := userapi.SendToDevice.Do(r.Context(), s.bus, &userapi.SendToDeviceRequest{
			Sender: r.Identity.UserID, SenderDevice: r.Identity.DeviceID,
			Type: r.Param("eventType"), TxnID: txn, Part: int64(part), Messages: messages,
		})
		if err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// toDeviceParts splits messages into parts of a bounded size; the same messages always
// into the same parts.
func toDeviceParts(messages map[string]map[string]json.RawMessage) []map[string]map[string]json.RawMessage {
	parts := []map[string]map[string]json.RawMessage{{}}
	size := 0
	for _, user := range slices.Sorted(maps.Keys(messages)) {
		for _, device := range slices.Sorted(maps.Keys(messages[user])) {
			content := messages[user][device]
			more := len(user) + len(device) + len(content) + 16
			if size > 0 && size+more > toDevicePart {
				parts, size = append(parts, map[string]map[string]json.RawMessage{}), 0
			}
			size += more
			last := parts[len(parts)-1]
			if last[user] == nil {
				last[user] = map[string]json.RawMessage{}
			}
			last[user][device] = content
		}
	}
	return parts
}
