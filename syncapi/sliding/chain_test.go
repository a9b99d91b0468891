package sliding

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"hearth/internal/bus"
	"hearth/roomserver/roomapi"
	"hearth/syncapi/core"
	"hearth/syncapi/viewapi"
)

var chains = flag.Int("chains", 12, "random histories of TestChains")
var traced = flag.Int("traced", 60, "lines of a history that a failure shows")

// client is a client that adds up what it is told.
type client struct {
	name         string
	user, device string
	stable, lazy bool
	random       bool // window, limits and subscriptions change from request to request
	pos          string
	last, limit  int // the window is the range from 0 to last
	subs         map[string]int
	rooms        map[string]*clientRoom
	account      map[string]string
}

// clientRoom is what a client knows of a room.
type clientRoom struct {
	kind     string            // join, outside (invite or knock) or leave
	since    int64             // position at which it came to know the room
	upTo     int64             // position up to which it was told last
	have     int               // how many of the latest events it has
	state    map[string]string // event ids by type and key
	receipts map[string]string // event ids by user and kind
}

// world is a random history with clients that look at it.
type world struct {
	t       *testing.T
	h       *harness
	rnd     *rand.Rand
	clients []*client
	held    []bus.Positioned[roomapi.Entry] // entries on their way to the engine
	deliver func(bus.Positioned[roomapi.Entry])
	lag     bool
	trace   []string
}

var (
	chainUsers = []string{alice, bob, carol, "@dan:h"}
	chainRooms = []string{roomA, roomB, roomC, "!d:h", "!e:h"}
)

// TestChains applies random histories and lets clients with various windows and
// subscriptions sync at random points, through restarts, lost answers and a lagging
// log. What each client has added up must equal the model's view of the rooms in its
// windows after every answer, each event must come once and in order, and nothing
// that the user may not see.
func TestChains(t *testing.T) {
	for seed := range *chains {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, uint64(seed))
			for step := range 400 {
				w.step(step)
				if t.Failed() {
					t.Fatalf("history:\n%s", strings.Join(w.trace[max(0, len(w.trace)-*traced):], "\n"))
				}
			}
			w.release(len(w.held))
			for range 2 {
				for _, c := range w.clients {
					w.sync(c, false)
				}
			}
		})
	}
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, h: newHarness(t), rnd: rand.New(rand.NewPCG(seed, 11))}
	if seed%2 == 0 { // memory so short that rooms are forgotten all the time
		w.h.limits = core.Limits{Events: 4, Receipts: 2, Members: 1, Bytes: 6000, Memberships: 20, UserSyncs: 4}
		w.h.restart(0)
	}
	w.deliver = w.h.owners.OnRoom
	w.h.owners.OnRoom = func(p bus.Positioned[roomapi.Entry]) {
		if w.lag {
			w.held = append(w.held, p)
		} else {
			w.deliver(p)
		}
	}
	for i, room := range chainRooms {
		w.h.owners.Create(room, chainUsers[i%4], []string{"shared", "joined", "invited"}[i%3])
	}
	for i, user := range chainUsers {
		for j, kind := range []client{
			{name: "all", last: 1000, limit: 3},
			{name: "lazy", last: 1, limit: 2, lazy: true},
			{name: "random", last: 0, limit: 1, random: true},
			{name: "stable", last: 0, limit: 2, random: true, stable: true, lazy: true},
		} {
			c := kind
			c.user, c.device = user, fmt.Sprint(i, j)
			w.reset(&c)
			w.clients = append(w.clients, &c)
		}
	}
	return w
}

func (w *world) reset(c *client) {
	c.pos, c.rooms, c.account, c.subs = "", map[string]*clientRoom{}, map[string]string{}, map[string]int{}
}

func (w *world) note(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf(format, args...))
}

func pick[T any](w *world, list []T) T { return list[w.rnd.IntN(len(list))] }

