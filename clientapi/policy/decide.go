package policy

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"hearth/clientapi/userapi"
)

// maxDryRun bounds the rules that a verdict lists.
const maxDryRun = 20

// Decide says what the rules say of q at a time in milliseconds. A rule of an administrator that
// allows wins; then any that denies; otherwise nothing is denied.
func (s *Set) Decide(q *userapi.PolicyQuery, now int64) userapi.PolicyVerdict {
	var v userapi.PolicyVerdict
	if s == nil || s.size == 0 {
		return v
	}
	j := judge{op: q.Op, now: now}
	s.text(&j, userapi.ScopeUser, q.User)
	s.text(&j, userapi.ScopeUser, q.Target)
	s.server(&j, serverOf(q.User))
	s.server(&j, serverOf(q.Target))
	s.server(&j, q.Server)
	s.text(&j, userapi.ScopeRoom, q.Room)
	s.text(&j, userapi.ScopeMedia, q.Media)
	s.text(&j, userapi.ScopeName, q.Name)
	if q.Email != "" {
		s.text(&j, userapi.ScopeEmail, q.Email)
		s.text(&j, userapi.ScopeEmail, q.Email[strings.LastIndexByte(q.Email, '@')+1:])
	}
	if q.Address != "" && len(s.networks) > 0 {
		s.address(&j, q.Address)
	}
	if j.allow != nil {
		v.Rule = j.allow
		return v
	}
	v.Rule, v.Denied, v.DryRun = j.deny, j.deny != nil, j.dry
	return v
}

// Explain says in words what a verdict is for.
func Explain(v *userapi.PolicyVerdict) string {
	if v.Rule == nil {
		if len(v.DryRun) > 0 {
			return fmt.Sprintf("allowed; %d rules on trial would deny it", len(v.DryRun))
		}
		return "allowed: no rule says anything"
	}
	kind := v.Rule.Scope
	if v.Rule.Hashed {
		kind = "hashed " + kind
	}
	word := "denied"
	if !v.Denied {
		word = "allowed"
	}
	text := fmt.Sprintf("%s by rule %s of %s: %s %s", word, v.Rule.ID, v.Rule.Source, kind, v.Rule.Entity)
	if v.Rule.Reason != "" {
		text += " (" + v.Rule.Reason + ")"
	}
	return text
}

func serverOf(user string) string {
	_, server, _ := strings.Cut(user, ":")
	return server
}

// judge gathers the rules that match.
type judge struct {
	op          string
	now         int64
	allow, deny *userapi.Rule
	dry         []userapi.Rule
}

func (j *judge) weigh(r *userapi.Rule) {
	switch {
	case r.Until != 0 && r.Until <= j.now, len(r.Ops) > 0 && !slices.Contains(r.Ops, j.op):
	case r.Action == userapi.ActionAllow:
		if r.Source == userapi.SourceAdmin && !r.DryRun && j.allow == nil {
			j.allow = r
		}
	case r.DryRun:
		if len(j.dry) < maxDryRun {
			j.dry = append(j.dry, *r)
		}
	case j.deny == nil:
		j.deny = r
	}
}

func (s *Set) text(j *judge, scope, text string) {
	x := s.scopes[scope]
	if x == nil || text == "" {
		return
	}
	text = fold(scope, text)
	for _, r := range x.exact[text] {
		j.weigh(r)
	}
	for i := range x.globs {
		if x.globs[i].pattern.Match(text) {
			j.weigh(x.globs[i].rule)
		}
	}
	if len(x.hashed) > 0 {
		for _, r := range x.hashed[sha256.Sum256([]byte(text))] {
			j.weigh(r)
		}
	}
}

// server judges a server by its name with and without the port.
func (s *Set) server(j *judge, name string) {
	if s.scopes[userapi.ScopeServer] == nil || name == "" {
		return
	}
	s.text(j, userapi.ScopeServer, name)
	if host := Host(name); host != name {
		s.text(j, userapi.ScopeServer, host)
	}
}

func (s *Set) address(j *judge, text string) {
	a, err := netip.ParseAddr(text)
	if err != nil {
		return
	}
	a = a.Unmap().WithZone("")
	for _, n := range s.networks {
		if n.prefix.Contains(a) {
			j.weigh(n.rule)
		}
	}
}
