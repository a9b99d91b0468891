package pushrules

import (
	"encoding/json"
	"slices"

	"hearth/internal/pdu"
)

// Master is the rule that turns all notifications off; it comes before all others.
const Master = ".m.rule.master"

// Default returns the rules of a user who has changed nothing ("Predefined Rules").
func Default(userID string) *Ruleset {
	rs := &Ruleset{Content: []Rule{}, Room: []Rule{}, Sender: []Rule{}}
	user := string(pdu.AppendString(nil, userID))
	off := predefined(Master, nil)
	off.Enabled = false
	rs.Override = []Rule{
		off,
		predefined(".m.rule.suppress_notices", nil, match("content.msgtype", "m.notice")),
		predefined(".m.rule.invite_for_me", list(notify, sound("default")), match("type", "m.room.member"),
			match("content.membership", "invite"), `{"kind":"event_match","key":"state_key","pattern":`+user+`}`),
		predefined(".m.rule.member_event", nil, match("type", "m.room.member")),
		predefined(".m.rule.is_user_mention", list(notify, sound("default"), highlight),
			`{"kind":"event_property_contains","key":"content.m\\.mentions.user_ids","value":`+user+`}`),
		predefined(".m.rule.is_room_mention", list(notify, highlight),
			`{"kind":"event_property_is","key":"content.m\\.mentions.room","value":true}`,
			`{"kind":"sender_notification_permission","key":"room"}`),
		predefined(".m.rule.tombstone", list(notify, highlight), match("type", "m.room.tombstone"), match("state_key", "")),
		predefined(".m.rule.reaction", nil, match("type", "m.reaction")),
		predefined(".m.rule.room.server_acl", nil, match("type", "m.room.server_acl"), match("state_key", "")),
		predefined(".m.rule.suppress_edits", nil,
			`{"kind":"event_property_is","key":"content.m\\.relates_to.rel_type","value":"m.replace"}`),
	}
	pair := `{"kind":"room_member_count","is":"2"}`
	rs.Underride = []Rule{
		predefined(".m.rule.call", list(notify, sound("ring")), match("type", "m.call.invite")),
		predefined(".m.rule.encrypted_room_one_to_one", list(notify, sound("default")), pair, match("type", "m.room.encrypted")),
		predefined(".m.rule.room_one_to_one", list(notify, sound("default")), pair, match("type", "m.room.message")),
		predefined(".m.rule.message", list(notify), match("type", "m.room.message")),
		predefined(".m.rule.encrypted", list(notify), match("type", "m.room.encrypted")),
	}
	return rs
}

const (
	notify    = `"notify"`
	highlight = `{"set_tweak":"highlight"}`
)

func sound(name string) string { return `{"set_tweak":"sound","value":"` + name + `"}` }

func match(key, pattern string) string {
	return `{"kind":"event_match","key":"` + key + `","pattern":"` + pattern + `"}`
}

func list(parts ...string) []string { return parts }

func predefined(id string, actions []string, conditions ...string) Rule {
	return Rule{RuleID: id, Default: true, Enabled: true, Conditions: raw(conditions), Actions: raw(actions)}
}

func raw(parts []string) []json.RawMessage {
	out := make([]json.RawMessage, 0, len(parts))
	for _, p := range parts {
		out = append(out, json.RawMessage(p))
	}
	return out
}

// Load returns the rules that stored, the content of the account data, describes
// for a user. Default rules are those of today's spec, with the stored choice of
// actions and of enabled; nil or broken content counts as no change.
func Load(userID string, stored json.RawMessage) *Ruleset {
	rs := Default(userID)
	var was global
	if len(stored) == 0 || json.Unmarshal(stored, &was) != nil || was.Global == nil {
		return rs
	}
	for _, kind := range []string{Override, Content, RoomKind, Sender, Underride} {
		merge(rs.kind(kind), *was.Global.kind(kind))
	}
	return rs
}

// merge puts the stored rules of one kind into the default ones.
func merge(into *[]Rule, stored []Rule) {
	var own []Rule
	for _, r := range stored {
		if r.Actions == nil {
			r.Actions = []json.RawMessage{}
		}
		if !isDefault(r.RuleID) {
			r.Default = false
			own = append(own, r)
			continue
		}
		if i := index(*into, r.RuleID); i >= 0 {
			(*into)[i].Enabled, (*into)[i].Actions = r.Enabled, r.Actions
		}
	}
	*into = slices.Insert(*into, firstOwn(*into), own...)
}

// firstOwn is the place of the most important rule of the user.
func firstOwn(rules []Rule) int {
	if len(rules) > 0 && rules[0].RuleID == Master {
		return 1
	}
	return 0
}

func index(rules []Rule, id string) int {
	return slices.IndexFunc(rules, func(r Rule) bool { return r.RuleID == id })
}

func isDefault(id string) bool { return len(id) > 0 && id[0] == '.' }
