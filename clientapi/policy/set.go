// Package policy decides what users, servers, rooms and files may do here, by rules that
// administrators make, policy rooms that the server follows, and webhooks that it asks.
//
// Set is the pure part: rules that are ready to be asked. Guard asks it, and whoever else has a
// say, for the rest of the server.
package policy

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net"
	"net/netip"
	"slices"
	"strings"

	"hearth/clientapi/userapi"
	"hearth/internal/glob"
	"hearth/internal/merr"
)

// Set is a set of rules, ready to be asked. It is immutable.
type Set struct {
	scopes   map[string]*index
	networks []network
	size     int
}

// index finds the rules of a scope that match a text.
type index struct {
	exact  map[string][]*userapi.Rule
	hashed map[[sha256.Size]byte][]*userapi.Rule
	globs  []globRule
}

type globRule struct {
	pattern glob.Pattern
	rule    *userapi.Rule
}

type network struct {
	prefix netip.Prefix
	rule   *userapi.Rule
}

// folded are the scopes whose entities are the same in capitals.
func fold(scope, text string) string {
	switch scope {
	case userapi.ScopeServer, userapi.ScopeName, userapi.ScopeEmail, userapi.ScopeMedia:
		return strings.ToLower(text)
	}
	return text
}

// NewSet prepares rules. Those that are not valid are left out: Validate says which.
func NewSet(rules []userapi.Rule) *Set {
	s := &Set{scopes: map[string]*index{}}
	for i := range rules {
		r := rules[i]
		if Validate(&r) != nil {
			continue
		}
		s.size++
		s.add(&r)
	}
	return s
}

func (s *Set) add(r *userapi.Rule) {
	if r.Scope == userapi.ScopeNetwork {
		prefix, _ := parseNetwork(r.Entity) // Validate has
		s.networks = append(s.networks, network{prefix, r})
		return
	}
	x := s.scopes[r.Scope]
	if x == nil {
		x = &index{exact: map[string][]*userapi.Rule{}, hashed: map[[sha256.Size]byte][]*userapi.Rule{}}
		s.scopes[r.Scope] = x
	}
	if r.Hashed {
		hash, _ := parseHash(r.Entity)
		x.hashed[hash] = append(x.hashed[hash], r)
		return
	}
	entity := fold(r.Scope, r.Entity)
	if p := glob.New(entity); !p.Exact() {
		x.globs = append(x.globs, globRule{p, r})
		return
	}
	x.exact[entity] = append(x.exact[entity], r)
}

// Size is the number of rules.
func (s *Set) Size() int { return s.size }

var scopes = []string{
	userapi.ScopeUser, userapi.ScopeServer, userapi.ScopeRoom, userapi.ScopeMedia, userapi.ScopeName, userapi.ScopeEmail, userapi.ScopeNetwork,
}

// Ops are all things that rules can be about.
var ops = []string{
	userapi.OpRegister, userapi.OpLogin, userapi.OpInvite, userapi.OpJoin, userapi.OpCreate, userapi.OpAlias, userapi.OpPublish,
	userapi.OpMedia, userapi.OpFederate, userapi.OpSend, userapi.OpHide,
}

// ValidOps refuses what is not something that rules can be about.
func ValidOps(list []string) error {
	for _, op := range list {
		if !slices.Contains(ops, op) {
			return merr.InvalidParam("%q is nothing that rules are about; there are %s", op, strings.Join(ops, ", "))
		}
	}
	return nil
}

// Validate refuses a rule that cannot match: 400 M_INVALID_PARAM.
func Validate(r *userapi.Rule) error {
	switch {
	case !slices.Contains(scopes, r.Scope):
		return merr.InvalidParam("scope is one of %s", strings.Join(scopes, ", "))
	case r.Action != userapi.ActionDeny && r.Action != userapi.ActionAllow:
		return merr.InvalidParam("action is deny or allow")
	case r.Entity == "" || len(r.Entity) > userapi.MaxEntity:
		return merr.InvalidParam("entity has from 1 to %d bytes", userapi.MaxEntity)
	case len(r.Reason) > userapi.MaxReason:
		return merr.InvalidParam("reason has at most %d bytes", userapi.MaxReason)
	case r.Until < 0:
		return merr.InvalidParam("until is in milliseconds since 1970")
	}
	if err := ValidOps(r.Ops); err != nil {
		return err
	}
	switch {
	case r.Hashed && (r.Scope == userapi.ScopeNetwork || r.Scope == userapi.ScopeMedia):
		return merr.InvalidParam("Rules of this scope are not hashed")
	case r.Hashed:
		if _, err := parseHash(r.Entity); err != nil {
			return merr.InvalidParam("A hashed entity is a SHA-256 in base64")
		}
	case r.Scope == userapi.ScopeNetwork:
		if _, err := parseNetwork(r.Entity); err != nil {
			return merr.InvalidParam("A network is an address, or such as 192.0.2.0/24")
		}
	case r.Scope == userapi.ScopeMedia:
		if b, err := hex.DecodeString(r.Entity); err != nil || len(b) != sha256.Size {
			return merr.InvalidParam("A file is named by its SHA-256 in hexadecimal")
		}
	}
	return nil
}

func parseNetwork(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	a = a.Unmap().WithZone("")
	return a.Prefix(a.BitLen())
}

// parseHash reads base64 in either alphabet, with padding or without.
func parseHash(s string) (hash [sha256.Size]byte, err error) {
	s = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(s, "="))
	b, err := base64.RawStdEncoding.DecodeString(s)
	if err == nil && len(b) != sha256.Size {
		err = merr.InvalidParam("not a SHA-256")
	}
	copy(hash[:], b)
	return hash, err
}

// Host is a server name without its port.
func Host(server string) string {
	if h, _, err := net.SplitHostPort(server); err == nil {
		return h
	}
	return server
}
