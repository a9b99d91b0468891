package sliding

import (
	"context"
	"slices"

	"hearth/clientapi/userapi"
	"hearth/roomserver/roomapi"
	"hearth/syncapi/core"
	"hearth/syncapi/internal/render"
)

// extensions are what a request wants besides rooms (MSC3884, MSC3885, MSC3959,
// MSC3960, MSC3961, MSC4308).
type extensions struct {
	ToDevice toDevice `json:"to_device"`
	E2EE     struct {
		Enabled bool `json:"enabled"`
	} `json:"e2ee"`
	AccountData scope   `json:"account_data"`
	Receipts    scope   `json:"receipts"`
	Typing      scope   `json:"typing"`
	Threads     threads `json:"io.element.msc4308.thread_subscriptions"`
}

// scope says of which rooms an extension tells. A nil list stands for all lists, or
// for all subscribed rooms.
type scope struct {
	Enabled bool      `json:"enabled"`
	Lists   *[]string `json:"lists"`
	Rooms   *[]string `json:"rooms"`
}

// enabled are the extensions that an answer had.
type enabled struct{ account, receipts, typing, e2ee, threads bool }

func (e *extensions) enabled() enabled {
	return enabled{
		account: e.AccountData.Enabled, receipts: e.Receipts.Enabled, typing: e.Typing.Enabled,
		e2ee: e.E2EE.Enabled, threads: e.Threads.Enabled,
	}
}

// has reports whether a scope has a room that the client knows.
func (s *scope) has(c *conn, id string, k known) bool {
	if !s.Enabled {
		return false
	}
	if s.Lists == nil && s.Rooms == nil {
		return true
	}
	lists := k.lists &^ 1
	if s.Lists != nil && !slices.Contains(*s.Lists, "*") {
		var wanted uint64
		for _, name := range *s.Lists {
			wanted |= c.bit(name)
		}
		lists &= wanted
	}
	if lists != 0 {
		return true
	}
	if s.Rooms == nil || slices.Contains(*s.Rooms, "*") {
		return k.lists&1 != 0
	}
	return slices.Contains(*s.Rooms, id)
}

// roomData is what extensions tell of a room because it, or older events of it, are
// new to the client.
type roomData struct {
	read     bool // the room's data was read
	account  []userapi.AccountData
	receipts []*roomapi.Receipt
	typing   *roomapi.Typing
}

// readData reads what the extensions tell of a room with which the client becomes
// acquainted.
func (r *round) readData(ctx context.Context, t *target, d *delta) error {
	if !t.whole && !d.expanded {
		return nil
	}
	src, ext, id := r.s.engine.Source(), &r.request.ext, t.row.RoomID
	t.data.read = t.whole
	var err error
	if t.whole && ext.AccountData.Enabled {
		t.data.account, err = core.ReadAccountData(ctx, src, userapi.ChangedAccountDataRequest{
			UserID: r.req.UserID, UpTo: r.view.Now.User, Room: &id,
		})
		if err != nil {
			return err
		}
	}
	if t.whole && ext.Typing.Enabled {
		t.data.typing = r.s.engine.Typing(id)
	}
	if ext.Receipts.Enabled {
		t.data.receipts, err = r.receiptsFor(ctx, id, d.timeline)
	}
	return err
}

// receiptsFor reads the receipts at events, and all of the user's own. A receipt is
// later than its event.
func (r *round) receiptsFor(ctx context.Context, roomID string, events []*roomapi.Event) ([]*roomapi.Receipt, error) {
	src := r.s.engine.Source()
	req := roomapi.ReceiptsRequest{RoomID: roomID, UserID: r.req.UserID, UpTo: r.view.Now.Room, Own: true}
	list, err := core.ReadReceipts(ctx, src, req)
	if err != nil || len(events) == 0 {
		return list, err
	}
	req.Own, req.After = false, max(0, events[0].Pos)
	others, err := core.ReadReceipts(ctx, src, req)
	if err != nil {
		return nil, err
	}
	for _, rc := range others {
		if rc.UserID != r.req.UserID && slices.ContainsFunc(events, func(e *roomapi.Event) bool { return e.EventID == rc.EventID }) {
			list = append(list, rc)
		}
	}
	return list, nil
}

// extend writes the extensions.
func (r *round) extend(ctx context.Context) error {
	for _, f := range []func(context.Context) error{r.accountData, r.receipts, r.typing, r.threads, r.device} {
		if err := f(ctx); err != nil {
			return err
		}
	}
	return nil
}

// client returns what the client knows of a room once it has this answer.
func (r *round) client(id string) (k known, ok bool) {
	if k, ok = r.next.rooms[id]; !ok {
		k, ok = r.base.rooms[id]
	}
	return k, ok
}

// inside reports whether an extension tells of a room that the client knew before.
func (r *round) inside(s *scope, id string) bool {
	k, ok := r.client(id)
	return ok && k.kind == joined && s.has(r.conn, id, k)
}

// fresh returns the targets with data of their own, by room.
func (r *round) fresh() map[string]*target {
	m := map[string]*target{}
	for i := range r.targets {
		if t := &r.targets[i]; t.data.read {
			m[t.row.RoomID] = t
		}
	}
	return m
}

