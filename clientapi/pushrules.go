package clientapi

import (
	"slices"

	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

// pushRule is a push rule as clients see it (client-server API, "Push Rules").
type pushRule struct {
	RuleID     string           `json:"rule_id"`
	Default    bool             `json:"default"`
	Enabled    bool             `json:"enabled"`
	Conditions *[]pushCondition `json:"conditions,omitempty"`
	Actions    []any            `json:"actions"`
}

type pushCondition struct {
	Kind    string  `json:"kind"`
	Key     string  `json:"key,omitempty"`
	Pattern *string `json:"pattern,omitempty"`
	Value   any     `json:"value,omitempty"`
	Is      string  `json:"is,omitempty"`
}

// ruleset has the kinds in order of priority.
type ruleset struct {
	Override  []pushRule `json:"override"`
	Content   []pushRule `json:"content"`
	Room      []pushRule `json:"room"`
	Sender    []pushRule `json:"sender"`
	Underride []pushRule `json:"underride"`
}

type tweak struct {
	SetTweak string `json:"set_tweak"`
	Value    string `json:"value,omitempty"`
}

func matches(key, pattern string) pushCondition {
	return pushCondition{Kind: "event_match", Key: key, Pattern: &pattern}
}

func is(key string, value any) pushCondition {
	return pushCondition{Kind: "event_property_is", Key: key, Value: value}
}

func rule(id string, actions []any, conditions ...pushCondition) pushRule {
	if conditions == nil {
		conditions = []pushCondition{}
	}
	return pushRule{RuleID: id, Default: true, Enabled: true, Conditions: &conditions, Actions: actions}
}

// defaultRules are the server-default rules ("Predefined Rules").
func defaultRules(userID string) ruleset {
	silent := []any{}
	quiet := []any{"notify"}
	sound := []any{"notify", tweak{"sound", "default"}}
	ring := []any{"notify", tweak{"sound", "ring"}}
	highlight := []any{"notify", tweak{SetTweak: "highlight"}}
	loud := []any{"notify", tweak{"sound", "default"}, tweak{SetTweak: "highlight"}}
	pair := pushCondition{Kind: "room_member_count", Is: "2"}

	master := rule(".m.rule.master", silent)
	master.Enabled = false
	return ruleset{
		Override: []pushRule{
			master,
			rule(".m.rule.suppress_notices", silent, matches("content.msgtype", "m.notice")),
			rule(".m.rule.invite_for_me", sound, matches("type", "m.room.member"),
				matches("content.membership", "invite"), matches("state_key", userID)),
			rule(".m.rule.member_event", silent, matches("type", "m.room.member")),
			rule(".m.rule.is_user_mention", loud,
				pushCondition{Kind: "event_property_contains", Key: `content.m\.mentions.user_ids`, Value: userID}),
			rule(".m.rule.is_room_mention", highlight, is(`content.m\.mentions.room`, true),
				pushCondition{Kind: "sender_notification_permission", Key: "room"}),
			rule(".m.rule.tombstone", highlight, matches("type", "m.room.tombstone"), matches("state_key", "")),
			rule(".m.rule.reaction", silent, matches("type", "m.reaction")),
			rule(".m.rule.room.server_acl", silent, matches("type", "m.room.server_acl"), matches("state_key", "")),
			rule(".m.rule.suppress_edits", silent, is(`content.m\.relates_to.rel_type`, "m.replace")),
		},
		Content: []pushRule{}, Room: []pushRule{}, Sender: []pushRule{},
		Underride: []pushRule{
			rule(".m.rule.call", ring, matches("type", "m.call.invite")),
			rule(".m.rule.encrypted_room_one_to_one", sound, pair, matches("type", "m.room.encrypted")),
			rule(".m.rule.room_one_to_one", sound, pair, matches("type", "m.room.message")),
			rule(".m.rule.message", quiet, matches("type", "m.room.message")),
			rule(".m.rule.encrypted", quiet, matches("type", "m.room.encrypted")),
		},
	}
}

// pushRules is GET /pushrules/.
func (s *Server) pushRules(r *matrixhttp.Request) (any, error) {
	return map[string]any{"global": defaultRules(r.Identity.UserID)}, nil
}

// pushRulesGlobal is GET /pushrules/global/.
func (s *Server) pushRulesGlobal(r *matrixhttp.Request) (any, error) {
	return defaultRules(r.Identity.UserID), nil
}

func findRule(r *matrixhttp.Request) (pushRule, error) {
	rules := defaultRules(r.Identity.UserID)
	list, ok := map[string][]pushRule{
		"override": rules.Override, "content": rules.Content, "room": rules.Room, "sender": rules.Sender, "underride": rules.Underride,
	}[r.Param("kind")]
	if !ok {
		return pushRule{}, merr.InvalidParam("Unknown kind of push rule")
	}
	i := slices.IndexFunc(list, func(rule pushRule) bool { return rule.RuleID == r.Param("ruleId") })
	if i < 0 {
		return pushRule{}, merr.NotFound("Push rule not found")
	}
	return list[i], nil
}

// pushRule is GET /pushrules/global/{kind}/{ruleId}.
func (s *Server) pushRule(r *matrixhttp.Request) (any, error) { return findRule(r) }

// pushRuleEnabled is GET /pushrules/global/{kind}/{ruleId}/enabled.
func (s *Server) pushRuleEnabled(r *matrixhttp.Request) (any, error) {
	rule, err := findRule(r)
	return map[string]bool{"enabled": rule.Enabled}, err
}

// pushRuleActions is GET /pushrules/global/{kind}/{ruleId}/actions.
func (s *Server) pushRuleActions(r *matrixhttp.Request) (any, error) {
	rule, err := findRule(r)
	return map[string]any{"actions": rule.Actions}, err
}
