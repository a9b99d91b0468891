package userapi

import (
	"context"
	"encoding/json"
	"fmt"

	"hearth/internal/bus"
	"hearth/internal/merr"
)

// Encryption across servers (server-server API, "Device Management", "End-to-End
// Encryption", "Send-to-device messaging").
//
// What others need to know of local users is in the log: for each KindDeviceList entry of
// a local user with a DeviceID an m.device_list_update (stream_id is the position,
// prev_id is Prev unless that is 0), for one without an m.signing_key_update.
//
// Of users of other servers the store keeps a list of devices while somebody here shares
// an encrypted room with them: QueryKeys has it. A list is stale while it may differ
// from the truth; stale lists are fetched anew until that succeeds. Their changes are
// KindDeviceList entries too. One-time keys of others are never kept.
var (
	// DeviceListUpdate applies an m.device_list_update. Users whose list is not kept are
	// no error: nobody was told their devices.
	DeviceListUpdate = bus.Call[DeviceListUpdateRequest, DeviceListState]{Subject: "userstore.remote.device"}
	// SigningKeyUpdate applies an m.signing_key_update, in the same way.
	SigningKeyUpdate = bus.Call[SigningKeyUpdateRequest, DeviceListState]{Subject: "userstore.remote.signing_key"}
	// SetRemoteDevices replaces a list with the answer to GET /user/devices.
	// M_INVALID_PARAM if it is not an answer for that user.
	SetRemoteDevices = bus.Call[SetRemoteDevicesRequest, DeviceListState]{Subject: "userstore.remote.set"}
	// TrackDeviceLists begins to keep lists, which are stale until they have been fetched.
	TrackDeviceLists = bus.Call[UsersRequest, Empty]{Subject: "userstore.remote.track"}
	// DistrustDeviceLists makes lists stale: of users who came into a room or left one,
	// and of all members of a room that the last local user left. While no room is shared
	// nothing is told of changes. At most MaxUsersAtOnce users.
	DistrustDeviceLists = bus.Call[UsersRequest, Empty]{Subject: "userstore.remote.distrust"}
	// SendToDeviceFromRemote puts an m.direct_to_device into the queues of local devices. One
	// with an origin and message id that was carried out does nothing.
	SendToDeviceFromRemote = bus.Call[RemoteToDeviceRequest, Empty]{Subject: "userstore.remote.to_device"}
	// DeviceListPosition is the stream_id of the device list of a local user; 0: nothing
	// was ever told of it.
	DeviceListPosition = bus.Call[UserRequest, Position]{Subject: "userstore.remote.position"}
)

// MaxUsersAtOnce bounds the users of one UsersRequest.
const MaxUsersAtOnce = 1000

// UsersRequest names users of other servers; local ones are passed over.
type UsersRequest struct{ UserIDs []string }

// DeviceListUpdateRequest carries the content of an m.device_list_update; Origin is the
// server that sent it.
type DeviceListUpdateRequest struct {
	Origin  string
	Content json.RawMessage
}

// SigningKeyUpdateRequest carries the content of an m.signing_key_update.
type SigningKeyUpdateRequest struct {
	Origin  string
	Content json.RawMessage
}

// SetRemoteDevicesRequest carries an answer to GET /user/devices/{userId}.
type SetRemoteDevicesRequest struct {
	UserID string
	Answer json.RawMessage
}

// DeviceListState says what is kept of a user of another server. Stale lists are
// fetched anew without further help.
type DeviceListState struct{ Kept, Stale bool }

// RemoteToDeviceRequest carries the content of an m.direct_to_device.
type RemoteToDeviceRequest struct {
	Origin  string
	Content json.RawMessage
}

// LocalDevices is what other servers may know of a local user's devices.
type LocalDevices struct {
	StreamID            int64
	Devices             []LocalDevice
	Master, SelfSigning json.RawMessage // nil: none
}

// LocalDevice is a device with identity keys. Keys has the display name in unsigned.
type LocalDevice struct {
	DeviceID string
	Keys     json.RawMessage
}

// UserDevices reads what GET /user/devices answers. Without a user there are no devices.
func UserDevices(ctx context.Context, b *bus.Bus, userID string) (*LocalDevices, error) {
	// The position comes first: changes from now on will be told with a higher one.
	pos, err := DeviceListPosition.Do(ctx, b, &UserRequest{UserID: userID})
	if err != nil {
		return nil, err
	}
	out := &LocalDevices{StreamID: pos.Pos}
	err = ReadKeys(ctx, b, &QueryKeysRequest{Users: map[string][]string{userID: nil}}, func(p *KeyPart) error {
		switch p.Part {
		case DeviceKeysPart:
			out.Devices = append(out.Devices, LocalDevice{DeviceID: p.DeviceID, Keys: p.Keys})
		case MasterPart:
			out.Master = p.Keys
		case SelfSigningPart:
			out.SelfSigning = p.Keys
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("devices of a user: %w", err)
	}
	return out, nil
}

// TooManyUsers is the error of a UsersRequest that names more than MaxUsersAtOnce.
func TooManyUsers() error {
	return merr.InvalidParam("At most %d users can be named at once", MaxUsersAtOnce)
}
