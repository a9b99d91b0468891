package userapi

import "encoding/json"

// Kind says what a log entry tells.
type Kind uint8

// Kinds of entries. A reader skips a kind that it does not know.
const (
	// KindAccountData: a piece of account data was set.
	KindAccountData Kind = 1
	// KindDevice: what /sync tells the device DeviceID of itself has changed: there
	// are messages sent to it, or the number of its keys is another.
	KindDevice Kind = 2
	// KindDeviceList: the devices or cross-signing keys of the user, as others see
	// them, have changed: the device DeviceID, or the cross-signing keys if that is
	// empty. Prev is the position of the change of a device before, 0 for the first; Gone
	// says that the device is deleted. The user may be one of another server, whose list
	// of devices is kept: then DeviceID is empty.
	KindDeviceList Kind = 3
	// KindSignature: the user has signed the master key of Target, which nobody but
	// the user's own devices may know.
	KindSignature Kind = 4
	// KindThread: the user has subscribed to a thread, or is subscribed no longer.
	KindThread Kind = 5
)

// Entry is one entry of the user log.
type Entry struct {
	Kind   Kind
	UserID string
	// Data is set for KindAccountData.
	Data *AccountData `json:",omitempty"`
	// DeviceID is set for KindDevice and KindDeviceList.
	DeviceID string `json:",omitempty"`
	// Prev and Gone are set for KindDeviceList.
	Prev int64 `json:",omitempty"`
	Gone bool  `json:",omitempty"`
	// Target is set for KindSignature.
	Target string `json:",omitempty"`
	// Thread is set for KindThread.
	Thread *ThreadSubscription `json:",omitempty"`
}

// AccountData is one piece of a user's data: global if RoomID is empty.
type AccountData struct {
	RoomID  string          `json:"room_id,omitempty"`
	Type    string          `json:"type"`
	Content json.RawMessage `json:"content"` // an object
	Pos     int64           `json:"pos"`     // log position of its last change
}

// ChangedAccountDataRequest asks for a page. UpTo 0 means the head.
type ChangedAccountDataRequest struct {
	UserID      string
	After, UpTo int64
	// Room, if set, selects the data of one room; "" is global data.
	Room *string `json:",omitempty"`
}

// ChangedAccountDataResponse is a page of less than 512 KiB, or one larger piece;
// More says that the rest begins after the position of the last piece.
type ChangedAccountDataResponse struct {
	Data []AccountData
	Pos  int64 // log position at which the answer is true
	More bool
}
