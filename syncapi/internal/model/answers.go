package model

import (
	"cmp"
	"context"
	"slices"

	"hearth/clientapi/userapi"
	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
)

// Heads returns the ends of both logs.
func (o *Owners) Heads(context.Context) (rooms, users int64, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	rooms, users = o.heads()
	return rooms, users, nil
}

// Window answers roomapi.WindowStream.
func (o *Owners) Window(_ context.Context, req *roomapi.WindowRequest) (*roomapi.Window, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.windows++
	w := &roomapi.Window{}
	to, _ := o.heads()
	if req.To != 0 {
		to = min(to, req.To)
	}
	w.Pos = to
	w.Membership, w.MemberPos = o.member(req.RoomID, req.UserID, to)
	if w.Membership == "" {
		return nil, merr.Forbidden("not in the room")
	}
	end := to
	if w.Membership == "join" {
		w.JoinedPos = o.joinedSince(req.RoomID, req.UserID, to)
	} else {
		end = w.MemberPos
	}
	var seen []*roomapi.Event
	for _, e := range o.history(req.RoomID, end) {
		switch {
		case e.Pos <= req.From:
		case !o.visible(req.RoomID, req.UserID, e, to):
			// A timeline has no holes: state in a hole would be lost.
			seen, w.Limited = nil, true
		case selects(&req.Filter, e):
			shown := *e
			shown.UserMembership, _ = o.member(req.RoomID, req.UserID, e.Pos)
			seen = append(seen, &shown)
		}
	}
	if len(seen) > req.Limit {
		w.Limited = true
		seen = seen[len(seen)-req.Limit:]
	}
	w.Timeline = seen
	start := end
	if len(seen) > 0 {
		start = seen[0].Pos - 1
	}
	w.PrevBatch = roomapi.Point{Ord: (start+1)<<20 - 1}
	if !req.NoState {
		if req.StateAfter {
			start = end
		}
		w.State = o.windowState(req, w, start)
	}
	for _, e := range sorted(o.state(req.RoomID, to)) {
		if e.Type != "m.room.member" {
			continue
		}
		switch e.Membership {
		case "join":
			w.Joined++
		case "invite":
			w.Invited++
		default:
			continue
		}
		if *e.StateKey != req.UserID && len(w.Heroes) < 5 {
			w.Heroes = append(w.Heroes, *e.StateKey)
		}
	}
	return w, nil
}

// windowState is the state at a position, or its difference to that at From.
func (o *Owners) windowState(req *roomapi.WindowRequest, w *roomapi.Window, at int64) []*roomapi.Event {
	base := map[key]*roomapi.Event{}
	if m, _ := o.member(req.RoomID, req.UserID, req.From); req.From != 0 && m == "join" {
		base = o.state(req.RoomID, req.From)
	}
	speaks := map[string]bool{req.UserID: true}
	for _, e := range w.Timeline {
		speaks[e.Sender] = true
	}
	var list []*roomapi.Event
	for _, e := range sorted(o.state(req.RoomID, at)) {
		k := key{e.Type, *e.StateKey}
		changed := base[k] == nil || base[k].EventID != e.EventID
		lazy := req.Lazy && e.Type == "m.room.member"
		if lazy && speaks[*e.StateKey] || changed && (!lazy || len(base) > 0) {
			list = append(list, e)
		}
	}
	return list
}

func sorted(state map[key]*roomapi.Event) []*roomapi.Event {
	var list []*roomapi.Event
	for _, e := range state {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b *roomapi.Event) int { return cmp.Compare(a.Pos, b.Pos) })
	return list
}

func selects(f *roomapi.EventFilter, e *roomapi.Event) bool {
	in := func(list []string, s string) bool { return slices.Contains(list, s) || slices.Contains(list, "*") }
	return (f.Types == nil || in(f.Types, e.Type)) && !in(f.NotTypes, e.Type) &&
		(f.Senders == nil || slices.Contains(f.Senders, e.Sender)) && !slices.Contains(f.NotSenders, e.Sender)
}

