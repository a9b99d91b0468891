package pushrules

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"hearth/internal/merr"
)

// NewRule is the body of PUT /pushrules/global/{kind}/{ruleId}.
type NewRule struct {
	Actions    []json.RawMessage `json:"actions"`
	Conditions []json.RawMessage `json:"conditions,omitempty"`
	Pattern    *string           `json:"pattern,omitempty"`
}

// Get returns a rule: 400 M_INVALID_PARAM for an unknown kind, 404 M_NOT_FOUND if
// there is no such rule.
func (rs *Ruleset) Get(kind, id string) (*Rule, error) {
	rules := rs.kind(kind)
	if rules == nil {
		return nil, unknownKind()
	}
	i := index(*rules, id)
	if i < 0 {
		return nil, merr.NotFound("The push rule was not found")
	}
	return &(*rules)[i], nil
}

// Put adds or replaces a rule of the user. before and after are rule ids or empty; a
// new rule without them becomes the most important one, an old one keeps its place.
// Errors: 400 M_INVALID_PARAM and M_MISSING_PARAM for what is not a rule, 400
// M_UNKNOWN if before or after names no rule of the user, 413 M_TOO_LARGE.
func (rs *Ruleset) Put(kind, id string, n NewRule, before, after string) error {
	rules := rs.kind(kind)
	if rules == nil {
		return unknownKind()
	}
	r, err := newRule(kind, id, n)
	if err != nil {
		return err
	}
	old := index(*rules, id)
	if old >= 0 {
		r.Enabled = (*rules)[old].Enabled
	} else if rs.own() >= MaxRules {
		return merr.TooLarge("There are %d push rules, which is the most", MaxRules)
	}
	to, err := place(*rules, id, old, before, after)
	if err != nil {
		return err
	}
	if old >= 0 {
		*rules = slices.Delete(*rules, old, old+1)
		if old < to {
			to--
		}
	}
	*rules = slices.Insert(*rules, to, r)
	return rs.fits()
}

// place finds where a rule goes, as an index into rules as they are.
func place(rules []Rule, id string, old int, before, after string) (int, error) {
	ref := before
	if ref == "" {
		ref = after
	}
	if ref == "" {
		if old >= 0 {
			return old, nil
		}
		return firstOwn(rules), nil
	}
	if ref == id && old >= 0 {
		return old, nil
	}
	i := index(rules, ref)
	if i < 0 || rules[i].Default {
		return 0, merr.New(http.StatusBadRequest, "M_UNKNOWN", "before/after rule not found: %s", ref)
	}
	if before == "" {
		i++
	}
	return i, nil
}

// Delete removes a rule of the user: 404 M_NOT_FOUND if it is not there, 400 for a
// default rule.
func (rs *Ruleset) Delete(kind, id string) error {
	r, err := rs.Get(kind, id)
	if err != nil {
		return err
	}
	if r.Default {
		return merr.InvalidParam("A default push rule cannot be deleted, only disabled")
	}
	rules := rs.kind(kind)
	i := index(*rules, id)
	*rules = slices.Delete(*rules, i, i+1)
	return nil
}

// SetEnabled enables or disables a rule, 404 M_NOT_FOUND if it is not there.
func (rs *Ruleset) SetEnabled(kind, id string, enabled bool) error {
	r, err := rs.Get(kind, id)
	if err == nil {
		r.Enabled = enabled
	}
	return err
}

// SetActions replaces the actions of a rule, 404 M_NOT_FOUND if it is not there.
func (rs *Ruleset) SetActions(kind, id string, actions []json.RawMessage) error {
	r, err := rs.Get(kind, id)
	if err != nil {
		return err
	}
	if r.Actions, err = checkActions(actions); err != nil {
		return err
	}
	return rs.fits()
}

// CopyRoom gives a room the rules that another one has: its room rule, and override
// and underride rules with a condition for its id alone. It reports whether
// something changed. Rules that the new room has already stay as they are.
func (rs *Ruleset) CopyRoom(from, to string) bool {
	changed := false
	if i := index(rs.Room, from); i >= 0 && index(rs.Room, to) < 0 && rs.own() < MaxRules {
		r := rs.Room[i]
		r.RuleID = to
		rs.Room = slices.Insert(rs.Room, i, r)
		changed = true
	}
	for _, kind := range []string{Override, Underride} {
		rules := rs.kind(kind)
		// Clients name the rule of a muted room by the room.
		if i := index(*rules, from); i >= 0 && index(*rules, to) < 0 && rs.own() < MaxRules {
			if r, ok := forRoom((*rules)[i], from, to); ok {
				*rules = slices.Insert(*rules, i, r)
				changed = true
			}
		}
	}
	return changed && rs.fits() == nil
}

