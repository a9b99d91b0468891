package v3

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/roomserver/roomapi"
	"hearth/syncapi/core"
	"hearth/syncapi/viewapi"
)

var chains = flag.Int("chains", 8, "random histories of TestChains")

// client is a client that adds up what it is told.
type client struct {
	name           string
	user, device   string
	filter         string
	limit          int
	lazy, after    bool
	messages       bool // has only messages in the timeline
	since          string
	rooms          map[string]*clientRoom
	invited, knock map[string]bool
	account        map[string]string
	message        int  // number of the last message to the device
	fresh          bool // the token was thrown away
}

type clientRoom struct {
	state    map[string]string // event ids by type and key
	receipts map[string]string // event ids by user, kind and thread
}

// world is a random history with clients that look at it.
type world struct {
	t       *testing.T
	h       *harness
	rnd     *rand.Rand
	clients []*client
	// processes answer in turns, as behind a load balancer.
	processes []*process
	sent      map[string]int     // messages to each device
	sentAt    map[string][]int64 // the end of the room log when each was sent
	trace     []string
}

// process is one of those that answer.
type process struct {
	h    *harness
	held []bus.Positioned[roomapi.Entry] // entries on their way to the engine
	lag  bool
}

var (
	chainUsers = []string{alice, bob, carol, "@dan:h"}
	chainRooms = []string{roomA, roomB, "!c:h"}
)

// TestChains applies random histories and lets clients with various filters sync at
// random points, through restarts, lost answers and a lagging log. What each client
// has added up, from one process or from two of which each lags by itself, must equal the model's view after every answer, each event must come
// once and in order, and nothing that the user may not see.
func TestChains(t *testing.T) {
	for seed := range *chains {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, uint64(seed))
			for step := range 350 {
				w.step(step)
				if t.Failed() {
					t.Fatalf("history:\n%s", strings.Join(w.trace[max(0, len(w.trace)-40):], "\n"))
				}
			}
			for _, p := range w.processes {
				p.release(len(p.held))
			}
			for range 2 {
				for _, c := range w.clients {
					w.sync(c, false)
				}
			}
		})
	}
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, h: newHarness(t), rnd: rand.New(rand.NewPCG(seed, 7)), sent: map[string]int{}, sentAt: map[string][]int64{}}
	if seed%2 == 0 { // memory so short that rooms are forgotten all the time
		w.h.limits = core.Limits{Events: 4, Receipts: 2, Members: 1, Bytes: 6000, Memberships: 20, UserSyncs: 4}
		w.h.restart(0)
	}
	w.processes = []*process{{h: w.h}}
	if seed%4 > 1 {
		other := &harness{t: t, owners: w.h.owners, limits: w.h.limits}
		other.restart(0)
		t.Cleanup(other.stop)
		w.processes = append(w.processes, &process{h: other})
	}
	w.h.owners.OnRoom = func(entry bus.Positioned[roomapi.Entry]) {
		for _, p := range w.processes {
			if p.lag {
				p.held = append(p.held, entry)
			} else {
				p.h.applyRoom(entry)
			}
		}
	}
	w.h.owners.OnUser = func(entry bus.Positioned[userapi.Entry]) {
		for _, p := range w.processes {
			p.h.applyUser(entry)
		}
	}
	for i, room := range chainRooms {
		w.h.owners.Create(room, chainUsers[i], []string{"shared", "joined", "invited"}[i])
	}
	for i, user := range chainUsers {
		for j, kind := range []client{
			{name: "plain", filter: `{"room":{"timeline":{"limit":5}}}`, limit: 5},
			{name: "after", filter: `{"room":{"timeline":{"limit":3}}}`, limit: 3, after: true},
			{name: "messages", filter: `{"room":{"timeline":{"types":["m.room.message"],"limit":3}}}`, limit: 3, messages: true},
			{name: "lazy", filter: `{"room":{"timeline":{"limit":2},"state":{"lazy_load_members":true}}}`, limit: 2, lazy: true},
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
	c.fresh = true
	c.since, c.rooms, c.invited, c.knock, c.account = "", map[string]*clientRoom{}, map[string]bool{}, map[string]bool{}, map[string]string{}
}

func (w *world) note(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf(format, args...))
}

func pick[T any](w *world, list []T) T { return list[w.rnd.IntN(len(list))] }

// release lets entries come to the engine.
func (p *process) release(n int) {
	for _, entry := range p.held[:n] {
		p.h.applyRoom(entry)
	}
	p.held = p.held[n:]
	p.lag = len(p.held) > 0
}

func (w *world) step(n int) {
	switch w.rnd.IntN(12) {
	case 0, 1, 2, 3:
		w.sync(pick(w, w.clients), w.rnd.IntN(6) == 0)
	case 4:
		if w.rnd.IntN(12) == 0 {
			p := pick(w, w.processes)
			p.release(len(p.held))
			replay := int64(w.rnd.IntN(30))
			w.note("%d: restart with replay %d", n, replay)
			p.h.restart(replay)
		}
		if w.rnd.IntN(30) == 0 {
			w.reset(pick(w, w.clients))
		}
	case 5:
		p := pick(w, w.processes)
		if p.lag && len(p.held) > 0 {
			p.release(1 + w.rnd.IntN(len(p.held)))
		} else {
			p.lag = w.rnd.IntN(4) == 0
		}
	default:
		w.act(n)
	}
}