// State answers roomapi.StateStream.
func (o *Owners) State(_ context.Context, req *roomapi.StateRequest, f func(*roomapi.Event) error) error {
	o.mu.Lock()
	at, _ := o.heads()
	switch {
	case req.At.Pos != 0:
		at = req.At.Pos
	case req.At.Ord != 0:
		at = req.At.Ord >> 20
	}
	list := sorted(o.state(req.RoomID, at))
	o.mu.Unlock()
	for _, e := range list {
		if err := f(e); err != nil {
			return err
		}
	}
	return nil
}

// StateEvent answers roomapi.GetStateEvent.
func (o *Owners) StateEvent(_ context.Context, req *roomapi.StateEventRequest) (*roomapi.Event, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	at, _ := o.heads()
	m, pos := o.member(req.RoomID, req.UserID, at)
	switch m {
	case "join":
	case "leave", "ban":
		at = pos
	default:
		return nil, merr.Forbidden("not in the room")
	}
	if e := o.last(req.RoomID, req.Type, req.StateKey, at); e != nil {
		return e, nil
	}
	return nil, merr.NotFound("no such state")
}

// InviteState answers roomapi.InviteState.
func (o *Owners) InviteState(_ context.Context, req *roomapi.InviteStateRequest) (*roomapi.InviteStateResponse, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	at, _ := o.heads()
	m, _ := o.member(req.RoomID, req.UserID, at)
	if m != "invite" && m != "knock" {
		return nil, merr.NotFound("no invite")
	}
	return &roomapi.InviteStateResponse{Events: []byte(`[{"type":"m.room.create","state_key":"","sender":"@c:h","content":{}}]`)}, nil
}

// Receipts answers roomapi.Receipts.
func (o *Owners) Receipts(_ context.Context, req *roomapi.ReceiptsRequest) (*roomapi.ReceiptsResponse, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	upTo, _ := o.heads()
	if req.UpTo != 0 {
		upTo = req.UpTo
	}
	resp := &roomapi.ReceiptsResponse{}
	for _, r := range o.receipts(req.RoomID, req.UserID) {
		if r.Pos <= req.After || r.Pos > upTo || req.Own && r.UserID != req.UserID {
			continue
		}
		if len(resp.Receipts) == req.Limit {
			resp.More = true
			break
		}
		resp.Receipts = append(resp.Receipts, *r)
	}
	return resp, nil
}

// receipts are the present receipts that a user may see, in order of position.
func (o *Owners) receipts(room, user string) []*roomapi.Receipt {
	type slot struct{ user, kind, thread string }
	present := map[slot]*roomapi.Receipt{}
	for _, p := range o.rooms {
		if r := p.Entry.Receipt; r != nil && p.Entry.RoomID == room && (r.Kind == "m.read" || r.UserID == user) {
			present[slot{r.UserID, r.Kind, r.ThreadID}] = r
		}
	}
	var list []*roomapi.Receipt
	for _, r := range present {
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b *roomapi.Receipt) int { return cmp.Compare(a.Pos, b.Pos) })
	return list
}

// Memberships answers roomapi.Memberships, two rooms a page.
func (o *Owners) Memberships(_ context.Context, req *roomapi.MembershipsRequest) (*roomapi.MembershipsResponse, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	head, _ := o.heads()
	resp := &roomapi.MembershipsResponse{Pos: head}
	var rooms []string
	forgot := map[string]int64{}
	for _, p := range o.rooms {
		if !slices.Contains(rooms, p.Entry.RoomID) {
			rooms = append(rooms, p.Entry.RoomID)
		}
		if p.Entry.Kind == roomapi.KindForget && p.Entry.UserID == req.UserID {
			forgot[p.Entry.RoomID] = p.Pos
		}
	}
	slices.Sort(rooms)
	for _, room := range rooms {
		m, pos := o.member(room, req.UserID, head)
		if room <= req.After || m == "" || forgot[room] > pos && len(req.Memberships) == 0 ||
			len(req.Memberships) > 0 && !slices.Contains(req.Memberships, m) {
			continue
		}
		if len(resp.Rooms) == 2 {
			resp.More = true
			break
		}
		row := roomapi.Membership{RoomID: room, Membership: m, Pos: pos, Forgotten: forgot[room] > pos}
		row.Sender = o.last(room, "m.room.member", req.UserID, head).Sender
		if m == "join" {
			for _, p := range o.rooms {
				if p.Entry.RoomID == room && p.Entry.Event != nil {
					row.LastEvent = p.Pos
				}
				if p.Entry.RoomID == room && p.Entry.Receipt != nil {
					row.LastReceipt = p.Pos
				}
			}
		}
		resp.Rooms = append(resp.Rooms, row)
	}
	return resp, nil
}

