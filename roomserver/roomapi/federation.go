package roomapi

import (
	"encoding/json"
	"time"

	"hearth/internal/bus"
	"hearth/internal/pduwire"
)

// What other servers ask and send. Each request names the server that asks; the roomserver refuses,
// 403 M_FORBIDDEN, one that a room's m.room.server_acl denies or that has no part in
// the room ("Server Access Control Lists"). PDUs have passed the checks that remoteapi promises.
var (
	// FederationRoom tells what federationapi needs to know of a room to read PDUs: 404 if we do not know it.
	FederationRoom = bus.Call[FederationRoomRequest, FederationRoomResponse]{Subject: "roomserver.federation.room"}
	// Receive takes PDUs of one room from a transaction. When it returns each of them is on disk,
	// accepted, rejected or waiting for events that it names, or refused with an error.
	Receive = bus.Call[ReceiveRequest, ReceiveResponse]{Subject: "roomserver.federation.receive", Timeout: 60 * time.Second}
	// MakeMembership makes the template of make_join, make_knock and make_leave.
	MakeMembership = bus.Call[MakeMembershipRequest, MakeMembershipResponse]{Subject: "roomserver.federation.make"}
	// AcceptJoin takes a send_join and streams the body of the answer, the JSON object of version 2.
	AcceptJoin = bus.Stream[AcceptRequest]{Subject: "roomserver.federation.send_join", Timeout: 5 * time.Minute}
	// AcceptMembership takes a send_knock or send_leave.
	AcceptMembership = bus.Call[AcceptRequest, AcceptResponse]{Subject: "roomserver.federation.send", Timeout: 60 * time.Second}
	// AcceptInvite takes an invite to a user of ours and signs it.
	AcceptInvite = bus.Call[AcceptInviteRequest, AcceptInviteResponse]{Subject: "roomserver.federation.invite"}
	// AcceptExchange completes a third-party invite of a room that we are in (exchange_third_party_invite).
	AcceptExchange = bus.Call[AcceptExchangeRequest, Empty]{Subject: "roomserver.federation.exchange", Timeout: 60 * time.Second}

	// FederationEvent returns an event that the server may see.
	FederationEvent = bus.Call[FederationEventRequest, pduwire.PDU]{Subject: "roomserver.federation.event"}
	// FederationState streams the JSON body of the answer of /state or /state_ids.
	FederationState = bus.Stream[FederationStateRequest]{Subject: "roomserver.federation.state", Timeout: 5 * time.Minute}
	// FederationEventAuth streams the JSON body of the answer of /event_auth.
	FederationEventAuth = bus.Stream[FederationEventRequest]{Subject: "roomserver.federation.event_auth", Timeout: 2 * time.Minute}
	// FederationBackfill and FederationMissing stream PDUs; read them with pduwire.Read. An event that
	// the server may not see is in its redacted form.
	FederationBackfill = bus.Stream[FederationBackfillRequest]{Subject: "roomserver.federation.backfill"}
	FederationMissing  = bus.Stream[FederationMissingRequest]{Subject: "roomserver.federation.missing"}
	// FederationEventAt is timestamp_to_event.
	FederationEventAt = bus.Call[FederationEventAtRequest, FederationEventAtResponse]{Subject: "roomserver.federation.event_at"}
	// FederationHierarchy returns the JSON body of the answer of /hierarchy.
	FederationHierarchy = bus.Call[FederationHierarchyRequest, FederationHierarchyResponse]{Subject: "roomserver.federation.hierarchy"}

	// Outgoing returns the PDUs at log positions with the servers that they go to. Positions of
	// other entries, and of events that go nowhere, are left out.
	Outgoing = bus.Call[OutgoingRequest, OutgoingResponse]{Subject: "roomserver.federation.outgoing"}
	// Hosts lists the servers with joined members, ours not among them.
	Hosts = bus.Call[HostsRequest, HostsResponse]{Subject: "roomserver.federation.hosts"}
	// HostOf says in which of our rooms a server has joined members, a page at a time.
	HostOf = bus.Call[HostOfRequest, HostOfResponse]{Subject: "roomserver.federation.host_of"}
	// ServersOf lists the servers that share a room with a user of ours (for presence, device lists).
	ServersOf = bus.Call[ServersOfRequest, HostsResponse]{Subject: "roomserver.federation.servers_of"}
	// Extremities returns the forward extremities of a room as PDUs, for a server that was away.
	Extremities = bus.Call[HostsRequest, ExtremitiesResponse]{Subject: "roomserver.federation.extremities"}

	// RemoteTyping and RemoteReceipts are EDUs of other servers. Users that are not of the origin
	// or not in the room are passed over.
	RemoteTyping   = bus.Call[RemoteTypingRequest, Empty]{Subject: "roomserver.federation.typing"}
	RemoteReceipts = bus.Call[RemoteReceiptsRequest, Empty]{Subject: "roomserver.federation.receipts"}
)

