package userapi

import "hearth/internal/bus"

// Sessions that start or go on without a password.
var (
	// Refresh exchanges a refresh token for a new pair (client-server API, "Refreshing
	// access tokens"). The old pair stays good until one of the new tokens is used,
	// so a caller that lost the answer repeats the call. A token that was replaced is
	// 401 M_UNKNOWN_TOKEN with soft_logout, and ends all tokens of the device.
	Refresh = bus.Call[RefreshRequest, Session]{Subject: "userstore.refresh"}
	// IssueLoginToken makes a token that is good for one LoginToken.
	IssueLoginToken = bus.Call[IssueTokenRequest, IssuedToken]{Subject: "userstore.login_token.issue"}
	// LoginToken logs in with it: 403 M_FORBIDDEN if it is unknown, used or too old.
	LoginToken = bus.Call[LoginTokenRequest, Session]{Subject: "userstore.login_token.use"}
	// LoginAs logs a user in whom the caller has identified in another way.
	LoginAs = bus.Call[LoginAsRequest, Session]{Subject: "userstore.login_as"}
	// IssueOpenIDToken makes a token that tells others who the user is, and no more.
	IssueOpenIDToken = bus.Call[IssueTokenRequest, IssuedToken]{Subject: "userstore.openid.issue"}
	// OpenIDUser finds the user of an OpenID token: 401 M_UNKNOWN_TOKEN if it is not valid.
	OpenIDUser = bus.Call[OpenIDRequest, UserRequest]{Subject: "userstore.openid.user"}
	// Seen notes when and from where devices were used. It may be lost.
	Seen = bus.Call[SeenRequest, Empty]{Subject: "userstore.seen"}
)

// RefreshRequest carries a refresh token.
type RefreshRequest struct{ Token string }

// IssueTokenRequest names the user of a new token.
type IssueTokenRequest struct{ UserID string }

// IssuedToken is a new token, of which the store keeps the hash.
type IssuedToken struct {
	Token       string
	ExpiresInMS int64
}

// LoginTokenRequest carries a login token; the rest is as in LoginRequest.
type LoginTokenRequest struct {
	Token                       string
	DeviceID, DeviceDisplayName string
	RefreshToken                bool
}

// LoginAsRequest names the user to log in; the rest is as in LoginRequest.
type LoginAsRequest struct {
	UserID                      string
	DeviceID, DeviceDisplayName string
	RefreshToken                bool
}

// OpenIDRequest carries an OpenID token.
type OpenIDRequest struct{ Token string }

// MaxSeen is the most devices of one SeenRequest.
const MaxSeen = 1000

// SeenRequest is a batch of at most MaxSeen devices.
type SeenRequest struct{ Devices []SeenDevice }

// SeenDevice says when and from where a device was last used.
type SeenDevice struct {
	UserID, DeviceID, IP string
	TS                   int64 // milliseconds
}
