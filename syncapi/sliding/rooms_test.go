package sliding

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"hearth/clientapi/userapi"
	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
	"hearth/syncapi/internal/model"
	"hearth/syncapi/unread"
)

// elementX is the room list's request of matrix-rust-sdk, in short.
const elementX = `{"conn_id":"room-list","lists":{"all_rooms":{"ranges":[[0,19]],"timeline_limit":1,"required_state":[` +
	`["m.room.name",""],["m.room.encryption",""],["m.room.member","$LAZY"],["m.room.member","$ME"],["m.space.child","*"]]}},` +
	`"extensions":{"account_data":{"enabled":true},"receipts":{"enabled":true,"rooms":["*"]},"typing":{"enabled":true}}}`

// stableRoom is the same in the accepted form.
const stableRoom = `{"conn_id":"room-list","lists":{"all":{"range":[0,19],"timeline_limit":1,"required_state":{"include":[` +
	`{"type":"m.room.name","state_key":""},{"type":"m.room.member","state_key":"@alice:h"}],"lazy_members":true}}}}`

func keys(list []event) []string {
	out := []string{}
	for _, e := range list {
		out = append(out, e.Type+"|"+*e.StateKey)
	}
	slices.Sort(out)
	return out
}

func TestFirstAndNextAnswer(t *testing.T) {
	for name, stable := range map[string]bool{"unstable": false, "stable": true} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			o := h.owners
			o.Create(roomA, alice, "shared")
			o.Member(roomA, bob, bob, "join")
			o.Member(roomA, carol, carol, "join")
			o.SetState(roomA, alice, "m.room.name", "", `{"name":"N"}`)
			o.SetState(roomA, alice, "m.room.avatar", "", `{"url":"mxc://h/a"}`)
			m := o.Message(roomA, bob, "x")
			p := &phone{h: h, user: alice, stable: stable, body: elementX}
			if stable {
				p.body = stableRoom
			}
			r := p.sync()
			a := r.Rooms[roomA]
			if !a.Initial || string(a.Name) != `"N"` || string(a.Avatar) != `"mxc://h/a"` || *a.Joined != 3 || *a.Invited != 0 ||
				!slices.Equal(ids(a.Timeline), []string{m}) || !a.Limited || *a.NumLive != 0 || a.PrevBatch == "" || a.BumpStamp == 0 || a.IsDM != nil {
				t.Errorf("first: %+v", a)
			}
			if want := []string{"m.room.member|@alice:h", "m.room.member|@bob:h", "m.room.name|"}; !slices.Equal(keys(a.State), want) {
				t.Errorf("state: %v", keys(a.State))
			}
			if stable != (a.Membership == "join") || stable != slices.Equal(a.Lists, []string{"all"}) {
				t.Errorf("membership %q, lists %v", a.Membership, a.Lists)
			}
			second := o.Message(roomA, carol, "y")
			o.SetState(roomA, alice, "m.room.name", "", `{}`)
			r = p.sync()
			b := r.Rooms[roomA]
			if b.Initial || string(b.Name) != "null" || b.Avatar != nil || b.Limited != true || *b.NumLive != 1 || len(b.Heroes) != 2 {
				t.Errorf("second: %+v", b)
			}
			if b.BumpStamp <= a.BumpStamp {
				t.Errorf("bump stamps %d, %d", a.BumpStamp, b.BumpStamp)
			}
			o.SetState(roomA, alice, "m.room.topic", "", `{}`)
			if c := p.sync().Rooms[roomA]; c.BumpStamp != 0 || len(c.Timeline) != 1 || len(c.State) != 0 {
				t.Errorf("a topic: %+v", c)
			}
			if r := p.sync(); len(r.Rooms) != 0 {
				t.Errorf("nothing new, but %+v", r.Rooms)
			}
			_ = second
		})
	}
}