// FederationRoomRequest names a room and the server that asks; with no Origin nothing is refused.
type FederationRoomRequest struct{ RoomID, Origin string }

// FederationRoomResponse: Joined says that a user of ours is in the room.
type FederationRoomResponse struct {
	Version string
	Joined  bool
}

// ReceiveRequest brings PDUs of a room in the order in which they were sent, at most 50.
type ReceiveRequest struct {
	Origin, RoomID string
	PDUs           []pduwire.PDU
}

// ReceiveResponse has an error text for each PDU that was refused, by event id.
type ReceiveResponse struct{ Errors map[string]string }

// MakeMembershipRequest: Membership is join, knock or leave. Versions are those that the other
// server knows (join, knock).
type MakeMembershipRequest struct {
	Origin, RoomID, UserID, Membership string
	Versions                           []string
}

// MakeMembershipResponse is a template without hashes and signatures.
type MakeMembershipResponse struct {
	RoomVersion string
	Event       json.RawMessage
}

// AcceptRequest brings a signed member event of Origin's.
type AcceptRequest struct {
	Origin, RoomID, Membership string
	Event                      pduwire.PDU
	OmitMembers                bool // join only
}

// AcceptResponse has stripped state, a JSON array, for a knock.
type AcceptResponse struct{ StrippedState json.RawMessage }

// AcceptInviteRequest brings an invite. State is the stripped state that came along, an array.
type AcceptInviteRequest struct {
	Origin, RoomID, RoomVersion string
	Event                       pduwire.PDU
	State                       json.RawMessage
}

// AcceptInviteResponse is the event with our signature too.
type AcceptInviteResponse struct{ Event pduwire.PDU }

// AcceptExchangeRequest brings the member event that a third-party invite has led to, unsigned.
type AcceptExchangeRequest struct {
	Origin, RoomID string
	Event          json.RawMessage
}

// FederationEventRequest names an event; RoomID is empty for GET /event.
type FederationEventRequest struct{ Origin, RoomID, EventID string }

// FederationStateRequest asks for the state before an event; IDs: ids only (state_ids).
type FederationStateRequest struct {
	Origin, RoomID, EventID string
	IDs                     bool
}

// FederationBackfillRequest asks for at most Limit (at most 100) events, From among them.
type FederationBackfillRequest struct {
	Origin, RoomID string
	From           []string
	Limit          int
}

// FederationMissingRequest is the body of get_missing_events.
type FederationMissingRequest struct {
	Origin, RoomID   string
	Earliest, Latest []string
	Limit            int
	MinDepth         int64
}

// FederationEventAtRequest: TS in milliseconds; Backwards: dir=b.
type FederationEventAtRequest struct {
	Origin, RoomID string
	TS             int64
	Backwards      bool
}

// FederationEventAtResponse names the event. TS is in milliseconds.
type FederationEventAtResponse struct {
	EventID string
	TS      int64
}

// FederationHierarchyRequest asks for a space and its direct children.
type FederationHierarchyRequest struct {
	Origin, RoomID string
	SuggestedOnly  bool
}

// FederationHierarchyResponse is a body.
type FederationHierarchyResponse struct{ Body json.RawMessage }

// OutgoingRequest names positions of entries whose Federate is set, at most 100.
type OutgoingRequest struct{ Positions []int64 }

// OutgoingEvent is a PDU that we send, and where it goes: the servers that were in the room before
// or after it, but the one that made it.
type OutgoingEvent struct {
	Pos    int64
	RoomID string
	PDU    pduwire.PDU
	Hosts  []string
}

// OutgoingResponse is in order of position. An answer that would be too large for a message is cut
// after some events: whoever needs the rest asks for the positions after the last one again.
type OutgoingResponse struct{ Events []OutgoingEvent }

// HostsRequest names a room.
type HostsRequest struct{ RoomID string }

// HostsResponse lists servers in order of name.
type HostsResponse struct{ Servers []string }

// HostOfRequest asks for rooms after a room id.
type HostOfRequest struct {
	Server, After string
	Limit         int // 0: 1,000, which is also the most
}

// HostOfResponse is a page, in order of room id, with the position of each room's newest event.
type HostOfResponse struct {
	Rooms []HostRoom
	More  bool
}

// HostRoom is a room that a server is in.
type HostRoom struct {
	RoomID string
	Pos    int64
}

// ServersOfRequest names a user of ours.
type ServersOfRequest struct{ UserID string }

// ExtremitiesResponse is for catch-up: the newest PDUs.
type ExtremitiesResponse struct{ PDUs []pduwire.PDU }

// RemoteTypingRequest is an m.typing EDU.
type RemoteTypingRequest struct {
	Origin, RoomID, UserID string
	Typing                 bool
}

// RemoteReceiptsRequest is the content of an m.receipt EDU.
type RemoteReceiptsRequest struct {
	Origin  string
	Content json.RawMessage
}
