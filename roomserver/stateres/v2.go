package stateres

import (
	"cmp"
	"slices"

	"hearth/internal/pdu"
	"hearth/roomserver/auth"
)

// resolveV2 is the algorithm of versions 2 and 2.1 (rooms/v2 and rooms/v12,
// "State resolution", "Algorithm"); its last step is result.
func (r *resolution) resolveV2(subgraph bool) error {
	full, err := r.fullConflictedSet(subgraph)
	if err != nil || len(full) == 0 {
		return err
	}
	if err := r.loadBodies(full); err != nil {
		return err
	}
	// 1. Select the set X of all power events that appear in the full conflicted
	// set. For each such power event P, enlarge X by adding the events in the auth
	// chain of P which also belong to the full conflicted set. Sort X into a list
	// using the reverse topological power ordering.
	power := r.powerSet(full)
	sorted := r.powerOrder(power)
	// 2. Apply the iterative auth checks algorithm, starting from the unconflicted
	// state map [version 2.1: from an empty state map], to the list of events from
	// the previous step to get a partially resolved state.
	c := &checker{r: r, empty: subgraph}
	c.apply(sorted)
	// 3. Take all remaining events that weren't picked in step 1 and order them by
	// the mainline ordering based on the power level in the partially resolved
	// state obtained in step 2.
	rest := slices.DeleteFunc(full, func(id int64) bool {
		_, picked := slices.BinarySearch(power, id)
		return picked
	})
	if rest, err = r.mainlineOrder(rest, c.holder("m.room.power_levels", "")); err != nil {
		return err
	}
	// 4. Apply the iterative auth checks algorithm on the partial resolved state
	// and the list of events from the previous step.
	c.apply(rest)
	return nil
}

// loadBodies loads the events of the full conflicted set and what they are
// checked against: their auth events and the unconflicted state.
func (r *resolution) loadBodies(full []int64) error {
	if err := r.load(full); err != nil {
		return err
	}
	if err := r.loadEvents(full); err != nil {
		return err
	}
	more := []int64{r.create()}
	for _, id := range full {
		more = append(more, r.nodes[id].Auth...)
		more = r.needed(more, r.events[id])
	}
	if err := r.load(slices.DeleteFunc(slices.Clone(more), func(id int64) bool { return id == 0 })); err != nil {
		return err
	}
	return r.loadEvents(more)
}

// isPowerEvent: "a state event with type m.room.power_levels or
// m.room.join_rules, or a state event with type m.room.member where the
// membership is leave or ban and the sender does not match the state_key". Power
// levels and join rules with a state key are not the room's. The create event,
// which is in conflict only if a state is damaged, counts too.
func isPowerEvent(ev *pdu.Event) bool {
	switch ev.Type {
	case "m.room.power_levels", "m.room.join_rules", "m.room.create":
		return ev.StateKeyEquals("")
	case "m.room.member":
		membership, _ := pdu.GetString(ev.Content, "membership")
		return ev.IsState() && *ev.StateKey != ev.Sender && (membership == "leave" || membership == "ban")
	}
	return false
}

// powerSet returns X of step 1, sorted by number. Auth chains are followed inside
// the full conflicted set; see the package comment.
func (r *resolution) powerSet(full []int64) []int64 {
	var open, out []int64
	picked := make(map[int64]bool, len(full))
	add := func(id int64) {
		if !picked[id] {
			picked[id] = true
			open = append(open, id)
		}
	}
	for _, id := range full {
		if isPowerEvent(r.events[id]) {
			add(id)
		}
	}
	for len(open) > 0 {
		id := open[len(open)-1]
		open = open[:len(open)-1]
		out = append(out, id)
		for _, a := range r.nodes[id].Auth {
			if _, ok := slices.BinarySearch(full, a); ok {
				add(a)
			}
		}
	}
	slices.Sort(out)
	return out
}

// ranked is an event of the reverse topological power ordering.
type ranked struct {
	id    int64
	ev    *pdu.Event
	level int64
}

