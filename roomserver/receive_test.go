package roomserver

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/internal/pdu"
	"hearth/roomserver/auth"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

// shared makes a room of alice's in which dora of another server is.
func (f *fixture) shared(version string) (room string, p *peer, dora string) {
	f.t.Helper()
	room = f.create(roomapi.CreateRequest{Creator: alice, RoomVersion: version, Preset: "public_chat"})
	p = f.peer("away.example", room)
	dora = p.user("dora")
	f.receive(p, p.member(dora, dora, "join"))
	if v := f.value(room, memberType, dora); v != `{"membership":"join"}` {
		f.t.Fatalf("dora is %s", v)
	}
	return room, p, dora
}

// newest lets the peer know the newest event of the room.
func (f *fixture) newest(p *peer) *pdu.Event {
	events := f.live(p.room)
	return p.take(events[len(events)-1])
}

func eachVersion(t *testing.T, test func(t *testing.T, version string)) {
	for _, version := range []string{"1", "2", "6", "10", "12"} {
		t.Run("v"+version, func(t *testing.T) { test(t, version) })
	}
}

func wantFlags(t *testing.T, f *fixture, room string, ev *pdu.Event, want int64) {
	t.Helper()
	e := f.event(room, ev.EventID)
	if e == nil {
		t.Errorf("%s of %s is not there", ev.Type, ev.Sender)
	} else if e.flags&storage.HiddenFlags != want {
		t.Errorf("%s of %s has flags %d, want %d", ev.Type, ev.Sender, e.flags&storage.HiddenFlags, want)
	}
}

func TestReceiveOutcomes(t *testing.T) {
	eachVersion(t, func(t *testing.T, version string) {
		f := newFixture(t, t.TempDir(), "", true)
		room, p, dora := f.shared(version)
		joined := p.state[auth.StateKey{Type: memberType, StateKey: dora}]

		hello := p.message(dora, "hello")
		f.receive(p, hello)
		head := f.s.store.DB.Head()
		f.receive(p, hello, hello)
		if now := f.s.store.DB.Head(); now != head {
			t.Errorf("a duplicate moved the log from %d to %d", head, now)
		}
		f.send(room, alice, "1", "hi dora")
		f.newest(p)
		two := []*pdu.Event{p.message(dora, "one"), p.message(dora, "two")}
		f.receive(p, two...)

		noMember := slices.DeleteFunc(slices.Clone(joined.AuthEvents), func(id string) bool { return p.known[id].Type == memberType })
		var list []*pdu.Event
		for _, id := range noMember {
			if p.known[id].Type != "m.room.join_rules" {
				list = append(list, p.known[id])
			}
		}
		byAuth := p.build(dora, "m.room.message", nil, map[string]any{"body": "by auth events"}, authBy(list...))
		f.receive(p, byAuth)
		wantFlags(t, f, room, byAuth, storage.FlagRejected)
		viaRejected := p.build(dora, "m.room.message", nil, map[string]any{"msgtype": "m.text", "body": "after a rejected one"}, after(byAuth))
		f.receive(p, viaRejected)
		wantFlags(t, f, room, viaRejected, 0)
		p.take(viaRejected)

		before := p.heads
		do(f, roomapi.Ban, roomapi.MembershipRequest{RoomID: room, Sender: alice, Target: dora})
		if f.value(room, memberType, dora) != `{"membership":"ban"}` {
			t.Fatal("not banned")
		}
		authOfDora := []*pdu.Event{joined, p.state[auth.StateKey{Type: "m.room.power_levels"}]}
		if !p.v.DomainlessRoomIDs {
			authOfDora = append(authOfDora, p.state[auth.StateKey{Type: "m.room.create"}])
		}
		ban := f.newest(p)
		byState := p.build(dora, "m.room.message", nil, map[string]any{"body": "by state"}, after(ban), authBy(authOfDora...))
		soft := p.build(dora, "m.room.message", nil, map[string]any{"body": "soft"}, after(before...), authBy(authOfDora...))
		f.receive(p, byState, soft)
		wantFlags(t, f, room, byState, storage.FlagRejected)
		wantFlags(t, f, room, soft, storage.FlagSoftFailed)

		want := []string{"hello", "hi dora", "one", "two", "after a rejected one"}
		if got := f.texts(room, alice); !slices.Equal(got, want) {
			t.Errorf("alice sees %q, want %q", got, want)
		}
		f.send(room, alice, "2", "done")
		if e := f.newest(p); !slices.Equal(e.PrevEvents, []string{ban.EventID}) {
			t.Errorf("the next event follows %v", e.PrevEvents)
		}
		f.restart()
		if got := f.texts(room, alice); !slices.Equal(got, append(want, "done")) {
			t.Errorf("after a restart alice sees %q", got)
		}
		f.send(room, alice, "3", "more")
	})
}

