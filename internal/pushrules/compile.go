package pushrules

import (
	"encoding/json"
	"slices"
)

// Compiled is a ruleset ready for use. It is immutable.
type Compiled struct {
	userID    string
	override  []compiled
	content   []compiled
	room      map[string]*Outcome
	sender    map[string]*Outcome
	underride []compiled
}

type compiled struct {
	conditions []condition
	outcome    *Outcome
}

// Outcome is what a rule does. It is immutable.
type Outcome struct {
	Kind, RuleID string
	// Notify says that the event is a notification, Highlight that it is one that
	// stands out.
	Notify, Highlight bool
	// Actions are those of the rule.
	Actions []json.RawMessage
	// Tweaks is the JSON object of what set_tweak actions set.
	Tweaks json.RawMessage
	// Sound says that there is a sound.
	Sound bool
}

// Compile prepares the rules of a user.
func Compile(userID string, rs *Ruleset) *Compiled {
	c := &Compiled{userID: userID, room: map[string]*Outcome{}, sender: map[string]*Outcome{}}
	c.override = compileList(Override, rs.Override)
	c.underride = compileList(Underride, rs.Underride)
	for i := range rs.Content {
		if r := &rs.Content[i]; r.Enabled && r.Pattern != nil {
			m := &eventMatch{path: bodyPath(), glob: newGlob(*r.Pattern), body: true}
			c.content = append(c.content, compiled{[]condition{m}, outcome(Content, r)})
		}
	}
	compileIDs(c.room, RoomKind, rs.Room)
	compileIDs(c.sender, Sender, rs.Sender)
	return c
}

func compileIDs(into map[string]*Outcome, kind string, rules []Rule) {
	for i := range rules {
		if r := &rules[i]; r.Enabled && into[r.RuleID] == nil {
			into[r.RuleID] = outcome(kind, r)
		}
	}
}

func compileList(kind string, rules []Rule) []compiled {
	var out []compiled
	for i := range rules {
		r := &rules[i]
		if !r.Enabled {
			continue
		}
		c := compiled{outcome: outcome(kind, r)}
		for _, raw := range r.Conditions {
			cond := compileCondition(raw)
			if cond == nil {
				c.outcome = nil // never matches
				break
			}
			c.conditions = append(c.conditions, cond)
		}
		if c.outcome == nil {
			continue
		}
		slices.SortStableFunc(c.conditions, func(a, b condition) int { return a.cost() - b.cost() })
		out = append(out, c)
	}
	return out
}

func outcome(kind string, r *Rule) *Outcome {
	o := &Outcome{Kind: kind, RuleID: r.RuleID, Actions: r.Actions, Tweaks: json.RawMessage("{}")}
	tweaks := map[string]json.RawMessage{}
	for _, raw := range r.Actions {
		var name string
		if json.Unmarshal(raw, &name) == nil {
			o.Notify = o.Notify || name == "notify"
			continue
		}
		var a struct {
			SetTweak string          `json:"set_tweak"`
			Value    json.RawMessage `json:"value"`
		}
		if json.Unmarshal(raw, &a) != nil || a.SetTweak == "" {
			continue
		}
		if a.SetTweak == "highlight" && len(a.Value) == 0 {
			a.Value = json.RawMessage("true")
		}
		if len(a.Value) == 0 {
			a.Value = json.RawMessage("null")
		}
		tweaks[a.SetTweak] = a.Value
	}
	o.Highlight = o.Notify && string(tweaks["highlight"]) == "true"
	o.Sound = o.Notify && len(tweaks["sound"]) > 0
	if body, err := json.Marshal(tweaks); err == nil {
		o.Tweaks = body
	}
	return o
}

// Evaluate returns what the first rule that an event matches does; nil if no rule
// matches or the owner of the rules has sent the event.
func (c *Compiled) Evaluate(e *Event, r Room) *Outcome {
	if e.Sender == c.userID {
		return nil
	}
	if o := first(c.override, e, r); o != nil {
		return o
	}
	if o := first(c.content, e, r); o != nil {
		return o
	}
	if o := c.room[e.RoomID]; o != nil {
		return o
	}
	if o := c.sender[e.Sender]; o != nil {
		return o
	}
	return first(c.underride, e, r)
}

func first(rules []compiled, e *Event, r Room) *Outcome {
next:
	for i := range rules {
		for _, c := range rules[i].conditions {
			if !c.holds(e, r) {
				continue next
			}
		}
		return rules[i].outcome
	}
	return nil
}
