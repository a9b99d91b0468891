package roomapi

import (
	"time"

	"hearth/internal/bus"
)

// What administrators do with rooms. None of it asks for anybody's rights in the room.
var (
	// ListRooms pages through all rooms whose state the server knows.
	ListRooms = bus.Call[ListRoomsRequest, ListRoomsResponse]{Subject: "roomserver.admin.rooms", Timeout: 60 * time.Second}
	// BlockRoom blocks a room or ends that. The room need not be known.
	BlockRoom = bus.Call[BlockRoomRequest, Block]{Subject: "roomserver.admin.block"}
	// GetBlock tells whether a room is blocked.
	GetBlock = bus.Call[RoomRequest, Block]{Subject: "roomserver.admin.block.get"}
	// Evacuate lets some of the users of this server leave a room, in order of user id, and says
	// where to go on. To repeat it does no harm.
	Evacuate = bus.Call[EvacuateRequest, EvacuateResponse]{Subject: "roomserver.admin.evacuate", Timeout: 5 * time.Minute}
	// MakeRoomAdmin gives a user the greatest power level that a user of this server can give, and
	// invites them if they could not join otherwise: 400 if nobody here has the power, 404 if we do
	// not know the room.
	MakeRoomAdmin = bus.Call[MembershipRequest, Empty]{Subject: "roomserver.admin.power"}
	// InviteBy lets some user of this server who may do so invite Target; Sender is not looked at.
	// Somebody who is in the room or invited stays as they are.
	InviteBy = bus.Call[MembershipRequest, Empty]{Subject: "roomserver.admin.invite"}
	// ForwardExtremities lists the forward extremities of a room.
	ForwardExtremities = bus.Call[RoomRequest, ForwardExtremitiesResponse]{Subject: "roomserver.admin.extremities"}
	// JoinExtremities lets one event follow all forward extremities, and says how many are gone.
	JoinExtremities = bus.Call[RoomRequest, JoinExtremitiesResponse]{Subject: "roomserver.admin.extremities.join"}
	// DeleteRoom begins to delete a room and everything in it. The room is unknown to everybody else
	// at once, and nobody can enter it until nothing of it is left, which a 404 to a further call
	// says: 400 as long as users of this server are in it and Force is not set.
	DeleteRoom = bus.Call[DeleteRoomRequest, Empty]{Subject: "roomserver.admin.delete"}
	// SentBy pages through what a user has sent in a room, the newest first.
	SentBy = bus.Call[SentByRequest, SentByResponse]{Subject: "roomserver.admin.sent_by"}
	// CountUser counts what a user has done.
	CountUser = bus.Call[CountUserRequest, UserCounts]{Subject: "roomserver.admin.count_user", Timeout: 60 * time.Second}
	// LargestRooms lists the rooms with the greatest estimated size in the database.
	LargestRooms = bus.Call[LargestRoomsRequest, LargestRoomsResponse]{Subject: "roomserver.admin.largest", Timeout: 2 * time.Minute}
)

// ListRoomsRequest asks for a page. RoomID, if not empty, asks for that room alone. Order is one of
// the words that Synapse has for order_by; nil filters take all.
type ListRoomsRequest struct {
	Term, RoomID, Order string
	Reverse             bool
	Public, Empty       *bool
	From, Limit         int // Limit at most 1,000
}

// ListRoomsResponse is a page; Total counts all rooms that match.
type ListRoomsResponse struct {
	Rooms []RoomInfo
	Total int64
}

// RoomInfo is a room as administrators see it. Empty strings stand for what the room does not say.
type RoomInfo struct {
	RoomID, Version                            string
	Name, Topic, CanonicalAlias, AvatarURL     string
	Creator, RoomType, Encryption              string
	JoinRule, GuestAccess, HistoryVisibility   string
	ReplacementRoom                            string
	Joined, JoinedLocal, StateEvents           int64
	Federatable, Public, Tombstoned, Forgotten bool
}

// BlockRoomRequest blocks a room or ends that.
type BlockRoomRequest struct {
	RoomID, UserID string // UserID is who blocks
	Block          bool
}

// Block tells whether a room is blocked, and by whom.
type Block struct {
	Blocked bool
	UserID  string
}

// EvacuateRequest asks for a step. Forget hides the room from those who have left.
type EvacuateRequest struct {
	RoomID, After string
	Forget        bool
	Reason        string
}

// EvacuateResponse names who has left and who could not be let leave. After is where to go on.
type EvacuateResponse struct {
	Left, Failed []string
	After        string
	More         bool
}

// ForwardExtremitiesResponse lists them.
type ForwardExtremitiesResponse struct{ Extremities []ForwardExtremity }

// ForwardExtremity is an event that none follows. StateGroup names the state after it.
type ForwardExtremity struct {
	EventID    string `json:"event_id"`
	StateGroup int64  `json:"state_group"`
	Depth      int64  `json:"depth"`
	ReceivedTS int64  `json:"received_ts"` // milliseconds
}

// JoinExtremitiesResponse counts those that are none any more.
type JoinExtremitiesResponse struct{ Gone int }

// DeleteRoomRequest names the room. Force deletes it although users of this server are in it.
type DeleteRoomRequest struct {
	RoomID string
	Force  bool
}

// SentByRequest asks for a page of at most 1,000 events before the order Before; 0: from the newest.
// Redacted events and redactions, and state other than member events, are left out as Types says:
// an empty list takes all types.
type SentByRequest struct {
	RoomID, UserID string
	Types          []string
	Before         int64
	Limit          int
}

// SentByResponse names events, the newest first; Before is where to go on.
type SentByResponse struct {
	EventIDs []string
	Before   int64
	More     bool
}

// CountUserRequest asks for counts since a time in milliseconds.
type CountUserRequest struct {
	UserID string
	FromTS int64
}

// UserCounts are the invites that a user has sent, and the rooms that they have joined since the
// time, left ones included.
type UserCounts struct{ Invites, Joins int64 }

// LargestRoomsRequest bounds the answer.
type LargestRoomsRequest struct{ Limit int }

// LargestRoomsResponse lists rooms, the largest first.
type LargestRoomsResponse struct{ Rooms []RoomSize }

// RoomSize is about how many bytes the events of a room take.
type RoomSize struct {
	RoomID        string `json:"room_id"`
	EstimatedSize int64  `json:"estimated_size"`
}

// ServerRooms lists the rooms that users of a server have joined, in order of room id.
var ServerRooms = bus.Call[ServerRoomsRequest, ServerRoomsResponse]{Subject: "roomserver.admin.server_rooms"}

// ServerRoomsRequest asks for a page of at most 1,000 rooms.
type ServerRoomsRequest struct {
	Server      string
	Backwards   bool
	From, Limit int
}

// ServerRoomsResponse is a page; LastEvents are the positions of the rooms' last events.
type ServerRoomsResponse struct {
	RoomIDs    []string
	LastEvents []int64
	Total      int64
}
