package userapi

import (
	"encoding/json"

	"hearth/internal/bus"
)

// People and their rooms.
var (
	// SearchUsers finds users of this server by localpart or display name: the best
	// ones first, a page of at most MaxFound.
	SearchUsers = bus.Call[SearchUsersRequest, SearchUsersResponse]{Subject: "userstore.search"}
	// SetTag sets or removes one tag of a room in the user's m.tag account data.
	SetTag = bus.Call[SetTagRequest, Empty]{Subject: "userstore.tag.set"}
	// NoticeRoom returns the room of the server's notices to a user, 404 M_NOT_FOUND
	// if there is none yet.
	NoticeRoom = bus.Call[UserRequest, RoomOfUser]{Subject: "userstore.notice_room"}
	// SetNoticeRoom remembers it; an empty room id forgets it.
	SetNoticeRoom = bus.Call[RoomOfUser, Empty]{Subject: "userstore.notice_room.set"}
)

// Limits.
const (
	MaxFound   = 200 // users of one page
	MaxTags    = 100 // of one room
	MaxTagSize = 8 << 10
)

// TypeTag is the account data of a room that holds its tags.
const TypeTag = "m.tag"

// SearchUsersRequest carries a text to search for.
type SearchUsersRequest struct {
	Term string
	Skip int // of the results
}

// SearchUsersResponse is a page; More says that there may be another one.
type SearchUsersResponse struct {
	Users []FoundUser
	More  bool
}

// FoundUser is a user with what a search shows.
type FoundUser struct{ UserID, DisplayName, AvatarURL string }

// SetTagRequest sets a tag to an object; Content nil removes it.
type SetTagRequest struct {
	UserID, RoomID, Tag string
	Content             json.RawMessage `json:",omitempty"`
}

// RoomOfUser names a user and a room.
type RoomOfUser struct{ UserID, RoomID string }
