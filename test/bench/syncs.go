package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"hearth/test/harness"
)

// Sizes of the measurements of sync. The aims are for these.
const (
	syncRooms    = 300
	syncMembers  = 50
	syncMessages = 10
	manyRooms    = 3000
	idlePolls    = 2000
	fanMembers   = 1000
	fanPolls     = 500
	fanEvents    = 50
)

// roomSizes is the curve: what one person's sync costs must not depend on it where
// the answer does not.
var roomSizes = []int{10, 100, 1000, 10_000}

// Filters as clients use them.
const (
	lazyFilter = `{"room":{"timeline":{"limit":10},"state":{"lazy_load_members":true}}}`
	fullFilter = `{"room":{"timeline":{"limit":10}}}`
)

// slidingPath is sliding sync in the form that clients speak.
const slidingPath = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"

// slidingWindow asks for a list as matrix-rust-sdk does.
func slidingWindow(conn string, last int) []byte {
	return fmt.Appendf(nil, `{"conn_id":%q,"lists":{"all_rooms":{"ranges":[[0,%d]],"timeline_limit":1,"required_state":[`+
		`["m.room.name",""],["m.room.encryption",""],["m.room.member","$LAZY"],["m.room.member","$ME"],["m.room.topic",""],["m.room.avatar",""],`+
		`["m.room.canonical_alias",""],["m.room.power_levels",""],["org.matrix.msc3401.call.member","*"],["m.room.join_rules",""],`+
		`["m.room.tombstone",""],["m.room.create",""],["m.room.history_visibility",""],["io.element.functional_members",""],`+
		`["m.space.parent","*"],["m.space.child","*"]]}},"extensions":{"account_data":{"enabled":true},`+
		`"receipts":{"enabled":true,"rooms":["*"]},"typing":{"enabled":true}}}`, conn, last)
}

// syncMeasurements are made one after the other; memory first, because a heap that was
// large once stays large.
var syncMeasurements = []struct {
	name    string
	measure func(*bench) []figure
}{
	{"idle", (*bench).idlePolls}, {"many", (*bench).manyRoomSyncs}, {"equal", (*bench).equalRooms},
	{"fan", (*bench).fanOut}, {"curve", (*bench).curve},
}

// syncParts are the names of the measurements.
func syncParts() (names []string) {
	for _, p := range syncMeasurements {
		names = append(names, p.name)
	}
	return names
}

// measureSyncs measures what syncing costs.
func measureSyncs(t *shim, s *sizes) []figure {
	t.verbose = s.log
	registration := ghosts(t)
	o := harness.Options{Dir: s.dir, Config: func(m map[string]any) { m["appservices"] = []string{registration} }}
	if s.fourProcesses {
		o.Wiring = harness.FourProcesses
	}
	load := loadAverage(t)
	b := &bench{sizes: s, t: t, server: harness.Start(t, o)}
	figures := []figure{plain("load average of the machine before", "", load)}
	for _, p := range syncMeasurements {
		if s.only == "" || s.only == p.name {
			figures = append(figures, p.measure(b)...)
		}
	}
	if s.fourProcesses { // the aims are for one
		for i := range figures {
			figures[i].Aim = nil
		}
	}
	return figures
}