// release lets entries come to the engine.
func (w *world) release(n int) {
	for _, p := range w.held[:n] {
		w.deliver(p)
	}
	w.held = w.held[n:]
	w.lag = len(w.held) > 0
}

func (w *world) step(n int) {
	switch w.rnd.IntN(12) {
	case 0, 1, 2, 3, 4:
		w.sync(pick(w, w.clients), w.rnd.IntN(6) == 0)
	case 5:
		if w.rnd.IntN(20) == 0 {
			w.release(len(w.held))
			replay := int64(w.rnd.IntN(30))
			w.note("%d: restart with replay %d", n, replay)
			w.h.restart(replay)
		}
		if w.rnd.IntN(30) == 0 {
			w.reset(pick(w, w.clients))
		}
	case 6:
		if w.lag && len(w.held) > 0 {
			w.release(1 + w.rnd.IntN(len(w.held)))
		} else {
			w.lag = w.rnd.IntN(4) == 0
		}
	default:
		w.act(n)
	}
}

// act does something that is allowed in a room.
func (w *world) act(n int) {
	o, room, user := w.h.owners, pick(w, chainRooms), pick(w, chainUsers)
	m := o.Membership(room, user)
	if m != "join" {
		w.actOutside(n, room, user, m)
		return
	}
	switch w.rnd.IntN(13) {
	case 0, 1, 2, 3, 4:
		id := o.Message(room, user, fmt.Sprint(n))
		w.note("%d: message %s in %s by %s", n, id, room, user)
	case 5:
		typ := pick(w, []string{"m.room.topic", "m.room.name"})
		id := o.SetState(room, user, typ, "", fmt.Sprintf(`{"topic":"%d","name":"%d"}`, n, n))
		w.note("%d: %s %s in %s by %s", n, typ, id, room, user)
	case 6:
		id := o.SetState(room, user, memberType, user, fmt.Sprintf(`{"membership":"join","displayname":"%d"}`, n))
		w.note("%d: profile %s in %s of %s", n, id, room, user)
	case 7:
		id := o.Member(room, user, user, "leave")
		w.note("%d: leave %s in %s of %s", n, id, room, user)
	case 8:
		w.actOn(n, room, user, pick(w, chainUsers))
	case 9, 10:
		w.receiptOrRedaction(n, room, user)
	case 11:
		o.SetAccountData(user, pick(w, append([]string{""}, chainRooms...)), pick(w, []string{"m.x", "m.y"}), fmt.Sprintf(`{"n":%d}`, n))
		w.note("%d: account data of %s", n, user)
	case 12:
		id := o.SetState(room, user, "m.room.history_visibility", "",
			fmt.Sprintf(`{"history_visibility":"%s"}`, pick(w, []string{"shared", "joined", "invited"})))
		w.note("%d: visibility %s in %s", n, id, room)
	}
}

func (w *world) receiptOrRedaction(n int, room, user string) {
	o := w.h.owners
	rooms, users, _ := o.Heads(w.t.Context()) // never fails
	list := o.View(user, rooms, users).Joined[room].Timeline
	target := list[len(list)-1-w.rnd.IntN(min(8, len(list)))]
	if w.rnd.IntN(3) > 0 {
		o.Receipt(room, user, pick(w, []string{"m.read", "m.read.private"}), target.EventID, "")
		w.note("%d: receipt in %s by %s at %s", n, room, user, target.EventID)
	} else if target.Type == "m.room.message" {
		id := o.Redact(room, user, target.EventID)
		w.note("%d: redaction %s in %s of %s", n, id, room, target.EventID)
	}
}

func (w *world) actOutside(n int, room, user, m string) {
	switch {
	case m == "ban":
	case w.rnd.IntN(2) == 0:
		id := w.h.owners.Member(room, user, user, "join")
		w.note("%d: join %s in %s of %s", n, id, room, user)
	case m == "invite" || m == "knock":
		id := w.h.owners.Member(room, user, user, "leave")
		w.note("%d: rejection %s in %s of %s", n, id, room, user)
	case m == "leave" && w.rnd.IntN(4) == 0:
		w.h.owners.Forget(room, user)
		w.note("%d: %s forgets %s", n, user, room)
	case w.rnd.IntN(3) == 0:
		id := w.h.owners.Member(room, user, user, "knock")
		w.note("%d: knock %s in %s of %s", n, id, room, user)
	}
}

