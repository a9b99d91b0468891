package sliding

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"hearth/roomserver/roomapi"
	"hearth/syncapi/core"
	"hearth/syncapi/viewapi"
)

// choose finds the targets and counts the lists.
func (r *round) choose(ctx context.Context) error {
	rows := r.view.Changed
	if r.full {
		rows = r.view.All
		if err := r.findOusted(ctx, rows); err != nil {
			return err
		}
		rows = r.listed(rows)
	}
	if r.rules.facts {
		if err := r.readFacts(ctx, rows); err != nil {
			return err
		}
	}
	var children map[string]map[string]bool
	if r.rules.spaces {
		var err error
		if children, err = r.spaceChildren(ctx); err != nil {
			return err
		}
	}
	c := chooser{round: r, changed: map[string]bool{}, chosen: map[string]int{}}
	for i := range r.view.Changed {
		c.changed[r.view.Changed[i].RoomID] = true
	}
	if r.full {
		r.next.counts = make(map[string]int, len(r.rules.lists))
	}
	for i := range r.rules.lists {
		l := &r.rules.lists[i]
		n := 0
		for j := range rows {
			if l.filters.match(&rows[j], r.view.Settings, children) {
				if l.has(n) {
					c.list(&rows[j], l)
				}
				n++
			}
		}
		if r.full {
			r.next.counts[l.name] = n
		}
	}
	for i := range rows {
		if conf, ok := r.rules.subs[rows[i].RoomID]; ok {
			c.add(&rows[i], conf, 1)
		}
	}
	if err := c.subscribeLeft(); err != nil {
		return err
	}
	return c.settle()
}

// notKept stands for the index of a room that rules want, of which there is nothing to tell.
const notKept = -1

// chooser collects targets.
type chooser struct {
	*round
	changed map[string]bool
	chosen  map[string]int // indexes of targets
}

func (c *chooser) list(row *core.Row, l *roomList) {
	if t := c.add(row, l.config, c.conn.bit(l.name)); t != nil && c.req.Stable {
		t.names = append(t.names, l.name)
	}
}

// add adds a rule's config to a room's.
func (c *chooser) add(row *core.Row, conf config, bit uint64) *target {
	i, ok := c.chosen[row.RoomID]
	if !ok {
		i = len(c.targets)
		c.chosen[row.RoomID] = i
		c.targets = append(c.targets, target{row: *row, was: c.base.rooms[row.RoomID]})
	}
	t := &c.targets[i]
	t.limit = max(t.limit, conf.limit)
	t.lists |= bit
	if !slices.Contains(t.rules, conf.state) {
		t.rules = append(t.rules, conf.state)
	}
	return t
}

// subscribeLeft adds subscribed rooms that no list has because the user has left them.
func (c *chooser) subscribeLeft() error {
	if !c.full {
		return nil
	}
	for id, conf := range c.rules.subs {
		if _, ok := c.chosen[id]; ok {
			continue
		}
		row, ok := c.s.engine.Row(c.user, id)
		if ok && (row.Membership == core.Leave || row.Membership == core.Ban) && !row.Forgotten && row.MemberPos <= c.view.Now.Room {
			c.add(&row, conf, 1)
		}
	}
	return nil
}

// settle drops the targets of which there is nothing to tell, and notes which rooms
// changed without being told.
func (c *chooser) settle() error {
	kept := c.targets[:0]
	for _, t := range c.targets {
		if t.set = c.conn.set(t.rules); t.set < 0 {
			return viewapi.UnknownPos() // start anew with less to remember
		}
		c.chosen[t.row.RoomID] = notKept
		if c.worthALook(&t) {
			c.chosen[t.row.RoomID] = len(kept)
			kept = append(kept, t)
		}
	}
	c.targets = kept
	for i := range c.view.Changed {
		id := c.view.Changed[i].RoomID
		if _, chosen := c.chosen[id]; !chosen {
			c.leaveBehind(id)
		}
	}
	for id := range c.directChanges() {
		c.addPart(id)
	}
	for id := range c.own {
		c.addPart(id)
	}
	if c.newRules {
		for id := range c.base.rooms {
			c.addPart(id)
		}
	}
	return nil
}

