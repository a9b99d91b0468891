package v3

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"hearth/roomserver/roomapi"
	"hearth/syncapi/viewapi"
)

func wantIDs(t *testing.T, what string, got []event, want ...string) {
	t.Helper()
	if want == nil {
		want = []string{}
	}
	if !slices.Equal(ids(got), want) {
		t.Errorf("%s: got %v, want %v", what, ids(got), want)
	}
}

func TestInitialShowsRoomsStateAndTimeline(t *testing.T) {
	h := newHarness(t)
	h.owners.Create(roomA, alice, "shared") // $1 $2 $3
	h.owners.Member(roomA, bob, bob, "join")
	m := h.owners.Message(roomA, bob, "hi")
	h.owners.Typing(roomA, bob)
	h.owners.Receipt(roomA, bob, "m.read", m, "main")
	h.owners.SetAccountData(alice, "", "m.direct", `{"x":1}`)
	h.owners.SetAccountData(alice, roomA, "m.tag", `{"tags":{}}`)
	r := h.sync(viewapi.SyncRequest{UserID: alice, Filter: []byte(`{"room":{"timeline":{"limit":2}}}`)})
	room, ok := r.Rooms.Join[roomA]
	if !ok || len(r.Rooms.Join) != 1 {
		t.Fatalf("rooms: %v", r.Rooms)
	}
	wantIDs(t, "state", room.State.Events, "$1", "$2", "$3")
	wantIDs(t, "timeline", room.Timeline.Events, "$4", "$5")
	if !room.Timeline.Limited || room.Timeline.PrevBatch != roomapi.TimelineToken(4<<20-1) {
		t.Errorf("limited %v, prev_batch %q", room.Timeline.Limited, room.Timeline.PrevBatch)
	}
	if s := room.Summary; s == nil || *s.Joined != 2 || *s.Invited != 0 || !slices.Equal(s.Heroes, []string{bob}) {
		t.Errorf("summary: %+v", room.Summary)
	}
	e := room.Timeline.Events[1]
	if e.RoomID != "" || e.Unsigned.Age == nil || *e.Unsigned.Age != 10_000_000-5000 || e.Unsigned.Membership != "join" {
		t.Errorf("event: %+v", e)
	}
	if len(room.Ephemeral.Events) != 2 || room.Ephemeral.Events[0].Type != "m.typing" || room.Ephemeral.Events[1].Type != "m.receipt" {
		t.Errorf("ephemeral: %+v", room.Ephemeral)
	}
	if len(room.AccountData.Events) != 1 || room.AccountData.Events[0].Type != "m.tag" {
		t.Errorf("room account data: %+v", room.AccountData)
	}
	if len(r.AccountData.Events) != 1 || string(r.AccountData.Events[0].Content) != `{"x":1}` {
		t.Errorf("account data: %+v", r.AccountData)
	}
}

func TestIncrementalTellsOnlyWhatIsNew(t *testing.T) {
	h := newHarness(t)
	h.owners.Create(roomA, alice, "shared")
	h.owners.Create(roomB, alice, "shared")
	r := h.sync(viewapi.SyncRequest{UserID: alice})
	windows := h.owners.Windows()

	empty, err := h.raw(viewapi.SyncRequest{UserID: alice, Since: r.NextBatch})
	if err != nil || string(empty) != quiet(r.NextBatch) {
		t.Fatalf("empty answer: %s %v", empty, err)
	}
	m := h.owners.Send(messageWithTxn(roomA, alice, "D", "txn1"))
	r2 := h.sync(viewapi.SyncRequest{UserID: alice, Since: r.NextBatch})
	if len(r2.Rooms.Join) != 1 {
		t.Fatalf("rooms: %+v", r2.Rooms)
	}
	room := r2.Rooms.Join[roomA]
	wantIDs(t, "timeline", room.Timeline.Events, m)
	if room.Timeline.Limited || room.State != nil || room.Summary != nil || room.Timeline.Events[0].Unsigned.TxnID != "txn1" ||
		room.Timeline.Events[0].Unsigned.Membership != "join" {
		t.Errorf("room: %+v", room)
	}
	other := h.sync(viewapi.SyncRequest{UserID: alice, DeviceID: "E", Since: r.NextBatch})
	if id := other.Rooms.Join[roomA].Timeline.Events[0].Unsigned.TxnID; id != "" {
		t.Errorf("another device got the transaction id %q", id)
	}
	if h.owners.Windows() != windows {
		t.Errorf("the owner was asked although memory had all")
	}
}

