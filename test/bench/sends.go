package main

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"hearth/test/harness"
)

// warmUp is sent before anything is measured.
const warmUp = time.Second

// sends measures how fast events are stored.
func (b *bench) sends() []figure {
	b.t.say("making %d rooms of %d members", b.rooms, b.senders)
	rooms := make([]string, b.rooms)
	b.together(setupWorkers, b.rooms, func(i int) (err error) {
		people := slices.Clone(b.users[:b.senders])
		people[0], people[i%b.senders] = people[i%b.senders], people[0]
		rooms[i], err = b.room(fmt.Sprintf("Busy %d", i), people)
		return err
	})
	b.t.say("sending for %v", b.seconds)
	b.send(rooms, "w", warmUp)
	counts, used, own := scrape(b.t, b.server), cpu(b.t, b.server), ownCPU(b.t)
	start := time.Now()
	times := b.send(rooms, "s", b.seconds)
	took := time.Since(start)
	used, own = cpu(b.t, b.server)-used, ownCPU(b.t)-own
	after := scrape(b.t, b.server)
	slices.Sort(times)
	n := float64(len(times))
	commits := after["hearth_store_commits_total"] - counts["hearth_store_commits_total"]
	// A checkpoint syncs the log and then the database.
	checkpoints := after["hearth_store_checkpoints_total"] - counts["hearth_store_checkpoints_total"]
	return []figure{
		atLeast(fmt.Sprintf("sends by %d senders in %d rooms", b.senders, b.rooms), "/s", n/took.Seconds(), 2000),
		plain("  latency p50", "ms", ms(quantile(times, 0.50))),
		below("  latency p99", "ms", ms(quantile(times, 0.99)), 40),
		plain("  latency greatest", "ms", ms(times[len(times)-1])),
		below("  CPU of the server for a send", "ms", ms(used)/n, 0.5),
		plain("  CPU of the load for a send", "ms", ms(own)/n),
		below("  fsyncs for an event", "", (commits+2*checkpoints)/n, 1),
		plain("  resident after it", "MB", memory(b.t, b.server, "VmRSS")),
		plain("  resident at its greatest", "MB", memory(b.t, b.server, "VmHWM")),
	}
}

// send has everybody send in all rooms for some time, each the next event when the
// one before is stored, and returns how long each took.
func (b *bench) send(rooms []string, txn string, length time.Duration) []time.Duration {
	paths := make([]string, len(rooms))
	for i, room := range rooms {
		paths[i] = harness.Path("rooms", room, "send", "m.room.message") + "/"
	}
	body := b.message("")
	all := make([][]time.Duration, b.senders)
	errs := make([]error, b.senders)
	var wg sync.WaitGroup
	end := time.Now().Add(length)
	for w := range b.senders {
		wg.Go(func() {
			c, err := dial(b.server.URL(), b.users[w].Token)
			if err != nil {
				errs[w] = err
				return
			}
			defer c.close()
			times := make([]time.Duration, 0, 1<<14)
			start := time.Now()
			for i := 0; start.Before(end); i++ {
				path := paths[(w*7+i)%len(paths)] + txn + strconv.Itoa(i)
				if err := c.expect(http.StatusOK, http.MethodPut, path, body); err != nil {
					errs[w] = err
					return
				}
				now := time.Now()
				times = append(times, now.Sub(start))
				start = now
			}
			all[w] = times
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			b.t.Fatal(err)
		}
	}
	return slices.Concat(all...)
}

// expect is do with a status that must come.
func (c *conn) expect(want int, method, path string, body []byte) error {
	status, answer, err := c.do(method, path, body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if status != want {
		return fmt.Errorf("%s %s: %d %s", method, path, status, answer)
	}
	return nil
}
