package sliding

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"hearth/internal/merr"
)

const memberType = "m.room.member"

// stateRule is a required_state.
type stateRule struct {
	text             string
	include, exclude []pattern
	lazy             bool
}

// pattern selects state events; nil selects all.
type pattern struct {
	Type *string `json:"type"`
	Key  *string `json:"state_key"`
	me   bool    // the key is the reader's id
}

// parseState reads a required_state in the accepted form, an object, or in the
// unstable one, a list of pairs with * for all, $ME and $LAZY.
func parseState(raw json.RawMessage, stable bool) (*stateRule, error) {
	r := &stateRule{text: string(raw)}
	if raw = bytes.TrimSpace(raw); len(raw) == 0 || string(raw) == "null" {
		if stable {
			return nil, merr.MissingParam("required_state")
		}
		return r, nil
	}
	var err error
	if stable {
		var b struct {
			Include []pattern `json:"include"`
			Exclude []pattern `json:"exclude"`
			Lazy    bool      `json:"lazy_members"`
		}
		err = json.Unmarshal(raw, &b)
		r.include, r.exclude, r.lazy = b.Include, b.Exclude, b.Lazy
	} else {
		var pairs [][2]string
		err = json.Unmarshal(raw, &pairs)
		r.addPairs(pairs)
	}
	if err != nil {
		return nil, merr.BadJSON("required_state is not valid").WithCause(err)
	}
	if len(r.include)+len(r.exclude) > maxPatterns {
		return nil, merr.InvalidParam("required_state is too long")
	}
	return r, nil
}

func (r *stateRule) addPairs(pairs [][2]string) {
	all := false // members are asked for without $LAZY
	for _, pair := range pairs {
		typ, key := pair[0], pair[1]
		if typ == memberType && key == "$LAZY" {
			r.lazy = true
			continue
		}
		all = all || typ == memberType && key == "*"
		p := pattern{me: key == "$ME"}
		if typ != "*" {
			p.Type = &typ
		}
		if key != "*" && !p.me {
			p.Key = &key
		}
		r.include = append(r.include, p)
	}
	r.lazy = r.lazy && !all
}

func (p *pattern) matches(typ, key, me string) bool {
	switch {
	case p.Type != nil && *p.Type != typ:
		return false
	case p.me:
		return key == me
	}
	return p.Key == nil || *p.Key == key
}

// wants reports whether a state event is selected, apart from members who are loaded
// lazily.
func (r *stateRule) wants(typ, key, me string) bool {
	for i := range r.include {
		p := &r.include[i]
		if !p.matches(typ, key, me) {
			continue
		}
		if r.lazy && typ == memberType && p.Key == nil && !p.me {
			continue
		}
		return !slices.ContainsFunc(r.exclude, func(p pattern) bool { return p.matches(typ, key, me) })
	}
	return false
}

// allMembers reports whether the rule may select the members of a whole room.
func (r *stateRule) allMembers() bool {
	return !r.lazy && slices.ContainsFunc(r.include, func(p pattern) bool {
		return (p.Type == nil || *p.Type == memberType) && p.Key == nil && !p.me
	})
}

// stateSet is what several rules select together.
type stateSet struct {
	rules []*stateRule
	me    string
	// lazy: members are told as they are needed. members: all of them are wanted.
	lazy, members bool
	none          bool     // nothing is selected
	users         []string // whose member events may be selected one by one
	types         []string // all types that may be selected; nil: any
}

func newStateSet(rules []*stateRule, me string) *stateSet {
	s := &stateSet{rules: rules, me: me, none: true}
	types := map[string]bool{}
	anyType := false
	for _, r := range rules {
		s.lazy = s.lazy || r.lazy
		s.members = s.members || r.allMembers()
		s.none = s.none && len(r.include) == 0 && !r.lazy
		for _, p := range r.include {
			if p.Key != nil && (p.Type == nil || *p.Type == memberType) && strings.HasPrefix(*p.Key, "@") {
				s.users = append(s.users, *p.Key)
			}
			if p.Type == nil {
				anyType = true
			} else {
				types[*p.Type] = true
			}
		}
	}
	s.lazy = s.lazy && !s.members
	for t := range types {
		if !anyType {
			s.types = append(s.types, t)
		}
	}
	return s
}

func (s *stateSet) wants(typ, key string) bool {
	return slices.ContainsFunc(s.rules, func(r *stateRule) bool { return r.wants(typ, key, s.me) })
}

// setKey names a set of rules, whatever their order.
func setKey(rules []*stateRule) string {
	texts := make([]string, len(rules))
	for i, r := range rules {
		texts[i] = r.text
	}
	slices.Sort(texts)
	return strings.Join(slices.Compact(texts), "\x00")
}
