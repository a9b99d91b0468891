package roomapi

import (
	"encoding/json"
	"time"

	"hearth/internal/bus"
)

// Commands. Errors are *merr.Error with the errcode that the client-server API
// names for the endpoint of the same purpose.
var (
	// Create makes a room and joins its creator: POST /createRoom.
	Create = bus.Call[CreateRequest, CreateResponse]{Subject: "roomserver.create", Timeout: 60 * time.Second}
	// Send appends a message or state event built from the given content.
	Send = bus.Call[SendRequest, SendResponse]{Subject: "roomserver.send"}
	// Redact appends an m.room.redaction and applies it.
	Redact = bus.Call[RedactRequest, SendResponse]{Subject: "roomserver.redact"}
	// Join makes a local user a member of a room.
	Join = bus.Call[JoinRequest, MembershipResponse]{Subject: "roomserver.join", Timeout: 5 * time.Minute}
	// Knock asks to be let into a room.
	Knock = bus.Call[JoinRequest, MembershipResponse]{Subject: "roomserver.knock", Timeout: 5 * time.Minute}
	// Leave ends a membership, rejects an invite or withdraws a knock.
	Leave = bus.Call[MembershipRequest, MembershipResponse]{Subject: "roomserver.leave", Timeout: 90 * time.Second}
	// Invite invites a user.
	Invite = bus.Call[MembershipRequest, MembershipResponse]{Subject: "roomserver.invite", Timeout: 90 * time.Second}
	// Kick removes a member, an invitee or a knocking user.
	Kick = bus.Call[MembershipRequest, MembershipResponse]{Subject: "roomserver.kick"}
	// Ban bans a user.
	Ban = bus.Call[MembershipRequest, MembershipResponse]{Subject: "roomserver.ban"}
	// Unban lifts a ban.
	Unban = bus.Call[MembershipRequest, MembershipResponse]{Subject: "roomserver.unban"}
	// Forget hides a room that the user has left from that user.
	Forget = bus.Call[ForgetRequest, Empty]{Subject: "roomserver.forget"}
	// UpdateProfile writes a user's new profile into the member events of some of the
	// rooms that the user has joined, and says where to go on. To repeat it does no harm.
	UpdateProfile = bus.Call[UpdateProfileRequest, UpdateProfileResponse]{Subject: "roomserver.update_profile"}
	// SetTyping starts or stops a user's typing notification in a room.
	SetTyping = bus.Call[TypingRequest, Empty]{Subject: "roomserver.typing.set"}
	// SetReceipt stores a read receipt.
	SetReceipt = bus.Call[ReceiptRequest, Empty]{Subject: "roomserver.receipt.set"}
	// SetAlias makes an alias of this server point to a room.
	SetAlias = bus.Call[AliasRequest, Empty]{Subject: "roomserver.alias.set"}
	// DeleteAlias removes an alias of this server.
	DeleteAlias = bus.Call[AliasRequest, Empty]{Subject: "roomserver.alias.delete"}
)

