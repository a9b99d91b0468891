package userapi

import (
	"encoding/json"

	"hearth/internal/bus"
)

// Push rules. They are the global account data m.push_rules, so readers of the log
// and of account data see each change; a user who has changed nothing has no such
// data. SetAccountData for that type would go round the checks: nobody may use it.
var (
	// PushRules returns the rules of a user.
	PushRules = bus.Call[UserRequest, PushRulesResponse]{Subject: "userstore.push_rules"}
	// ChangePushRules changes the rules of a user. Errors: those of package
	// pushrules, 404 M_NOT_FOUND for a rule that is not there.
	ChangePushRules = bus.Call[PushRulesRequest, Empty]{Subject: "userstore.push_rules.change"}
)

// PushRulesResponse holds rules.
type PushRulesResponse struct {
	Content json.RawMessage // of m.push_rules
	Pos     int64           // log position of the last change, 0: there was none
}

// PushRulesOp says what a PushRulesRequest does.
type PushRulesOp string

// Ops.
const (
	// PutPushRule adds or replaces Rule, by Before and After.
	PutPushRule PushRulesOp = "put"
	// DeletePushRule removes a rule of the user.
	DeletePushRule PushRulesOp = "delete"
	// EnablePushRule sets Enabled.
	EnablePushRule PushRulesOp = "enable"
	// SetPushActions sets Actions.
	SetPushActions PushRulesOp = "actions"
	// CopyRoomRules gives the room RoomID the rules that the room From has.
	CopyRoomRules PushRulesOp = "copy"
)

// PushRulesRequest is a change of a user's rules.
type PushRulesRequest struct {
	UserID        string
	Op            PushRulesOp
	Kind, RuleID  string
	Rule          *PushRule `json:",omitempty"`
	Before, After string
	Enabled       bool
	Actions       []json.RawMessage
	From, RoomID  string
}

// PushRule is what a client says of a rule.
type PushRule struct {
	Actions    []json.RawMessage `json:"actions"`
	Conditions []json.RawMessage `json:"conditions"`
	Pattern    *string           `json:"pattern"`
}
