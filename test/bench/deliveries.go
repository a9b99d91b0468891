package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"hearth/test/harness"
)

// deliveryTimeout is how long the last member may take to get the last event.
const deliveryTimeout = 30 * time.Second

// sync is GET /sync; it returns next_batch. The answer is in c.body.
func (c *conn) sync(since string, timeout time.Duration) (string, error) {
	path := "/_matrix/client/v3/sync?timeout=" + strconv.FormatInt(timeout.Milliseconds(), 10)
	if since != "" {
		path += "&since=" + url.QueryEscape(since)
	}
	if err := c.expect(http.StatusOK, http.MethodGet, path, nil); err != nil {
		return "", err
	}
	return nextBatch(c.body)
}

var nextBatchKey = []byte(`"next_batch":"`)

// nextBatch finds the token. Tokens have no escapes, so that the answer need not be
// parsed while the server is being measured.
func nextBatch(answer []byte) (string, error) {
	if _, rest, found := bytes.Cut(answer, nextBatchKey); found {
		if token, _, found := bytes.Cut(rest, []byte{'"'}); found {
			return string(token), nil
		}
	}
	return "", fmt.Errorf("no next_batch in %.200q", answer)
}

// reader is a member who waits for events.
type reader struct {
	conn  *conn
	since string
	got   []time.Time // by number of event
	err   error
}

// deliveries measures the way from a send to the answers of the members' long-polls.
func (b *bench) deliveries() []figure {
	people := b.users[:b.members+1]
	room, err := b.room("Delivery", people)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.say("delivering %d events to %d members", b.deliver, b.members)
	readers := b.readers(people[1:])
	var wg sync.WaitGroup
	for _, r := range readers {
		wg.Go(func() { r.run(b.deliver) })
	}
	used := cpu(b.t, b.server)
	sent, answered := b.paced(room, people[0])
	timer := time.AfterFunc(deliveryTimeout, func() {
		for _, r := range readers {
			r.conn.close()
		}
	})
	wg.Wait()
	timer.Stop()
	used = cpu(b.t, b.server) - used
	median, last, ok := spread(b.t, readers, sent)
	if !ok {
		return nil
	}
	members := fmt.Sprintf("%d members", b.members)
	return []figure{
		below("delivery to the median of "+members+" p50", "ms", ms(quantile(median, 0.50)), 3),
		plain("  p99", "ms", ms(quantile(median, 0.99))),
		plain("delivery to the last of "+members+" p50", "ms", ms(quantile(last, 0.50))),
		plain("  p99", "ms", ms(quantile(last, 0.99))),
		plain("  the send itself p50", "ms", ms(quantile(answered, 0.50))),
		plain("  CPU of the server for an event", "ms", ms(used)/float64(b.deliver)),
	}
}

func (b *bench) readers(people []*harness.Client) []*reader {
	readers := make([]*reader, len(people))
	for i, p := range people {
		c, err := dial(b.server.URL(), p.Token)
		if err != nil {
			b.t.Fatal(err)
		}
		b.t.Cleanup(c.close)
		readers[i] = &reader{conn: c, got: make([]time.Time, b.deliver)}
		if readers[i].since, err = c.sync("", 0); err != nil {
			b.t.Fatal(err)
		}
	}
	return readers
}

// paced sends the events; it returns when each was sent, and how long its answer
// took, sorted.
func (b *bench) paced(room string, sender *harness.Client) (sent []time.Time, answered []time.Duration) {
	c, err := dial(b.server.URL(), sender.Token)
	if err != nil {
		b.t.Fatal(err)
	}
	defer c.close()
	path := harness.Path("rooms", room, "send", "m.room.message") + "/d"
	for i := range b.deliver {
		time.Sleep(b.pause)
		body := b.message(fmt.Sprintf("#%d#", i))
		start := time.Now()
		if err := c.expect(http.StatusOK, http.MethodPut, path+strconv.Itoa(i), body); err != nil {
			b.t.Fatal(err)
		}
		sent, answered = append(sent, start), append(answered, time.Since(start))
	}
	slices.Sort(answered)
	return sent, answered
}

// run follows /sync until all events have come.
func (r *reader) run(n int) {
	var mark []byte
	for next := 0; next < n; {
		since, err := r.conn.sync(r.since, 30*time.Second)
		now := time.Now()
		if err != nil {
			r.err = err
			return
		}
		r.since = since
		for ; next < n; next++ {
			mark = append(strconv.AppendInt(append(mark[:0], '#'), int64(next), 10), '#')
			if !bytes.Contains(r.conn.body, mark) {
				break
			}
			r.got[next] = now
		}
	}
}

// spread returns for the events, sorted, how long the median and the last member waited.
func spread(t *shim, readers []*reader, sent []time.Time) (median, last []time.Duration, ok bool) {
	var errs []error
	for _, r := range readers {
		errs = append(errs, r.err)
	}
	if err := errors.Join(errs...); err != nil {
		t.Errorf("a member did not get everything: %v", err)
		return nil, nil, false
	}
	for i, start := range sent {
		var waits []time.Duration
		for _, r := range readers {
			waits = append(waits, r.got[i].Sub(start))
		}
		slices.Sort(waits)
		median, last = append(median, quantile(waits, 0.5)), append(last, waits[len(waits)-1])
	}
	slices.Sort(median)
	slices.Sort(last)
	return median, last, true
}