func TestGapIsLimitedWithStateBetween(t *testing.T) {
	for _, after := range []bool{false, true} {
		t.Run(fmt.Sprintf("UseStateAfter=%v", after), func(t *testing.T) {
			h := newHarness(t)
			h.owners.Create(roomA, alice, "shared")
			r := h.sync(viewapi.SyncRequest{UserID: alice})
			topic := h.owners.SetState(roomA, alice, "m.room.topic", "", `{"topic":"1"}`)
			var last []string
			for i := range 12 {
				last = append(last, h.owners.Message(roomA, alice, fmt.Sprint(i)))
			}
			name := h.owners.SetState(roomA, alice, "m.room.name", "", `{"name":"n"}`)
			r = h.sync(viewapi.SyncRequest{UserID: alice, Since: r.NextBatch, UseStateAfter: after})
			room := r.Rooms.Join[roomA]
			if !room.Timeline.Limited || len(room.Timeline.Events) != 10 {
				t.Errorf("timeline: %+v", room.Timeline)
			}
			wantIDs(t, "timeline", room.Timeline.Events, append(last[3:], name)...)
			if after {
				if room.State != nil {
					t.Error("state was not left out")
				}
				wantIDs(t, "state_after", room.StateAfter.Events, topic, name)
			} else {
				wantIDs(t, "state", room.State.Events, topic)
			}
		})
	}
}

func TestStateAfterFromMemoryHoldsTheLatestState(t *testing.T) {
	h := newHarness(t)
	h.owners.Create(roomA, alice, "shared")
	since := h.sync(viewapi.SyncRequest{UserID: alice}).NextBatch
	h.owners.SetState(roomA, alice, "m.room.topic", "", `{"topic":"1"}`)
	second := h.owners.SetState(roomA, alice, "m.room.topic", "", `{"topic":"2"}`)
	r := h.sync(viewapi.SyncRequest{UserID: alice, Since: since, UseStateAfter: true})
	wantIDs(t, "state_after", r.Rooms.Join[roomA].StateAfter.Events, second)
	h.owners.Message(roomA, alice, "x")
	r = h.sync(viewapi.SyncRequest{UserID: alice, Since: r.NextBatch, UseStateAfter: true})
	if s := r.Rooms.Join[roomA].StateAfter; s == nil || len(s.Events) != 0 {
		t.Errorf("an empty state_after must be there: %+v", s)
	}
	old, err := h.raw(viewapi.SyncRequest{UserID: alice, Since: since, UseStateAfter: true, UnstableStateAfter: true})
	if err != nil || !strings.Contains(string(old), `"org.matrix.msc4222.state_after":{"events":[{`) || strings.Contains(string(old), `"state_after"`) {
		t.Errorf("under its name before the spec: %s %v", old, err)
	}
	body, err := h.raw(viewapi.SyncRequest{UserID: alice, Since: r.NextBatch, UseStateAfter: true})
	if err != nil || strings.Contains(string(body), "rooms") {
		t.Errorf("nothing new, but %s %v", body, err)
	}
}

func TestJoinTellsTheWholeRoom(t *testing.T) {
	h := newHarness(t)
	h.owners.Create(roomA, bob, "shared")
	h.owners.Message(roomA, bob, "before")
	h.owners.Receipt(roomA, bob, "m.read", "$4", "")
	h.owners.SetAccountData(alice, roomA, "m.tag", `{}`)
	h.owners.Typing(roomA, bob)
	since := h.sync(viewapi.SyncRequest{UserID: alice}).NextBatch
	h.owners.Member(roomA, alice, alice, "join")
	h.owners.Message(roomA, bob, "after")
	r := h.sync(viewapi.SyncRequest{UserID: alice, Since: since, Filter: []byte(`{"room":{"timeline":{"limit":3}}}`)})
	room := r.Rooms.Join[roomA]
	wantIDs(t, "state", room.State.Events, "$1", "$2", "$3")
	wantIDs(t, "timeline", room.Timeline.Events, "$4", "$6", "$7")
	if len(room.Ephemeral.Events) != 2 || len(room.AccountData.Events) != 1 || room.Summary == nil {
		t.Errorf("room: %+v", room)
	}
}

func TestJoinedVisibilityHidesWhatWasBefore(t *testing.T) {
	h := newHarness(t)
	h.owners.Create(roomA, bob, "joined")
	h.owners.Message(roomA, bob, "before")
	since := h.sync(viewapi.SyncRequest{UserID: alice}).NextBatch
	join := h.owners.Member(roomA, alice, alice, "join")
	after := h.owners.Message(roomA, bob, "after")
	r := h.sync(viewapi.SyncRequest{UserID: alice, Since: since})
	wantIDs(t, "timeline", r.Rooms.Join[roomA].Timeline.Events, join, after)
	wantIDs(t, "state", r.Rooms.Join[roomA].State.Events, "$1", "$2", "$3")
}

