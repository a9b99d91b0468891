package peers

import (
	"crypto/sha256"
	"encoding/base64"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"hearth/clientapi/userapi"
	"hearth/internal/glob"
)

// Live is the part of a List that changes while the server works: rules about servers. It may be
// used by many at once.
type Live struct {
	now   func() time.Time
	rules atomic.Pointer[liveRules]
}

// NewLive returns a list without rules.
func NewLive(now func() time.Time) *Live { return &Live{now: now} }

type liveRules struct {
	allow, deny ruleIndex
}

// ruleIndex finds rules that match a name; the values are when they end, 0 for never.
type ruleIndex struct {
	exact  map[string]int64
	hashed map[string]int64 // by the SHA-256
	globs  []globUntil
}

type globUntil struct {
	pattern glob.Pattern
	until   int64
}

func (x *ruleIndex) add(r *userapi.Rule) {
	if r.Hashed {
		text := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(r.Entity, "="))
		if hash, err := base64.RawStdEncoding.DecodeString(text); err == nil {
			later(x.hashed, string(hash), r.Until)
		}
		return
	}
	entity := strings.ToLower(r.Entity)
	if p := glob.New(entity); !p.Exact() {
		x.globs = append(x.globs, globUntil{p, r.Until})
		return
	}
	later(x.exact, entity, r.Until)
}

// later keeps the rule that lasts longer.
func later(m map[string]int64, key string, until int64) {
	if old, ok := m[key]; ok && (old == 0 || until != 0 && until < old) {
		return
	}
	m[key] = until
}

func (x *ruleIndex) has(name string, now int64) bool {
	holds := func(until int64, ok bool) bool { return ok && (until == 0 || now < until) }
	if until, ok := x.exact[name]; holds(until, ok) {
		return true
	}
	for i := range x.globs {
		if holds(x.globs[i].until, true) && x.globs[i].pattern.Match(name) {
			return true
		}
	}
	if len(x.hashed) == 0 {
		return false
	}
	hash := sha256.Sum256([]byte(name))
	until, ok := x.hashed[string(hash[:])]
	return holds(until, ok)
}

// Set replaces the rules. Those on trial and those about other things are left out; what a rule
// of an administrator allows, no other one denies.
func (l *Live) Set(rules []userapi.Rule) {
	next := &liveRules{}
	for _, x := range []*ruleIndex{&next.allow, &next.deny} {
		x.exact, x.hashed = map[string]int64{}, map[string]int64{}
	}
	for i := range rules {
		r := &rules[i]
		if r.Scope != userapi.ScopeServer || r.DryRun || len(r.Ops) > 0 && !slices.Contains(r.Ops, userapi.OpFederate) {
			continue
		}
		switch {
		case r.Action == userapi.ActionDeny:
			next.deny.add(r)
		case r.Action == userapi.ActionAllow && r.Source == userapi.SourceAdmin:
			next.allow.add(r)
		}
	}
	l.rules.Store(next)
}

// denies reports whether the rules deny a server. A nil Live denies nothing.
func (l *Live) denies(server string) bool {
	if l == nil {
		return false
	}
	rules := l.rules.Load()
	if rules == nil {
		return false
	}
	now := l.now().UnixMilli()
	server = strings.ToLower(server)
	host := server
	if h, _, err := net.SplitHostPort(server); err == nil {
		host = h
	}
	if rules.allow.has(server, now) || rules.allow.has(host, now) {
		return false
	}
	return rules.deny.has(server, now) || rules.deny.has(host, now)
}