// AccountData answers userapi.ChangedAccountData, two pieces a page.
func (o *Owners) AccountData(_ context.Context, req *userapi.ChangedAccountDataRequest) (*userapi.ChangedAccountDataResponse, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, head := o.heads()
	resp := &userapi.ChangedAccountDataResponse{Pos: head}
	for _, d := range o.accountData(req.UserID, head) {
		if d.Pos <= req.After || req.UpTo != 0 && d.Pos > req.UpTo || req.Room != nil && d.RoomID != *req.Room {
			continue
		}
		if len(resp.Data) == 2 {
			resp.More = true
			break
		}
		resp.Data = append(resp.Data, *d)
	}
	return resp, nil
}

// AccountDataOf answers userapi.GetAccountData.
func (o *Owners) AccountDataOf(_ context.Context, req *userapi.AccountDataRequest) (*userapi.AccountData, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, head := o.heads()
	for _, d := range o.accountData(req.UserID, head) {
		if d.RoomID == req.RoomID && d.Type == req.Type {
			return d, nil
		}
	}
	return nil, merr.NotFound("never set")
}

// Subscriptions answers userapi.ChangedSubscriptions.
func (o *Owners) Subscriptions(_ context.Context, req *userapi.ChangedSubscriptionsRequest) (*userapi.ChangedSubscriptionsResponse, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	resp, seen := &userapi.ChangedSubscriptionsResponse{}, map[string]bool{}
	for i := len(o.users) - 1; i >= 0; i-- {
		t, pos := o.users[i].Entry.Thread, o.users[i].Pos
		if t == nil || o.users[i].Entry.UserID != req.UserID || seen[t.ThreadID] {
			continue
		}
		seen[t.ThreadID] = true
		if pos <= req.After || pos > req.UpTo {
			continue
		}
		if len(resp.Threads) == req.Limit {
			resp.More = true
			break
		}
		resp.Threads = append(resp.Threads, *t)
	}
	return resp, nil
}

// Messages answers roomapi.Messages for a walk backwards.
func (o *Owners) Messages(_ context.Context, req *roomapi.MessagesRequest) (*roomapi.MessagesResponse, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	to, _ := o.heads()
	if req.From.Pos != 0 {
		to = req.From.Pos
	}
	resp := &roomapi.MessagesResponse{}
	list := o.history(req.RoomID, to)
	for i := len(list) - 1; i >= 0 && len(resp.Events) < req.Limit; i-- {
		if selects(&req.Filter, list[i]) && o.visible(req.RoomID, req.UserID, list[i], to) {
			resp.Events = append(resp.Events, list[i])
		}
	}
	return resp, nil
}

// accountData is a user's account data at a position, in order of its last change.
func (o *Owners) accountData(user string, to int64) []*userapi.AccountData {
	type slot struct{ room, typ string }
	present := map[slot]*userapi.AccountData{}
	for _, p := range o.users {
		if p.Pos <= to && p.Entry.UserID == user && p.Entry.Data != nil {
			present[slot{p.Entry.Data.RoomID, p.Entry.Data.Type}] = p.Entry.Data
		}
	}
	var list []*userapi.AccountData
	for _, d := range present {
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b *userapi.AccountData) int { return cmp.Compare(a.Pos, b.Pos) })
	return list
}
