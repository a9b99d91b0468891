package roomapi

import (
	"encoding/json"

	"hearth/internal/bus"
)

// Finding rooms.
var (
	// GetSummary shows what a room says of itself to a user who may join, knock or
	// read it: 404 otherwise.
	GetSummary = bus.Call[SummaryRequest, Summary]{Subject: "roomserver.summary"}
	// Hierarchy walks a tree of spaces.
	Hierarchy = bus.Call[HierarchyRequest, HierarchyResponse]{Subject: "roomserver.hierarchy"}
	// PublicRooms pages through the published room directory.
	PublicRooms = bus.Call[PublicRoomsRequest, PublicRoomsResponse]{Subject: "roomserver.directory"}
	// IsPublished tells whether a room is in the directory.
	IsPublished = bus.Call[RoomRequest, Published]{Subject: "roomserver.directory.get"}
	// SetPublished puts a room into the directory or takes it out; the user must be
	// able to set its canonical alias.
	SetPublished = bus.Call[SetPublishedRequest, Empty]{Subject: "roomserver.directory.set"}
	// EventAt finds the event nearest to a time.
	EventAt = bus.Call[EventAtRequest, Event]{Subject: "roomserver.event_at"}
	// Upgrade replaces a room by one of another version.
	Upgrade = bus.Call[UpgradeRequest, CreateResponse]{Subject: "roomserver.upgrade"}
)

// Summary is a room as lists of rooms show it (definitions PublicRoomsChunk and
// RoomSummary of the client-server API).
type Summary struct {
	RoomID         string   `json:"room_id"`
	Name           string   `json:"name,omitempty"`
	Topic          string   `json:"topic,omitempty"`
	CanonicalAlias string   `json:"canonical_alias,omitempty"`
	AvatarURL      string   `json:"avatar_url,omitempty"`
	JoinRule       string   `json:"join_rule,omitempty"`
	RoomType       string   `json:"room_type,omitempty"`
	Encryption     string   `json:"encryption,omitempty"`
	RoomVersion    string   `json:"room_version,omitempty"`
	AllowedRoomIDs []string `json:"allowed_room_ids,omitempty"`
	Joined         int      `json:"num_joined_members"`
	WorldReadable  bool     `json:"world_readable"`
	GuestCanJoin   bool     `json:"guest_can_join"`
	// Membership is the asking user's; GetSummary only.
	Membership string `json:"membership,omitempty"`
	// ChildrenState are the m.space.child events as stripped state with
	// origin_server_ts; Hierarchy only.
	ChildrenState json.RawMessage `json:"children_state,omitempty"`
}

// SummaryRequest names a room by id or alias. UserID is empty for somebody without an
// account. Via are servers that may know the room if we are not in it.
type SummaryRequest struct {
	RoomIDOrAlias, UserID string
	Via                   []string `json:",omitempty"`
}

// HierarchyRequest asks for a page of the tree below a room.
type HierarchyRequest struct {
	RoomID, UserID string
	SuggestedOnly  bool
	MaxDepth       int // 0: the server's greatest
	Limit          int
	From           string
}

// HierarchyResponse is a page; Next is empty at the end.
type HierarchyResponse struct {
	Rooms []Summary
	Next  string
}

// PublicRoomsRequest asks for a page of the directory. RoomTypes nil means any; ""
// stands for rooms without a type.
type PublicRoomsRequest struct {
	Limit     int // at most 500
	Since     string
	Term      string
	RoomTypes []string `json:",omitempty"`
	// AnyType says that RoomTypes was not given, which a codec cannot tell from an empty list.
	AnyType bool
}

// PublicRoomsResponse is the body of GET /publicRooms.
type PublicRoomsResponse struct {
	Chunk []Summary `json:"chunk"`
	Next  string    `json:"next_batch,omitempty"`
	Prev  string    `json:"prev_batch,omitempty"`
	Total int       `json:"total_room_count_estimate"`
}

// Published tells whether a room is in the directory.
type Published struct{ Published bool }

// SetPublishedRequest changes that.
type SetPublishedRequest struct {
	RoomID, UserID string
	Published      bool
}

// EventAtRequest asks for the event nearest to TS, in milliseconds, in one direction.
type EventAtRequest struct {
	RoomID, UserID string
	TS             int64
	Backwards      bool
}

// UpgradeRequest asks to replace a room.
type UpgradeRequest struct {
	RoomID, UserID     string
	Version            string
	AdditionalCreators []string
	Profile            Profile
}
