// Package invitefilter reads the account data with which a user says who may invite them
// (client-server API, "Invite permission" and "Ignoring Users"; MSC4155).
package invitefilter

import (
	"encoding/json"
	"net"
	"strings"

	"hearth/internal/glob"
)

// Types of account data.
const (
	Permission = "m.invite_permission_config"
	// Filter is the unstable name of MSC4155's rules, which the stable type may hold as well.
	Filter  = "org.matrix.msc4155.invite_permission_config"
	Ignored = "m.ignored_user_list"
)

// Verdict is what becomes of an invite.
type Verdict int

// Verdicts. An ignored invite seems to work for the inviter and is not shown to the invitee; a
// blocked one is refused with 403 M_INVITE_BLOCKED.
const (
	Allow Verdict = iota
	Ignore
	Block
)

// String returns the name of the verdict.
func (v Verdict) String() string { return [...]string{"allow", "ignore", "block"}[v] }

// maxPatterns bounds the patterns of one list.
const maxPatterns = 2000

// Rules are the rules of one piece of account data, nil for none. They are immutable.
type Rules struct {
	blockAll       bool
	users, servers [3][]glob.Pattern // by verdict
}

type content struct {
	Default        string    `json:"default_action"`
	Enabled        *bool     `json:"enabled"`
	AllowedUsers   *[]string `json:"allowed_users"`
	IgnoredUsers   *[]string `json:"ignored_users"`
	BlockedUsers   *[]string `json:"blocked_users"`
	AllowedServers *[]string `json:"allowed_servers"`
	IgnoredServers *[]string `json:"ignored_servers"`
	BlockedServers *[]string `json:"blocked_servers"`
}

// Parse reads the content of account data, which may be anything: what is not valid has no
// rules, as the proposal says.
func Parse(raw json.RawMessage) *Rules {
	var action struct {
		Default json.RawMessage `json:"default_action"`
	}
	_ = json.Unmarshal(raw, &action) // what does not parse says nothing
	blockAll := string(action.Default) == `"block"`
	var c content
	if json.Unmarshal(raw, &c) != nil || c.Enabled != nil && !*c.Enabled {
		if blockAll {
			return &Rules{blockAll: true}
		}
		return nil
	}
	r := &Rules{blockAll: blockAll}
	any := blockAll
	for _, l := range []struct {
		list *[]string
		into *[]glob.Pattern
	}{
		{c.AllowedUsers, &r.users[Allow]}, {c.IgnoredUsers, &r.users[Ignore]}, {c.BlockedUsers, &r.users[Block]},
		{c.AllowedServers, &r.servers[Allow]}, {c.IgnoredServers, &r.servers[Ignore]}, {c.BlockedServers, &r.servers[Block]},
	} {
		if l.list == nil {
			continue
		}
		for _, p := range (*l.list)[:min(len(*l.list), maxPatterns)] {
			*l.into, any = append(*l.into, glob.New(p)), true
		}
	}
	if !any {
		return nil
	}
	return r
}

// Decide judges an invite by a user: lists of users before lists of servers, and in each
// allowed before ignored before blocked.
func (r *Rules) Decide(inviter string) Verdict {
	if r == nil {
		return Allow
	}
	if r.blockAll {
		return Block
	}
	if v, ok := first(r.users, inviter); ok {
		return v
	}
	_, server, _ := strings.Cut(inviter, ":")
	if host, _, err := net.SplitHostPort(server); err == nil {
		server = host
	}
	if v, ok := first(r.servers, server); ok {
		return v
	}
	return Allow
}

func first(lists [3][]glob.Pattern, text string) (Verdict, bool) {
	for v, list := range lists {
		for _, p := range list {
			if p.Match(text) {
				return Verdict(v), true
			}
		}
	}
	return Allow, false
}

// Ignores reports whether the content of m.ignored_user_list names a user.
func Ignores(raw json.RawMessage, user string) bool {
	var c struct {
		Users map[string]json.RawMessage `json:"ignored_users"`
	}
	if json.Unmarshal(raw, &c) != nil {
		return false
	}
	_, ok := c.Users[user]
	return ok
}