// act does something that is allowed in a room.
func (w *world) act(n int) {
	o, room, user := w.h.owners, pick(w, chainRooms), pick(w, chainUsers)
	m := o.Membership(room, user)
	if w.rnd.IntN(6) == 0 {
		w.encrypt(n, user)
		return
	}
	if m != "join" {
		w.actOutside(n, room, user, m)
		return
	}
	switch w.rnd.IntN(13) {
	case 0, 1, 2, 3, 4:
		id := o.Message(room, user, fmt.Sprint(n))
		w.note("%d: message %s in %s by %s", n, id, room, user)
	case 5:
		id := o.SetState(room, user, "m.room.topic", "", fmt.Sprintf(`{"topic":"%d"}`, n))
		w.note("%d: topic %s in %s by %s", n, id, room, user)
	case 6:
		id := o.SetState(room, user, memberType, user, fmt.Sprintf(`{"membership":"join","displayname":"%d"}`, n))
		w.note("%d: profile %s in %s of %s", n, id, room, user)
	case 7:
		id := o.Member(room, user, user, "leave")
		w.note("%d: leave %s in %s of %s", n, id, room, user)
	case 8:
		w.actOn(n, room, user, pick(w, chainUsers))
	case 9, 10:
		rooms, users, _ := o.Heads(w.t.Context()) // never fails
		list := o.View(user, rooms, users).Joined[room].Timeline
		target := list[len(list)-1-w.rnd.IntN(min(8, len(list)))]
		if w.rnd.IntN(3) > 0 {
			o.Receipt(room, user, pick(w, []string{"m.read", "m.read.private"}), target.EventID, pick(w, []string{"", "main"}))
			w.note("%d: receipt in %s by %s at %s", n, room, user, target.EventID)
		} else if target.Type == "m.room.message" || target.Type == "m.room.topic" {
			id := o.Redact(room, user, target.EventID)
			w.note("%d: redaction %s in %s of %s", n, id, room, target.EventID)
		}
	case 11:
		o.SetAccountData(user, pick(w, append([]string{""}, chainRooms...)), pick(w, []string{"m.x", "m.y"}), fmt.Sprintf(`{"n":%d}`, n))
		w.note("%d: account data of %s", n, user)
	case 12:
		id := o.SetState(room, user, "m.room.history_visibility", "",
			fmt.Sprintf(`{"history_visibility":"%s"}`, pick(w, []string{"shared", "joined", "invited"})))
		w.note("%d: visibility %s in %s", n, id, room)
	}
}

// encrypt does something that has to do with encryption.
func (w *world) encrypt(n int, user string) {
	o := w.h.owners
	switch w.rnd.IntN(8) {
	case 0:
		if room := pick(w, chainRooms); o.Membership(room, user) == "join" {
			id := o.SetState(room, user, "m.room.encryption", "", `{"algorithm":"m.megolm.v1.aes-sha2"}`)
			w.note("%d: encryption %s in %s", n, id, room)
		}
	case 1, 2, 3:
		o.ChangeDevices(user)
		w.note("%d: new devices of %s", n, user)
	case 4:
		target := pick(w, chainUsers)
		o.Sign(user, target)
		w.note("%d: %s signs %s", n, user, target)
	default:
		c := pick(w, w.clients)
		key := c.user + "/" + c.device
		for range 1 + w.rnd.IntN(3)*w.rnd.IntN(60) {
			w.sent[key]++
			o.SendToDevice(c.user, c.device, w.sent[key])
			head, _, _ := o.Heads(w.t.Context()) // never fails
			w.sentAt[key] = append(w.sentAt[key], head)
		}
		w.note("%d: messages to %s up to %d", n, key, w.sent[key])
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

// sync lets a client sync; a lost answer has no effect on it.
func (w *world) sync(c *client, lost bool) {
	w.t.Helper()
	// A token of the other process, or a view that is loaded meanwhile, is ahead of the
	// engine and waits for it.
	p := pick(w, w.processes)
	released := make(chan struct{})
	timer := time.AfterFunc(50*time.Millisecond, func() { p.release(len(p.held)); close(released) })
	full := w.rnd.IntN(10) == 0
	r := p.h.sync(viewapi.SyncRequest{UserID: c.user, DeviceID: c.device, Since: c.since, Filter: json.RawMessage(c.filter), UseStateAfter: c.after,
		FullState: full})
	if !timer.Stop() {
		<-released
	}
	w.note("   %s of %s syncs %s → %s (lost: %v)", c.name, c.user, c.since, r.NextBatch, lost)
	if lost {
		return
	}
	now, err := viewapi.ParseToken(r.NextBatch)
	if err != nil {
		w.t.Fatal(err)
	}
	var since viewapi.Token
	if c.since != "" {
		if since, err = viewapi.ParseToken(c.since); err != nil {
			w.t.Fatal(err)
		}
	}
	view := w.h.owners.View(c.user, now.Room, now.User)
	k := &check{w: w, c: c, since: since, now: now, view: view, lag: p.lag}
	k.apply(&r)
	if c.since != "" && !full && since.Hold == 0 {
		k.messagesFirst(&r)
	}
	k.compare()
	c.since = r.NextBatch
}