func TestRoomsThatTheUserIsNotIn(t *testing.T) {
	for name, stable := range map[string]bool{"unstable": false, "stable": true} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			o := h.owners
			for _, id := range []string{roomA, roomB, roomC} {
				o.Create(id, bob, "shared")
			}
			o.Member(roomA, bob, alice, "invite")
			o.Member(roomB, alice, alice, "knock")
			o.Member(roomC, bob, alice, "ban")
			p := &phone{h: h, user: alice, stable: stable, body: elementX}
			if stable {
				p.body = stableRoom
			}
			r := p.sync()
			if len(r.Rooms) != 2 {
				t.Fatalf("rooms: %+v", r.Rooms)
			}
			for id, want := range map[string]string{roomA: "invite", roomB: "knock"} {
				got := r.Rooms[id]
				if len(got.InviteState)+len(got.Stripped) != 1 || stable && got.Membership != want || (got.InviteState == nil) != stable ||
					len(got.Timeline)+len(got.State) > 0 || got.BumpStamp == 0 || got.Joined != nil || !got.Initial {
					t.Errorf("%s: %+v", want, got)
				}
			}
			o.Member(roomA, alice, alice, "leave")
			r = p.sync()
			got := r.Rooms[roomA]
			list := got.State
			if stable {
				list = got.Stripped
			}
			if len(r.Rooms) != 1 || len(list) != 1 || string(list[0].Content) != `{"membership":"leave"}` || len(got.Timeline) != 0 {
				t.Errorf("rejected: %+v", r.Rooms)
			}
			o.Message(roomA, bob, "secret")
			if r = p.sync(); len(r.Rooms) != 0 {
				t.Errorf("after the rejection: %+v", r.Rooms)
			}
		})
	}
}

// A user who is put out of a room hears of that and of nothing after it, on a
// connection that knows the room and on one that does not.
func TestPutOut(t *testing.T) {
	h := newHarness(t)
	o := h.owners
	o.Create(roomA, bob, "shared")
	o.Member(roomA, alice, alice, "join")
	subscribed := `{"room_subscriptions":{"` + roomA + `":{"timeline_limit":20,"required_state":[["*","*"]]}}}`
	p := &phone{h: h, user: alice, body: subscribed}
	list := &phone{h: h, user: alice, body: elementX}
	p.sync()
	list.sync()
	m := o.Message(roomA, bob, "before")
	kick := o.Member(roomA, bob, alice, "leave")
	o.Message(roomA, bob, "secret")
	topic := o.SetState(roomA, bob, "m.room.topic", "", `{"topic":"secret"}`)
	for name, k := range map[string]*phone{"subscription": p, "list": list} {
		got := k.sync().Rooms[roomA]
		if n := len(got.Timeline); n == 0 || got.Timeline[n-1].EventID != kick || n > 1 && got.Timeline[0].EventID != m {
			t.Errorf("%s: timeline %v", name, ids(got.Timeline))
		}
		if slices.Contains(ids(got.State), topic) || !slices.Contains(ids(got.State), kick) {
			t.Errorf("%s: state %v", name, ids(got.State))
		}
		o.Message(roomA, bob, "secret")
		o.Receipt(roomA, bob, "m.read", m, "")
		o.Typing(roomA, bob)
		if r := k.sync(); len(r.Rooms)+len(r.Extensions.Receipts.Rooms)+len(r.Extensions.Typing.Rooms) > 0 {
			t.Errorf("%s: after it: %+v", name, r)
		}
	}
	fresh := &phone{h: h, user: alice, body: elementX}
	got := fresh.sync().Rooms[roomA]
	if !got.Initial || !slices.Equal(ids(got.Timeline), []string{kick}) || slices.Contains(ids(got.State), topic) {
		t.Errorf("a new connection: %+v", got)
	}
	stranger := &phone{h: h, user: carol, body: subscribed}
	if r := stranger.sync(); len(r.Rooms) != 0 {
		t.Errorf("a stranger's subscription: %+v", r.Rooms)
	}
	o.Message(roomA, bob, "x")
	if r := stranger.sync(); len(r.Rooms) != 0 {
		t.Errorf("a stranger's subscription: %+v", r.Rooms)
	}
}

func TestDirectRooms(t *testing.T) {
	h := newHarness(t)
	o := h.owners
	o.Create(roomA, alice, "shared")
	o.Create(roomB, alice, "shared")
	o.SetAccountData(alice, "", "m.direct", `{"@bob:h":["`+roomA+`"],"@x:h":5,"@y:h":[7]}`)
	all := &phone{h: h, user: alice, body: elementX}
	dms := &phone{h: h, user: alice, body: `{"conn_id":"d","lists":{"d":{"ranges":[[0,9]],"filters":{"is_dm":true},"timeline_limit":1},` +
		`"o":{"ranges":[[0,9]],"filters":{"is_dm":false},"timeline_limit":1}}}`}
	r := all.sync()
	if dm := r.Rooms[roomA].IsDM; dm == nil || !*dm || r.Rooms[roomB].IsDM != nil {
		t.Errorf("is_dm: %+v", r.Rooms)
	}
	if r = dms.sync(); r.Lists["d"].Count != 1 || r.Lists["o"].Count != 1 {
		t.Errorf("counts: %+v", r.Lists)
	}
	o.SetAccountData(alice, "", "m.direct", `{"@bob:h":["`+roomB+`","`+roomA+`"]}`)
	r = all.sync()
	if dm := r.Rooms[roomB].IsDM; dm == nil || !*dm || len(r.Rooms) != 1 || r.Rooms[roomB].Initial {
		t.Errorf("after the change: %+v", r.Rooms)
	}
	if r = dms.sync(); r.Lists["d"].Count != 2 || r.Lists["o"].Count != 0 {
		t.Errorf("counts after the change: %+v", r.Lists)
	}
	o.SetAccountData(alice, "", "m.direct", `[]`)
	r = all.sync()
	if dm := r.Rooms[roomA].IsDM; len(r.Rooms) != 2 || dm == nil || *dm {
		t.Errorf("after none is direct: %+v", r.Rooms)
	}
}

