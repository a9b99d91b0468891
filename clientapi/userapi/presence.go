package userapi

import (
	"encoding/json"

	"hearth/internal/bus"
)

// Presence (client-server API, "Presence"). It is kept in memory alone: after a
// restart everybody is offline until the next sync.
var (
	// SetPresence says what one device of a user shows, for TTLMS from now.
	SetPresence = bus.Call[SetPresenceRequest, Empty]{Subject: "userstore.presence.set"}
	// Active says that users did something; it may be lost.
	Active = bus.Call[ActiveRequest, Empty]{Subject: "userstore.presence.active"}
	// GetPresence returns the presence of a user; who was never seen is offline.
	GetPresence = bus.Call[UserRequest, Presence]{Subject: "userstore.presence"}
	// OnlineUsers lists those who are not offline, a page of at most 1,000 after the
	// user id UserID.
	OnlineUsers = bus.Call[UserRequest, OnlineResponse]{Subject: "userstore.presence.online"}
	// RemotePresence takes an m.presence EDU of another server. Users who are not of the origin
	// are passed over.
	RemotePresence = bus.Call[RemotePresenceRequest, Empty]{Subject: "userstore.presence.remote"}
)

// PresenceTopic carries each change of a user's presence. It may be lost.
var PresenceTopic = bus.Topic[Presence]{Subject: "userstore.presence.changed"}

// States of presence.
const (
	Online      = "online"
	Unavailable = "unavailable"
	Offline     = "offline"
)

// MaxStatus bounds a status message in bytes.
const MaxStatus = 1024

// SetPresenceRequest sets what a device shows. Status, if not nil, replaces the
// user's status message; "" removes it.
type SetPresenceRequest struct {
	UserID, DeviceID string
	Presence         string
	Status           *string
	TTLMS            int64
	// Explicit: the user has chosen it, which is an activity.
	Explicit bool
}

// ActiveRequest names users who did something just now, at most MaxSeen.
type ActiveRequest struct{ UserIDs []string }

// Presence is what others see of a user. Serial grows with every change of any user,
// also across restarts; Epoch is the serial at which the owner began: what it had
// told before that is no longer so. Without a UserID it says only that the owner began.
type Presence struct {
	Serial, Epoch   int64
	UserID          string
	Presence        string
	StatusMsg       string
	LastActiveTS    int64 // milliseconds, 0: never
	CurrentlyActive bool
}

// RemotePresenceRequest has the content of an m.presence EDU.
type RemotePresenceRequest struct {
	Origin  string
	Content json.RawMessage
}

// OnlineResponse is a page.
type OnlineResponse struct {
	Users []Presence
	Epoch int64
	More  bool
}
