package stateres

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// node is an event of the auth graph.
type node struct {
	Node
	id    int64
	own   uint64 // the states that this event is conflicted state of
	chain uint64 // the states whose auth chain it is in
	seen  int    // the last walk that came here
	reach bool   // see subgraph
}

// load makes sure that r.nodes has these events.
func (r *resolution) load(ids []int64) error {
	var missing []int64
	for _, id := range ids {
		if _, ok := r.nodes[id]; !ok {
			r.nodes[id] = nil
			missing = append(missing, id)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	list, err := r.src.Nodes(r.ctx, missing)
	if err != nil {
		return fmt.Errorf("load auth graph: %w", err)
	}
	if len(list) != len(missing) {
		return fmt.Errorf("%w: nodes are missing", ErrDamaged)
	}
	for i, id := range missing {
		r.nodes[id] = &node{Node: list[i], id: id}
	}
	return nil
}

// loadAuth makes sure that r.nodes has the auth events of all of list, and checks
// that they come before.
func (r *resolution) loadAuth(list ...*node) error {
	var missing []int64
	for _, n := range list {
		for _, a := range n.Auth {
			if r.nodes[a] == nil {
				missing = append(missing, a)
			}
		}
	}
	if err := r.load(missing); err != nil {
		return err
	}
	for _, n := range list {
		for _, a := range n.Auth {
			if r.nodes[a].Gen >= n.Gen {
				return fmt.Errorf("%w: %d is not before %d", ErrDamaged, a, n.id)
			}
		}
	}
	return nil
}

// frontier is a heap of nodes, those with the greatest Gen first, so that a node
// comes out only after all that lead to it.
type frontier = heap[*node]

func newFrontier() *frontier {
	return &frontier{less: func(a, b *node) bool {
		return a.Gen > b.Gen || a.Gen == b.Gen && a.id < b.id
	}}
}

// fullConflictedSet returns the "full conflicted set": the conflicted state set,
// the auth difference and, in version 2.1, the conflicted state subgraph; sorted.
func (r *resolution) fullConflictedSet(subgraph bool) ([]int64, error) {
	conflicted := r.conflicted()
	if err := r.load(conflicted); err != nil {
		return nil, err
	}
	for i, set := range r.in.Conflicted {
		for _, id := range set {
			if id != 0 {
				r.nodes[id].own |= 1 << i
			}
		}
	}
	full := conflicted
	diff, err := r.authDifference(conflicted)
	if err != nil {
		return nil, err
	}
	full = append(full, diff...)
	if subgraph {
		sub, err := r.subgraph(conflicted)
		if err != nil {
			return nil, err
		}
		full = append(full, sub...)
	}
	slices.Sort(full)
	return slices.Compact(full), nil
}

// authDifference returns the events of the auth difference that are not in the
// conflicted state set: those in the auth chain of some states but not of all. An
// event of a state counts as part of that state's chain; see the package comment.
//
// It walks from the conflicted events, latest first, and notes which states reach
// each event; it ends when every open event is reached by all. What the
// unconflicted events reach is in every chain; as that matters for few events, it
// is looked at last.
func (r *resolution) authDifference(conflicted []int64) ([]int64, error) {
	all := uint64(1)<<len(r.in.Conflicted) - 1 // 64 states: 1<<64 is 0 in Go
	open := newFrontier()
	partial := 0 // nodes in open that not all states reach
	for _, id := range conflicted {
		n := r.nodes[id]
		n.seen = walkDifference
		open.push(n)
		if n.own != all {
			partial++
		}
	}
	var diff []*node
	for partial > 0 {
		n := open.pop()
		reach := n.own | n.chain
		if reach != all {
			partial--
		}
		if reach != all && n.own == 0 {
			diff = append(diff, n)
		}
		if err := r.loadWave(n, open); err != nil {
			return nil, err
		}
		for _, a := range n.Auth {
			next := r.nodes[a]
			before := next.own | next.chain
			next.chain |= reach
			after := next.own | next.chain
			switch {
			case next.seen != walkDifference:
				next.seen = walkDifference
				open.push(next)
				if after != all {
					partial++
				}
			case before != all && after == all:
				partial--
			}
		}
	}
	return r.notUnconflicted(diff)
}

// Walks through the graph, for node.seen.
const (
	walkDifference = 1 + iota
	walkUnconflicted
	walkSubgraph
)

// loadWave loads the auth events of n and, if any of them is not there yet, those
// of all open nodes with them: one question to the source instead of many.
func (r *resolution) loadWave(n *node, open *frontier) error {
	for _, a := range n.Auth {
		if r.nodes[a] == nil {
			return r.loadAuth(append(slices.Clone(open.list), n)...)
		}
	}
	return r.loadAuth(n)
}

// notUnconflicted returns those of list that are no unconflicted events and that
// none of these reaches.
func (r *resolution) notUnconflicted(list []*node) ([]int64, error) {
	if len(list) == 0 {
		return nil, nil
	}
	wanted := make(map[*node]bool, len(list))
	for _, n := range list {
		wanted[n] = true
	}
	for id := range r.in.Unconflicted.All() {
		delete(wanted, r.nodes[id])
	}
	if len(wanted) == 0 {
		return nil, nil
	}
	lowest := slices.MinFunc(slices.Collect(maps.Keys(wanted)), func(a, b *node) int { return cmp.Compare(a.Gen, b.Gen) }).Gen
	starts := r.above(lowest)
	if err := r.load(starts); err != nil {
		return nil, err
	}
	err := r.walk(walkUnconflicted, starts, lowest, func(n *node) bool {
		for _, a := range n.Auth {
			delete(wanted, r.nodes[a])
		}
		return len(wanted) > 0
	})
	if err != nil {
		return nil, err
	}
	out := make([]int64, 0, len(wanted))
	for n := range wanted {
		out = append(out, n.id)
	}
	return out, nil
}

// above returns the unconflicted events that may reach an event of a generation.
func (r *resolution) above(gen int64) []int64 {
	if ranked, ok := r.in.Unconflicted.(Ranked); ok {
		return slices.Collect(ranked.Above(gen))
	}
	return slices.Collect(r.in.Unconflicted.All())
}

// walk calls visit for each node that starts reach, starts included, with a Gen
// above lowest, latest first, until visit returns false. The auth events of the
// visited nodes are loaded.
func (r *resolution) walk(number int, starts []int64, lowest int64, visit func(*node) bool) error {
	open := newFrontier()
	add := func(id int64) {
		if n := r.nodes[id]; n.Gen > lowest && n.seen != number {
			n.seen = number
			open.push(n)
		}
	}
	for _, id := range starts {
		add(id)
	}
	for open.len() > 0 {
		n := open.pop()
		if err := r.loadWave(n, open); err != nil {
			return err
		}
		if !visit(n) {
			return nil
		}
		for _, a := range n.Auth {
			add(a)
		}
	}
	return nil
}

// subgraph returns the conflicted state subgraph of version 2.1: all events on
// paths along auth events between two events of the conflicted state set.
func (r *resolution) subgraph(conflicted []int64) ([]int64, error) {
	if len(conflicted) == 0 {
		return nil, nil
	}
	lowest := r.lowestGen(conflicted)
	for _, id := range conflicted {
		r.nodes[id].reach = true
	}
	var visited []*node
	if err := r.walk(walkSubgraph, conflicted, lowest, func(n *node) bool {
		visited = append(visited, n)
		return true
	}); err != nil {
		return nil, err
	}
	// From the earliest on: does a path lead from here to a conflicted event?
	var out []int64
	slices.Reverse(visited)
	for _, n := range visited {
		for _, a := range n.Auth {
			n.reach = n.reach || r.nodes[a].reach
		}
		if n.reach {
			out = append(out, n.id)
		}
	}
	return out, nil
}

func (r *resolution) lowestGen(ids []int64) int64 {
	lowest := r.nodes[ids[0]].Gen
	for _, id := range ids {
		lowest = min(lowest, r.nodes[id].Gen)
	}
	return lowest
}
