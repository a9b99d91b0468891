package devicekeys

import (
	"context"
	"encoding/json"

	"hearth/clientapi/storage"
	"hearth/clientapi/userapi"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

// Bounds of what is kept of users of other servers.
const (
	maxRemoteDevices = 1000 // of one user
	maxPrevIDs       = 1000 // of one change
)

// remoteUser returns a user id that an object names, if it is of a server and not ours.
func (k *Keys) remoteUser(obj []byte, key, origin string) (string, bool) {
	user, _ := pdu.GetString(obj, key)
	_, domain, err := pdu.ParseUserID(user)
	return user, err == nil && domain == origin && domain != k.serverName
}

// deviceListUpdate applies an m.device_list_update. One that is malformed says that
// something has changed, so that the list is fetched again.
func (k *Keys) deviceListUpdate(ctx context.Context, req *userapi.DeviceListUpdateRequest) (*userapi.DeviceListState, error) {
	user, ok := k.remoteUser(req.Content, "user_id", req.Origin)
	if !ok {
		return nil, invalid("The update is not about a user of the server that sends it")
	}
	c, ok := deviceUpdate(req.Content, user)
	if !ok {
		if err := k.users.DistrustRemoteLists(ctx, []string{user}); err != nil {
			return nil, err
		}
		k.ring()
		return nil, invalid("The update is malformed")
	}
	state, err := k.users.UpdateRemoteDevice(ctx, c, maxRemoteDevices)
	return k.state(state, err)
}

// state is the answer of calls that change a list.
func (k *Keys) state(s storage.RemoteState, err error) (*userapi.DeviceListState, error) {
	if err != nil {
		return nil, err
	}
	if s.Stale {
		k.ring()
	}
	return &userapi.DeviceListState{Kept: s.Kept, Stale: s.Stale}, nil
}

// deviceUpdate reads an m.device_list_update.
func deviceUpdate(content []byte, user string) (c storage.RemoteUpdate, ok bool) {
	c.UserID = user
	if c.Device.Device, ok = pdu.GetString(content, "device_id"); !ok || !plain(c.Device.Device, userapi.MaxKey) {
		return c, false
	}
	if c.Stream, ok = pdu.GetInt(content, "stream_id"); !ok || c.Stream < 1 {
		return c, false
	}
	if prev, _ := pdu.Get(content, "prev_id"); !absent(prev) {
		good := pdu.Elements(prev, func(val []byte) bool {
			var n int64
			n, ok = pdu.Int(val)
			c.Prev = append(c.Prev, n)
			return ok && len(c.Prev) <= maxPrevIDs
		})
		if !good || len(c.Prev) > maxPrevIDs {
			return c, false
		}
	}
	if deleted, _ := pdu.GetBool(content, "deleted"); deleted {
		return c, true
	}
	keys, there := pdu.Get(content, "keys")
	if !there || absent(keys) { // a device that does not encrypt
		return c, true
	}
	if _, err := deviceKeys(keys, user, c.Device.Device); err != nil {
		return c, false
	}
	c.Device.Keys = stored(keys, user)
	c.Device.DisplayName = displayName(content)
	return c, true
}

// displayName is the name of a device as another server tells it, cut to what we keep.
func displayName(obj []byte) string {
	name, _ := pdu.GetString(obj, "device_display_name")
	if !plain(name, userapi.MaxKey) {
		return ""
	}
	return name
}

// signingKeyUpdate applies an m.signing_key_update.
func (k *Keys) signingKeyUpdate(ctx context.Context, req *userapi.SigningKeyUpdateRequest) (*userapi.DeviceListState, error) {
	user, ok := k.remoteUser(req.Content, "user_id", req.Origin)
	if !ok {
		return nil, invalid("The update is not about a user of the server that sends it")
	}
	cross, err := remoteCross(req.Content, user)
	if err != nil {
		return nil, err
	}
	state, err := k.users.UpdateRemoteCross(ctx, user, cross)
	return k.state(state, err)
}

// remoteCross reads the members master_key and self_signing_key of an object.
func remoteCross(obj []byte, user string) (cross []storage.CrossKey, err error) {
	for _, c := range []struct {
		name, usage string
		purpose     int64
	}{{"master_key", "master", storage.Master}, {"self_signing_key", "self_signing", storage.SelfSigning}} {
		val, _ := pdu.Get(obj, c.name)
		if absent(val) {
			continue
		}
		id, err := crossKey(val, c.usage, user)
		if err != nil {
			return nil, err
		}
		cross = append(cross, storage.CrossKey{Purpose: c.purpose, ID: id, Keys: stored(val, user)})
	}
	return cross, nil
}

// setRemoteDevices stores an answer to GET /user/devices. Devices that are malformed are
// left out: nobody could use them.
func (k *Keys) setRemoteDevices(ctx context.Context, req *userapi.SetRemoteDevicesRequest) (*userapi.DeviceListState, error) {
	user, ok := k.remoteUser(req.Answer, "user_id", pdu.Domain(req.UserID))
	stream, numbered := pdu.GetInt(req.Answer, "stream_id")
	list, _ := pdu.Get(req.Answer, "devices")
	if !ok || user != req.UserID || !numbered || stream < 0 || pdu.Kind(list) != '[' {
		return nil, invalid("This is not an answer for the devices of the user")
	}
	var devices []storage.DeviceKey
	pdu.Elements(list, func(val []byte) bool {
		id, _ := pdu.GetString(val, "device_id")
		keys, _ := pdu.Get(val, "keys")
		if !plain(id, userapi.MaxKey) {
			return true
		}
		if _, err := deviceKeys(keys, user, id); err == nil {
			devices = append(devices, storage.DeviceKey{Device: id, DisplayName: displayName(val), Keys: stored(keys, user)})
		}
		return len(devices) < maxRemoteDevices
	})
	cross, err := remoteCross(req.Answer, user)
	if err != nil {
		cross = nil
	}
	state, err := k.users.SetRemoteList(ctx, user, stream, devices, cross)
	return k.state(state, err)
}

// elsewhere returns the users of a request that are of other servers.
func (k *Keys) elsewhere(req *userapi.UsersRequest) ([]string, error) {
	if len(req.UserIDs) > userapi.MaxUsersAtOnce {
		return nil, userapi.TooManyUsers()
	}
	var users []string
	for _, user := range req.UserIDs {
		if _, domain, err := pdu.ParseUserID(user); err == nil && domain != k.serverName {
			users = append(users, user)
		}
	}
	return users, nil
}

func (k *Keys) trackDeviceLists(ctx context.Context, req *userapi.UsersRequest) (*userapi.Empty, error) {
	users, err := k.elsewhere(req)
	if err != nil || len(users) == 0 {
		return &userapi.Empty{}, err
	}
	defer k.ring()
	return &userapi.Empty{}, k.users.TrackRemoteLists(ctx, users)
}

func (k *Keys) distrustDeviceLists(ctx context.Context, req *userapi.UsersRequest) (*userapi.Empty, error) {
	users, err := k.elsewhere(req)
	if err != nil || len(users) == 0 {
		return &userapi.Empty{}, err
	}
	defer k.ring()
	return &userapi.Empty{}, k.users.DistrustRemoteLists(ctx, users)
}

func (k *Keys) deviceListPosition(ctx context.Context, req *userapi.UserRequest) (*userapi.Position, error) {
	localpart, err := k.local(req.UserID)
	if err != nil {
		return nil, err
	}
	pos, err := k.users.DeviceListPosition(ctx, localpart)
	return &userapi.Position{Pos: pos}, err
}

// maxMessageID bounds the id of a message to devices, in bytes.
const maxMessageID = 256

// fromRemote puts an m.direct_to_device into queues.
func (k *Keys) fromRemote(ctx context.Context, req *userapi.RemoteToDeviceRequest) (*userapi.Empty, error) {
	sender, ok := k.remoteUser(req.Content, "sender", req.Origin)
	kind, _ := pdu.GetString(req.Content, "type")
	id, _ := pdu.GetString(req.Content, "message_id")
	if !ok || !plain(kind, userapi.MaxKey) || !plain(id, maxMessageID) {
		return nil, invalid("The message is not one of the server that sends it")
	}
	all, _ := pdu.Get(req.Content, "messages")
	send := &userapi.SendToDeviceRequest{Sender: sender, Type: kind, Messages: messagesOf(all)}
	messages, err := k.messages(send)
	if err != nil {
		return nil, err
	}
	dropped, err := k.users.SendFromRemote(ctx, req.Origin, id, messages, toDeviceLimits())
	k.warn(dropped)
	return &userapi.Empty{}, err
}

// remoteMessagesLimit is how many messages one m.direct_to_device may carry.
const remoteMessagesLimit = 10_000

// messagesOf reads messages by user and device; what is no object is left out.
func messagesOf(all []byte) map[string]map[string]json.RawMessage {
	out := map[string]map[string]json.RawMessage{}
	n := 0
	pdu.Members(all, func(user string, devices []byte) bool {
		pdu.Members(devices, func(device string, content []byte) bool {
			if pdu.Kind(content) != '{' || len(content) > userapi.MaxToDevice {
				return true
			}
			if out[user] == nil {
				out[user] = map[string]json.RawMessage{}
			}
			out[user][device] = content
			n++
			return n < remoteMessagesLimit
		})
		return n < remoteMessagesLimit
	})
	return out
}

// lost is the error of a user whose server says that it is not there.
func lost(err error) bool {
	e := merr.From(err)
	return !e.Temporary && (e.Code == "M_NOT_FOUND" || e.Code == "M_FORBIDDEN")
}
