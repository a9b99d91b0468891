package stateres_test

import (
	"cmp"
	"crypto/sha1"
	"encoding/hex"
	"slices"

	"hearth/internal/pdu"
	"hearth/roomserver/auth"
)

// naive is the specification's text of versions 2 and 2.1 turned into sets,
// without regard to cost.
type naive struct {
	s    *sim
	v21  bool
	same stateMap
	now  stateMap
}

type set = map[int64]bool

func union(sets ...set) set {
	out := set{}
	for _, s := range sets {
		for e := range s {
			out[e] = true
		}
	}
	return out
}

func (n *naive) chain(e int64) set {
	out := set{}
	var visit func(int64)
	visit = func(e int64) {
		for _, a := range n.s.get(e).auth {
			if !out[a] {
				out[a] = true
				visit(a)
			}
		}
	}
	visit(e)
	return out
}

func (n *naive) resolve(sets []stateMap) stateMap {
	// Unconflicted state map and conflicted state set.
	n.same = stateMap{}
	conflicted := set{}
	for _, s := range sets {
		for key, e := range s {
			everywhere := true
			for _, other := range sets {
				everywhere = everywhere && other[key] == e
			}
			if everywhere {
				n.same[key] = e
			} else {
				conflicted[e] = true
			}
		}
	}
	// Auth difference.
	var chains []set
	for _, s := range sets {
		chain := set{}
		for _, e := range s {
			chain = union(chain, n.chain(e), set{e: true})
		}
		chains = append(chains, chain)
	}
	full := union(conflicted)
	for e := range union(chains...) {
		for _, chain := range chains {
			if !chain[e] {
				full[e] = true
			}
		}
	}
	if n.v21 { // Conflicted state subgraph.
		for e := range conflicted {
			for x := range n.chain(e) {
				for y := range n.chain(x) {
					if conflicted[y] {
						full[x] = true
					}
				}
			}
		}
	}
	// 1.
	power := set{}
	for e := range full {
		if n.isPower(e) {
			n.enlarge(power, full, e)
		}
	}
	// 2.
	n.now = stateMap{}
	if !n.v21 {
		for k, e := range n.same {
			n.now[k] = e
		}
	}
	n.apply(n.powerOrder(power))
	// 3 and 4.
	var rest []int64
	for e := range full {
		if !power[e] {
			rest = append(rest, e)
		}
	}
	n.apply(n.mainlineOrder(rest))
	// 5.
	for k, e := range n.same {
		n.now[k] = e
	}
	return n.now
}

func (n *naive) enlarge(power, full set, e int64) {
	power[e] = true
	for _, a := range n.s.get(e).auth {
		if full[a] {
			n.enlarge(power, full, a)
		}
	}
}

func (n *naive) isPower(e int64) bool {
	ev := n.s.get(e).ev
	membership, _ := pdu.GetString(ev.Content, "membership")
	return ev.Type == "m.room.power_levels" || ev.Type == "m.room.join_rules" ||
		ev.Type == "m.room.member" && (membership == "leave" || membership == "ban") && ev.Sender != *ev.StateKey
}

func (n *naive) level(e int64) int64 {
	m := stateMap{}
	for _, a := range n.s.get(e).auth {
		ev := n.s.get(a).ev
		m[auth.StateKey{Type: ev.Type, StateKey: *ev.StateKey}] = a
	}
	if n.s.v.DomainlessRoomIDs {
		m[auth.StateKey{Type: "m.room.create"}] = 1
	}
	levels := auth.LevelsOf(n.s.v, stateOf{n.s, m})
	return levels.User(n.s.get(e).ev.Sender)
}

func (n *naive) powerOrder(of set) []int64 {
	var out []int64
	left := union(of)
	for len(left) > 0 {
		var best int64
		for e := range left {
			free := true
			for _, a := range n.s.get(e).auth {
				free = free && !left[a]
			}
			if !free {
				continue
			}
			x, y := n.s.get(e).ev, n.s.get(max(best, 1)).ev
			if best == 0 || cmp.Or(cmp.Compare(n.level(best), n.level(e)), cmp.Compare(x.OriginServerTS, y.OriginServerTS), cmp.Compare(x.EventID, y.EventID)) < 0 {
				best = e
			}
		}
		delete(left, best)
		out = append(out, best)
	}
	return out
}