// worthALook reports whether there may be something to tell of a target.
func (c *chooser) worthALook(t *target) bool {
	k := &t.was
	return k.kind == 0 || !k.live || c.changed[t.row.RoomID] || t.set != k.set ||
		t.limit > int(k.count) || t.row.MemberPos > c.base.from(*k) || k.dm != c.view.Settings.Direct[t.row.RoomID]
}

// leaveBehind notes that a known room has changed while no rule wanted it.
func (r *round) leaveBehind(id string) {
	if k, ok := r.base.rooms[id]; ok && k.live {
		k.live, k.pos = false, r.base.since.Room
		r.next.rooms[id] = k
	}
}

// directChanges are the rooms that came into m.direct or went out of it.
func (c *chooser) directChanges() map[string]bool {
	set := c.view.Settings
	if set.DirectPos <= c.base.since.User {
		return nil
	}
	rooms := map[string]bool{}
	for id := range set.Direct {
		rooms[id] = !c.base.direct[id]
	}
	for id := range c.base.direct {
		rooms[id] = !set.Direct[id]
	}
	for id, changed := range rooms {
		if !changed {
			delete(rooms, id)
		}
	}
	return rooms
}

// addPart adds a known room that is in no window, or of which nothing else may have
// changed.
func (c *chooser) addPart(id string) {
	if i, chosen := c.chosen[id]; chosen && i >= 0 {
		return
	}
	k, ok := c.base.rooms[id]
	if behind, there := c.next.rooms[id]; there {
		k = behind
	}
	row, there := c.s.engine.Row(c.user, id)
	if ok && there && k.kind == joined && row.Membership == core.Join {
		c.chosen[id] = len(c.targets)
		c.targets = append(c.targets, target{row: row, was: k, set: k.set, lists: k.lists, part: true})
	}
}

// listed are the rooms of the list that the rules choose from (MSC4186, "Lists").
func (r *round) listed(rows []core.Row) []core.Row {
	kept := rows[:0]
	for _, row := range rows {
		k, known := r.base.rooms[row.RoomID]
		switch row.Membership {
		case core.Invite:
			if r.view.Settings.Hides(row.By) {
				if !known {
					continue
				}
				// What came before the invite is told: the user has left the room.
				row.Membership, row.Ousted = core.Leave, core.No
				row.MemberPos--
				if k.kind == left {
					row.MemberPos = min(row.MemberPos, k.pos)
				}
			}
		case core.Leave, core.Ban:
			if row.Forgotten && (!known || k.kind == left) || !known && row.Ousted != core.Yes {
				continue
			}
		}
		kept = append(kept, row)
	}
	return kept
}

// findOusted asks for the rooms of which it is not known whether the user was put
// out of them.
func (r *round) findOusted(ctx context.Context, rows []core.Row) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(factsAt)
	for i := range rows {
		row := &rows[i]
		if row.Ousted != core.Unknown || row.Membership != core.Leave && row.Membership != core.Ban || row.Forgotten {
			continue
		}
		g.Go(func() error {
			ev, err := r.ownMember(ctx, row.RoomID, row.MemberPos)
			if err != nil {
				return err
			}
			out := ev != nil && text(ev.PrevContent, "membership") == "join"
			r.s.engine.LearnOusted(r.user, row.RoomID, row.MemberPos, out)
			row.Ousted = core.No
			if out {
				row.Ousted = core.Yes
			}
			return nil
		})
	}
	return g.Wait()
}

// ownMember reads the user's member event at a position; nil if the user may not see it.
func (r *round) ownMember(ctx context.Context, roomID string, pos int64) (*roomapi.Event, error) {
	w, err := r.s.engine.Source().Window(ctx, &roomapi.WindowRequest{
		RoomID: roomID, UserID: r.req.UserID, From: pos - 1, To: pos, Limit: 1, NoState: true,
	})
	if refused(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range w.Timeline {
		if isMember(e, r.req.UserID) {
			return e, nil
		}
	}
	return nil, nil
}

func isMember(e *roomapi.Event, user string) bool {
	return e.Type == memberType && e.StateKey != nil && *e.StateKey == user
}
