package userapi

import (
	"encoding/json"

	"hearth/internal/bus"
)

// Dehydrated devices (MSC3814): a user has at most one device that no client runs and
// that takes messages until a client wakes it up.
var (
	// PutDehydrated makes the dehydrated device, in place of the one before. Errors are
	// those of UploadKeys.
	PutDehydrated = bus.Call[PutDehydratedRequest, Empty]{Subject: "userstore.dehydrated.set"}
	// GetDehydrated returns it, 404 M_NOT_FOUND if there is none.
	GetDehydrated = bus.Call[UserRequest, DehydratedDevice]{Subject: "userstore.dehydrated"}
	// DeleteDehydrated deletes it with its messages, 404 M_NOT_FOUND if there is none.
	DeleteDehydrated = bus.Call[UserRequest, DehydratedDevice]{Subject: "userstore.dehydrated.delete"}
)

// PutDehydratedRequest carries the device's keys and the data that a client needs to
// wake it up, an object.
type PutDehydratedRequest struct {
	UploadKeysRequest
	DisplayName string
	Data        json.RawMessage
}

// DehydratedDevice describes the device; Data is empty if it was deleted.
type DehydratedDevice struct {
	DeviceID string          `json:"device_id"`
	Data     json.RawMessage `json:"device_data,omitempty"`
}