func (n *naive) powerLevelsOf(e int64) int64 {
	for _, a := range n.s.get(e).auth {
		if n.s.get(a).ev.Type == "m.room.power_levels" {
			return a
		}
	}
	return 0
}

func (n *naive) mainlineOrder(list []int64) []int64 {
	var mainline []int64
	for p := n.now[auth.StateKey{Type: "m.room.power_levels"}]; p != 0; p = n.powerLevelsOf(p) {
		mainline = append(mainline, p)
	}
	position := func(e int64) int {
		for e = n.powerLevelsOf(e); e != 0; e = n.powerLevelsOf(e) {
			if i := slices.Index(mainline, e); i >= 0 {
				return i
			}
		}
		return len(mainline)
	}
	slices.SortFunc(list, func(a, b int64) int {
		x, y := n.s.get(a).ev, n.s.get(b).ev
		return cmp.Or(cmp.Compare(position(b), position(a)), cmp.Compare(x.OriginServerTS, y.OriginServerTS), cmp.Compare(x.EventID, y.EventID))
	})
	return list
}

func (n *naive) apply(list []int64) {
	for _, e := range list {
		m := stateMap{}
		for _, a := range n.s.get(e).auth {
			if ev := n.s.get(a).ev; !n.s.get(a).rejected {
				m[auth.StateKey{Type: ev.Type, StateKey: *ev.StateKey}] = a
			}
		}
		if n.s.v.DomainlessRoomIDs {
			m[auth.StateKey{Type: "m.room.create"}] = 1
		}
		for k, e := range n.now {
			m[k] = e
		}
		ev := n.s.get(e).ev
		if auth.Check(ev, stateOf{n.s, m}) == nil {
			n.now[auth.StateKey{Type: ev.Type, StateKey: *ev.StateKey}] = e
		}
	}
}

// naiveV1 is the text of version 1.
func naiveV1(s *sim, sets []stateMap) stateMap {
	now := stateMap{}
	conflicts := map[auth.StateKey][]int64{}
	for _, m := range sets {
		for k, e := range m {
			if !slices.Contains(conflicts[k], e) {
				conflicts[k] = append(conflicts[k], e)
			}
		}
	}
	for k, list := range conflicts {
		if len(list) == 1 {
			now[k] = list[0]
			delete(conflicts, k)
		}
	}
	sha := func(e int64) string {
		sum := sha1.Sum([]byte(s.get(e).ev.EventID))
		return hex.EncodeToString(sum[:])
	}
	allowed := func(e int64, more stateMap) bool {
		m := stateMap{}
		for _, part := range []stateMap{now, more} {
			for k, e := range part {
				m[k] = e
			}
		}
		return auth.Check(s.get(e).ev, stateOf{s, m}) == nil
	}
	for _, typ := range []string{"m.room.power_levels", "m.room.join_rules", "m.room.member", ""} {
		picked := stateMap{}
		for k, list := range conflicts {
			if typ != "" && k.Type != typ || now[k] != 0 {
				continue
			}
			slices.SortFunc(list, func(a, b int64) int {
				return cmp.Or(cmp.Compare(s.get(a).ev.Depth, s.get(b).ev.Depth), cmp.Compare(sha(b), sha(a)))
			})
			pick := list[0]
			if typ != "" {
				for _, e := range list[1:] {
					if !allowed(e, stateMap{k: pick}) {
						break
					}
					pick = e
				}
			} else {
				for _, e := range list[1:] {
					if allowed(e, nil) {
						pick = e
					}
				}
			}
			picked[k] = pick
		}
		for k, e := range picked {
			now[k] = e
		}
	}
	return now
}
