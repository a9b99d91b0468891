package stateres

import (
	"bytes"
	"cmp"
	"crypto/sha1"
	"slices"

	"hearth/internal/pdu"
	"hearth/roomserver/auth"
)

// resolveV1 is the algorithm of version 1 (rooms/v1, "State resolution"). Where
// the text leaves the choice, keys of one type are resolved independently of each
// other, and a key keeps its oldest event if all fail.
func (r *resolution) resolveV1() error {
	conflicted := r.conflicted()
	if err := r.loadEvents(conflicted); err != nil {
		return err
	}
	var needed []int64
	groups := map[auth.StateKey][]int64{}
	for _, id := range conflicted {
		ev := r.events[id]
		needed = r.needed(needed, ev)
		if ev.StateKey != nil {
			key := auth.StateKey{Type: ev.Type, StateKey: *ev.StateKey}
			groups[key] = append(groups[key], id)
		}
	}
	if err := r.loadEvents(append(needed, r.create())); err != nil {
		return err
	}
	// "Start by setting R to the union of the states to be resolved, excluding any
	// conflicting events." A key that only some states have is no conflict here.
	for key, list := range groups {
		if len(list) == 1 {
			r.resolved[key] = list[0]
			delete(groups, key)
		}
	}
	// "First we resolve conflicts between m.room.power_levels events. … Repeat the
	// above process for conflicts between m.room.join_rules events. Repeat the
	// above process for conflicts between m.room.member events."
	for _, eventType := range []string{"m.room.power_levels", "m.room.join_rules", "m.room.member"} {
		r.resolveGroups(groups, func(key auth.StateKey) bool {
			return key.Type == eventType && (eventType == "m.room.member" || key.StateKey == "")
		}, r.upwards)
	}
	// "For all other conflicts, just pick the event with the highest depth and
	// lowest sha1(event_id) that passes authentication in R and add it to R."
	r.resolveGroups(groups, func(auth.StateKey) bool { return true }, r.downwards)
	return nil
}

// resolveGroups resolves the conflicts that match, against the same R, and takes
// them out of groups.
func (r *resolution) resolveGroups(groups map[auth.StateKey][]int64, match func(auth.StateKey) bool, pick func(auth.StateKey, []int64) int64) {
	picked := map[auth.StateKey]int64{}
	for key, list := range groups {
		if match(key) {
			r.sortByDepth(list)
			picked[key] = pick(key, list)
			delete(groups, key)
		}
	}
	for key, id := range picked {
		r.resolved[key] = id
	}
}

// sortByDepth sorts by ascending depth then descending sha1(event_id).
func (r *resolution) sortByDepth(list []int64) {
	sums := make(map[int64][sha1.Size]byte, len(list))
	for _, id := range list {
		sums[id] = sha1.Sum([]byte(r.events[id].EventID))
	}
	slices.SortFunc(list, func(x, y int64) int {
		a, b := sums[x], sums[y]
		return cmp.Or(cmp.Compare(r.events[x].Depth, r.events[y].Depth), bytes.Compare(b[:], a[:]))
	})
}

// upwards: "Add the first event in the list to R. For each subsequent event in the
// list, check that the event would be allowed by the authorisation rules for a room
// in state R. If the event would be allowed, then update R with the event and
// continue with the next event in the list. If it would not be allowed, stop".
func (r *resolution) upwards(key auth.StateKey, list []int64) int64 {
	st := candidate{r, key, list[0]}
	for _, id := range list[1:] {
		if auth.Check(r.events[id], &st) != nil {
			break
		}
		st.id = id
	}
	return st.id
}

// downwards returns the last event of the list that passes, else the first.
func (r *resolution) downwards(key auth.StateKey, list []int64) int64 {
	for i := len(list) - 1; i > 0; i-- {
		if auth.Check(r.events[list[i]], &candidate{r: r}) == nil {
			return list[i]
		}
	}
	return list[0]
}

// candidate is R with one more event.
type candidate struct {
	r   *resolution
	key auth.StateKey
	id  int64
}

// Event implements auth.State.
func (c *candidate) Event(eventType, stateKey string) *pdu.Event {
	key := auth.StateKey{Type: eventType, StateKey: stateKey}
	if c.id != 0 && key == c.key {
		return c.r.events[c.id]
	}
	if id := c.r.resolved[key]; id != 0 {
		return c.r.events[id]
	}
	return c.r.events[c.r.in.Unconflicted.Get(eventType, stateKey)]
}
