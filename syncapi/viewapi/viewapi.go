// Package viewapi is the contract of syncapi: the user's view of rooms and
// account data as /sync gives it.
package viewapi

import (
	"encoding/json"

	"hearth/internal/bus"
)

// Sync answers one GET /sync (client-server API, "Syncing") as a stream of bytes
// that together are the JSON body. It waits up to TimeoutMS for something new.
// What the request itself is to blame for is answered before the first byte; an
// error after it means that the body is cut off and must not look whole.
var Sync = bus.Stream[SyncRequest]{Subject: "syncapi.sync", Limit: 20_000}

// SyncRequest is a /sync of an authenticated device. Filter is the filter's
// definition, not its id.
type SyncRequest struct {
	UserID, DeviceID string
	Since            string
	TimeoutMS        int64
	Filter           json.RawMessage
	FullState        bool
	SetPresence      string
	UseStateAfter    bool
	// UnstableStateAfter asks that the state after the timeline have the name that it had
	// before the spec (MSC4222). It needs UseStateAfter.
	UnstableStateAfter bool `json:",omitempty"`
}