func TestReceiveRefuses(t *testing.T) {
	f := newFixture(t, t.TempDir(), "", true)
	room, p, dora := f.shared("11")
	other := newPeer(t, "away.example", "11")
	other.create(other.user("carl"))
	foreign := other.message(other.user("carl"), "elsewhere")
	orphan := p.build(dora, "m.room.message", nil, map[string]any{"body": "x"}, after())
	resp := do(f, roomapi.Receive, roomapi.ReceiveRequest{Origin: "away.example", RoomID: room, PDUs: pdus(foreign, orphan)})
	if len(resp.Errors) != 2 {
		t.Errorf("errors: %v", resp.Errors)
	}
	refused(f, roomapi.Receive, roomapi.ReceiveRequest{Origin: "away.example", RoomID: "!nowhere:away.example"}, "M_NOT_FOUND")
	f.state(room, alice, "m.room.server_acl", "", `{"allow":["*"],"deny":["away.example"]}`)
	refused(f, roomapi.Receive, roomapi.ReceiveRequest{Origin: "away.example", RoomID: room, PDUs: pdus(p.message(dora, "denied"))}, "M_FORBIDDEN")
}

// TestFork lets two servers change the state at the same time.
func TestFork(t *testing.T) {
	eachVersion(t, func(t *testing.T, version string) {
		f := newFixture(t, t.TempDir(), "", true)
		room, p, dora := f.shared(version)
		f.state(room, alice, "m.room.power_levels", "", levelsFor(p.v, map[string]int{alice: 100, dora: 50}))
		f.newest(p)
		fork := p.heads
		f.state(room, alice, "m.room.topic", "", `{"topic":"of alice"}`)
		f.state(room, alice, "m.room.name", "", `{"name":"Den"}`)
		avatar := p.send(dora, "m.room.avatar", ptr(""), map[string]any{"url": "mxc://a/b"}, after(fork...))
		other := p.user("emil")
		join := p.member(other, other, "join")
		f.receive(p, avatar, join)
		_, h, done, err := f.s.view(t.Context(), room)
		if err != nil {
			t.Fatal(err)
		}
		done()
		if len(h.extremities) != 2 || h.joined != 3 || h.hosts.joined("away.example") != 2 {
			t.Errorf("%d extremities, %d joined, %d of away.example", len(h.extremities), h.joined, h.hosts.joined("away.example"))
		}
		for typ, want := range map[string]string{"m.room.topic": "of alice", "m.room.name": "Den", "m.room.avatar": "mxc://a/b"} {
			if got := f.value(room, typ, ""); !strings.Contains(got, want) {
				t.Errorf("%s is %s", typ, got)
			}
		}
		before := f.currentState(room, alice)
		f.restart()
		if got := f.currentState(room, alice); !slices.Equal(got, before) {
			t.Errorf("after a restart the state is\n%v, before\n%v", got, before)
		}
		f.send(room, alice, "1", "merges")
		r, h, done, err := f.s.view(t.Context(), room)
		if err != nil {
			t.Fatal(err)
		}
		done()
		if len(h.extremities) != 1 || r.version.ID != version {
			t.Errorf("%d extremities after the merge", len(h.extremities))
		}
		if e := f.newest(p); len(e.PrevEvents) != 2 {
			t.Errorf("the merge follows %v", e.PrevEvents)
		}
		if got := f.currentState(room, alice); !slices.Equal(got, before) {
			t.Errorf("the merge changed the state")
		}
	})
}