// Queries.
var (
	// ResolveAlias finds the room of an alias of this server.
	ResolveAlias = bus.Call[AliasRequest, AliasResponse]{Subject: "roomserver.alias.resolve"}
	// Aliases lists the local aliases of a room, to a member or if it is world readable.
	Aliases = bus.Call[RoomRequest, AliasesResponse]{Subject: "roomserver.alias.list"}
	// LocalAliases is Aliases for the server itself: nobody's rights are asked.
	LocalAliases = bus.Call[RoomRequest, AliasesResponse]{Subject: "roomserver.alias.of_room"}
	// GetEvent returns one event that the user may see.
	GetEvent = bus.Call[EventRequest, Event]{Subject: "roomserver.event"}
	// GetStateEvent returns one event of the state that the user may see: the
	// current state for a member, the state at departure for a former member.
	GetStateEvent = bus.Call[StateEventRequest, Event]{Subject: "roomserver.state_event"}
	// Messages pages through the timeline.
	Messages = bus.Call[MessagesRequest, MessagesResponse]{Subject: "roomserver.messages"}
	// Context returns an event with what stands around it.
	Context = bus.Call[ContextRequest, ContextResponse]{Subject: "roomserver.context"}
	// Relations pages through the children of an event; only Events and End are set.
	Relations = bus.Call[RelationsRequest, MessagesResponse]{Subject: "roomserver.relations"}
	// Threads pages through the thread roots of a room; only Events and End are set.
	Threads = bus.Call[ThreadsRequest, MessagesResponse]{Subject: "roomserver.threads"}
	// Memberships lists the rooms that a user has to do with, a page at a time.
	Memberships = bus.Call[MembershipsRequest, MembershipsResponse]{Subject: "roomserver.memberships"}
	// InviteState returns the stripped state that an invited or knocking user sees.
	InviteState = bus.Call[InviteStateRequest, InviteStateResponse]{Subject: "roomserver.invite_state"}
	// Receipts lists the receipts of a room that were set after a position.
	Receipts = bus.Call[ReceiptsRequest, ReceiptsResponse]{Subject: "roomserver.receipts"}

	// StateStream streams the state of a room as events; read it with ReadEvents.
	StateStream = bus.Stream[StateRequest]{Subject: "roomserver.state"}
	// WindowStream streams what /sync shows of one room; read it with ReadWindow.
	WindowStream = bus.Stream[WindowRequest]{Subject: "roomserver.window"}
)

// Log is the room log. Each position is one Entry.
var Log = bus.Log[Entry]{Name: "roomserver"}

// TypingTopic carries who is typing; never stored, may be lost.
var TypingTopic = bus.Topic[Typing]{Subject: "roomserver.typing"}

// Everything, as the UserID of a query, is the server itself: it sees all that is not hidden from
// everybody. For administrators and policies; no client can have this name.
const Everything = "*"

// Empty is an answer without content.
type Empty struct{}

// Profile is what a member event says of a user. Empty strings are left out.
type Profile struct {
	DisplayName string `json:"displayname,omitempty"`
	AvatarURL   string `json:"avatar_url,omitempty"`
}

// Invitee is a user to invite at creation.
type Invitee struct {
	UserID  string
	Profile Profile
}

// StateEvent is a state event that a client asks for.
type StateEvent struct {
	Type     string          `json:"type"`
	StateKey string          `json:"state_key"`
	Content  json.RawMessage `json:"content"`
}

// CreateRequest is the body of POST /createRoom with the creator; the fields are
// those of the spec ("Creation" in the client-server API). It is not idempotent.
type CreateRequest struct {
	Creator            string
	Profile            Profile
	RoomVersion        string // empty: the server's default
	Preset             string // empty: chosen by Public
	Public             bool   // visibility: public
	Name               string
	Topic              string
	AliasLocalpart     string
	Invite             []Invitee
	InitialState       []StateEvent
	CreationContent    json.RawMessage `json:",omitempty"`
	PowerLevelOverride json.RawMessage `json:",omitempty"`
	IsDirect           bool
}

// CreateResponse names the new room.
type CreateResponse struct{ RoomID string }

// SendRequest asks for an event. With StateKey it is a state event; setting state
// to the content that it already has returns the event that is there.
type SendRequest struct {
	RoomID   string
	Sender   string
	DeviceID string // scope of TxnID
	TxnID    string // empty for state events
	Type     string
	StateKey *string
	Content  json.RawMessage `json:",omitempty"`
	// Timestamp in milliseconds replaces origin_server_ts (application services); 0: now.
	Timestamp int64
}

// SendResponse names the event.
type SendResponse struct{ EventID string }

// RedactRequest asks for the redaction of an event.
type RedactRequest struct {
	RoomID, Sender, DeviceID, TxnID string
	EventID                         string // the event to redact
	Reason                          string
}

// JoinRequest asks to join or knock on a room.
type JoinRequest struct {
	RoomIDOrAlias string
	UserID        string
	Via           []string
	Profile       Profile
	Reason        string
	// IsGuest: the user may only join where m.room.guest_access allows it.
	IsGuest bool
}

