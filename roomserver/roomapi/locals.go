package roomapi

import "hearth/internal/bus"

// LocalMembers lists the users of this server who have joined a room, for the server
// itself, in order of user id.
var LocalMembers = bus.Call[LocalMembersRequest, LocalMembersResponse]{Subject: "roomserver.local_members"}

// LocalMembersRequest asks for a page of at most 500 after a user id.
type LocalMembersRequest struct{ RoomID, After string }

// LocalMembersResponse is a page; it is empty if there is no such room.
type LocalMembersResponse struct {
	UserIDs []string
	More    bool
}