// TestForkIsTold compares what the log tells live of a state that resolution changed with what
// it tells later, and with what a window shows.
func TestForkIsTold(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		live := follow(ctx, t, f)
		room, p, dora := f.shared("10")
		f.join(room, bob)
		f.state(room, alice, "m.room.power_levels", "", levelsFor(p.v, map[string]int{alice: 100, dora: 100, bob: 50}))
		f.state(room, alice, "m.room.name", "", `{"name":"of alice"}`)
		for _, ev := range f.live(room) {
			p.take(ev)
		}
		fork := p.heads
		since := f.s.store.DB.Head()
		f.state(room, bob, "m.room.name", "", `{"name":"of bob"}`)
		f.state(room, bob, "m.room.avatar", "", `{"url":"mxc://a/b"}`)
		ban := p.member(dora, bob, "ban", after(fork...))
		f.receive(p, ban)
		wantFlags(t, f, room, ban, 0)
		if name, avatar := f.value(room, "m.room.name", ""), f.value(room, "m.room.avatar", ""); name != `{"name":"of alice"}` || avatar != "" {
			t.Errorf("the name is %s, the avatar %s", name, avatar)
		}
		f.receive(p, p.message(dora, "after the ban"))
		head := f.s.store.DB.Head()
		heard := live.upTo(head)
		if e := heard[since+2]; e.Event.EventID != ban.EventID || len(e.State) != 1 || e.State[0].Type != "m.room.name" ||
			len(e.Gone) != 1 || e.Gone[0] != (roomapi.StateKey{Type: "m.room.avatar"}) {
			t.Errorf("the log tells %+v", e)
		}
		f.restart()
		ctx, cancel = context.WithCancel(t.Context())
		defer cancel()
		later := follow(ctx, t, f).upTo(head)
		for i := range heard {
			if got, want := string(later[i].AppendWire(nil)), string(heard[i].AppendWire(nil)); got != want {
				t.Errorf("position %d: later %+v, live %+v", i+1, later[i], heard[i])
			}
		}
		// A client that applies what it is told has the room's state.
		w, err := roomapi.ReadWindow(t.Context(), f.bus, &roomapi.WindowRequest{RoomID: room, UserID: alice, From: since, Limit: 50})
		if err != nil {
			t.Fatal(err)
		}
		known := map[string]string{}
		for _, e := range append(w.State, w.Timeline...) {
			if e.StateKey != nil {
				known[e.Type+"|"+*e.StateKey] = e.EventID
			}
		}
		for _, entry := range f.currentState(room, alice) {
			parts := strings.Split(entry, "|")
			if id, ok := known[parts[0]+"|"+parts[1]]; ok && id != parts[2] {
				t.Errorf("%s is %s, the client has %s", parts[0], parts[2], id)
			}
		}
	})
}

// levelsFor writes power levels; creators of version 12 rooms are not among them.
func levelsFor(v *pdu.RoomVersion, users map[string]int) string {
	parts := []string{}
	for user, level := range users {
		if !(v.PrivilegedCreators && user == alice) {
			parts = append(parts, `"`+user+`":`+map[int]string{50: "50", 100: "100"}[level])
		}
	}
	return `{"users":{` + strings.Join(parts, ",") + `}}`
}

func TestRedactionBeforeItsTarget(t *testing.T) {
	eachVersion(t, func(t *testing.T, version string) {
		f := newFixture(t, t.TempDir(), "", true)
		room, p, dora := f.shared(version)
		fork := p.heads
		bad := p.message(dora, "regrets")
		redaction := p.build(dora, redactionType, nil, map[string]any{}, after(fork...), redacting(bad.EventID))
		f.receive(p, redaction)
		f.restart()
		f.receive(p, bad)
		e := do(f, roomapi.GetEvent, roomapi.EventRequest{RoomID: room, UserID: alice, EventID: bad.EventID})
		if string(e.Content()) != "{}" || len(e.RedactedBecause) == 0 {
			t.Errorf("the event is %s, because %s", e.JSON, e.RedactedBecause)
		}
		// One that comes after its target, and one of somebody who may not.
		late := p.message(dora, "regrets, too")
		emil := p.user("emil")
		join := p.member(emil, emil, "join")
		mine := f.send(room, alice, "1", "stays")
		f.newest(p)
		not := p.build(emil, redactionType, nil, map[string]any{}, redacting(mine))
		yes := p.build(emil, redactionType, nil, map[string]any{}, redacting(late.EventID))
		f.receive(p, late, join, not, yes)
		if e := do(f, roomapi.GetEvent, roomapi.EventRequest{RoomID: room, UserID: alice, EventID: mine}); len(e.RedactedBecause) != 0 {
			t.Error("redacted by a stranger")
		}
		e = do(f, roomapi.GetEvent, roomapi.EventRequest{RoomID: room, UserID: alice, EventID: late.EventID})
		if string(e.Content()) != "{}" {
			t.Errorf("a server may redact what its users sent, but the event is %s", e.JSON)
		}
	})
}