// forRoom rewrites a rule that is about one room.
func forRoom(r Rule, from, to string) (Rule, bool) {
	about := false
	conditions := slices.Clone(r.Conditions)
	for i, c := range conditions {
		var m struct{ Kind, Key, Pattern string }
		if json.Unmarshal(c, &m) == nil && m.Kind == "event_match" && m.Key == "room_id" && m.Pattern == from {
			m := map[string]string{"kind": "event_match", "key": "room_id", "pattern": to}
			conditions[i], _ = json.Marshal(m) // strings always marshal
			about = true
		}
	}
	r.RuleID, r.Conditions = to, conditions
	return r, about
}

// own counts the rules that the user made.
func (rs *Ruleset) own() (n int) {
	rs.each(func(list *[]Rule) {
		for i := range *list {
			if !(*list)[i].Default {
				n++
			}
		}
	})
	return n
}

func (rs *Ruleset) fits() error {
	if len(rs.Marshal()) > MaxBytes {
		return merr.TooLarge("The push rules would be larger than %d bytes", MaxBytes)
	}
	return nil
}

func unknownKind() error { return merr.InvalidParam("Unknown kind of push rule") }

func newRule(kind, id string, n NewRule) (Rule, error) {
	r := Rule{RuleID: id, Enabled: true}
	if id == "" || len(id) > MaxRuleID || isDefault(id) || strings.ContainsAny(id, "/\\\x00") || !utf8.ValidString(id) {
		return r, merr.InvalidParam("A rule_id has 1 to %d bytes, does not begin with a dot and has no slashes", MaxRuleID)
	}
	if n.Actions == nil {
		return r, merr.MissingParam("actions")
	}
	var err error
	if r.Actions, err = checkActions(n.Actions); err != nil {
		return r, err
	}
	switch kind {
	case Override, Underride:
		r.Conditions = []json.RawMessage{}
		if len(n.Conditions) > 0 {
			r.Conditions = n.Conditions
		}
		return r, checkConditions(r.Conditions)
	case Content:
		if n.Pattern == nil {
			return r, merr.MissingParam("pattern")
		}
		r.Pattern = n.Pattern
		return r, checkPattern(*n.Pattern)
	}
	return r, nil
}

// checkActions refuses what is no action and leaves out the historical ones.
func checkActions(actions []json.RawMessage) ([]json.RawMessage, error) {
	if len(actions) > MaxActions {
		return nil, merr.InvalidParam("A push rule has at most %d actions", MaxActions)
	}
	out := []json.RawMessage{}
	for _, a := range actions {
		var name string
		var tweak struct {
			SetTweak *string `json:"set_tweak"`
		}
		switch {
		case json.Unmarshal(a, &name) == nil:
			if name == "dont_notify" || name == "coalesce" {
				continue
			}
			if name != "notify" {
				return nil, merr.InvalidParam("Unknown action of a push rule")
			}
		case json.Unmarshal(a, &tweak) != nil || tweak.SetTweak == nil:
			return nil, merr.InvalidParam("An action is a string or has set_tweak")
		}
		out = append(out, a)
	}
	return out, nil
}

func checkConditions(conditions []json.RawMessage) error {
	if len(conditions) > MaxConditions {
		return merr.InvalidParam("A push rule has at most %d conditions", MaxConditions)
	}
	for _, raw := range conditions {
		var c struct {
			Kind    *string `json:"kind"`
			Pattern any     `json:"pattern"`
		}
		if json.Unmarshal(raw, &c) != nil || c.Kind == nil {
			return merr.InvalidParam("A condition is an object with a kind")
		}
		if p, ok := c.Pattern.(string); ok {
			if err := checkPattern(p); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkPattern(p string) error {
	if len(p) > MaxPattern {
		return merr.InvalidParam("A pattern has at most %d bytes", MaxPattern)
	}
	return nil
}
