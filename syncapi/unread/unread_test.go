package unread

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
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

// count is the reference: the spec's words in the plainest form.
func count(p *model.Past, notifies func(*roomapi.Event) (notify, highlight bool), ignored map[string]bool) *Room {
	r := &Room{Threads: map[string]Counts{}}
	sent := map[string]int64{}
	for _, ev := range p.Events {
		own := ev.Type == "m.room.member" && *ev.StateKey == p.User
		if ev.Sender == p.User && !own && len(ev.RedactedBecause) == 0 {
			sent[p.Thread(ev)] = ev.Ord
		}
	}
	for _, ev := range p.Events {
		thread := p.Thread(ev)
		if ev.Sender == p.User || ignored[ev.Sender] || len(ev.RedactedBecause) > 0 ||
			ev.Ord <= max(p.Joined, p.Marks[""], p.Marks[thread], sent[thread]) {
			continue
		}
		notify, highlight := notifies(ev)
		if !notify {
			continue
		}
		r.All.add(highlight)
		if thread == "main" {
			r.Main.add(highlight)
		} else {
			c := r.Threads[thread]
			c.add(highlight)
			r.Threads[thread] = c
		}
	}
	return r
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

// TestRandomHistories compares counts with the reference.
func TestRandomHistories(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { randomHistory(t, rand.New(rand.NewPCG(seed, 7))) })
	}
}

// history is a random history under way.
type history struct {
	*world
	rnd     *rand.Rand
	ids     map[string][]string // messages by room
	parents map[string]bool     // that reactions relate to
	muted   map[string]bool
	ignored map[string]bool
}

func randomHistory(t *testing.T, rnd *rand.Rand) {
	limits := core.DefaultLimits()
	limits.Events = 3 + rnd.IntN(20)
	limits.Bytes = 4000 + rnd.IntN(60_000)
	h := &history{world: newWorld(t, limits), rnd: rnd, ids: map[string][]string{}, parents: map[string]bool{}}
	for _, room := range []string{roomA, roomB} {
		h.Create(room, alice, "shared")
		h.Member(room, bob, bob, "join")
		h.Member(room, carol, carol, "join")
	}
	u := h.acquire(alice)
	known := map[string]*Room{roomA: {}, roomB: {}}
	var sinceRoom, sinceUser int64
	for step := range 300 {
		h.step()
		if rnd.IntN(3) != 0 {
			continue
		}
		for room, k := range known {
			if h.Membership(room, alice) != "join" {
				known[room] = nil // a client is told all when the user is back
				continue
			}
			got := h.count(u, room)
			want := count(h.Past(alice, room), h.notifies, h.ignored)
			if !got.same(want) {
				t.Fatalf("step %d, %s: %+v, want %+v", step, room, got, want)
			}
			if k == nil || got.Changed > sinceRoom || got.ChangedBy > sinceUser {
				known[room] = got
			} else if !k.same(got) {
				t.Fatalf("step %d, %s: changed without saying so: %+v, was %+v", step, room, got, k)
			}
		}
		sinceRoom, sinceUser = h.engine.Cursors()
	}
}

// notifies says what alice's rules make of an event.
func (h *history) notifies(ev *roomapi.Event) (notify, highlight bool) {
	var c struct {
		Relates struct {
			Rel string `json:"rel_type"`
		} `json:"m.relates_to"`
		Mentions struct {
			Users []string `json:"user_ids"`
		} `json:"m.mentions"`
	}
	_ = json.Unmarshal(ev.Content(), &c) // the test has made it
	if ev.Type != "m.room.message" || h.muted["all"] {
		return false, false
	}
	if len(c.Mentions.Users) > 0 {
		return true, true
	}
	return c.Relates.Rel != "m.replace", false
}

func (h *history) step() {
	room := []string{roomA, roomB}[h.rnd.IntN(2)]
	sender := []string{alice, bob, bob, carol, carol}[h.rnd.IntN(5)]
	if h.Membership(room, sender) != "join" {
		h.Member(room, sender, sender, "join")
		return
	}
	pick := func() string {
		ids := h.ids[room]
		if len(ids) == 0 {
			return h.say(room, bob, `{"body":"first"}`)
		}
		return ids[max(0, len(ids)-1-h.rnd.IntN(12))]
	}
	var id string
	switch n := h.rnd.IntN(20); {
	case n < 5:
		id = h.say(room, sender, `{"body":"x"}`)
	case n < 7:
		id = h.say(room, sender, `{"body":"x","m.mentions":{"user_ids":["@alice:h"]}}`)
	case n < 10:
		id = h.say(room, sender, relates("m.thread", pick()))
	case n < 12:
		parent := pick()
		h.parents[parent] = true
		id = h.say(room, sender, relates([]string{"m.replace", "m.reference", "m.annotation"}[h.rnd.IntN(3)], parent))
	case n < 13:
		if target := pick(); !h.parents[target] {
			h.Redact(room, sender, target)
		}
	case n < 16:
		h.receipt(room, pick())
	case n < 17:
		h.SetState(room, sender, "m.room.member", sender, `{"membership":"join","displayname":"x"}`)
	case n < 18:
		h.Member(room, sender, sender, "leave")
	case n < 19:
		h.changeRules()
	default:
		h.SetState(room, sender, "m.room.topic", "", `{"topic":"x"}`)
	}
	if id != "" {
		h.ids[room] = append(h.ids[room], id)
	}
}

// receipt moves a receipt of alice's forward, as the owner makes sure.
func (h *history) receipt(room, target string) {
	if h.Membership(room, alice) != "join" {
		return
	}
	p := h.Past(alice, room)
	for _, ev := range p.Events {
		if ev.EventID != target {
			continue
		}
		thread := []string{"", "main", p.Thread(ev)}[h.rnd.IntN(3)]
		if p.Marks[thread] < ev.Ord {
			h.Receipt(room, alice, []string{"m.read", "m.read.private"}[h.rnd.IntN(2)], target, thread)
		}
	}
}

func (h *history) changeRules() {
	if h.rnd.IntN(2) == 0 {
		h.ignored = map[string]bool{carol: h.rnd.IntN(2) == 0}
		list := `{"ignored_users":{}}`
		if h.ignored[carol] {
			list = `{"ignored_users":{"@carol:h":{}}}`
		}
		h.SetAccountData(alice, "", ignoredType, list)
		return
	}
	h.muted = map[string]bool{"all": h.rnd.IntN(3) == 0}
	rules := pushrules.Default(alice)
	_ = rules.SetEnabled(pushrules.Override, pushrules.Master, h.muted["all"])
	h.SetAccountData(alice, "", pushrules.AccountDataType, string(rules.Marshal()))
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