// before: x < y if x's sender has greater power level than y's sender, when
// looking at their respective auth_events; then by lesser origin_server_ts; then
// by lesser event_id.
func (x ranked) before(y ranked) bool {
	return cmp.Or(cmp.Compare(y.level, x.level),
		cmp.Compare(x.ev.OriginServerTS, y.ev.OriginServerTS),
		cmp.Compare(x.ev.EventID, y.ev.EventID)) < 0
}

// powerOrder sorts a set of events by the reverse topological power ordering, "the
// lexicographically smallest topological ordering based on the DAG formed by auth
// events", with Kahn's algorithm. Edges count where both ends are in the set.
func (r *resolution) powerOrder(set []int64) []int64 {
	waiting := make(map[int64]int, len(set)) // auth events in the set that are not listed yet
	followers := map[int64][]int64{}         // the other way round
	ready := &heap[ranked]{less: ranked.before}
	release := func(id int64) { ready.push(ranked{id, r.events[id], r.senderLevel(id)}) }
	for _, id := range set {
		for _, a := range r.nodes[id].Auth {
			if _, ok := slices.BinarySearch(set, a); ok {
				waiting[id]++
				followers[a] = append(followers[a], id)
			}
		}
		if waiting[id] == 0 {
			release(id)
		}
	}
	out := make([]int64, 0, len(set))
	for ready.len() > 0 {
		next := ready.pop().id
		out = append(out, next)
		for _, f := range followers[next] {
			if waiting[f]--; waiting[f] == 0 {
				release(f)
			}
		}
	}
	return out
}

// senderLevel is the power level of an event's sender by the event's auth events.
func (r *resolution) senderLevel(id int64) int64 {
	ev := r.events[id]
	var list []*pdu.Event
	for _, a := range r.nodes[id].Auth {
		list = append(list, r.events[a])
	}
	if ev.Version.DomainlessRoomIDs { // the room id implies the create event
		if create := r.events[r.create()]; create != nil {
			list = append(list, create)
		}
	}
	levels := auth.LevelsOf(ev.Version, auth.NewEvents(list...))
	return levels.User(ev.Sender)
}

// checker is the iterative auth checks algorithm: it constructs a new room state,
// in r.resolved, "by iterating through the event list and applying the state event
// to the room state if the state event is allowed by the authorisation rules".
type checker struct {
	r     *resolution
	empty bool // the unconflicted state map does not count
	id    int64
}

func (c *checker) apply(list []int64) {
	for _, id := range list {
		c.id = id
		ev := c.r.events[id]
		if ev.StateKey == nil || auth.Check(ev, c) != nil {
			continue
		}
		c.r.resolved[auth.StateKey{Type: ev.Type, StateKey: *ev.StateKey}] = id
	}
}

// holder returns the event that holds a key in the state so far, 0 if none does.
func (c *checker) holder(eventType, stateKey string) int64 {
	if id := c.r.resolved[auth.StateKey{Type: eventType, StateKey: stateKey}]; id != 0 {
		return id
	}
	if c.empty {
		return 0
	}
	return c.r.in.Unconflicted.Get(eventType, stateKey)
}

// Event implements auth.State for the event that is being checked: "If a
// (event_type, state_key) key that is required for checking the authorisation
// rules is not present in the state, then the appropriate state event from the
// event's auth_events is used if the auth event is not rejected."
func (c *checker) Event(eventType, stateKey string) *pdu.Event {
	if id := c.holder(eventType, stateKey); id != 0 {
		return c.r.events[id]
	}
	for _, a := range c.r.nodes[c.id].Auth {
		if ev := c.r.events[a]; ev.Type == eventType && ev.StateKeyEquals(stateKey) && !c.r.nodes[a].Rejected {
			return ev
		}
	}
	// In version 12 the room id takes the place of the create event among them.
	if eventType == "m.room.create" && stateKey == "" && c.r.in.Version.DomainlessRoomIDs {
		return c.r.events[c.r.create()]
	}
	return nil
}
