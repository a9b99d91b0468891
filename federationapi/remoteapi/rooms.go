package remoteapi

import (
	"encoding/json"
	"time"

	"hearth/internal/bus"
	"hearth/internal/pduwire"
)

// Requests about rooms. Destinations are tried in their order by calls that take several.
var (
	// MakeMembership asks a server in the room for a template of a member event
	// (make_join, make_knock, make_leave).
	MakeMembership = bus.Call[MakeRequest, MakeResponse]{Subject: "federationapi.make", Timeout: 60 * time.Second}
	// SendJoin sends a join and streams the room's state; read it with ReadJoin.
	SendJoin = bus.Stream[SendJoinRequest]{Subject: "federationapi.send_join", Timeout: 5 * time.Minute}
	// SendMembership sends a knock or a leave (send_knock, send_leave).
	SendMembership = bus.Call[SendRequest, SendResponse]{Subject: "federationapi.send", Timeout: 60 * time.Second}
	// SendInvite asks the invited user's server to sign the invite.
	SendInvite = bus.Call[InviteRequest, InviteResponse]{Subject: "federationapi.invite", Timeout: 60 * time.Second}
	// MissingEvents is get_missing_events.
	MissingEvents = bus.Call[MissingRequest, PDUs]{Subject: "federationapi.missing_events", Timeout: 60 * time.Second}
	// Backfill asks for events before others.
	Backfill = bus.Call[BackfillRequest, PDUs]{Subject: "federationapi.backfill", Timeout: 60 * time.Second}
	// StateIDs returns the ids of the state before an event and of its auth chain.
	StateIDs = bus.Call[StateIDsRequest, StateIDsResponse]{Subject: "federationapi.state_ids", Timeout: 2 * time.Minute}
	// Events fetches single events, several at the same time. Those that cannot be had are left out.
	Events = bus.Stream[EventsRequest]{Subject: "federationapi.events", Timeout: 5 * time.Minute}
	// State streams the state before an event and its auth chain, like SendJoin without the header.
	State = bus.Stream[StateIDsRequest]{Subject: "federationapi.state", Timeout: 5 * time.Minute}
	// EventAuth streams the auth chain of an event.
	EventAuth = bus.Stream[EventAuthRequest]{Subject: "federationapi.event_auth", Timeout: 2 * time.Minute}
	// EventAt is timestamp_to_event.
	EventAt = bus.Call[EventAtRequest, EventAtResponse]{Subject: "federationapi.event_at"}
	// Hierarchy asks for a space's summary; the answer is the other server's, checked for shape.
	Hierarchy = bus.Call[HierarchyRequest, HierarchyResponse]{Subject: "federationapi.hierarchy"}
	// PublicRooms asks for another server's directory.
	PublicRooms = bus.Call[PublicRoomsRequest, Object]{Subject: "federationapi.public_rooms"}
	// ResolveAlias asks the server of an alias: 404 M_NOT_FOUND if it knows none.
	ResolveAlias = bus.Call[AliasRequest, AliasResponse]{Subject: "federationapi.alias"}
	// ExchangeInvite asks a server of the room to turn a third-party invite into a member event.
	ExchangeInvite = bus.Call[ExchangeRequest, Empty]{Subject: "federationapi.exchange_invite", Timeout: 60 * time.Second}
	// PolicySign asks a room's policy server to sign an event; the signatures come back ("Policy servers").
	PolicySign = bus.Call[PolicySignRequest, Object]{Subject: "federationapi.policy_sign"}
)

// Empty is an answer without content.
type Empty struct{}

// Object is a JSON object of another server: canonical, bounded, of the shape that the
// endpoint's answer must have.
type Object struct{ JSON json.RawMessage }

// MakeRequest asks for a template. Membership is join, knock or leave; Versions are the room
// versions that we know, for join and knock.
type MakeRequest struct {
	Destinations               []string
	RoomID, UserID, Membership string
	Versions                   []string
}

// MakeResponse is the template of the first destination that gave one. Its room, sender,
// state key, type and membership are those asked for.
type MakeResponse struct {
	Destination string
	RoomVersion string
	Event       json.RawMessage
}

// SendJoinRequest sends a signed join. RoomVersion says how to read the answer.
type SendJoinRequest struct {
	Destination, RoomID, RoomVersion string
	Event                            pduwire.PDU
	OmitMembers                      bool
}

// SendRequest sends a signed knock or leave. EventID stands in Event.
type SendRequest struct {
	Destination, RoomID, RoomVersion, Membership string
	Event                                        pduwire.PDU
}

// SendResponse has, for a knock, stripped state as a JSON array.
type SendResponse struct{ StrippedState json.RawMessage }

// InviteRequest invites a user of Destination. State is the stripped state of the room, a JSON array.
type InviteRequest struct {
	Destination, RoomID, RoomVersion string
	Event                            pduwire.PDU
	State                            json.RawMessage
}

// InviteResponse is the event with the other server's signature too.
type InviteResponse struct{ Event pduwire.PDU }

// MissingRequest asks for what is between Earliest and Latest.
type MissingRequest struct {
	Destination, RoomID, RoomVersion string
	Earliest, Latest                 []string
	Limit                            int
	MinDepth                         int64
}

// BackfillRequest asks for at most Limit events before and including From.
type BackfillRequest struct {
	Destination, RoomID, RoomVersion string
	From                             []string
	Limit                            int
}

// PDUs are events of one room. Bad counts those that were left out.
type PDUs struct {
	Events []pduwire.PDU
	Bad    int
}

// StateIDsRequest names an event.
type StateIDsRequest struct{ Destination, RoomID, RoomVersion, EventID string }

// StateIDsResponse lists event ids.
type StateIDsResponse struct{ State, AuthChain []string }

// EventsRequest asks for events by id; read the answer with ReadEvents.
type EventsRequest struct {
	Destination, RoomID, RoomVersion string
	EventIDs                         []string
}

// EventAuthRequest names an event; read the answer with ReadEvents.
type EventAuthRequest struct{ Destination, RoomID, RoomVersion, EventID string }

// EventAtRequest is as for the client endpoint; TS in milliseconds, Backwards: dir=b.
type EventAtRequest struct {
	Destinations []string
	RoomID       string
	TS           int64
	Backwards    bool
}

// EventAtResponse names the event. TS is in milliseconds.
type EventAtResponse struct {
	Destination, EventID string
	TS                   int64
}

// HierarchyRequest asks the destinations in turn.
type HierarchyRequest struct {
	Destinations  []string
	RoomID        string
	SuggestedOnly bool
}

// HierarchyResponse is the answer of GET /hierarchy, checked for shape.
type HierarchyResponse struct {
	Room         json.RawMessage
	Children     []json.RawMessage
	Inaccessible []string
}

// PublicRoomsRequest is the body of POST /publicRooms.
type PublicRoomsRequest struct {
	Destination string
	Body        json.RawMessage
}

// AliasRequest names an alias of another server.
type AliasRequest struct{ Alias string }

// ExchangeRequest carries the member event that is to be completed.
type ExchangeRequest struct {
	Destination, RoomID string
	Event               json.RawMessage
}

// PolicySignRequest carries a whole event.
type PolicySignRequest struct {
	Destination string
	Event       json.RawMessage
}

// AliasResponse names the room and servers that know it.
type AliasResponse struct {
	RoomID  string
	Servers []string
}
