package v3

import (
	"context"
	"slices"
	"strconv"

	"hearth/clientapi/userapi"
	"hearth/internal/pushrules"
	"hearth/roomserver/roomapi"
	"hearth/syncapi/core"
	"hearth/syncapi/internal/render"
	"hearth/syncapi/unread"
)

// appendUnread appends the numbers of unread notifications; told says that the room
// is told anyway. Without it they are told if they have changed. They are left out
// where nothing can have changed them.
func (r *round) appendUnread(ctx context.Context, o *render.Object, c *core.Change, d *delta, told bool) error {
	if r.s.unread == nil || !d.whole && !r.mayCount(c) {
		return nil
	}
	counts, err := r.s.unread.Room(ctx, r.user, c.RoomID)
	if err != nil {
		return err
	}
	if !told && counts.Changed <= r.since.Room && counts.ChangedBy <= r.since.User {
		return nil
	}
	o.Key("unread_notifications")
	if !r.filter.Room.Timeline.UnreadThreads {
		o.Buf = appendCounts(o.Buf, counts.All)
		return nil
	}
	o.Buf = appendCounts(o.Buf, counts.Main)
	if len(counts.Threads) == 0 {
		return nil
	}
	o.Key("unread_thread_notifications")
	threads := render.Open(o.Buf)
	for id, n := range counts.Threads {
		threads.Key(id)
		threads.Buf = appendCounts(threads.Buf, n)
	}
	o.Buf = append(threads.Buf, '}')
	return nil
}

// mayCount reports whether something happened that may change counts.
func (r *round) mayCount(c *core.Change) bool {
	return r.full || r.newRules || len(c.Events) > 0 || !c.Covered || !c.ReceiptsCovered ||
		slices.ContainsFunc(c.Receipts, func(rc *roomapi.Receipt) bool { return rc.UserID == r.req.UserID })
}

func appendCounts(dst []byte, n unread.Counts) []byte {
	dst = append(dst, `{"highlight_count":`...)
	dst = strconv.AppendInt(dst, int64(n.Highlights), 10)
	dst = append(dst, `,"notification_count":`...)
	dst = strconv.AppendInt(dst, int64(n.Notifications), 10)
	return append(dst, '}')
}

// noteRules finds out whether the new account data changes what counts. A client that
// starts from nothing is told the default push rules if the user has no others.
func (r *round) noteRules() {
	if r.s.unread == nil {
		return
	}
	r.newRules = slices.ContainsFunc(r.data[""], func(d userapi.AccountData) bool { return unread.Depends(d.Type) })
	if !r.initial || slices.ContainsFunc(r.data[""], func(d userapi.AccountData) bool { return d.Type == pushrules.AccountDataType }) {
		return
	}
	if r.data == nil {
		r.data = map[string][]userapi.AccountData{}
	}
	r.data[""] = append(r.data[""], userapi.AccountData{
		Type: pushrules.AccountDataType, Content: pushrules.Default(r.req.UserID).Marshal(),
	})
}

// withCounts adds the joined rooms whose counts other rules may have changed.
func (r *round) withCounts(rooms []core.Change) []core.Change {
	if r.initial || r.full || !r.newRules {
		return rooms
	}
	known := make(map[string]bool, len(rooms))
	for i := range rooms {
		known[rooms[i].RoomID] = true
	}
	for _, id := range r.s.engine.JoinedRooms(r.user) {
		if !known[id] && r.filter.Room.has(id) && r.s.engine.JoinedAt(r.user, id, r.now.Room) {
			rooms = append(rooms, core.Change{RoomID: id, Membership: core.Join, Covered: true, ReceiptsCovered: true})
		}
	}
	return rooms
}
