package core

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"hearth/internal/bus"
	"hearth/roomserver/roomapi"
	"hearth/syncapi/internal/model"
	"hearth/syncapi/viewapi"
)

const (
	alice = "@alice:h"
	bob   = "@bob:h"
)

// setup returns an engine that follows a model of the owners from its present end.
func setup(t *testing.T, limits Limits, before func(o *model.Owners)) (*Engine, *model.Owners) {
	o := model.New()
	before(o)
	rooms, users, _ := o.Heads(t.Context()) // never fails
	e := New(Options{Source: o, Limits: limits, RoomPos: rooms, UserPos: users})
	t.Cleanup(e.Close)
	o.OnRoom = func(p bus.Positioned[roomapi.Entry]) { apply(e, p) }
	o.OnTyping = e.ApplyTyping
	return e, o
}

func apply(e *Engine, list ...bus.Positioned[roomapi.Entry]) {
	_ = e.ApplyRooms(context.Background(), list) // never fails
}

func acquire(t *testing.T, e *Engine, user string) *User {
	t.Helper()
	u, err := e.Acquire(t.Context(), user)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func changes(e *Engine, u *User, since int64) map[string]Change {
	m := map[string]Change{}
	for _, c := range e.Changes(u, Query{Since: viewapi.Token{Room: since}}).Rooms {
		m[c.RoomID] = c
	}
	return m
}

func eventIDs(list []*roomapi.Event) []string {
	var out []string
	for _, e := range list {
		out = append(out, e.EventID)
	}
	return out
}

func TestQuietRoomsAreNoChanges(t *testing.T) {
	e, o := setup(t, DefaultLimits(), func(o *model.Owners) {
		for i := range 5 {
			o.Create(fmt.Sprintf("!%d:h", i), alice, "shared")
		}
	})
	u := acquire(t, e, alice)
	start, _ := e.Cursors()
	if c := changes(e, u, start); len(c) != 0 {
		t.Errorf("changes: %v", c)
	}
	m := o.Message("!3:h", alice, "x")
	c := changes(e, u, start)
	if len(c) != 1 || !c["!3:h"].Covered || !slices.Equal(eventIDs(c["!3:h"].Events), []string{m}) || c["!3:h"].Counts != No {
		t.Errorf("changes: %+v", c)
	}
	// What happened before the start is not known, except that the other rooms have
	// no event since then.
	c = changes(e, u, start-1)
	if last := c["!4:h"]; len(c) != 2 || last.Covered || last.Counts != Unknown || c["!3:h"].Covered != true {
		t.Errorf("changes before the start: %+v", c)
	}
}

func TestRingKeepsTheLatestEvents(t *testing.T) {
	limits := DefaultLimits()
	limits.Events = 3
	e, o := setup(t, limits, func(o *model.Owners) { o.Create("!a:h", alice, "shared") })
	u := acquire(t, e, alice)
	start, _ := e.Cursors()
	var sent []string
	for range 5 {
		sent = append(sent, o.Message("!a:h", alice, "x"))
	}
	if c := changes(e, u, start+1)["!a:h"]; c.Covered {
		t.Errorf("covered, but one event is missing: %v", eventIDs(c.Events))
	}
	if c := changes(e, u, start+2)["!a:h"]; !c.Covered || !slices.Equal(eventIDs(c.Events), sent[2:]) {
		t.Errorf("got %v, %v", eventIDs(c.Events), c.Covered)
	}
}

func TestForgottenRoomsRaiseTheFloor(t *testing.T) {
	limits := DefaultLimits()
	limits.Bytes = 5000
	e, o := setup(t, limits, func(o *model.Owners) {
		for i := range 10 {
			o.Create(fmt.Sprintf("!%d:h", i), alice, "shared")
		}
	})
	u := acquire(t, e, alice)
	start, _ := e.Cursors()
	for i := range 10 {
		o.Message(fmt.Sprintf("!%d:h", i), alice, "x")
	}
	size := e.Size()
	if size.Bytes > limits.Bytes || size.Recent == 10 || size.Recent == 0 {
		t.Errorf("size: %+v", size)
	}
	c := changes(e, u, start)
	if len(c) != 10 {
		t.Errorf("%d of 10 changed rooms were found", len(c))
	}
	if c["!0:h"].Covered || !c["!9:h"].Covered && c["!9:h"].Events != nil {
		t.Errorf("first %+v, last %+v", c["!0:h"], c["!9:h"])
	}
	now, _ := e.Cursors()
	if c := changes(e, u, now); len(c) != 0 {
		t.Errorf("changes after the head: %+v", c)
	}
	e.Release(u)
	e.mu.Lock()
	e.drop(u)
	e.mu.Unlock()
	if size = e.Size(); size.Rooms != size.Recent || size.Memberships != 0 || size.Users != 0 {
		t.Errorf("rooms that nobody needs are kept: %+v", size)
	}
}

// stalled is a source whose Memberships wait.
type stalled struct {
	*model.Owners
	entered, leave chan struct{}
}

func (s *stalled) Memberships(ctx context.Context, req *roomapi.MembershipsRequest) (*roomapi.MembershipsResponse, error) {
	page, err := s.Owners.Memberships(ctx, req)
	s.entered <- struct{}{}
	<-s.leave
	return page, err
}

// What the log tells while a view is loaded wins over older rows that come later.
func TestLoadingMergesWithTheLog(t *testing.T) {
	o := model.New()
	o.Create("!a:h", alice, "shared")
	o.Create("!b:h", bob, "shared")
	rooms, users, _ := o.Heads(t.Context()) // never fails
	src := &stalled{Owners: o, entered: make(chan struct{}), leave: make(chan struct{})}
	e := New(Options{Source: src, Limits: DefaultLimits(), RoomPos: rooms, UserPos: users})
	defer e.Close()
	o.OnRoom = func(p bus.Positioned[roomapi.Entry]) { apply(e, p) }
	got := make(chan *User)
	go func() {
		u, err := e.Acquire(context.Background(), alice)
		if err != nil {
			t.Error(err)
		}
		got <- u
	}()
	<-src.entered
	o.Member("!a:h", alice, alice, "leave")
	o.Forget("!a:h", alice)
	o.Member("!b:h", alice, alice, "join")
	src.leave <- struct{}{}
	u := <-got
	c := changes(e, u, rooms)
	if a := c["!a:h"]; a.Membership != Leave || !a.Forgotten {
		t.Errorf("a: %+v", a)
	}
	if b := c["!b:h"]; b.Membership != Join || b.Newly != Unknown {
		t.Errorf("b: %+v", b)
	}
	e.Learn(u, "!b:h", c["!b:h"].MemberPos, c["!b:h"].MemberPos)
	if b := changes(e, u, rooms)["!b:h"]; b.Newly != Yes {
		t.Errorf("b after Learn: %+v", b)
	}
	if len(u.Bell.Listen().C()) != 0 {
		t.Error("a new listener hears old news")
	}
	o.Message("!a:h", bob, "after the departure")
	if a := changes(e, u, rooms+3); len(a) != 0 {
		t.Errorf("after the departure: %+v", a)
	}
}

func TestProfileChangeIsNoJoin(t *testing.T) {
	e, o := setup(t, DefaultLimits(), func(o *model.Owners) { o.Create("!a:h", alice, "shared") })
	u := acquire(t, e, alice)
	start, _ := e.Cursors()
	o.SetState("!a:h", alice, "m.room.member", alice, `{"membership":"join","displayname":"A"}`)
	if c := changes(e, u, start)["!a:h"]; c.Newly != No || c.Counts != No || !c.Covered {
		t.Errorf("profile change: %+v", c)
	}
	o.Member("!a:h", bob, bob, "join")
	if c := changes(e, u, start)["!a:h"]; c.Counts != Yes {
		t.Errorf("join of another: %+v", c)
	}
	now, _ := e.Cursors()
	o.Member("!a:h", alice, alice, "leave")
	o.Member("!a:h", alice, alice, "join")
	if c := changes(e, u, now)["!a:h"]; c.Newly != Yes {
		t.Errorf("rejoin: %+v", c)
	}
}

func TestIdleViewsAreDropped(t *testing.T) {
	limits := DefaultLimits()
	limits.Memberships = 4 * (userWeight + 3)
	e, o := setup(t, limits, func(o *model.Owners) {
		for _, room := range []string{"!a:h", "!b:h", "!c:h"} {
			o.Create(room, "@0:h", "shared")
			for i := 1; i < 10; i++ {
				id := fmt.Sprintf("@%d:h", i)
				o.Member(room, id, id, "join")
			}
		}
	})
	var views []*User
	for i := range 10 {
		views = append(views, acquire(t, e, fmt.Sprintf("@%d:h", i)))
	}
	if n := e.Size().Users; n != 10 {
		t.Errorf("%d views in use, want 10", n)
	}
	for _, u := range views {
		e.Release(u)
	}
	if size := e.Size(); size.Users != 4 || size.Memberships > limits.Memberships {
		t.Errorf("idle views: %+v", size)
	}
	start, _ := e.Cursors()
	again := acquire(t, e, "@0:h")
	o.Message("!a:h", "@9:h", "x")
	if c := changes(e, again, start); len(c) != 1 {
		t.Errorf("changes of a view that was loaded again: %+v", c)
	}
}

func TestReceiptsOfTheSameThreadAreOne(t *testing.T) {
	limits := DefaultLimits()
	limits.Receipts = 3
	e, o := setup(t, limits, func(o *model.Owners) { o.Create("!a:h", alice, "shared") })
	u := acquire(t, e, alice)
	start, _ := e.Cursors()
	for range 10 {
		o.Receipt("!a:h", bob, "m.read", "$1", "")
	}
	if c := changes(e, u, start)["!a:h"]; !c.ReceiptsCovered || len(c.Receipts) != 1 || c.Receipts[0].Pos != start+10 {
		t.Errorf("receipts: %+v", c.Receipts)
	}
	for _, thread := range []string{"a", "b", "c"} {
		o.Receipt("!a:h", bob, "m.read", "$1", thread)
	}
	if c := changes(e, u, start)["!a:h"]; c.ReceiptsCovered {
		t.Error("covered, but a receipt was dropped")
	}
	if c := changes(e, u, start+10)["!a:h"]; !c.ReceiptsCovered || len(c.Receipts) != 3 {
		t.Errorf("receipts: %+v", c.Receipts)
	}
}

func TestMemberCacheFollowsTheLog(t *testing.T) {
	e, o := setup(t, DefaultLimits(), func(o *model.Owners) {
		o.Create("!a:h", alice, "shared")
		o.Member("!a:h", bob, bob, "join")
	})
	u := acquire(t, e, alice)
	o.Message("!a:h", alice, "x")
	if ev, err := e.Member(t.Context(), u, "!a:h", bob); err != nil || ev.EventID != "$4" {
		t.Fatalf("%v %v", ev, err)
	}
	profile := o.SetState("!a:h", bob, "m.room.member", bob, `{"membership":"join","displayname":"B"}`)
	if ev, err := e.Member(t.Context(), u, "!a:h", bob); err != nil || ev.EventID != profile {
		t.Errorf("%v %v", ev, err)
	}
	red := o.Redact("!a:h", bob, profile)
	if ev, err := e.Member(t.Context(), u, "!a:h", bob); err != nil || ev.EventID != profile || ev.RedactedBecause == nil {
		t.Errorf("after %s: %v %v", red, ev, err)
	}
	if ev, err := e.Member(t.Context(), u, "!a:h", "@nobody:h"); err != nil || ev != nil {
		t.Errorf("%v %v", ev, err)
	}
}

func TestSent(t *testing.T) {
	s := NewSent(100)
	d := s.Device(alice, "D", false, 0)
	if d.Known("!a:h", bob, 10) {
		t.Error("known before it was sent")
	}
	d.Mark("!a:h", bob, 10)
	d.Answered(10)
	if d.Known("!a:h", bob, 9) {
		t.Error("an answer that the client did not confirm counts")
	}
	if d = s.Device(alice, "D", false, 10); !d.Known("!a:h", bob, 10) || d.Known("!b:h", bob, 10) {
		t.Error("a mark is lost or in the wrong room")
	}
	if s.Device(alice, "E", false, 10).Known("!a:h", bob, 10) {
		t.Error("another device knows it")
	}
	d.Mark("!b:h", bob, 20)
	d.Answered(20)
	if s.Device(alice, "D", false, 10).Known("!b:h", bob, 30) {
		t.Error("an answer that got lost counts")
	}
	if s.Device(alice, "D", true, 10).Known("!a:h", bob, 10) {
		t.Error("a device that starts anew knows it")
	}
	for i := range 1000 {
		d.Mark("!a:h", fmt.Sprint(i), 1)
	}
	if n := s.marks.Len(); n > 100 {
		t.Errorf("%d marks", n)
	}
}
