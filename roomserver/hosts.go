package roomserver

import (
	"maps"
	"slices"
)

// hosts are the servers that have joined members in a room, with how many. It is
// immutable; the zero value is a room without members.
type hosts struct {
	own    string           // the name of this server
	base   map[string]int64 // shared and never written
	over   map[string]int64 // changes on top of base; shared and never written
	others []string         // sorted; shared and never written
}

// maxHostChanges is how many changes are kept apart before they become the base, so
// that a change of one member does not copy the whole room's servers.
const maxHostChanges = 32

func newHosts(own string, joined map[string]int64) *hosts {
	h := &hosts{own: own, base: joined}
	for name, n := range joined {
		if n > 0 && name != own {
			h.others = append(h.others, name)
		}
	}
	slices.Sort(h.others)
	return h
}

// joined is how many joined members a server has.
func (h *hosts) joined(server string) int64 {
	if n, ok := h.over[server]; ok {
		return n
	}
	return h.base[server]
}

// has reports whether a server, ours included, has joined members.
func (h *hosts) has(server string) bool { return h.joined(server) > 0 }

// local reports whether a user of this server is joined.
func (h *hosts) local() bool { return h.has(h.own) }

// list returns the other servers, sorted. It must not be changed.
func (h *hosts) list() []string { return h.others }

// count is how many other servers there are.
func (h *hosts) count() int { return len(h.others) }

// with returns the hosts after a server's number of members changed by delta.
func (h *hosts) with(server string, delta int64) *hosts {
	if delta == 0 {
		return h
	}
	before := h.joined(server)
	after := max(before+delta, 0)
	next := &hosts{own: h.own, base: h.base, others: h.others}
	if len(h.over) >= maxHostChanges && len(h.over)*len(h.over) >= len(h.base) {
		next.base = make(map[string]int64, len(h.base)+len(h.over))
		maps.Copy(next.base, h.base)
		maps.Copy(next.base, h.over)
	} else {
		next.over = maps.Clone(h.over)
	}
	if next.over == nil {
		next.over = make(map[string]int64, 1)
	}
	next.over[server] = after
	if server == h.own || (before > 0) == (after > 0) {
		return next
	}
	i, found := slices.BinarySearch(h.others, server)
	next.others = slices.Clone(h.others)
	switch {
	case after > 0 && !found:
		next.others = slices.Insert(next.others, i, server)
	case after == 0 && found:
		next.others = slices.Delete(next.others, i, i+1)
	}
	return next
}