func TestInviteKnockAndLeave(t *testing.T) {
	h := newHarness(t)
	h.owners.Create(roomA, bob, "shared")
	h.owners.Create(roomB, bob, "shared")
	since := h.sync(viewapi.SyncRequest{UserID: alice}).NextBatch
	h.owners.Member(roomA, bob, alice, "invite")
	h.owners.Member(roomB, alice, alice, "knock")
	r := h.sync(viewapi.SyncRequest{UserID: alice, Since: since})
	if len(r.Rooms.Invite[roomA].State.Events) == 0 || len(r.Rooms.Knock[roomB].State.Events) == 0 || len(r.Rooms.Join) != 0 {
		t.Fatalf("invites: %+v", r.Rooms)
	}
	again := h.sync(viewapi.SyncRequest{UserID: alice})
	if len(again.Rooms.Invite) != 1 || len(again.Rooms.Knock) != 1 {
		t.Errorf("initial: %+v", again.Rooms)
	}
	h.owners.Member(roomA, alice, alice, "join")
	r = h.sync(viewapi.SyncRequest{UserID: alice, Since: r.NextBatch})
	said := h.owners.Message(roomA, bob, "seen")
	left := h.owners.Member(roomA, bob, alice, "leave")
	h.owners.Message(roomA, bob, "secret")
	h.owners.SetState(roomA, bob, "m.room.topic", "", `{"topic":"secret"}`)
	r = h.sync(viewapi.SyncRequest{UserID: alice, Since: r.NextBatch})
	room, ok := r.Rooms.Leave[roomA]
	if !ok || len(r.Rooms.Join) != 0 {
		t.Fatalf("rooms: %+v", r.Rooms)
	}
	wantIDs(t, "timeline", room.Timeline.Events, said, left)
	body, err := h.raw(viewapi.SyncRequest{UserID: alice, Since: r.NextBatch})
	if err != nil || strings.Contains(string(body), "rooms") {
		t.Errorf("after the departure: %s %v", body, err)
	}
	if r = h.sync(viewapi.SyncRequest{UserID: alice}); len(r.Rooms.Leave) != 0 {
		t.Errorf("left rooms without include_leave: %+v", r.Rooms.Leave)
	}
	r = h.sync(viewapi.SyncRequest{UserID: alice, Filter: []byte(`{"room":{"include_leave":true}}`)})
	if room, ok = r.Rooms.Leave[roomA]; !ok || slices.Contains(ids(room.Timeline.Events), "$12") {
		t.Errorf("include_leave: %+v", r.Rooms.Leave)
	}
	h.owners.Forget(roomA, alice)
	r = h.sync(viewapi.SyncRequest{UserID: alice, Filter: []byte(`{"room":{"include_leave":true}}`)})
	if len(r.Rooms.Leave) != 0 {
		t.Errorf("a forgotten room: %+v", r.Rooms.Leave)
	}
}

func TestForgottenRoomIsLeftForOtherDevices(t *testing.T) {
	h := newHarness(t)
	h.owners.Create(roomA, alice, "shared")
	since := h.sync(viewapi.SyncRequest{UserID: alice}).NextBatch
	h.owners.Member(roomA, alice, alice, "leave")
	h.owners.Forget(roomA, alice)
	if r := h.sync(viewapi.SyncRequest{UserID: alice, Since: since}); len(r.Rooms.Leave) != 1 {
		t.Errorf("rooms: %+v", r.Rooms)
	}
}

