// Package pushrules holds push rules (client-server API, "Push Rules"): the set of
// rules of a user, how it is changed, and which rule an event matches.
//
// A [Ruleset] is what clients see and change. [Compile] makes of it a [Compiled],
// which answers for one event and one user in a few microseconds. Nothing here asks
// anybody: what rules need to know of a room comes through [Room].
package pushrules

import "encoding/json"

// Kinds of rules.
const (
	Override  = "override"
	Content   = "content"
	RoomKind  = "room"
	Sender    = "sender"
	Underride = "underride"
)

// AccountDataType is the type of the account data that holds the rules.
const AccountDataType = "m.push_rules"

// Bounds of a user's rules.
const (
	MaxRules      = 5000      // that the user made
	MaxBytes      = 384 << 10 // of the whole set as JSON
	MaxRuleID     = 255       // bytes
	MaxPattern    = 1024      // bytes of a pattern
	MaxConditions = 64        // of a rule
	MaxActions    = 32        // of a rule
	maxKeyParts   = 100       // of a property path
)

// Rule is one push rule. Conditions and actions are kept as the user gave them.
type Rule struct {
	RuleID     string            `json:"rule_id"`
	Default    bool              `json:"default"`
	Enabled    bool              `json:"enabled"`
	Conditions []json.RawMessage `json:"conditions,omitzero"`
	Pattern    *string           `json:"pattern,omitempty"`
	Actions    []json.RawMessage `json:"actions"`
}

// Ruleset has the kinds in order of priority; the lists are never nil.
type Ruleset struct {
	Override  []Rule `json:"override"`
	Content   []Rule `json:"content"`
	Room      []Rule `json:"room"`
	Sender    []Rule `json:"sender"`
	Underride []Rule `json:"underride"`
}

// global is the content of the account data.
type global struct {
	Global *Ruleset `json:"global"`
}

// Marshal returns the content of the account data.
func (rs *Ruleset) Marshal() json.RawMessage {
	body, err := json.Marshal(global{rs})
	if err != nil {
		panic("pushrules: " + err.Error()) // strings, bools and JSON that was read as JSON
	}
	return body
}

// kind returns the rules of a kind; nil if there is no such kind.
func (rs *Ruleset) kind(kind string) *[]Rule {
	switch kind {
	case Override:
		return &rs.Override
	case Content:
		return &rs.Content
	case RoomKind:
		return &rs.Room
	case Sender:
		return &rs.Sender
	case Underride:
		return &rs.Underride
	}
	return nil
}

func (rs *Ruleset) each(f func(list *[]Rule)) {
	for _, list := range []*[]Rule{&rs.Override, &rs.Content, &rs.Room, &rs.Sender, &rs.Underride} {
		f(list)
	}
}
