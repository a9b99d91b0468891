package stateres

import (
	"cmp"
	"math"
	"slices"
)

// notOnMainline is the mainline position of an event none of whose power levels
// belongs to the mainline.
const notOnMainline = math.MaxInt

// mainline is the mainline of an m.room.power_levels event, made as far back as it
// is needed.
type mainline struct {
	r         *resolution
	positions map[int64]int // also of power levels events that lead to the mainline
	next      int64         // the next event of the mainline, 0 at its end
	length    int
}

// mainlineOrder sorts events by the mainline ordering based on the
// m.room.power_levels event levels, which is 0 if there is none.
func (r *resolution) mainlineOrder(set []int64, levels int64) ([]int64, error) {
	m := &mainline{r: r, positions: map[int64]int{}, next: levels}
	type placed struct {
		id       int64
		position int
	}
	list := make([]placed, len(set))
	for i, id := range set {
		position, err := m.position(id)
		if err != nil {
			return nil, err
		}
		list[i] = placed{id, position}
	}
	// x < y if the mainline position of x is greater than that of y; then by lesser
	// origin_server_ts; then by lesser event_id.
	slices.SortFunc(list, func(x, y placed) int {
		a, b := r.events[x.id], r.events[y.id]
		return cmp.Or(cmp.Compare(y.position, x.position),
			cmp.Compare(a.OriginServerTS, b.OriginServerTS), cmp.Compare(a.EventID, b.EventID))
	})
	out := make([]int64, len(list))
	for i, p := range list {
		out[i] = p.id
	}
	return out, nil
}

// position returns the place in the mainline of the first of e's power levels that
// is on it: "Find the smallest index j ≥ 1 for which e(j) belongs to the mainline
// of P."
func (m *mainline) position(e int64) (int, error) {
	var path []int64
	position := notOnMainline
	for {
		var err error
		if e, err = m.r.powerLevelsOf(e); err != nil {
			return 0, err
		}
		if e == 0 {
			break
		}
		if err := m.extend(m.r.nodes[e].Gen); err != nil {
			return 0, err
		}
		if known, ok := m.positions[e]; ok {
			position = known
			break
		}
		path = append(path, e)
	}
	for _, p := range path {
		m.positions[p] = position
	}
	return position, nil
}

// extend makes the mainline back to the events of this Gen: "Starting with i = 0,
// repeatedly fetch P(i+1), the m.room.power_levels event in the auth_events of P(i)."
func (m *mainline) extend(gen int64) error {
	for m.next != 0 {
		if err := m.r.load([]int64{m.next}); err != nil {
			return err
		}
		if m.r.nodes[m.next].Gen < gen {
			return nil
		}
		m.positions[m.next] = m.length
		m.length++
		var err error
		if m.next, err = m.r.powerLevelsOf(m.next); err != nil {
			return err
		}
	}
	return nil
}

// powerLevelsOf returns the m.room.power_levels event in the auth events of an
// event that is loaded, 0 if there is none. What it returns is loaded.
func (r *resolution) powerLevelsOf(id int64) (int64, error) {
	n := r.nodes[id]
	if err := r.loadAuth(n); err != nil {
		return 0, err
	}
	for _, a := range n.Auth {
		if r.nodes[a].PowerLevels {
			return a, nil
		}
	}
	return 0, nil
}
