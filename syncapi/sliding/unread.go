package sliding

import (
	"context"
	"slices"
	"strconv"

	"hearth/clientapi/userapi"
	"hearth/internal/pushrules"
	"hearth/syncapi/internal/render"
	"hearth/syncapi/unread"
)

// counts reports whether answers have unread counts: the accepted form has none.
func (r *round) counts() bool { return r.s.unread != nil && !r.req.Stable }

// noteUnread finds out in which rooms counts may have changed without an event.
func (r *round) noteUnread() {
	if !r.counts() || r.base.seq == 0 {
		return
	}
	r.newRules = !r.view.AccountCovered ||
		slices.ContainsFunc(r.view.Account, func(d userapi.AccountData) bool { return d.RoomID == "" && unread.Depends(d.Type) })
	for i := range r.view.Receipts {
		c := &r.view.Receipts[i]
		own := !c.ReceiptsCovered
		for _, rc := range c.Receipts {
			own = own || rc.UserID == r.req.UserID
		}
		if own {
			if r.own == nil {
				r.own = map[string]bool{}
			}
			r.own[c.RoomID] = true
		}
	}
}

// appendUnread appends the numbers of unread notifications if they may have changed
// and the client does not know them. d is nil if there are no events.
func (r *round) appendUnread(ctx context.Context, o *render.Object, t *target, d *delta) error {
	id := t.row.RoomID
	if !r.counts() || !t.whole && !r.newRules && !r.own[id] && (d == nil || len(d.timeline) == 0 && !d.limited) {
		return nil
	}
	n, err := r.s.unread.Room(ctx, r.user, id)
	if err != nil {
		return err
	}
	from := r.base.since.Room
	if d != nil {
		from = min(from, d.from)
	}
	if !t.whole && n.Changed <= from && n.ChangedBy <= r.base.since.User {
		return nil
	}
	o.Key("notification_count")
	o.Buf = strconv.AppendInt(o.Buf, int64(n.All.Notifications), 10)
	o.Key("highlight_count")
	o.Buf = strconv.AppendInt(o.Buf, int64(n.All.Highlights), 10)
	return nil
}

// withRules adds the default push rules if the user has no others.
func withRules(user string, data []userapi.AccountData) []userapi.AccountData {
	if slices.ContainsFunc(data, func(d userapi.AccountData) bool { return d.RoomID == "" && d.Type == pushrules.AccountDataType }) {
		return data
	}
	return append(data, userapi.AccountData{Type: pushrules.AccountDataType, Content: pushrules.Default(user).Marshal()})
}
