package userapi

import (
	"encoding/json"

	"hearth/internal/bus"
)

// Policy: what users, servers, rooms, files and newcomers may do here.
var (
	// ListRules lists rules in order of id, a page at a time.
	ListRules = bus.Call[ListRulesRequest, ListRulesResponse]{Subject: "moderation.rules"}
	// SetRule adds or replaces a rule. It is recorded. 400 M_INVALID_PARAM for one that cannot match.
	SetRule = bus.Call[SetRuleRequest, Rule]{Subject: "moderation.rule.set"}
	// DeleteRule removes a rule, 404 M_NOT_FOUND if there is none. It is recorded.
	DeleteRule = bus.Call[DeleteRuleRequest, Empty]{Subject: "moderation.rule.delete"}

	// PolicyLists lists the rooms whose rules the server enforces.
	PolicyLists = bus.Call[Empty, PolicyListsResponse]{Subject: "moderation.lists"}
	// SetPolicyList subscribes to a room, or changes what it may do. It is recorded.
	SetPolicyList = bus.Call[SetPolicyListRequest, PolicyList]{Subject: "moderation.list.set"}
	// DeletePolicyList ends a subscription, and with it its rules; 404 M_NOT_FOUND. It is recorded.
	DeletePolicyList = bus.Call[DeletePolicyListRequest, Empty]{Subject: "moderation.list.delete"}

	// CheckPolicy says what the rules say of something, and why. It changes nothing.
	CheckPolicy = bus.Call[PolicyQuery, PolicyVerdict]{Subject: "policy.check"}
	// MayInvite judges an invite to a room: by the rules, the webhooks, and what the invitee
	// wants if local. 403 M_INVITE_BLOCKED or M_FORBIDDEN, or what a webhook says.
	MayInvite = bus.Call[MayInviteRequest, MayInviteResponse]{Subject: "policy.may_invite"}
	// MayJoin judges a join: 403 M_FORBIDDEN, or what a webhook says.
	MayJoin = bus.Call[MayJoinRequest, Empty]{Subject: "policy.may_join"}
)

// PolicyTopic tells that the rules are others now. It may be lost: whoever holds rules asks again
// within a minute.
var PolicyTopic = bus.Topic[PolicyChange]{Subject: "moderation.rules.changed"}

// PolicyChange carries the revision of the rules after a change.
type PolicyChange struct {
	Revision int64
	Lists    bool // the subscriptions have changed too
}

// Scopes of rules: what Entity names.
const (
	ScopeUser    = "user"    // a user id
	ScopeServer  = "server"  // a server name, with or without its port
	ScopeRoom    = "room"    // a room id
	ScopeMedia   = "media"   // the SHA-256 of a file, in hexadecimal
	ScopeName    = "name"    // the localpart of a new user
	ScopeEmail   = "email"   // an e-mail address, or a domain of some
	ScopeNetwork = "network" // an address, or a network such as 192.0.2.0/24
)

// Things that are judged.
const (
	OpRegister = "register" // to make an account: name, email, network
	OpLogin    = "login"    // to log in: user, network
	OpInvite   = "invite"   // to invite a user of this server, or to be invited by one: user, server, room
	OpJoin     = "join"     // to join a room: user, server, room
	OpCreate   = "create"   // to make a room: user
	OpAlias    = "alias"    // to name a room: user, room
	OpPublish  = "publish"  // to show a room in the directory: user, room
	OpMedia    = "media"    // to upload or fetch a file: user, server, media
	OpFederate = "federate" // to talk with a server: server
	OpSend     = "send"     // to send events: user, room
	OpHide     = "hide"     // to be shown in directories: user, server, room
)

// Actions of rules. Whatever a rule of an administrator allows no other rule denies.
const (
	ActionDeny  = "deny"
	ActionAllow = "allow"
)

// Limits of rules.
const (
	MaxRules       = 200_000 // together
	MaxRulesPage   = 1000
	MaxEntity      = 1024 // bytes
	MaxPolicyLists = 100
)

