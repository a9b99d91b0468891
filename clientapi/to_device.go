package clientapi

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"hearth/clientapi/userapi"
	"hearth/federationapi/remoteapi"
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
	for part, messages := range toDeviceParts(servers[s.serverName], toDevicePart) {
		_, err := userapi.SendToDevice.Do(r.Context(), s.bus, &userapi.SendToDeviceRequest{
			Sender: r.Identity.UserID, SenderDevice: r.Identity.DeviceID,
			Type: r.Param("eventType"), TxnID: txn, Part: int64(part), Messages: messages,
		})
		if err != nil {
			return nil, err
		}
	}
	delete(servers, s.serverName)
	if !s.options.Federation { // there is nobody else
		return nil, nil
	}
	return nil, s.sendToDeviceElsewhere(r, txn, servers)
}

// maxDirectToDevice bounds the messages of one m.direct_to_device, in bytes.
const maxDirectToDevice = 48 << 10

// sendToDeviceElsewhere queues messages for other servers (server-server API,
// "Send-to-device messaging"). Their ids follow from the request, so that one that is
// repeated has the same.
func (s *Server) sendToDeviceElsewhere(r *matrixhttp.Request, txn string, servers map[string]map[string]map[string]json.RawMessage) error {
	for _, server := range slices.Sorted(maps.Keys(servers)) {
		for part, messages := range toDeviceParts(servers[server], maxDirectToDevice) {
			if len(messages) == 0 {
				continue
			}
			name := fmt.Sprintf("%q %q %q %q %q %d", r.Identity.UserID, r.Identity.DeviceID, r.Param("eventType"), txn, server, part)
			sum := sha256.Sum256([]byte(name))
			content, err := json.Marshal(map[string]any{
				"sender": r.Identity.UserID, "type": r.Param("eventType"), "message_id": base64.RawURLEncoding.EncodeToString(sum[:24]), "messages": messages,
			})
			if err != nil {
				return err
			}
			_, err = remoteapi.QueueEDU.Do(r.Context(), s.bus, &remoteapi.EDURequest{
				Destinations: []string{server}, Type: "m.direct_to_device", Content: content,
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// toDeviceParts splits messages into parts of at most limit bytes, or one larger message;
// the same messages always into the same parts.
func toDeviceParts(messages map[string]map[string]json.RawMessage, limit int) []map[string]map[string]json.RawMessage {
	parts := []map[string]map[string]json.RawMessage{{}}
	size := 0
	for _, user := range slices.Sorted(maps.Keys(messages)) {
		for _, device := range slices.Sorted(maps.Keys(messages[user])) {
			content := messages[user][device]
			more := len(user) + len(device) + len(content) + 16
			if size > 0 && size+more > limit {
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