// eventually waits for something that a worker does.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in time", what)
		}
	}
}

// settled reports whether an event is on disk and what it did is to be seen.
func (f *fixture) settled(room, id string) bool {
	e := f.event(room, id)
	r, h, done, err := f.s.view(f.t.Context(), room)
	if err != nil {
		f.t.Fatal(err)
	}
	defer done()
	return e != nil && r.pendingByID(id) == nil && e.pos() != 0 && h.pos >= e.pos()
}

func TestMissingPrevEvents(t *testing.T) {
	for _, restart := range []bool{false, true} {
		f := newFixture(t, t.TempDir(), "", true)
		room, p, dora := f.shared("10")
		if !restart {
			f.answers(p)
		}
		var all []*pdu.Event
		want := []string{}
		for _, body := range strings.Fields("a b c d e f g h i j k l m n o p q r s t u v w x y z") {
			all = append(all, p.message(dora, body))
			want = append(want, body)
		}
		f.receive(p, all[len(all)-1])
		if restart {
			f.restart()
			f.answers(p)
			f.s.inbox.mu.Lock()
			f.s.inbox.rooms[room].failures = 0 // the time of the next try has come
			f.s.inbox.mu.Unlock()
		}
		eventually(t, "the events before", func() bool { return len(f.texts(room, alice)) == len(want) })
		if got := f.texts(room, alice); !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
		eventually(t, "the inbox", func() bool { return !f.s.inbox.holds(room) })
	}
}

func TestMissingAuthEvents(t *testing.T) {
	f := newFixture(t, t.TempDir(), "", true)
	room, p, dora := f.shared("10")
	f.answers(p)
	emil := p.user("emil")
	fork := p.heads
	join := p.member(emil, emil, "join")
	renamed := p.send(emil, memberType, &emil, map[string]any{"membership": "join", "displayname": "E"})
	// By its prev events the message is known, by its auth events not.
	hi := p.build(dora, "m.room.message", nil, map[string]any{"body": "x"}, after(fork...))
	f.receive(p, hi)
	odd := p.build(emil, "m.room.message", nil, map[string]any{"body": "y"}, after(hi))
	p.known[odd.EventID] = odd
	f.receive(p, odd)
	eventually(t, "the event", func() bool { return f.settled(room, odd.EventID) })
	wantFlags(t, f, room, odd, storage.FlagRejected) // emil is not in the room there
	wantFlags(t, f, room, renamed, storage.FlagOutlier)
	head := f.s.store.DB.Head()
	f.receive(p, join)
	f.receive(p, renamed)
	wantFlags(t, f, room, renamed, 0)
	if got := f.value(room, memberType, emil); !strings.Contains(got, "displayname") {
		t.Errorf("emil is %s", got)
	}
	entries, _, err := f.s.readLog(t.Context(), head, 10)
	if err != nil || len(entries) != 2 || entries[1].Entry.Event == nil || entries[1].Entry.Event.EventID != renamed.EventID || entries[1].Entry.Event.Pos != head+2 {
		t.Errorf("the log tells %+v, %v", entries, err)
	}
	before := f.currentState(room, alice)
	f.restart()
	if got := f.currentState(room, alice); !slices.Equal(got, before) {
		t.Errorf("after a restart the state is\n%v, before\n%v", got, before)
	}
}

func TestGapIsBridgedByState(t *testing.T) {
	f := newFixture(t, t.TempDir(), "", true)
	room, p, dora := f.shared("10")
	remote := f.answers(p)
	remote.deny = map[string]bool{"missing": true}
	emil := p.user("emil")
	p.message(dora, "never seen")
	p.member(emil, emil, "join")
	p.message(emil, "never seen either")
	after := p.message(emil, "after the gap")
	f.receive(p, after)
	eventually(t, "the event after the gap", func() bool { return f.settled(room, after.EventID) && !f.event(room, after.EventID).hidden() })
	if got := f.value(room, memberType, emil); got != `{"membership":"join"}` {
		t.Errorf("emil is %q", got)
	}
	_, h, done, err := f.s.view(t.Context(), room)
	if err != nil {
		t.Fatal(err)
	}
	done()
	if len(h.gaps) != 1 || h.joined != 3 {
		t.Errorf("%d gaps, %d joined", len(h.gaps), h.joined)
	}
}