func TestReceipts(t *testing.T) {
	h := newHarness(t)
	h.owners.Create(roomA, alice, "shared")
	h.owners.Member(roomA, bob, bob, "join")
	m := h.owners.Message(roomA, alice, "x")
	a := h.sync(viewapi.SyncRequest{UserID: alice}).NextBatch
	b := h.sync(viewapi.SyncRequest{UserID: bob}).NextBatch
	h.owners.Receipt(roomA, bob, "m.read.private", m, "")
	h.owners.Receipt(roomA, bob, "m.read", m, "main")
	h.owners.Receipt(roomA, bob, "m.read", m, "$root")
	got := h.sync(viewapi.SyncRequest{UserID: bob, Since: b}).Rooms.Join[roomA].Ephemeral.Events
	want := []string{
		`{"` + m + `":{"m.read.private":{"@bob:h":{"ts":1700000006000}}}}`,
		`{"` + m + `":{"m.read":{"@bob:h":{"ts":1700000008000,"thread_id":"$root"}}}}`,
		`{"` + m + `":{"m.read":{"@bob:h":{"ts":1700000007000,"thread_id":"main"}}}}`,
	}
	if len(got) != 3 {
		t.Fatalf("got %d events", len(got))
	}
	for i := range want {
		if string(got[i].Content) != want[i] {
			t.Errorf("receipt %d: got %s, want %s", i, got[i].Content, want[i])
		}
	}
	r := h.sync(viewapi.SyncRequest{UserID: alice, Since: a})
	if n := len(r.Rooms.Join[roomA].Ephemeral.Events); n != 2 {
		t.Errorf("alice got %d receipt events, want 2 without the private one", n)
	}
	// The newest receipt of a thread takes the place of older ones.
	m2 := h.owners.Message(roomA, alice, "y")
	h.owners.Receipt(roomA, bob, "m.read", m2, "main")
	got = h.sync(viewapi.SyncRequest{UserID: alice, Since: a}).Rooms.Join[roomA].Ephemeral.Events
	if all := string(got[1].Content); !strings.Contains(all, m2) || strings.Contains(all, m+`"`) {
		t.Errorf("receipt of main: %s", all)
	}
}

func TestTyping(t *testing.T) {
	h := newHarness(t)
	h.owners.Create(roomA, alice, "shared")
	since := h.sync(viewapi.SyncRequest{UserID: alice}).NextBatch
	for _, users := range [][]string{{bob, carol}, nil} {
		h.owners.Typing(roomA, users...)
		r := h.sync(viewapi.SyncRequest{UserID: alice, Since: since})
		got := r.Rooms.Join[roomA].Ephemeral.Events
		want := `{"user_ids":[]}`
		if users != nil {
			want = `{"user_ids":["@bob:h","@carol:h"]}`
		}
		if len(got) != 1 || got[0].Type != "m.typing" || string(got[0].Content) != want {
			t.Errorf("typing: %+v, want %s", got, want)
		}
		since = r.NextBatch
	}
	h.restart(100)
	body, err := h.raw(viewapi.SyncRequest{UserID: alice, Since: since})
	if err != nil || string(body) != quiet(since) {
		t.Errorf("typing that is unknown after a restart was told: %s %v", body, err)
	}
}

func TestRedactedEventIsTold(t *testing.T) {
	h := newHarness(t)
	h.owners.Create(roomA, alice, "shared")
	since := h.sync(viewapi.SyncRequest{UserID: alice}).NextBatch
	m := h.owners.Message(roomA, alice, "secret")
	red := h.owners.Redact(roomA, alice, m)
	r := h.sync(viewapi.SyncRequest{UserID: alice, Since: since})
	list := r.Rooms.Join[roomA].Timeline.Events
	wantIDs(t, "timeline", list, m, red)
	if string(list[0].Content) != "{}" || list[0].Unsigned.Redacted == nil {
		t.Errorf("redacted event: %+v", list[0])
	}
}

func TestFullStateTellsAllStateAndTheNewTimeline(t *testing.T) {
	for _, after := range []bool{false, true} {
		h := newHarness(t)
		h.owners.Create(roomA, alice, "shared")
		h.owners.Create(roomB, alice, "shared")
		since := h.sync(viewapi.SyncRequest{UserID: alice}).NextBatch
		m := h.owners.SetState(roomA, alice, "m.room.topic", "", `{"topic":"x"}`)
		r := h.sync(viewapi.SyncRequest{UserID: alice, Since: since, FullState: true, TimeoutMS: 60_000, UseStateAfter: after})
		if len(r.Rooms.Join) != 2 {
			t.Fatalf("rooms: %+v", r.Rooms.Join)
		}
		a, b := r.Rooms.Join[roomA], r.Rooms.Join[roomB]
		wantIDs(t, "timeline", a.Timeline.Events, m)
		if after {
			wantIDs(t, "state_after of a", a.StateAfter.Events, "$1", "$2", "$3", m)
			wantIDs(t, "state_after of b", b.StateAfter.Events, "$4", "$5", "$6")
		} else {
			wantIDs(t, "state of a", a.State.Events, "$1", "$2", "$3")
			wantIDs(t, "state of b", b.State.Events, "$4", "$5", "$6")
		}
		if b.Timeline != nil {
			t.Errorf("timeline of b: %+v", b.Timeline)
		}
	}
}