func TestIgnoredUsers(t *testing.T) {
	h := newHarness(t)
	o := h.owners
	o.Create(roomA, alice, "shared")
	o.Create(roomB, bob, "shared")
	o.Member(roomA, bob, bob, "join")
	p := &phone{h: h, user: alice, body: elementX}
	p.sync()
	o.SetAccountData(alice, "", "m.ignored_user_list", `{"ignored_users":{"@bob:h":{}}}`)
	o.Message(roomA, bob, "noise")
	o.Member(roomB, bob, alice, "invite")
	if r := p.sync(); len(r.Rooms) != 0 || r.Lists["all_rooms"].Count != 1 {
		t.Errorf("ignored: %+v", r)
	}
	o.SetAccountData(alice, "", "m.ignored_user_list", `{"ignored_users":{}}`)
	if r := p.sync(); r.Rooms[roomB].InviteState == nil || r.Lists["all_rooms"].Count != 2 {
		t.Errorf("not ignored any more: %+v", r)
	}
}

// owner is the unread.Source of a model.
type owner struct{ *model.Owners }

func (o owner) Unread(_ context.Context, req *roomapi.UnreadRequest, f func(*roomapi.UnreadRoom)) error {
	for _, id := range req.Rooms {
		f(o.Owners.Unread(req, id))
	}
	return nil
}

func (o owner) Event(context.Context, *roomapi.EventRequest) (*roomapi.Event, error) {
	return nil, merr.NotFound("Unknown event")
}

func (o owner) Piece(ctx context.Context, req *userapi.AccountDataRequest) (*userapi.AccountData, error) {
	return o.AccountDataOf(ctx, req)
}

