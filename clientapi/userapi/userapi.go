// Package userapi is the contract of the user store, which clientapi owns:
// accounts, devices, access tokens, profiles, account data, filters.
//
// Users are named by their full id; the store has only users of its own server.
// Calls that name a user whom it does not have answer 404 M_NOT_FOUND unless they
// say otherwise. Setting calls may be repeated: the same request has the same
// effect. Register, Login and Logout are the exceptions; each says what a
// repetition does.
package userapi

import (
	"encoding/json"

	"hearth/internal/bus"
)

// Accounts, devices and access tokens.
var (
	// Register makes an account, and a device with an access token unless
	// InhibitLogin. Errors: M_USER_IN_USE (also for a repetition),
	// M_INVALID_USERNAME, M_WEAK_PASSWORD.
	Register = bus.Call[RegisterRequest, Session]{Subject: "userstore.register"}
	// CheckUsername says whether Register would take a name, with the same errors.
	CheckUsername = bus.Call[UsernameRequest, Empty]{Subject: "userstore.username"}
	// Login checks a password and makes an access token. A known device gets a new
	// token and loses its old one; a repetition does the same again. Errors:
	// M_FORBIDDEN for a wrong password or an unknown user, in equal time, and for an
	// account that was not approved yet, M_USER_DEACTIVATED.
	Login = bus.Call[LoginRequest, Session]{Subject: "userstore.login"}
	// CheckPassword checks the password of a user: M_FORBIDDEN if it is wrong.
	CheckPassword = bus.Call[PasswordRequest, Empty]{Subject: "userstore.password.check"}
	// SetPassword replaces the password and, if asked, logs out all other devices.
	SetPassword = bus.Call[SetPasswordRequest, Revoked]{Subject: "userstore.password.set"}
	// Authenticate finds the user and device of an access token: M_UNKNOWN_TOKEN if
	// there is none.
	Authenticate = bus.Call[AuthenticateRequest, Identity]{Subject: "userstore.authenticate"}
	// Logout deletes devices with their access tokens; devices that are not there are no error.
	Logout = bus.Call[LogoutRequest, Revoked]{Subject: "userstore.logout"}
	// Deactivate ends an account for good: no log-in, no devices, no profile. The
	// name stays taken.
	Deactivate = bus.Call[DeactivateRequest, Revoked]{Subject: "userstore.deactivate"}
	// GetUser describes an account.
	GetUser = bus.Call[UserRequest, User]{Subject: "userstore.user"}

	// Devices lists the devices of a user in order of id.
	Devices = bus.Call[UserRequest, DevicesResponse]{Subject: "userstore.devices"}
	// GetDevice describes one device, 404 M_NOT_FOUND if it is not there.
	GetDevice = bus.Call[DeviceRequest, Device]{Subject: "userstore.device"}
	// SetDevice changes the display name of a device, or makes one if asked to. 404
	// M_NOT_FOUND if it is not there, M_FORBIDDEN if there are too many.
	SetDevice = bus.Call[SetDeviceRequest, SetDeviceResponse]{Subject: "userstore.device.set"}
)

// Profiles, account data and filters.
var (
	// GetProfile returns all fields of a profile.
	GetProfile = bus.Call[UserRequest, Profile]{Subject: "userstore.profile"}
	// SetProfile sets or deletes one field and returns the whole profile. Rooms hear of a
	// new displayname or avatar_url soon after, whatever happens meanwhile. Errors:
	// M_PROFILE_TOO_LARGE, M_KEY_TOO_LARGE.
	SetProfile = bus.Call[SetProfileRequest, Profile]{Subject: "userstore.profile.set"}
	// SetAccountData sets a piece of account data.
	SetAccountData = bus.Call[SetAccountDataRequest, Empty]{Subject: "userstore.account_data.set"}
	// GetAccountData returns a piece of account data, 404 M_NOT_FOUND if it was never set.
	GetAccountData = bus.Call[AccountDataRequest, AccountData]{Subject: "userstore.account_data"}
	// ChangedAccountData lists a user's account data with After < Pos ≤ UpTo, in order of position.
	ChangedAccountData = bus.Call[ChangedAccountDataRequest, ChangedAccountDataResponse]{Subject: "userstore.account_data.changed"}
	// PutFilter stores a filter; the same filter always has the same id.
	PutFilter = bus.Call[PutFilterRequest, FilterResponse]{Subject: "userstore.filter.set"}
	// GetFilter returns the definition of a filter, 404 M_NOT_FOUND if the user has not got it.
	GetFilter = bus.Call[FilterRequest, FilterResponse]{Subject: "userstore.filter"}
)

// Log is the log of the user store: one gap-free sequence over all users. A
// position whose piece of data was set again later may be an entry of kind 0.
var Log = bus.Log[Entry]{Name: "userstore"}

// RevokedTopic tells those who remember access tokens which ones are gone, or belong to
// somebody who may do other things now. It may
// be lost, so nobody may remember a token for more than a few seconds.
var RevokedTopic = bus.Topic[Revoked]{Subject: "userstore.revoked"}

// Empty is an answer without content.
type Empty struct{}

// Revoked carries the SHA-256 of access tokens that are no longer valid.
type Revoked struct{ Tokens [][]byte }

// Limits of what a user may store.
const (
	MaxDevices     = 1000     // per user
	MaxFilters     = 500      // per user; the oldest goes when there are more
	MaxAccountData = 2000     // pieces per user
	MaxProfile     = 64 << 10 // bytes of the whole profile as JSON
	MaxKey         = 255      // bytes of a profile key, type, device id
	MaxPassword    = 512      // bytes
)