// TestManyExtremities lets a server fork the room again and again: the forks are joined by a
// dummy event of ours, and those that are too many wait for somebody to follow them.
func TestManyExtremities(t *testing.T) {
	f := newFixture(t, t.TempDir(), "", true)
	room, p, dora := f.shared("10")
	fork := p.heads
	var list []*pdu.Event
	want := []string{}
	for i := range 2 * maxExtremities {
		body := fmt.Sprint("fork ", i)
		list = append(list, p.build(dora, "m.room.message", nil, map[string]any{"body": body}, after(fork...)))
		want = append(want, body)
	}
	extremities := func() int {
		_, h, done, err := f.s.view(t.Context(), room)
		if err != nil {
			t.Fatal(err)
		}
		done()
		return len(h.extremities)
	}
	f.receive(p, list[:1]...)
	f.receive(p, list[1:]...)
	if n := extremities(); n != 1 {
		t.Errorf("%d forward extremities after a dummy event", n)
	}
	events := f.live(room)
	dummy := events[len(events)-1]
	if dummy.Type != dummyType || len(dummy.PrevEvents) != maxExtremities {
		t.Errorf("the last event is %s and follows %d", dummy.Type, len(dummy.PrevEvents))
	}
	if e := f.event(room, dummy.EventID); e.flags&storage.FlagFederate != 0 {
		t.Error("the dummy event goes out by itself")
	}
	if got := f.texts(room, alice); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	late := p.build(dora, "m.test", nil, map[string]any{}, after(list[len(list)-1]))
	f.receive(p, late)
	f.restart()
	if n := extremities(); n != 2 {
		t.Errorf("%d forward extremities", n)
	}
	f.send(room, alice, "1", "goes on")
	if n := extremities(); n != 1 {
		t.Errorf("%d forward extremities", n)
	}
}

// TestBanIsTakenBack lets state resolution undo a ban: who was banned is in the room again, and
// sees what was sent since.
func TestBanIsTakenBack(t *testing.T) {
	eachVersion(t, func(t *testing.T, version string) {
		if version == "1" {
			return // its resolution lets bans stand
		}
		f := newFixture(t, t.TempDir(), "", true)
		room, p, dora := f.shared(version)
		emil := p.user("emil")
		f.receive(p, p.member(emil, emil, "join"))
		f.join(room, bob)
		f.state(room, alice, "m.room.history_visibility", "", `{"history_visibility":"joined"}`)
		f.state(room, alice, "m.room.power_levels", "", levelsFor(p.v, map[string]int{alice: 100, emil: 100, dora: 50}))
		for _, ev := range f.live(room) {
			p.take(ev)
		}
		fork := p.heads
		ban := p.member(dora, bob, "ban")
		f.receive(p, ban)
		if f.value(room, memberType, bob) != `{"membership":"ban"}` {
			t.Fatal("bob is not banned")
		}
		f.send(room, alice, "1", "without bob")
		levels := p.build(emil, "m.room.power_levels", ptr(""), map[string]any{"users": map[string]int{emil: 100}}, after(fork...))
		if !p.v.PrivilegedCreators {
			levels = p.build(emil, "m.room.power_levels", ptr(""), map[string]any{"users": map[string]int{emil: 100, alice: 100}}, after(fork...))
		}
		f.receive(p, levels)
		wantFlags(t, f, room, levels, 0)
		if got := f.value(room, memberType, bob); got != `{"membership":"join"}` {
			t.Fatalf("bob is %s", got)
		}
		f.send(room, alice, "2", "bob is back")
		if got := f.texts(room, bob); !slices.Equal(got, []string{"bob is back"}) {
			t.Errorf("bob sees %q", got)
		}
		f.send(room, bob, "3", "hello again")
		f.restart()
		if got := f.texts(room, bob); !slices.Equal(got, []string{"bob is back", "hello again"}) {
			t.Errorf("after a restart bob sees %q", got)
		}
		w, err := roomapi.ReadWindow(t.Context(), f.bus, &roomapi.WindowRequest{RoomID: room, UserID: bob, Limit: 2})
		if err != nil || w.Membership != "join" || w.Joined != 4 {
			t.Errorf("%+v, %v", w.WindowInfo, err)
		}
	})
}
