package remoteapi

import (
	"encoding/json"
	"time"

	"hearth/internal/bus"
)

// Requests about users, devices and media.
var (
	// Profile asks for a profile: 404 M_NOT_FOUND if there is none. Field empty: all of it.
	Profile = bus.Call[ProfileRequest, Object]{Subject: "federationapi.profile"}
	// QueryKeys asks for device and cross-signing keys (POST /user/keys/query).
	QueryKeys = bus.Call[KeysRequest, Object]{Subject: "federationapi.query_keys", Timeout: 60 * time.Second}
	// ClaimKeys claims one-time keys (POST /user/keys/claim). It is not idempotent.
	ClaimKeys = bus.Call[KeysRequest, Object]{Subject: "federationapi.claim_keys", Timeout: 60 * time.Second}
	// UserDevices is GET /user/devices/{userId}.
	UserDevices = bus.Call[UserRequest, Object]{Subject: "federationapi.user_devices"}
	// OpenID is GET /openid/userinfo of the server that gave out the token.
	OpenID = bus.Call[OpenIDRequest, Object]{Subject: "federationapi.openid"}
	// Media downloads a file or thumbnail; read it with ReadMedia.
	Media = bus.Stream[MediaRequest]{Subject: "federationapi.media", Timeout: 10 * time.Minute}
)

// What is sent to other servers.
var (
	// QueueEDU queues an EDU: it is on disk when the call returns, and it is delivered at
	// least once, in order for each destination. For to-device messages, device lists and
	// cross-signing keys.
	QueueEDU = bus.Call[EDURequest, Empty]{Subject: "federationapi.queue_edu"}
	// PresenceTopic tells presence of local users to servers; it may be lost.
	PresenceTopic = bus.Topic[EDURequest]{Subject: "federationapi.presence"}
	// Destinations lists what is known of other servers' queues, for admins, in order of name.
	Destinations = bus.Call[DestinationsRequest, DestinationsResponse]{Subject: "federationapi.destinations"}
	// Retry ends the back-off of a destination.
	Retry = bus.Call[DestinationRequest, Empty]{Subject: "federationapi.retry"}
)

// ProfileRequest names a user of another server.
type ProfileRequest struct{ UserID, Field string }

// KeysRequest carries the part of a request that concerns one server: the value of device_keys or
// one_time_keys. The answer is the other server's: device_keys, master_keys, self_signing_keys or
// one_time_keys; entries for users of other servers and malformed ones are left out.
type KeysRequest struct {
	Destination string
	Keys        json.RawMessage
	// TimeoutMS in milliseconds; 0: 10 s.
	TimeoutMS int64
}

// UserRequest names a user of another server.
type UserRequest struct{ UserID string }

// OpenIDRequest asks Destination whose token it is.
type OpenIDRequest struct{ Destination, Token string }

// MediaRequest names a file. Width > 0 asks for a thumbnail. MaxBytes bounds the file.
type MediaRequest struct {
	ServerName, MediaID string
	Width, Height       int
	Method              string // scale or crop
	Animated            bool
	TimeoutMS           int64 // how long to wait for an upload that has not come yet
	MaxBytes            int64
}

// MediaHeader is the first chunk of the answer to Media, as JSON; the file's bytes follow.
type MediaHeader struct {
	ContentType, FileName string
	Size                  int64 // bytes; -1: unknown
}

// EDURequest sends an EDU to servers; our own name among them is passed over.
type EDURequest struct {
	Destinations []string
	Type         string
	Content      json.RawMessage
	// Key, if not empty, lets a later EDU with the same type and key take the place of this
	// one while it waits.
	Key string
}

// DestinationsRequest asks for a page after a server name. Limit 0: 100.
type DestinationsRequest struct {
	After string
	Limit int
}

// Destination is what is known of a server that we send to. Times are in milliseconds; 0: never.
type Destination struct {
	Name                 string
	Failures             int
	RetryAt, FailingFrom int64
	LastSuccess          int64
	QueuedEDUs           int64
	// RoomsBehind is how many rooms have events that the server has not got yet.
	RoomsBehind int64
}

// DestinationsResponse is a page.
type DestinationsResponse struct {
	Destinations []Destination
	More         bool
}

// DestinationRequest names a server.
type DestinationRequest struct{ Name string }
