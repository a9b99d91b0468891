package unread

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/internal/pushrules"
	"hearth/roomserver/roomapi"
	"hearth/syncapi/core"
	"hearth/syncapi/internal/model"
)

const (
	alice, bob, carol = "@alice:h", "@bob:h", "@carol:h"
	roomA, roomB      = "!a:h", "!b:h"
)

// owners answers for the model by going through all of it.
type owners struct {
	*model.Owners
	loads int
}

func (o *owners) Unread(_ context.Context, req *roomapi.UnreadRequest, f func(*roomapi.UnreadRoom)) error {
	o.loads++
	for _, id := range req.Rooms {
		f(o.Owners.Unread(req, id))
	}
	return nil
}

func (o *owners) Event(_ context.Context, req *roomapi.EventRequest) (*roomapi.Event, error) {
	for _, ev := range o.Past(req.UserID, req.RoomID).Events {
		if ev.EventID == req.EventID {
			return ev, nil
		}
	}
	return nil, merr.NotFound("Unknown event")
}

func (o *owners) Piece(ctx context.Context, req *userapi.AccountDataRequest) (*userapi.AccountData, error) {
	return o.AccountDataOf(ctx, req)
}

// world is a counter beside its model.
type world struct {
	*owners
	t       testing.TB
	engine  *core.Engine
	counter *Counter
}

func newWorld(t testing.TB, limits core.Limits) *world {
	o := &owners{Owners: model.New()}
	e := core.New(core.Options{Source: o.Owners, Limits: limits})
	t.Cleanup(e.Close)
	o.OnRoom = func(p bus.Positioned[roomapi.Entry]) {
		_ = e.ApplyRooms(context.Background(), []bus.Positioned[roomapi.Entry]{p}) // never fails
	}
	o.OnUser = func(p bus.Positioned[userapi.Entry]) {
		_ = e.ApplyUsers(context.Background(), []bus.Positioned[userapi.Entry]{p}) // never fails
	}
	return &world{owners: o, t: t, engine: e, counter: New(e, o)}
}

func (w *world) acquire(user string) *core.User {
	w.t.Helper()
	u, err := w.engine.Acquire(w.t.Context(), user)
	if err != nil {
		w.t.Fatal(err)
	}
	return u
}

func (w *world) count(u *core.User, room string) *Room {
	w.t.Helper()
	r, err := w.counter.Room(w.t.Context(), u, room)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) say(room, sender, content string) string {
	return w.Send(model.Event{Room: room, Sender: sender, Type: "m.room.message", Content: content})
}

func relates(rel, parent string) string {
	return fmt.Sprintf(`{"body":"x","m.relates_to":{"rel_type":%q,"event_id":%q}}`, rel, parent)
}

func TestThreadsAndReceipts(t *testing.T) {
	w := newWorld(t, core.DefaultLimits())
	w.Create(roomA, alice, "shared")
	w.Member(roomA, bob, bob, "join")
	u := w.acquire(alice)
	want := func(step string, all, main Counts, threads map[string]Counts) {
		t.Helper()
		if r := w.count(u, roomA); !r.same(&Room{All: all, Main: main, Threads: threads}) {
			t.Errorf("%s: %+v", step, r)
		}
	}
	n := func(k, h int) Counts { return Counts{k, h} }
	a := w.say(roomA, bob, `{"body":"a"}`)
	want("one", n(1, 0), n(1, 0), nil)
	b := w.say(roomA, bob, relates("m.thread", a))
	c := w.say(roomA, bob, `{"body":"c","m.mentions":{"user_ids":["@alice:h"]}}`)
	want("a thread and a mention", n(3, 1), n(2, 1), map[string]Counts{a: n(1, 0)})
	w.Receipt(roomA, alice, "m.read", c, "main")
	want("main is read", n(1, 0), n(0, 0), map[string]Counts{a: n(1, 0)})
	w.Receipt(roomA, alice, "m.read.private", b, a)
	want("the thread is read", n(0, 0), n(0, 0), nil)
	d := w.say(roomA, bob, relates("m.thread", a))
	e := w.say(roomA, bob, `{"body":"e"}`)
	w.Receipt(roomA, alice, "m.read", d, "")
	want("an unthreaded receipt reads all before it", n(1, 0), n(1, 0), nil)
	w.Receipt(roomA, bob, "m.read", e, "")
	want("another's receipt", n(1, 0), n(1, 0), nil)
	w.say(roomA, bob, relates("m.thread", a))
	w.say(roomA, alice, relates("m.thread", a))
	want("to send is to have read", n(1, 0), n(1, 0), nil)
	w.Redact(roomA, bob, e)
	want("a redacted event", n(0, 0), n(0, 0), nil)
	if w.loads != 1 {
		t.Errorf("the owner was asked %d times", w.loads)
	}
}