// dial opens a connection of a user.
func (b *bench) dial(user int) *conn {
	c, err := dial(b.server.URL(), b.users[user].Token)
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

// filtered is GET /sync with a filter.
func (c *conn) filtered(since, filter string, timeout time.Duration) (string, error) {
	// Presence would make news of its own: who syncs is online to the others.
	path := "/_matrix/client/v3/sync?set_presence=offline&timeout=" + strconv.FormatInt(timeout.Milliseconds(), 10) + "&filter=" + url.QueryEscape(filter)
	if since != "" {
		path += "&since=" + url.QueryEscape(since)
	}
	if err := c.expect(http.StatusOK, http.MethodGet, path, nil); err != nil {
		return "", err
	}
	return nextBatch(c.body)
}

var posKey = []byte(`{"pos":"`)

// slide is a request of sliding sync.
func (c *conn) slide(pos string, body []byte, timeout time.Duration) (string, error) {
	path := slidingPath + "?timeout=" + strconv.FormatInt(timeout.Milliseconds(), 10)
	if pos != "" {
		path += "&pos=" + url.QueryEscape(pos)
	}
	if err := c.expect(http.StatusOK, http.MethodPost, path, body); err != nil {
		return "", err
	}
	rest, found := bytes.CutPrefix(c.body, posKey)
	next, _, ended := bytes.Cut(rest, []byte{'"'})
	if !found || !ended {
		return "", fmt.Errorf("no pos in %.200q", c.body)
	}
	return string(next), nil
}

// timed calls f n times and returns the median and the greatest time.
func (b *bench) timed(n int, f func(i int) error) (median, greatest time.Duration) {
	var times []time.Duration
	for i := range n {
		start := time.Now()
		if err := f(i); err != nil {
			b.t.Fatal(err)
		}
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	return quantile(times, 0.5), times[len(times)-1]
}

// post lets a user send a message.
func (b *bench) post(room string, user int, txn string) {
	if _, err := b.users[user].Send(room, "m.room.message", txn, map[string]string{"msgtype": "m.text", "body": "hello " + txn}); err != nil {
		b.t.Fatal(err)
	}
}

// fill makes rooms in which all of the first members are, the first of them last, so
// that no view of theirs is built on the way; with messages.
func (b *bench) fill(name string, rooms, members, messages int) []string {
	b.t.say("making %d rooms of %d members", rooms, members)
	ids := make([]string, rooms)
	b.together(setupWorkers, rooms, func(i int) error {
		people := append(slices.Clone(b.users[1:members]), b.users[0])
		if len(people) == 1 {
			people = b.users[:1]
		}
		var err error
		if ids[i], err = b.room(fmt.Sprintf("%s %d", name, i), people); err != nil {
			return err
		}
		for j := range messages {
			content := map[string]string{"msgtype": "m.text", "body": fmt.Sprintf("message %d", j)}
			if _, err := people[j%len(people)].Send(ids[i], "m.room.message", fmt.Sprintf("f%d", j), content); err != nil {
				return err
			}
		}
		return nil
	})
	return ids
}

// equalRooms measures an account of a few hundred rooms. The server has just started,
// so the first sync finds nothing prepared.
func (b *bench) equalRooms() []figure {
	b.leaveAll()
	b.summon(syncMembers)
	ids := b.fill("Equal", syncRooms, syncMembers, syncMessages)
	c := b.dial(0)
	defer c.close()
	var figures []figure
	for _, kind := range []struct {
		name, filter string
		want         float64
	}{{"lazy", lazyFilter, 80}, {"with all members", fullFilter, 0}} {
		b.restart()
		c.close()
		c = b.dial(0)
		cold, _ := b.timed(1, func(int) error { _, err := c.filtered("", kind.filter, 0); return err })
		const rounds = 15
		used := cpu(b.t, b.server)
		warm, _ := b.timed(rounds, func(int) error { _, err := c.filtered("", kind.filter, 0); return err })
		used = (cpu(b.t, b.server) - used) / rounds
		name := fmt.Sprintf("initial sync of %d rooms × %d members, %s", syncRooms, syncMembers, kind.name)
		if kind.want > 0 {
			figures = append(figures, below(name, "ms", ms(warm), kind.want))
		} else {
			figures = append(figures, plain(name, "ms", ms(warm)))
		}
		figures = append(figures, plain("  the server's CPU time for it", "ms", ms(used)),
			plain("  the first after the start", "ms", ms(cold)), plain("  size of the answer", "MB", float64(len(c.body))/1e6))
	}
	return append(figures, b.increments(c, ids)...)
}

// increments measures syncs of somebody who is up to date.
func (b *bench) increments(c *conn, ids []string) []figure {
	since, err := c.filtered("", lazyFilter, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	step := func(int) error { since, err = c.filtered(since, lazyFilter, 0); return err }
	empty, _ := b.timed(2000, step)
	changed := func(rooms, rounds int) time.Duration {
		var times []time.Duration
		for n := range rounds {
			for i := range rooms {
				b.post(ids[i], 1, fmt.Sprintf("i%d-%d-%d", rooms, n, i))
			}
			one, _ := b.timed(1, step)
			times = append(times, one)
		}
		slices.Sort(times)
		return quantile(times, 0.5)
	}
	return []figure{
		below("incremental sync, nothing new", "ms", ms(empty), 0.5),
		plain("  one new event", "ms", ms(changed(1, 200))),
		plain("  50 rooms changed", "ms", ms(changed(50, 20))),
	}
}

// restart stops the server and starts it on its data.
func (b *bench) restart() {
	b.server.Stop()
	for _, p := range b.server.Processes() {
		p.Begin()
	}
	for _, p := range b.server.Processes() {
		p.Await()
	}
}

// leaveAll takes new people for what follows, so that it does not depend on what was before.
func (b *bench) leaveAll() { b.users = nil; b.generation++ }

// manyRoomSyncs measures sliding sync in an account of thousands of rooms.
func (b *bench) manyRoomSyncs() []figure {
	b.leaveAll()
	b.summon(2)
	ids := b.fill("Many", manyRooms, 2, 1)
	b.restart()
	c := b.dial(0)
	defer c.close()
	first := func(n int) (median, greatest time.Duration) {
		return b.timed(n, func(i int) error {
			_, err := c.slide("", slidingWindow(fmt.Sprintf("c%d-%d", n, i), 19), 0)
			return err
		})
	}
	cold, _ := first(1)
	warm, _ := first(20)
	pos, err := c.slide("", slidingWindow("all", manyRooms-1), 0)
	if err != nil {
		b.t.Fatal(err)
	}
	everything := slidingWindow("all", manyRooms-1)
	step := func(int) error { pos, err = c.slide(pos, everything, 0); return err }
	empty, _ := b.timed(500, step)
	var times []time.Duration
	for i := range 100 {
		b.post(ids[i], 1, fmt.Sprintf("s%d", i))
		one, _ := b.timed(1, step)
		times = append(times, one)
	}
	slices.Sort(times)
	return []figure{
		below(fmt.Sprintf("sliding sync, first window of 20 in %d rooms, just started", manyRooms), "ms", ms(cold), 30),
		plain("  again", "ms", ms(warm)),
		plain("  all rooms known, nothing new", "ms", ms(empty)),
		plain("  all rooms known, one new event", "ms", ms(quantile(times, 0.5))),
	}
}

// idlePolls measures what long-polls cost while nothing happens.
func (b *bench) idlePolls() []figure {
	b.leaveAll()
	b.summon(idlePolls)
	b.together(setupWorkers, idlePolls/10, func(i int) error {
		_, err := b.room(fmt.Sprintf("Idle %d", i), b.users[i*10:i*10+10])
		return err
	})
	var figures []figure
	for _, kind := range []string{"/sync", "sliding sync"} {
		b.restart() // a heap that was large once stays large
		figures = append(figures, b.idle(kind)...)
	}
	return figures
}

func (b *bench) idle(kind string) []figure {
	conns := make([]*conn, idlePolls)
	tokens := make([]string, idlePolls)
	start := func(i int, timeout time.Duration) (err error) {
		if kind == "/sync" {
			tokens[i], err = conns[i].filtered(tokens[i], lazyFilter, timeout)
		} else {
			tokens[i], err = conns[i].slide(tokens[i], slidingWindow("room-list", 99), timeout)
		}
		return err
	}
	b.together(setupWorkers, idlePolls, func(i int) error {
		conns[i] = b.dial(i)
		return start(i, 0)
	})
	time.Sleep(b.settle)
	before, resident := live(b.t, b.server), memory(b.t, b.server, "VmRSS")
	b.t.say("opening %d long-polls of %s", idlePolls, kind)
	var wg sync.WaitGroup
	var ended atomic.Int32
	for i := range conns {
		time.Sleep(time.Millisecond) // not all at once: a server may refuse that
		wg.Go(func() {               // they end with their connections
			_ = start(i, 5*time.Minute)
			ended.Add(1)
		})
	}
	time.Sleep(b.settle)
	used, from := cpu(b.t, b.server), time.Now()
	time.Sleep(b.settle)
	used = cpu(b.t, b.server) - used
	took := time.Since(from)
	resident = memory(b.t, b.server, "VmRSS") - resident
	after := live(b.t, b.server)
	if n := ended.Load(); n > 0 {
		b.t.Errorf("%d long-polls of %s ended early", n, kind)
	}
	for _, c := range conns {
		c.close()
	}
	wg.Wait()
	return []figure{
		below(fmt.Sprintf("memory of an idle long-poll of %s, of %d", kind, idlePolls), "KB", (after-before)*1e3/idlePolls, 20),
		plain("  resident, with garbage", "KB", resident*1e3/idlePolls),
		plain("  CPU of all of them in a second", "ms", ms(used)/took.Seconds()),
	}
}

// fanOut measures how long half of a room waits for a message.
func (b *bench) fanOut() []figure {
	b.leaveAll()
	b.summon(fanMembers)
	room := b.fill("Fan", 1, fanMembers, 1)[0]
	b.t.say("delivering %d events to %d of %d members", fanEvents, fanPolls, fanMembers)
	readers := make([]*reader, fanPolls)
	b.together(setupWorkers, fanPolls, func(i int) (err error) {
		r := &reader{conn: b.dial(i + 1), got: make([]time.Time, fanEvents)}
		readers[i] = r
		r.since, err = r.conn.filtered("", lazyFilter, 0)
		return err
	})
	var wg sync.WaitGroup
	for _, r := range readers {
		wg.Go(func() { r.run(fanEvents) })
	}
	time.Sleep(time.Second)
	saved, pause := b.deliver, b.pause
	b.deliver, b.pause = fanEvents, 300*time.Millisecond
	used := cpu(b.t, b.server)
	sent, _ := b.paced(room, b.users[0])
	b.deliver, b.pause = saved, pause
	timer := time.AfterFunc(deliveryTimeout, func() {
		for _, r := range readers {
			r.conn.close()
		}
	})
	wg.Wait()
	timer.Stop()
	used = (cpu(b.t, b.server) - used) / fanEvents
	_, last, ok := spread(b.t, readers, sent)
	for _, r := range readers {
		r.conn.close()
	}
	if !ok {
		return nil
	}
	return []figure{
		plain(fmt.Sprintf("one event to the last of %d syncing members of %d, p50", fanPolls, fanMembers), "ms", ms(quantile(last, 0.5))),
		below("  p99", "ms", ms(quantile(last, 0.99)), 100),
		plain("  the server's CPU time for it", "ms", ms(used)),
	}
}

// curve measures the same syncs in rooms of growing size.
func (b *bench) curve() []figure {
	b.leaveAll()
	b.summon(roomSizes[len(roomSizes)-1])
	var figures []figure
	for _, n := range roomSizes {
		// The one who syncs is in this room only.
		reader := len(b.users)
		b.summon(reader + 1)
		b.t.say("making a room of %d members", n)
		room, err := b.users[0].CreateRoom(map[string]any{"preset": "public_chat", "name": fmt.Sprintf("Size %d", n)})
		if err != nil {
			b.t.Fatal(err)
		}
		b.together(setupWorkers, n-2, func(i int) error { return b.users[i+1].Join(room) })
		if err := b.users[reader].Join(room); err != nil {
			b.t.Fatal(err)
		}
		for i := range syncMessages {
			b.post(room, i%8, fmt.Sprintf("c%d", i))
		}
		figures = append(figures, b.sizeOf(n, room, reader)...)
	}
	return figures
}

// sizeOf measures syncs of somebody who is in one room.
func (b *bench) sizeOf(n int, room string, user int) []figure {
	c := b.dial(user)
	defer c.close()
	lazy, _ := b.timed(9, func(int) error { _, err := c.filtered("", lazyFilter, 0); return err })
	slide, _ := b.timed(9, func(i int) error { _, err := c.slide("", slidingWindow(fmt.Sprint("c", i), 19), 0); return err })
	since, err := c.filtered("", lazyFilter, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	pos, err := c.slide("", slidingWindow("x", 19), 0)
	if err != nil {
		b.t.Fatal(err)
	}
	var one, oneSliding []time.Duration
	for i := range 50 {
		b.post(room, 1, fmt.Sprintf("z%d", i))
		d, _ := b.timed(1, func(int) error { since, err = c.filtered(since, lazyFilter, 0); return err })
		one = append(one, d)
		d, _ = b.timed(1, func(int) error { pos, err = c.slide(pos, slidingWindow("x", 19), 0); return err })
		oneSliding = append(oneSliding, d)
	}
	slices.Sort(one)
	slices.Sort(oneSliding)
	size := fmt.Sprintf("a room of %d members: ", n)
	return []figure{
		plain(size+"lazy initial sync", "ms", ms(lazy)),
		plain("  first sliding window", "ms", ms(slide)),
		plain("  one new event, /sync", "ms", ms(quantile(one, 0.5))),
		plain("  one new event, sliding sync", "ms", ms(quantile(oneSliding, 0.5))),
	}
}