// RegisterRequest asks for an account.
type RegisterRequest struct {
	Username     string // the localpart; empty: the store chooses
	Password     string // empty: nobody can log in with a password
	Admin        bool
	InhibitLogin bool
	// DeviceID may be empty: the store chooses.
	DeviceID          string
	DeviceDisplayName string
	// DisplayName is the first displayname of the profile; empty: the localpart.
	DisplayName string
	// RefreshToken asks for an access token that expires and one that renews it.
	RefreshToken bool
	// Guest makes a guest. Such an account has no password.
	Guest bool
	// UpgradeGuest makes the guest account Username a full one instead of a new
	// account; the caller has seen an access token of that guest.
	UpgradeGuest bool
	// Unapproved accounts cannot log in until Approve; no device is made.
	Unapproved bool
	// RegistrationToken, if not empty, is used up by one; M_FORBIDDEN if it is not valid.
	RegistrationToken string
	// ThreePIDs are validated addresses of the new user: M_THREEPID_IN_USE if one is
	// another's.
	ThreePIDs []ThreePID
	// External is who the new user is at a provider of single sign-on, where nobody
	// else may be the same: M_USER_IN_USE.
	External *ExternalID
}

// UsernameRequest names a localpart.
type UsernameRequest struct{ Username string }

// Session is a device that has logged in. Token and DeviceID are empty if the
// log-in was inhibited. Token and RefreshToken are the only copies: the store keeps
// their hashes. Only a session that asked for it has a RefreshToken and an end of
// its access token after ExpiresInMS milliseconds.
type Session struct {
	UserID, DeviceID, Token string
	RefreshToken            string
	ExpiresInMS             int64
}

// LoginRequest asks for an access token.
type LoginRequest struct {
	// User is a localpart or a full user id.
	User, Password    string
	DeviceID          string // empty: the store chooses
	DeviceDisplayName string // of a new device
	// ThreePID names the user instead of User.
	ThreePID *ThreePIDName
	// RefreshToken asks for an access token that expires and one that renews it.
	RefreshToken bool
}

// PasswordRequest carries a password to check.
type PasswordRequest struct{ UserID, Password string }

// SetPasswordRequest carries a new password. With LogoutDevices all devices but
// KeepDevice are deleted.
type SetPasswordRequest struct {
	UserID, Password string
	LogoutDevices    bool
	KeepDevice       string
}

// AuthenticateRequest carries the SHA-256 of an access token.
type AuthenticateRequest struct{ Token []byte }

// Identity is whom an access token belongs to.
type Identity struct {
	UserID, DeviceID string
	Admin, Guest     bool
	Restrictions
	// ExpiresTS is when the token ends, in milliseconds; 0: never.
	ExpiresTS int64
}

// LogoutRequest names devices; All means every device of the user.
type LogoutRequest struct {
	UserID  string
	Devices []string
	All     bool
}

// DeactivateRequest names the user. With Erase the account data goes as well, and
// the account is marked as erased.
type DeactivateRequest struct {
	UserID string
	Erase  bool
}

// UserRequest names a user.
type UserRequest struct{ UserID string }

// User describes an account.
type User struct {
	UserID      string
	Admin       bool
	Deactivated bool
	CreatedTS   int64 // milliseconds
	Guest       bool
	// Approved is false until an administrator lets the account in.
	Approved bool
	// Erased: the user deactivated the account and asked for the messages to be forgotten.
	Erased bool
	// HasPassword is false if nobody can log in with a password.
	HasPassword bool
	Restrictions
}

// Device describes a device.
type Device struct {
	DeviceID    string `json:"device_id"`
	DisplayName string `json:"display_name,omitempty"`
	CreatedTS   int64  `json:"created_ts"` // milliseconds
	// LastSeenTS is in milliseconds, kept to the minute; LastSeenIP is forgotten after
	// a time. Zero values: not known.
	LastSeenTS int64  `json:"last_seen_ts,omitempty"`
	LastSeenIP string `json:"last_seen_ip,omitempty"`
}

// DevicesResponse lists devices.
type DevicesResponse struct{ Devices []Device }

// DeviceRequest names a device.
type DeviceRequest struct{ UserID, DeviceID string }

// SetDeviceRequest changes a device; DisplayName nil leaves it alone. With Create a
// device that is not there is made, without an access token.
type SetDeviceRequest struct {
	UserID, DeviceID string
	DisplayName      *string
	Create           bool
}

// SetDeviceResponse tells whether the device is new.
type SetDeviceResponse struct{ Created bool }

// Profile holds the fields of a profile as JSON values. A user who has set nothing
// has no fields.
type Profile struct{ Fields map[string]json.RawMessage }

// SetProfileRequest sets a field; Value nil deletes it.
type SetProfileRequest struct {
	UserID, Key string
	Value       json.RawMessage `json:",omitempty"`
}

// SetAccountDataRequest carries a piece of account data; Pos is not used.
type SetAccountDataRequest struct {
	UserID string
	Data   AccountData
}

// AccountDataRequest names a piece of account data, a global one if RoomID is empty.
type AccountDataRequest struct{ UserID, RoomID, Type string }

// PutFilterRequest carries a filter definition as canonical JSON.
type PutFilterRequest struct {
	UserID string
	Filter json.RawMessage
}

// FilterRequest names a filter.
type FilterRequest struct{ UserID, FilterID string }

// FilterResponse is a stored filter.
type FilterResponse struct {
	FilterID string
	Filter   json.RawMessage
}
