package userapi

import (
	"encoding/json"

	"hearth/internal/bus"
)

// What the admin API shows of accounts.
var (
	// ListUsers lists accounts that fit, a page at a time.
	ListUsers = bus.Call[ListUsersRequest, ListUsersResponse]{Subject: "userstore.list"}
	// AllAccountData returns all account data of a user: the global, and by room.
	AllAccountData = bus.Call[UserRequest, AllAccountDataResponse]{Subject: "userstore.account_data.all"}
)

// Orders of ListUsers.
const (
	ByName        = "name"
	ByDisplayName = "displayname"
	ByCreated     = "creation_ts"
	ByLastSeen    = "last_seen_ts"
	ByAdmin       = "admin"
	ByDeactivated = "deactivated"
	ByGuest       = "is_guest"
	ByShadowBan   = "shadow_banned"
	ByApproved    = "approved"
	ByAvatar      = "avatar_url"
)

// ListUsersRequest filters accounts; nil takes both. Text is a part of the localpart or display
// name, UserID a part of the user id. Order ByName if empty. Limit 0: 100.
type ListUsersRequest struct {
	Text, UserID                                  string
	Guests, Deactivated, Admins, Approved, Locked *bool
	Order                                         string
	Backwards                                     bool
	From, Limit                                   int
}

// ListedUser is an account with what lists show.
type ListedUser struct {
	User
	DisplayName, AvatarURL string
	LastSeenTS             int64 // milliseconds; 0: not known
}

// ListUsersResponse is a page; Total counts all that fit.
type ListUsersResponse struct {
	Users []ListedUser
	Total int64
}

// AllAccountDataResponse has contents by type, and by room and type.
type AllAccountDataResponse struct {
	Global map[string]json.RawMessage
	Rooms  map[string]map[string]json.RawMessage
}