// accountData writes global account data and that of known rooms that changed, and
// all of rooms that are new to the client.
func (r *round) accountData(ctx context.Context) error {
	s := &r.request.ext.AccountData
	if !s.Enabled {
		return nil
	}
	changed, err := r.changedAccountData(ctx)
	if err != nil {
		return err
	}
	fresh := r.fresh()
	var global []byte
	rooms := map[string][]byte{}
	for i := range changed {
		d := &changed[i]
		switch {
		case d.RoomID == "":
			global = render.AccountData(global, d)
		case fresh[d.RoomID] == nil && r.inside(s, d.RoomID):
			rooms[d.RoomID] = render.AccountData(rooms[d.RoomID], d)
		}
	}
	for id, t := range fresh {
		for i := range t.data.account {
			if r.inside(s, id) {
				rooms[id] = render.AccountData(rooms[id], &t.data.account[i])
			}
		}
	}
	if len(global) == 0 && len(rooms) == 0 {
		return nil
	}
	o := render.Open(nil)
	if len(global) > 0 {
		o.Key("global")
		o.Buf = append(append(append(o.Buf, '['), global...), ']')
	}
	if len(rooms) > 0 {
		o.Key("rooms")
		in := render.Open(o.Buf)
		for id, list := range rooms {
			in.Key(id)
			in.Buf = append(append(append(in.Buf, '['), list...), ']')
		}
		o.Buf = append(in.Buf, '}')
	}
	return r.out.extension("account_data", append(o.Buf, '}'))
}

// changedAccountData returns what changed since the last answer; all if the client
// has not asked before.
func (r *round) changedAccountData(ctx context.Context) ([]userapi.AccountData, error) {
	req := userapi.ChangedAccountDataRequest{UserID: r.req.UserID, UpTo: r.view.Now.User}
	if r.base.ext.account {
		if r.view.AccountCovered {
			return r.view.Account, nil
		}
		req.After = r.base.since.User
	} else if len(r.base.rooms) == 0 {
		global := ""
		req.Room = &global
	}
	list, err := core.ReadAccountData(ctx, r.s.engine.Source(), req)
	if err == nil && !r.base.ext.account {
		list = withRules(r.req.UserID, list)
	}
	return list, err
}

// receipts writes new receipts of known rooms, and those at the events of rooms that
// are new to the client. Of rooms that were known before the client has asked for
// receipts, the older ones are not told.
func (r *round) receipts(ctx context.Context) error {
	s := &r.request.ext.Receipts
	if !s.Enabled {
		return nil
	}
	lists := map[string][]*roomapi.Receipt{}
	for i := range r.targets {
		if t := &r.targets[i]; len(t.data.receipts) > 0 && r.inside(s, t.row.RoomID) {
			lists[t.row.RoomID] = t.data.receipts
		}
	}
	fresh := r.fresh()
	for i := range r.view.Receipts {
		c := &r.view.Receipts[i]
		if fresh[c.RoomID] != nil || !r.inside(s, c.RoomID) {
			continue
		}
		list := c.Receipts
		if !c.ReceiptsCovered {
			var err error
			list, err = core.ReadReceipts(ctx, r.s.engine.Source(), roomapi.ReceiptsRequest{
				RoomID: c.RoomID, UserID: r.req.UserID, After: r.base.since.Room, UpTo: r.view.Now.Room,
			})
			if err != nil {
				return err
			}
		}
		lists[c.RoomID] = append(lists[c.RoomID], list...)
	}
	return r.roomEvents("receipts", func(o *render.Object) {
		for id, list := range lists {
			if event := render.ReceiptEvent(nil, list, r.req.UserID, r.view.Settings.Ignored); len(event) > 0 {
				o.Key(id)
				o.Buf = append(o.Buf, event...)
			}
		}
	})
}

// typing writes who types where that changed, and in rooms that are new to the client.
func (r *round) typing(context.Context) error {
	s := &r.request.ext.Typing
	if !s.Enabled {
		return nil
	}
	fresh := r.fresh()
	return r.roomEvents("typing", func(o *render.Object) {
		for _, t := range r.view.Typing {
			if fresh[t.RoomID] == nil && r.inside(s, t.RoomID) {
				o.Key(t.RoomID)
				o.Buf = append(o.Buf, render.TypingEvent(t, r.view.Settings.Ignored)...)
			}
		}
		for id, t := range fresh {
			if typing := t.data.typing; typing != nil && len(typing.UserIDs) > 0 && r.inside(s, id) {
				o.Key(id)
				o.Buf = append(o.Buf, render.TypingEvent(typing, r.view.Settings.Ignored)...)
			}
		}
	})
}

// roomEvents writes an extension with a member for each room; nothing without rooms.
func (r *round) roomEvents(name string, rooms func(o *render.Object)) error {
	o := render.Open(nil)
	o.Key("rooms")
	in := render.Open(o.Buf)
	rooms(&in)
	if in.Empty() {
		return nil
	}
	o.Buf = append(in.Buf, '}')
	return r.out.extension(name, append(o.Buf, '}'))
}
