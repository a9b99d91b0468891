package crash

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"hearth/test/harness"
)

// view is what a client keeps: everything that it has processed, and the token that
// says so.
type view struct {
	since    string
	rooms    map[string][]Event
	state    map[string]map[string]string // room, type and key → event id
	receipts map[string]map[string]string // room, user → event id
	data     string                       // of dataType
}

func newView() *view {
	return &view{rooms: map[string][]Event{}, state: map[string]map[string]string{}, receipts: map[string]map[string]string{}}
}

// reader is a user who syncs. Gaps are filled in one of the ways that the spec allows,
// chosen by chance.
type reader struct {
	name   string
	client *harness.Client
	filter string        // of /sync, or slidingFilter
	lag    time.Duration // at most so long it does not sync, so that there is a gap
	record *record
	rng    *rand.Rand

	mu    sync.Mutex // guards what follows
	kept  *view
	seen  map[string]bool // ids of kept
	gaps  int             // limited timelines that were filled
	again int             // answers that were thrown away before their token was kept
	anew  int             // connections of sliding sync that the server had forgotten
}

func newReader(name string, c *harness.Client, filter string, r *record, rng *rand.Rand) *reader {
	return &reader{name: name, client: c, filter: filter, record: r, rng: rng, kept: newView(), seen: map[string]bool{}}
}

// run syncs until ctx ends.
func (r *reader) run(ctx context.Context) {
	for ctx.Err() == nil {
		wait := time.Duration(r.rng.IntN(3)) * 500 * time.Millisecond
		if _, err := r.sync(ctx, wait); err != nil {
			return // ctx ended, or a breach that is recorded
		}
		time.Sleep(time.Duration(r.rng.Int64N(int64(r.lag + 1))))
	}
}

// sync makes one round. It reports whether the token moved on.
func (r *reader) sync(ctx context.Context, wait time.Duration) (news bool, err error) {
	if r.filter == slidingFilter {
		fresh, news, err := r.slide(ctx, wait)
		if err == nil {
			news = r.settle(fresh) || news
		}
		return news, err
	}
	var answer *harness.SyncResponse
	since := r.kept.since
	err = r.record.insist(ctx, r.name+" syncs", func() (err error) {
		answer, err = r.client.SyncFilter(ctx, since, r.filter, wait)
		return err
	})
	if err != nil {
		return false, err
	}
	fresh, err := r.process(ctx, answer)
	if err != nil {
		return false, err
	}
	return r.settle(fresh) || fresh.since != since, nil
}

// settle keeps what an answer has added, unless the client dies before: then it will
// ask with the old token.
func (r *reader) settle(fresh *view) (died bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rng.IntN(20) == 0 {
		r.again++
		return true
	}
	r.keep(fresh)
	return false
}

// process works out what an answer adds to what is kept.
func (r *reader) process(ctx context.Context, answer *harness.SyncResponse) (*view, error) {
	fresh := newView()
	fresh.since = answer.NextBatch
	for _, e := range answer.AccountData.Events {
		if e.Type == dataType {
			fresh.data = txnOf(e)
		}
	}
	for _, room := range slices.Sorted(maps.Keys(answer.Rooms.Join)) {
		joined := answer.Rooms.Join[room]
		events, state := joined.Timeline.Events, map[string]string{}
		if joined.Timeline.Limited {
			gap, err := r.fill(ctx, room, joined.Timeline.PrevBatch)
			if err != nil {
				return nil, err
			}
			events = append(gap, events...)
		}
		for _, e := range append(joined.State.Events, joined.Timeline.Events...) {
			if e.StateKey != nil {
				state[e.Type+" "+*e.StateKey] = e.EventID
			}
		}
		fresh.rooms[room], fresh.state[room] = brief(events), state
		fresh.receipts[room] = receipts(joined.Ephemeral.Events)
	}
	return fresh, nil
}

// keep adds fresh to what is kept; r.mu is held.
func (r *reader) keep(fresh *view) {
	r.kept.since = fresh.since
	if fresh.data != "" {
		r.kept.data = fresh.data
	}
	for room, events := range fresh.rooms {
		r.kept.rooms[room] = append(r.kept.rooms[room], events...)
		for _, e := range events {
			r.seen[e.ID] = true
		}
		into(r.kept.state, room, fresh.state[room])
		into(r.kept.receipts, room, fresh.receipts[room])
	}
}

func into(m map[string]map[string]string, room string, more map[string]string) {
	if m[room] == nil {
		m[room] = map[string]string{}
	}
	maps.Copy(m[room], more)
}

// fill reads the events between the token that is kept, or the beginning of the room,
// and prevBatch, oldest first.
func (r *reader) fill(ctx context.Context, room, prevBatch string) ([]harness.Event, error) {
	r.mu.Lock()
	r.gaps++
	known, first := r.seen, r.kept.since == ""
	r.mu.Unlock()
	walk := walk{record: r.record, client: r.client, room: room, dir: "b", from: prevBatch, limit: 1 + r.rng.IntN(100)}
	if !first {
		switch r.rng.IntN(3) {
		case 0: // back to the old token
			walk.to = r.kept.since
		case 1: // back to what is known; known is written by this goroutine only
			walk.until = func(e harness.Event) bool { return known[e.EventID] }
		case 2: // forward from the old token
			walk.dir, walk.from, walk.to = "f", r.kept.since, prevBatch
		}
	}
	return walk.events(ctx)
}

// walk reads pages of /messages.
type walk struct {
	record              *record
	client              *harness.Client
	room, dir, from, to string
	limit               int
	until               func(harness.Event) bool // ends the walk before an event
}

// events returns what the walk passes, oldest first.
func (w walk) events(ctx context.Context) ([]harness.Event, error) {
	var all []harness.Event
	for done := false; !done; {
		var page *harness.Page
		err := w.record.insist(ctx, "read "+w.room, func() (err error) {
			page, err = w.client.Messages(w.room, w.dir, w.from, w.to, w.limit)
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, e := range page.Chunk {
			if done = w.until != nil && w.until(e); done {
				break
			}
			all = append(all, e)
		}
		if page.End != "" && page.End == w.from {
			err := fmt.Errorf("/messages of %s makes no progress at %q", w.room, w.from)
			w.record.breach("%v", err)
			return nil, err
		}
		done = done || page.End == "" || page.End == w.to
		w.from = page.End
	}
	if w.dir == "b" {
		slices.Reverse(all)
	}
	return all, nil
}

// has reports whether the reader has processed all these events.
func (r *reader) has(ids []string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		if !r.seen[id] {
			return false
		}
	}
	return true
}

func brief(events []harness.Event) []Event {
	out := make([]Event, len(events))
	for i, e := range events {
		out[i] = Event{ID: e.EventID, Txn: txnOf(e)}
	}
	return out
}

// txnOf returns the transaction that the load wrote into an event.
func txnOf(e harness.Event) string {
	var c content
	_ = json.Unmarshal(e.Content, &c) // another content has none
	return c.Txn
}

// receipts returns the m.read receipts by user.
func receipts(ephemeral []harness.Event) map[string]string {
	out := map[string]string{}
	for _, e := range ephemeral {
		var byEvent map[string]map[string]map[string]json.RawMessage
		if e.Type != "m.receipt" || json.Unmarshal(e.Content, &byEvent) != nil {
			continue
		}
		for event, byKind := range byEvent {
			for user := range byKind["m.read"] {
				out[user] = event
			}
		}
	}
	return out
}
