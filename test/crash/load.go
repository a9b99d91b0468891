package crash

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"hearth/test/harness"
)

// settings say how much load there is.
type settings struct {
	senders, rooms int
	pace           time.Duration
}

// filters of the readers. The second is often late and then has a gap.
var filters = []string{
	`{"room":{"timeline":{"limit":40}}}`,
	`{"room":{"timeline":{"limit":3}}}`,
	slidingFilter,
}

// load is the users at work on a server.
type load struct {
	t      testing.TB
	seed   uint64
	record *record
	rooms  []string
	// probe is one more sender, whom the test moves.
	probe    *sender
	senders  []*sender
	readers  []*reader
	scribes  []*sender // write the account data of the readers
	baseline map[string][]Event

	ctx      context.Context
	stop     chan struct{}
	sending  sync.WaitGroup
	syncing  sync.WaitGroup
	stopSync context.CancelFunc
}

// user makes a client of the server, logged in.
type register func(name string) *harness.Client

// newLoad makes users and rooms in which everybody is and may send everything.
func newLoad(t testing.TB, users register, seed uint64, o settings) *load {
	t.Helper()
	l := &load{t: t, seed: seed, record: newRecord(), baseline: map[string][]Event{}, stop: make(chan struct{})}
	var clients []*harness.Client
	for i := range o.senders + 1 + len(filters) {
		clients = append(clients, users(fmt.Sprintf("user%d", i)))
	}
	for range o.rooms {
		room, err := clients[0].CreateRoom(map[string]any{
			"preset":                       "public_chat",
			"power_level_content_override": map[string]any{"state_default": 0, "users_default": 0},
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range clients[1:] {
			if err := c.Join(room); err != nil {
				t.Fatal(err)
			}
		}
		l.rooms = append(l.rooms, room)
	}
	l.ctx = t.Context()
	for _, room := range l.rooms {
		l.baseline[room] = l.history(clients[0], room, "b")
	}
	n := uint64(0)
	sender := func(name string, c *harness.Client) *sender {
		n++
		return newSender(name, c, l.rooms, l.record, rand.New(rand.NewPCG(seed, n)), o.pace)
	}
	for i := range o.senders {
		l.senders = append(l.senders, sender(fmt.Sprintf("sender%d", i), clients[i]))
	}
	l.probe = sender("probe", clients[o.senders])
	for i, filter := range filters {
		c := clients[o.senders+1+i]
		n++
		r := newReader(fmt.Sprintf("reader%d", i), c, filter, l.record, rand.New(rand.NewPCG(seed, n)))
		r.lag = time.Duration(i) * 10 * o.pace // the first is always there
		l.readers = append(l.readers, r)
		l.scribes = append(l.scribes, sender(fmt.Sprintf("scribe%d", i), c))
	}
	return l
}

// start begins the sending and the syncing.
func (l *load) start() {
	for _, s := range l.senders {
		l.sending.Go(func() { s.run(l.ctx, l.stop) })
	}
	for _, s := range l.scribes {
		l.sending.Go(func() {
			for open(l.stop) && s.setData(l.ctx) == nil {
				time.Sleep(20 * s.pace)
			}
		})
	}
	ctx, cancel := context.WithCancel(l.ctx)
	l.stopSync = cancel
	for _, r := range l.readers {
		l.syncing.Go(func() { r.run(ctx) })
	}
}

func open(stop <-chan struct{}) bool {
	select {
	case <-stop:
		return false
	default:
		return true
	}
}

// caughtUp waits until all readers have processed everything that was acknowledged
// when it was called.
func (l *load) caughtUp(within time.Duration) (time.Duration, error) {
	ids, begin := l.record.acknowledged(), time.Now()
	for _, r := range l.readers {
		for !r.has(ids) {
			if time.Since(begin) > within {
				return 0, fmt.Errorf("%s has not seen everything that was acknowledged within %v", r.name, within)
			}
			time.Sleep(2 * time.Millisecond)
		}
	}
	return time.Since(begin), nil
}

// finish ends the load while the server is up and returns what was seen.
func (l *load) finish() *History {
	l.t.Helper()
	close(l.stop)
	l.sending.Wait()
	if _, err := l.caughtUp(10 * time.Second); err != nil {
		l.t.Errorf("at the end %v", err)
	}
	l.stopSync()
	l.syncing.Wait()
	for _, r := range l.readers {
		l.drain(r)
	}
	return l.collect()
}

// drain syncs until nothing new comes, so that receipts and account data are in too.
func (l *load) drain(r *reader) {
	l.t.Helper()
	for range 100 { // a hundred answers that are thrown away in a row do not happen
		news, err := r.sync(l.ctx, 0)
		if err != nil {
			l.t.Errorf("%s: %v", r.name, err)
			return
		}
		if !news {
			return
		}
	}
	l.t.Errorf("%s gets a new next_batch again and again though nothing happens", r.name)
}

// collect reads everything once more in every way.
func (l *load) collect() *History {
	l.t.Helper()
	h := &History{
		Attempts: l.record.attempts, Acks: l.record.acks, Baseline: l.baseline,
		Messages: map[string][]Event{}, Views: map[string]map[string][]Event{"/messages backwards": {}},
		State: map[string]map[string]string{}, StateViews: map[string]map[string]map[string]string{},
	}
	client := l.senders[0].client
	for _, room := range l.rooms {
		h.Messages[room] = l.history(client, room, "f")
		h.Views["/messages backwards"][room] = l.history(client, room, "b")
		h.State[room] = l.state(client, room)
	}
	readers := l.readers
	for i, r := range l.readers { // the same user, who has forgotten everything
		fresh := newReader(fmt.Sprintf("fresh%d", i), r.client, filters[i], l.record, r.rng)
		l.drain(fresh)
		readers = append(readers, fresh)
	}
	for i, r := range readers {
		h.Views[r.name], h.StateViews[r.name] = r.kept.rooms, r.kept.state
		h.Values = append(h.Values, Value{r.name + "'s account data", l.scribes[i%len(l.scribes)].data, r.kept.data})
		for _, s := range l.senders {
			if r.filter == slidingFilter {
				break // of a room that is told anew it has the receipts at the told events only
			}
			for room, event := range s.receipts {
				got := r.kept.receipts[room][s.client.UserID]
				h.Values = append(h.Values, Value{fmt.Sprintf("%s's receipt in %s for %s", s.name, room, r.name), event, got})
			}
		}
	}
	for _, s := range l.senders {
		if s.data != "" {
			h.Values = append(h.Values, Value{s.name + "'s account data", s.data, l.data(s.client)})
		}
	}
	return h
}

// history reads a room from one end to the other, oldest first.
func (l *load) history(c *harness.Client, room, dir string) []Event {
	l.t.Helper()
	events, err := walk{record: l.record, client: c, room: room, dir: dir, limit: 337}.events(l.ctx)
	if err != nil {
		l.t.Fatalf("history of %s: %v", room, err)
	}
	return brief(events)
}

func (l *load) state(c *harness.Client, room string) map[string]string {
	l.t.Helper()
	events, err := c.State(room)
	if err != nil {
		l.t.Fatalf("state of %s: %v", room, err)
	}
	out := map[string]string{}
	for _, e := range events {
		if e.StateKey == nil {
			l.t.Errorf("state of %s holds %s, which has no state key", room, e.EventID)
			continue
		}
		out[e.Type+" "+*e.StateKey] = e.EventID
	}
	return out
}

func (l *load) data(c *harness.Client) string {
	l.t.Helper()
	var raw json.RawMessage
	if err := c.AccountData(dataType, &raw); err != nil {
		l.t.Errorf("account data of %s: %v", c.UserID, err)
	}
	return txnOf(harness.Event{Content: raw})
}

// judge fails the test for every broken promise.
func (l *load) judge(h *History) {
	l.t.Helper()
	for _, b := range l.record.broken {
		l.t.Errorf("a wrong answer: %s", b)
	}
	found := Check(h)
	for _, p := range found[:min(len(found), 40)] {
		l.t.Errorf("%s", p)
	}
	if len(found) > 0 {
		l.t.Errorf("%d broken promises; repeat with -crash.seed=%d", len(found), l.seed)
	}
}

// summary tells how much was tested.
func (l *load) summary(h *History) string {
	events, gaps, again, anew, acks := 0, 0, 0, 0, 0
	for _, list := range h.Messages {
		events += len(list)
	}
	for _, r := range l.readers {
		gaps, again, anew = gaps+r.gaps, again+r.again, anew+r.anew
	}
	for _, name := range slices.Sorted(maps.Keys(h.Acks)) {
		acks += len(h.Acks[name])
	}
	return fmt.Sprintf("%d events in %d rooms, %d acknowledgements, %d repeated requests, %d gaps filled, %d answers asked again, %d connections made anew",
		events, len(h.Messages), acks, l.record.failures, gaps, again, anew)
}