func (w *world) actOn(n int, room, user, target string) {
	next := map[string][]string{"": {"invite", "ban"}, "leave": {"invite", "ban"}, "invite": {"leave"}, "knock": {"invite", "leave"},
		"join": {"leave", "ban"}, "ban": {"leave"}}[w.h.owners.Membership(room, target)]
	if user == target {
		return
	}
	m := pick(w, next)
	id := w.h.owners.Member(room, user, target, m)
	w.note("%d: %s makes %s of %s in %s: %s", n, user, m, target, room, id)
}

// body is the client's request.
func (c *client) body() string {
	state := `[["*","*"]]`
	if c.lazy {
		state = `[["m.room.topic",""],["m.room.member","$ME"],["m.room.member","$LAZY"]]`
	}
	window := fmt.Sprintf(`"ranges":[[0,%d]]`, c.last)
	if c.stable {
		state = `{"include":[{"type":"m.room.topic","state_key":""},{"type":"m.room.member","state_key":"` + c.user + `"}],"lazy_members":true}`
		window = fmt.Sprintf(`"range":[0,%d]`, c.last)
	}
	var subs []string
	for _, id := range chainRooms {
		if limit, ok := c.subs[id]; ok {
			subs = append(subs, fmt.Sprintf(`%q:{"timeline_limit":%d,"required_state":%s}`, id, limit, state))
		}
	}
	return fmt.Sprintf(`{"conn_id":"c","lists":{"rooms":{%s,"timeline_limit":%d,"required_state":%s}},"room_subscriptions":{%s},`+
		`"extensions":{"account_data":{"enabled":true},"receipts":{"enabled":true},"typing":{"enabled":true}}}`,
		window, c.limit, state, strings.Join(subs, ","))
}

// sync lets a client sync; a lost answer has no effect on it.
func (w *world) sync(c *client, lost bool) {
	w.t.Helper()
	if c.random && w.rnd.IntN(3) == 0 {
		c.last, c.limit, c.subs = w.rnd.IntN(5), 1+w.rnd.IntN(4), map[string]int{}
		for range w.rnd.IntN(3) {
			c.subs[pick(w, chainRooms)] = 1 + w.rnd.IntN(6)
		}
	}
	// A view that is loaded meanwhile is ahead of the engine and waits for it.
	lag := w.lag
	released := make(chan struct{})
	timer := time.AfterFunc(50*time.Millisecond, func() { w.release(len(w.held)); close(released) })
	r, err := w.h.try(viewapi.SlidingRequest{UserID: c.user, DeviceID: c.device, Pos: c.pos, Stable: c.stable, Body: json.RawMessage(c.body())})
	if !timer.Stop() {
		<-released
	}
	if isCode(err, "M_UNKNOWN_POS") && c.pos != "" {
		w.note("   %s of %s starts anew", c.name, c.user)
		w.reset(c)
		return
	}
	if err != nil {
		w.t.Fatalf("%s of %s: %v", c.name, c.user, err)
	}
	w.note("   %s of %s syncs %s → %s, window %d, limit %d, subscriptions %v (lost: %v)", c.name, c.user, c.pos, r.Pos, c.last, c.limit, c.subs, lost)
	if lost {
		return
	}
	pos, err := viewapi.ParsePos(r.Pos)
	if err != nil {
		w.t.Fatal(err)
	}
	k := &check{w: w, c: c, lag: lag, first: c.pos == "", now: pos.Token, view: w.h.owners.View(c.user, pos.Token.Room, pos.Token.User)}
	k.apply(&r)
	k.compare(&r)
	c.pos = r.Pos
}