// Rule says what somebody may not do.
type Rule struct {
	// ID names the rule; for rules of lists it is made of the list and the state key.
	ID    string `json:"id"`
	Scope string `json:"scope"`
	// Entity is exact or a glob, or if Hashed the SHA-256 of an entity in standard base64.
	Entity string `json:"entity"`
	Hashed bool   `json:"hashed,omitempty"`
	Action string `json:"action"`
	// Ops are what it is about; none: all that the scope can decide.
	Ops    []string `json:"ops,omitempty"`
	Reason string   `json:"reason,omitempty"`
	// Takedown says that the list asks for more than a ban: that what is there be removed.
	Takedown bool `json:"takedown,omitempty"`
	// Until is when it ends, in milliseconds; 0: never.
	Until int64 `json:"until,omitempty"`
	// Source is "admin", or the id of the room whose list has it.
	Source string `json:"source"`
	// DryRun rules are only counted and explained.
	DryRun    bool   `json:"dry_run,omitempty"`
	Author    string `json:"author,omitempty"`
	CreatedTS int64  `json:"created_ts"` // milliseconds
}

// SourceAdmin is the source of rules that administrators make.
const SourceAdmin = "admin"

// ListRulesRequest filters rules; empty fields take all.
type ListRulesRequest struct {
	After         string // the last id of the page before
	Scope, Source string
	Entity        string
	Limit         int // 0: 100, at most MaxRulesPage
}

// ListRulesResponse is a page.
type ListRulesResponse struct {
	Rules []Rule `json:"rules"`
	More  bool   `json:"more"`
	// Revision counts the changes of all rules.
	Revision int64 `json:"revision"`
	Total    int64 `json:"total"`
}

// SetRuleRequest sets a rule of an administrator. An empty ID makes one.
type SetRuleRequest struct {
	Rule  Rule
	Actor string
}

// DeleteRuleRequest names a rule and who removes it.
type DeleteRuleRequest struct{ ID, Actor, Reason string }

// PolicyList is a subscription to a room with m.policy.rule.* state.
type PolicyList struct {
	RoomID string `json:"room_id"`
	// Reader is the local user who is in the room.
	Reader string `json:"reader"`
	Name   string `json:"name,omitempty"`
	// Ops are what its rules may refuse: invite, join, federate, media, hide and so on. None: nothing.
	Ops []string `json:"ops"`
	// DryRun lists are only counted and explained.
	DryRun    bool   `json:"dry_run"`
	Author    string `json:"author,omitempty"`
	CreatedTS int64  `json:"created_ts"` // milliseconds
}

// PolicyListsResponse lists subscriptions.
type PolicyListsResponse struct {
	Lists []PolicyList `json:"lists"`
}

// SetPolicyListRequest subscribes.
type SetPolicyListRequest struct {
	List  PolicyList
	Actor string
}

// DeletePolicyListRequest ends a subscription.
type DeletePolicyListRequest struct{ RoomID, Actor string }

// PolicyQuery is something that may be denied; empty fields are not known or do not matter.
type PolicyQuery struct {
	Op string `json:"op"`
	// User acts; Target is another user whom it concerns.
	User   string `json:"user,omitempty"`
	Target string `json:"target,omitempty"`
	// Servers are judged besides those of the users.
	Server  string `json:"server,omitempty"`
	Room    string `json:"room,omitempty"`
	Media   string `json:"media,omitempty"` // SHA-256 in hexadecimal
	Name    string `json:"name,omitempty"`
	Email   string `json:"email,omitempty"`
	Address string `json:"address,omitempty"`
}

// PolicyVerdict is what the rules say. Rule decided, if any did; DryRun are rules that would have
// denied it.
type PolicyVerdict struct {
	Denied      bool   `json:"denied"`
	Rule        *Rule  `json:"rule,omitempty"`
	DryRun      []Rule `json:"dry_run,omitempty"`
	Explanation string `json:"explanation"`
}

// MayInviteRequest is an invite. Event is the event of another server; nil: the inviter is local.
type MayInviteRequest struct {
	Inviter, Invitee, RoomID string
	Event                    json.RawMessage `json:",omitempty"`
}

// MayInviteResponse says of an invite that is not refused whether the invitee is to see it.
type MayInviteResponse struct{ Hidden bool }

// MayJoinRequest is a join.
type MayJoinRequest struct {
	UserID, RoomID string
	Invited        bool
	// Asked says that another server asks to make the join event of its user.
	Asked bool
}