func TestRulesCountAnew(t *testing.T) {
	w := newWorld(t, core.DefaultLimits())
	w.Create(roomA, alice, "shared")
	w.Create(roomB, alice, "shared")
	w.Member(roomA, bob, bob, "join")
	u := w.acquire(alice)
	w.say(roomA, bob, `{"body":"x"}`)
	first := w.count(u, roomA)
	w.count(u, roomB)
	loads := w.loads
	rules := pushrules.Default(alice)
	_ = rules.SetEnabled(pushrules.Override, pushrules.Master, true)
	w.SetAccountData(alice, "", pushrules.AccountDataType, string(rules.Marshal()))
	muted := w.count(u, roomA)
	if first.All.Notifications != 1 || muted.All.Notifications != 0 || muted.ChangedBy != 1 {
		t.Errorf("before %+v, after %+v", first, muted)
	}
	if w.count(u, roomB); w.loads != loads+1 {
		t.Errorf("a room without unread events was asked for: %d", w.loads-loads)
	}
	w.SetAccountData(alice, "", pushrules.AccountDataType, string(pushrules.Default(alice).Marshal()))
	w.SetAccountData(alice, "", ignoredType, `{"ignored_users":{"@bob:h":{}}}`)
	if r := w.count(u, roomA); r.All.Notifications != 0 {
		t.Errorf("an ignored sender counts: %+v", r)
	}
	w.SetAccountData(alice, "", ignoredType, `["nonsense"]`)
	if r := w.count(u, roomA); r.All.Notifications != 1 {
		t.Errorf("nobody is ignored: %+v", r)
	}
}

// Conditions about the room follow its state.
func TestRoomConditions(t *testing.T) {
	w := newWorld(t, core.DefaultLimits())
	w.Create(roomA, alice, "shared")
	w.Member(roomA, bob, bob, "join")
	w.SetState(roomA, alice, "m.room.power_levels", "", `{"users":{"@alice:h":100}}`)
	rules := pushrules.Default(alice)
	loud := []json.RawMessage{[]byte(`"notify"`), []byte(`{"set_tweak":"highlight"}`)}
	if err := rules.Put(pushrules.Override, "pair", pushrules.NewRule{Actions: loud, Conditions: []json.RawMessage{[]byte(`{"kind":"room_member_count","is":"2"}`)}}, "", ""); err != nil {
		t.Fatal(err)
	}
	w.SetAccountData(alice, "", pushrules.AccountDataType, string(rules.Marshal()))
	u := w.acquire(alice)
	highlights := func(step string, want int) {
		t.Helper()
		if r := w.count(u, roomA); r.All.Highlights != want {
			t.Errorf("%s: %+v", step, r)
		}
	}
	mention := `{"m.mentions":{"room":true}}`
	w.say(roomA, bob, mention)
	highlights("two members", 1)
	w.Member(roomA, carol, carol, "join")
	w.say(roomA, bob, mention)
	highlights("three members, no power", 1)
	w.SetState(roomA, bob, "m.room.power_levels", "", `{"users":{"@bob:h":50}}`)
	w.count(u, roomA)
	w.say(roomA, bob, mention)
	highlights("power", 2)
}

func TestTotal(t *testing.T) {
	w := newWorld(t, core.DefaultLimits())
	w.Create(roomA, alice, "shared")
	w.Create(roomB, alice, "shared")
	u := w.acquire(alice)
	w.say(roomA, bob, `{"body":"x"}`)
	w.say(roomB, bob, `{"m.mentions":{"user_ids":["@alice:h"]}}`)
	if sum, err := w.counter.Total(t.Context(), u); err != nil || sum != (Counts{2, 1}) {
		t.Errorf("%+v, %v", sum, err)
	}
}

func BenchmarkRoomWithOneNewEvent(b *testing.B) {
	w := newWorld(b, core.DefaultLimits())
	w.Create(roomA, alice, "shared")
	w.Member(roomA, bob, bob, "join")
	u := w.acquire(alice)
	w.count(u, roomA)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		w.Receipt(roomA, alice, "m.read", w.say(roomA, bob, `{"msgtype":"m.text","body":"x"}`), "")
		w.count(u, roomA)
		w.say(roomA, bob, `{"msgtype":"m.text","body":"x"}`)
		b.StartTimer()
		w.count(u, roomA)
	}
}
