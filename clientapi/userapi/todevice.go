package userapi

import (
	"encoding/json"

	"hearth/internal/bus"
)

// Messages between devices (client-server API, "Send-to-Device messaging").
var (
	// SendToDevice puts messages into the queues of devices of this server; what is sent
	// to a device that does not exist is lost. With the same TxnID and Part a
	// repetition does nothing.
	SendToDevice = bus.Call[SendToDeviceRequest, Empty]{Subject: "userstore.to_device.send"}
	// DeviceSync reads what /sync tells a device of itself, and deletes the messages
	// that the device has.
	DeviceSync = bus.Call[DeviceSyncRequest, DeviceSyncResponse]{Subject: "userstore.to_device.sync"}
	// LogPosition tells the head of the user log, without reading any of it. Whatever was
	// answered before the call is at or before it.
	LogPosition = bus.Call[Empty, Position]{Subject: "userstore.position"}
	// GetDeviceQueue tells how full the queue of a device is.
	GetDeviceQueue = bus.Call[DeviceRequest, DeviceQueue]{Subject: "userstore.to_device.queue"}
)

// Limits of messages to devices. A queue that is full loses its oldest messages: the
// newest are what a device needs for what is said now, and a backup has the older keys.
const (
	MaxToDevice      = 64 << 10  // bytes of one message
	MaxQueue         = 100_000   // messages that wait for a device
	MaxQueueBytes    = 64 << 20  // their bytes
	MaxToDeviceBatch = 100       // messages that /sync delivers at a time
	MaxToDeviceBytes = 512 << 10 // their bytes
)

// SendToDeviceRequest carries messages by user and device; the device "*" stands for
// all devices of the user. SenderDevice and TxnID may be empty: then nothing keeps a
// repetition from being carried out. Part counts the requests that belong to one TxnID.
type SendToDeviceRequest struct {
	Sender, SenderDevice string
	Type                 string
	TxnID                string
	Part                 int64
	Messages             map[string]map[string]json.RawMessage
}

// DeviceSyncRequest asks for the messages after a position. Those up to Acknowledged
// have arrived.
type DeviceSyncRequest struct {
	UserID, DeviceID string
	After            int64
	Acknowledged     int64
	// NoMessages asks for the keys alone.
	NoMessages bool
}

// DeviceSyncResponse has messages in order, as the device gets them, and the state of
// the device's keys.
type DeviceSyncResponse struct {
	Messages []json.RawMessage `json:",omitempty"`
	Last     int64             // position of the last message, After if there is none
	More     bool              // there are messages after Last
	// OneTimeKeys are the numbers of unclaimed keys; UnusedFallback the algorithms of
	// the fallback keys that were not given out.
	OneTimeKeys    map[string]int64
	UnusedFallback []string
	Pos            int64 // log position at which the answer is true
}

// DeviceQueue describes the queue of a device. Dropped counts messages that were lost
// because it was full.
type DeviceQueue struct{ Messages, Bytes, Dropped int64 }

// Position is a position of the user log.
type Position struct{ Pos int64 }
