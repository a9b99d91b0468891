package devicekeys

import (
	"context"

	"hearth/clientapi/userapi"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

// maxDehydrated bounds the data of a dehydrated device, in bytes.
const maxDehydrated = 256 << 10

func (k *Keys) putDehydrated(ctx context.Context, req *userapi.PutDehydratedRequest) (*userapi.Empty, error) {
	localpart, err := k.local(req.UserID)
	if err != nil {
		return nil, err
	}
	switch {
	case !plain(req.DeviceID, userapi.MaxKey):
		return nil, merr.InvalidParam("Invalid device_id")
	case pdu.Kind(req.Data) != '{':
		return nil, merr.InvalidParam("device_data must be an object")
	case len(req.Data) > maxDehydrated:
		return nil, merr.TooLarge("device_data is larger than %d bytes", maxDehydrated)
	case absent(req.DeviceKeys):
		return nil, merr.MissingParam("device_keys")
	}
	if req.DisplayName != "" && !plain(req.DisplayName, userapi.MaxKey) {
		return nil, merr.InvalidParam("Invalid initial_device_display_name")
	}
	up, err := k.checkUpload(ctx, localpart, &req.UploadKeysRequest)
	if err != nil {
		return nil, err
	}
	return &userapi.Empty{}, k.users.PutDehydrated(ctx, up, req.DisplayName, req.Data)
}

func (k *Keys) getDehydrated(ctx context.Context, req *userapi.UserRequest) (*userapi.DehydratedDevice, error) {
	localpart, err := k.local(req.UserID)
	if err != nil {
		return nil, err
	}
	device, data, err := k.users.Dehydrated(ctx, localpart)
	return &userapi.DehydratedDevice{DeviceID: device, Data: data}, err
}

func (k *Keys) deleteDehydrated(ctx context.Context, req *userapi.UserRequest) (*userapi.DehydratedDevice, error) {
	localpart, err := k.local(req.UserID)
	if err != nil {
		return nil, err
	}
	device, err := k.users.DeleteDehydrated(ctx, localpart)
	return &userapi.DehydratedDevice{DeviceID: device}, err
}