// MembershipRequest is a change of Target's membership by Sender (the same user for Leave).
type MembershipRequest struct {
	RoomID, Sender, Target string
	Reason                 string
	Profile                Profile // of Target, for Invite
	IsDirect               bool    // for Invite
}

// MembershipResponse names the room and the member event.
type MembershipResponse struct{ RoomID, EventID string }

// ForgetRequest names the room that UserID forgets.
type ForgetRequest struct{ RoomID, UserID string }

// UpdateProfileRequest carries the whole new profile. After is where the answer to the
// call before ended, empty at first.
type UpdateProfileRequest struct {
	UserID  string
	Profile Profile
	After   string
}

// UpdateProfileResponse says whether there are more rooms, after which to go on.
type UpdateProfileResponse struct {
	After string
	More  bool
}

// TypingRequest sets or ends a typing notification. TimeoutMS is in milliseconds.
type TypingRequest struct {
	RoomID, UserID string
	Typing         bool
	TimeoutMS      int64
}

// Typing is the whole set of users that type in a room. Serial grows with each
// change in any room and across restarts.
type Typing struct {
	Serial  int64
	RoomID  string
	UserIDs []string
}

// ReceiptRequest sets the receipt of one kind, user and thread.
type ReceiptRequest struct {
	RoomID, UserID string
	Kind           string // m.read or m.read.private
	EventID        string
	ThreadID       string // empty: unthreaded
}

// Receipt is a stored receipt.
type Receipt struct {
	UserID   string `json:"user_id"`
	Kind     string `json:"kind"`
	EventID  string `json:"event_id"`
	ThreadID string `json:"thread_id,omitempty"`
	TS       int64  `json:"ts"`  // milliseconds
	Pos      int64  `json:"pos"` // log position
}

// ReceiptsRequest asks for receipts with After < Pos ≤ UpTo (0: head), oldest
// first, those of kind m.read.private only if they are UserID's.
type ReceiptsRequest struct {
	RoomID, UserID string
	After, UpTo    int64
	Limit          int
	Own            bool // only UserID's
}

// ReceiptsResponse is a page; More says that the limit cut it.
type ReceiptsResponse struct {
	Receipts []Receipt
	More     bool
}

// AliasRequest names an alias, the user who asks and, for SetAlias, the room.
type AliasRequest struct {
	Alias, RoomID, UserID string
	// Manages says that the user's application service rules the namespace of the
	// alias, so that DeleteAlias asks for no rights in the room.
	Manages bool
}

// AliasResponse names the room and servers that know it.
type AliasResponse struct {
	RoomID  string
	Servers []string
}

// RoomRequest names a room and the user who asks.
type RoomRequest struct{ RoomID, UserID string }

// AliasesResponse lists aliases in order of text.
type AliasesResponse struct{ Aliases []string }

// EventRequest names an event and the user who asks.
type EventRequest struct {
	RoomID, UserID, EventID string
	Ignored                 []string // as in MessagesRequest
}

// StateEventRequest names one event of the state.
type StateEventRequest struct{ RoomID, UserID, Type, StateKey string }

// MembershipsRequest asks for the rooms of a user after the room id After, in
// order of room id. Memberships lists the wanted ones; empty: all but forgotten ones.
type MembershipsRequest struct {
	UserID      string
	Memberships []string
	After       string
	Limit       int // 0: 1,000, which is also the most
}

// Membership is a user's relation to a room: the current member event.
type Membership struct {
	RoomID     string
	Membership string // join, invite, knock, leave, ban
	EventID    string
	Sender     string
	Pos        int64
	Forgotten  bool
	// LastEvent and LastReceipt are the positions of the room's last timeline event
	// and receipt, or somewhat later ones; 0 if there is none. Set for join only.
	LastEvent, LastReceipt int64
}

// MembershipsResponse is a page; Pos is the log position at which it is true.
type MembershipsResponse struct {
	Rooms []Membership
	Pos   int64
	More  bool
}

// InviteStateRequest names the room and the invited or knocking user.
type InviteStateRequest struct{ RoomID, UserID string }

// InviteStateResponse is an array of stripped state events, the member event of
// the user among them, as JSON.
type InviteStateResponse struct{ Events json.RawMessage }
