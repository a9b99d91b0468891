package v3

import (
	"context"
	"slices"
	"sync"
	"time"

	"hearth/clientapi/userapi"
	"hearth/syncapi/core"
	"hearth/syncapi/viewapi"
)

// round is one look at what is new, and its rendering. now and data are fixed
// before rooms are rendered, which happens on several goroutines.
type round struct {
	*poll
	time time.Time                        // of rendering, for ages
	now  viewapi.Token                    // the next token
	data map[string][]userapi.AccountData // new account data by room; "": global
	// settings say whom the user ignores and whether invites are shown.
	settings *core.Settings
	hidden   map[string]bool // rooms with an invite that is not shown

	// every holds all account data of rooms, for rooms that are new to the client.
	every     map[string][]userapi.AccountData
	everyErr  error
	readEvery sync.Once

	toDevice *core.DeviceState // what the device is told of itself

	newRules bool // what counts as a notification may have changed
}

// render writes what is new since the token into a; nothing at all if there is
// nothing. The top-level sections come first.
func (r *round) render(ctx context.Context, a *answer) error {
	res := r.s.engine.Changes(r.user, core.Query{
		Since: r.since, Initial: r.initial, All: r.initial || r.full,
		Left: (r.initial || r.full) && r.filter.Room.IncludeLeave,
		Skip: func(roomID string) bool { return !r.filter.Room.has(roomID) },
	})
	r.now, a.now, r.settings = res.Now, res.Now, res.Settings
	if err := r.readAccountData(ctx, &res); err != nil {
		return err
	}
	r.noteRules()
	if err := r.readDevice(ctx, a); err != nil {
		return err
	}
	if r.holds() {
		r.hold(a)
		return r.writeDevice(a)
	}
	if r.initial {
		a.begin()
	}
	if err := a.events("account_data", r.appendAccountData(nil, r.data[""], &r.filter.AccountData)); err != nil {
		return err
	}
	if err := r.writePresence(a, res.Rooms); err != nil {
		return err
	}
	if err := r.writeDevice(a); err != nil {
		return err
	}
	if err := r.writeDeviceLists(ctx, a); err != nil {
		return err
	}
	return r.renderRooms(ctx, a, r.withCounts(r.withData(r.withoutHidden(res.Rooms))))
}

// withoutHidden takes away the invites that the user does not want to see ("Ignoring
// Users", "Invite permission"). What came before such an invite is told: the user may
// have left the room.
func (r *round) withoutHidden(rooms []core.Change) []core.Change {
	kept := rooms[:0]
	for _, c := range rooms {
		if c.Membership == core.Invite && r.settings.Hides(c.By) {
			if r.initial || c.MemberPos <= r.since.Room {
				continue
			}
			c.Membership = core.Leave
			c.MemberPos--
			if r.hidden == nil {
				r.hidden = map[string]bool{}
			}
			r.hidden[c.RoomID] = true
		}
		kept = append(kept, c)
	}
	return kept
}

// withData adds the joined rooms in which only account data changed.
func (r *round) withData(rooms []core.Change) []core.Change {
	if r.initial || r.full || len(r.data) == 0 {
		return rooms
	}
	for id := range r.data {
		known := slices.ContainsFunc(rooms, func(c core.Change) bool { return c.RoomID == id })
		if id != "" && !known && r.filter.Room.has(id) && r.s.engine.JoinedAt(r.user, id, r.now.Room) {
			rooms = append(rooms, core.Change{RoomID: id, Membership: core.Join, Covered: true, ReceiptsCovered: true})
		}
	}
	return rooms
}

func section(m core.Membership) string {
	switch m {
	case core.Join:
		return sectionJoin
	case core.Invite:
		return sectionInvite
	case core.Knock:
		return sectionKnock
	}
	return sectionLeave
}

// renderRooms renders rooms, section by section. Those that need the owner are
// rendered several at a time.
func (r *round) renderRooms(ctx context.Context, a *answer, rooms []core.Change) error {
	if len(rooms) == 0 {
		return nil
	}
	slices.SortStableFunc(rooms, func(x, y core.Change) int {
		return int(min(x.Membership, core.Leave)) - int(min(y.Membership, core.Leave))
	})
	parallel := 1
	if slices.ContainsFunc(rooms, r.asksOwner) {
		parallel = windowsAt
	}
	work := func(ctx context.Context, i int, dst []byte) ([]byte, error) {
		select {
		case r.s.slots <- struct{}{}:
			defer func() { <-r.s.slots }()
		case <-ctx.Done():
			return dst, ctx.Err()
		}
		return r.room(ctx, &rooms[i], dst)
	}
	return r.s.buffers.Ordered(ctx, len(rooms), parallel, work, func(i int, part []byte) error {
		return a.room(section(rooms[i].Membership), rooms[i].RoomID, part)
	})
}

func (r *round) asksOwner(c core.Change) bool {
	return r.initial || r.full || c.Membership != core.Join || c.Newly != core.No ||
		!c.Covered || !c.ReceiptsCovered || len(c.Events) > r.filter.limit()
}

func (r *round) room(ctx context.Context, c *core.Change, dst []byte) ([]byte, error) {
	switch section(c.Membership) {
	case sectionJoin:
		return r.joined(ctx, c, dst)
	case sectionLeave:
		return r.left(ctx, c, dst)
	}
	return r.invited(ctx, c, dst)
}
