package roomserver

import (
	"context"
	"net/netip"
	"strings"

	"hearth/internal/lru"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

const serverACLType = "m.room.server_acl"

// acl is the content of an m.room.server_acl event ("Server Access Control Lists").
type acl struct {
	denyIPLiterals bool
	allow, deny    aclList
	size           int
}

// parseACL reads a content. What is missing or of the wrong type counts as the spec's default.
func parseACL(content []byte) *acl {
	a := &acl{size: len(content)}
	if ips, ok := pdu.GetBool(content, "allow_ip_literals"); ok {
		a.denyIPLiterals = !ips
	}
	a.allow, a.deny = parseACLList(content, "allow"), parseACLList(content, "deny")
	return a
}

// allows applies the rules to a server name, in the order of the spec.
func (a *acl) allows(server string) bool {
	host := aclHost(server)
	switch {
	case a.denyIPLiterals && isIPLiteral(host):
		return false
	case a.deny.matches(host):
		return false
	}
	return a.allow.matches(host)
}

// aclHost is a server name without its port, in lower case.
func aclHost(server string) string {
	if i := strings.LastIndexByte(server, ':'); i >= 0 && !strings.HasSuffix(server, "]") {
		server = server[:i]
	}
	return strings.ToLower(server)
}

func isIPLiteral(host string) bool {
	if strings.HasPrefix(host, "[") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Is4()
}

// aclList is a list of globs.
type aclList struct {
	exact map[string]bool
	globs []string
}

func parseACLList(content []byte, key string) (l aclList) {
	list, _ := pdu.Get(content, key)
	pdu.Elements(list, func(v []byte) bool {
		pattern, ok := pdu.String(v)
		if !ok {
			return true
		}
		pattern = strings.ToLower(pattern)
		if strings.ContainsAny(pattern, "*?") {
			l.globs = append(l.globs, pattern)
			return true
		}
		if l.exact == nil {
			l.exact = make(map[string]bool)
		}
		l.exact[pattern] = true
		return true
	})
	return l
}

func (l *aclList) matches(host string) bool {
	if l.exact[host] {
		return true
	}
	for _, glob := range l.globs {
		if globMatches(glob, host) {
			return true
		}
	}
	return false
}

// globMatches matches a whole text against a glob ("Glob-style matching"). A star is
// only ever extended at the last one seen, so that the time is at most the product of
// the lengths.
func globMatches(glob, text string) bool {
	g, t := 0, 0
	star, from := -1, 0
	for t < len(text) {
		switch {
		case g < len(glob) && glob[g] == '*':
			star, from = g, t
			g++
		case g < len(glob) && (glob[g] == '?' || glob[g] == text[t]):
			g++
			t++
		case star >= 0:
			from++
			g, t = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(glob[g:], "*") == ""
}

// acls caches what was read of ACL events and what they say of servers.
type acls struct {
	parsed   *lru.Cache[aclKey, *acl]
	verdicts *lru.Cache[aclVerdict, bool]
}

type aclKey struct{ event, redactedBy int64 }

type aclVerdict struct {
	aclKey
	server string
}

const (
	aclCacheBytes     = 4 << 20
	aclVerdictsCached = 20_000
)

func newACLs() *acls {
	return &acls{
		parsed:   lru.New(aclCacheBytes, func(_ aclKey, a *acl) int { return 4*a.size + 200 }),
		verdicts: lru.New(aclVerdictsCached, func(aclVerdict, bool) int { return 1 }),
	}
}

// allowed reports whether the room's m.room.server_acl, if it has one, lets a server take part.
func (s *Server) allowed(ctx context.Context, r *room, h *head, server string) (bool, error) {
	e, err := s.committedState(ctx, r, h, serverACLType, "")
	if err != nil {
		return false, err
	}
	if e == nil {
		return true, nil
	}
	key := aclKey{e.nid, e.redactedBy}
	if verdict, ok := s.acls.verdicts.Get(aclVerdict{key, server}); ok {
		return verdict, nil
	}
	a, ok := s.acls.parsed.Get(key)
	if !ok {
		a = parseACL(e.ev.Content)
		s.acls.parsed.Put(key, a)
	}
	verdict := a.allows(server)
	s.acls.verdicts.Put(aclVerdict{key, server}, verdict)
	return verdict, nil
}

// federationAccess refuses, 403 M_FORBIDDEN, a server that the room's ACL denies or that has
// no joined member in the room.
func (s *Server) federationAccess(ctx context.Context, r *room, h *head, origin string) error {
	if err := s.checkACL(ctx, r, h, origin); err != nil {
		return err
	}
	if !h.hosts.has(origin) {
		return merr.Forbidden("Your server is not in the room")
	}
	return nil
}

// checkACL refuses, 403 M_FORBIDDEN, a server that the room's ACL denies.
func (s *Server) checkACL(ctx context.Context, r *room, h *head, origin string) error {
	ok, err := s.allowed(ctx, r, h, origin)
	if err != nil {
		return err
	}
	if !ok {
		return merr.Forbidden("Your server is denied access to the room")
	}
	return nil
}
