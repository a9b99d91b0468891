package roomapi

import "hearth/internal/bus"

// Who knows whom.
var (
	// MutualRooms lists the rooms that two users have joined, in order of room id.
	MutualRooms = bus.Call[MutualRoomsRequest, MutualRoomsResponse]{Subject: "roomserver.mutual_rooms"}
	// FindUsers says which of the local users in Candidates a user may find in the
	// user directory, and searches users of other servers in the user's rooms.
	FindUsers = bus.Call[FindUsersRequest, FindUsersResponse]{Subject: "roomserver.find_users"}
)

// MaxCandidates bounds FindUsersRequest.Candidates.
const MaxCandidates = 200

// MutualRoomsRequest names two users; After is the last room id of the page before.
type MutualRoomsRequest struct {
	UserID, Other string
	After         string
	Limit         int
}

// MutualRoomsResponse is a page; Total counts all of them.
type MutualRoomsResponse struct {
	RoomIDs []string
	Total   int
	More    bool
}

// FindUsersRequest carries a search. Term is compared in small letters.
type FindUsersRequest struct {
	UserID, Term string
	Candidates   []string // of this server, at most MaxCandidates
	Limit        int      // of Others
}

// FindUsersResponse answers it. Visible has the order of Candidates.
type FindUsersResponse struct {
	Visible []string
	Others  []FoundUser
	Limited bool // there may be more Others
}

// FoundUser is a user as a member event shows it.
type FoundUser struct {
	UserID  string
	Profile Profile
}