func TestUnreadCounts(t *testing.T) {
	h := newHarness(t)
	service, err := New(Deps{Engine: h.engine, Unread: unread.New(h.engine, owner{h.owners}), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	h.service = service
	o := h.owners
	o.Create(roomA, alice, "shared")
	o.Create(roomB, alice, "shared")
	o.Member(roomA, bob, bob, "join")
	p := &phone{h: h, user: alice, body: `{"lists":{"one":{"ranges":[[0,0]],"timeline_limit":1}},"extensions":{"account_data":{"enabled":true}}}`}
	r := p.sync()
	if n := r.Rooms[roomA].Notifications; n == nil || *n != 0 {
		t.Errorf("at first: %+v", r.Rooms[roomA])
	}
	if !slices.ContainsFunc(r.Extensions.AccountData.Global, func(e event) bool { return e.Type == "m.push_rules" }) {
		t.Error("the default push rules are missing")
	}
	o.Message(roomA, bob, "x")
	m := o.Message(roomA, bob, "y")
	if n := p.sync().Rooms[roomA].Notifications; n == nil || *n != 2 {
		t.Errorf("after two messages: %v", n)
	}
	o.Message(roomB, alice, "z") // takes the window
	p.sync()
	o.Receipt(roomA, alice, "m.read", m, "")
	r = p.sync()
	if a := r.Rooms[roomA]; a.Notifications == nil || *a.Notifications != 0 || a.Highlights == nil || len(a.Timeline) > 0 || a.Initial {
		t.Errorf("after the receipt: %+v", r.Rooms)
	}
	o.Receipt(roomA, bob, "m.read", m, "")
	if r = p.sync(); len(r.Rooms) != 0 {
		t.Errorf("somebody else's receipt: %+v", r.Rooms)
	}
	p.stable, p.pos, p.body = true, "", stableRoom
	if a := p.sync().Rooms[roomA]; a.Notifications != nil {
		t.Error("the accepted form has unread counts")
	}
}

func TestExtensions(t *testing.T) {
	h := newHarness(t)
	o := h.owners
	o.Create(roomA, alice, "shared")
	o.Create(roomB, alice, "shared")
	o.Member(roomA, bob, bob, "join")
	old := o.Message(roomA, alice, "old")
	o.Receipt(roomA, bob, "m.read", old, "")
	own := o.Message(roomA, bob, "own")
	o.Receipt(roomA, alice, "m.read.private", own, "")
	m := o.Message(roomA, bob, "last")
	o.Receipt(roomA, carol, "m.read", m, "")
	o.Receipt(roomA, carol, "m.read.private", m, "")
	o.SetAccountData(alice, "", "m.g", `{"n":1}`)
	o.SetAccountData(alice, roomA, "m.tag", `{"tags":{}}`)
	o.SetAccountData(alice, roomB, "m.tag", `{"tags":{}}`)
	o.Typing(roomA, bob)
	body := `{"lists":{"l":{"ranges":[[0,0]],"timeline_limit":1}},"extensions":{"account_data":{"enabled":true},` +
		`"receipts":{"enabled":true},"typing":{"enabled":true}}}`
	p := &phone{h: h, user: alice, body: body}
	x := p.sync().Extensions
	if want := `{"` + own + `":{"m.read.private":{"@alice:h":{"ts":` + string(ts(x.Receipts.Rooms[roomA].Content, own)) + `}}},"` +
		m + `":{"m.read":{"@carol:h":{"ts":` + string(ts(x.Receipts.Rooms[roomA].Content, m)) + `}}}}`; string(x.Receipts.Rooms[roomA].Content) != want {
		t.Errorf("receipts: %s, want %s", x.Receipts.Rooms[roomA].Content, want)
	}
	if string(x.Typing.Rooms[roomA].Content) != `{"user_ids":["@bob:h"]}` {
		t.Errorf("typing: %+v", x.Typing)
	}
	if len(x.AccountData.Rooms) != 1 || len(x.AccountData.Rooms[roomA]) != 1 || len(x.AccountData.Global) != 2 {
		t.Errorf("account data: %+v", x.AccountData)
	}
	o.Typing(roomA)
	o.Receipt(roomA, bob, "m.read", m, "")
	o.Receipt(roomB, alice, "m.read", "$x", "")
	o.SetAccountData(alice, roomA, "m.x", `{}`)
	o.SetAccountData(alice, roomB, "m.x", `{}`)
	x = p.sync().Extensions
	if len(x.Typing.Rooms) != 1 || string(x.Typing.Rooms[roomA].Content) != `{"user_ids":[]}` ||
		len(x.Receipts.Rooms) != 1 || len(x.AccountData.Rooms) != 1 || len(x.AccountData.Rooms[roomA]) != 1 || len(x.AccountData.Global) != 0 {
		t.Errorf("changes: %+v", x)
	}
	x = p.sync().Extensions
	if len(x.Typing.Rooms)+len(x.Receipts.Rooms)+len(x.AccountData.Rooms) > 0 {
		t.Errorf("told twice: %+v", x)
	}
}

// ts reads the time of the only receipt at an event.
func ts(content json.RawMessage, event string) json.RawMessage {
	var c map[string]map[string]map[string]struct{ TS json.RawMessage }
	_ = json.Unmarshal(content, &c) // the caller compares what comes of it
	for _, kinds := range c[event] {
		for _, r := range kinds {
			return r.TS
		}
	}
	return nil
}

// An extension may be limited to lists and subscriptions.
func TestScopeOfExtensions(t *testing.T) {
	h := newHarness(t)
	o := h.owners
	o.Create(roomA, alice, "shared")
	o.Create(roomB, alice, "shared")
	for scope, want := range map[string][]string{
		`"enabled":true`: {roomA, roomB},
		`"enabled":true,"lists":[],"rooms":["*"]`:             {roomA},
		`"enabled":true,"lists":["l"],"rooms":[]`:             {roomB},
		`"enabled":true,"lists":["other"],"rooms":[]`:         {},
		`"enabled":true,"lists":[],"rooms":["` + roomB + `"]`: {roomB},
		`"enabled":false`: {},
	} {
		o.Message(roomB, alice, "to the top")
		p := &phone{h: h, user: alice, body: `{"lists":{"l":{"ranges":[[0,0]],"timeline_limit":1}},` +
			`"room_subscriptions":{"` + roomA + `":{"timeline_limit":1}},"extensions":{"typing":{` + scope + `}}}`}
		p.sync()
		o.Typing(roomA, bob)
		o.Typing(roomB, bob)
		got := []string{}
		for id := range p.sync().Extensions.Typing.Rooms {
			got = append(got, id)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", scope, got, want)
		}
	}
}
