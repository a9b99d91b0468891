package roomserver

import (
	"context"
	"errors"
	"slices"
	"time"

	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/internal/pduwire"
	"hearth/internal/store"
	"hearth/roomserver/storage"
)

// Bounds of one turn of a room.
const (
	maxDrainRequests = 40   // to other servers
	maxDrainEvents   = 2000 // that wait at the same time
	drainTime        = 2 * time.Minute
	maxMissingRounds = 8 // of get_missing_events, 20 events each, before the state is asked for
)

// drain is one worker's turn with a room: it fetches what the PDUs in the inbox wait for,
// and lets them enter in order. progress is false if that has brought nothing.
func (s *Server) drain(ctx context.Context, roomID string) (progress bool) {
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	d := &drainage{s: s, roomID: roomID, waiting: make(map[string]*waitingEvent), asked: make(map[string]int)}
	err := d.run(ctx)
	counts, countErr := d.left(ctx)
	if countErr == nil {
		s.inbox.settle(roomID, counts)
	}
	if err = errors.Join(err, countErr); err != nil && !errors.Is(err, context.Canceled) {
		s.log.WithError(err).WithField("room", roomID).Warn("fetch missing events")
	}
	return d.entered > 0
}

// drainage is one turn.
type drainage struct {
	s        *Server
	roomID   string
	version  *pdu.RoomVersion
	room     int64
	waiting  map[string]*waitingEvent // by event id
	requests int
	asked    map[string]int // requests on behalf of each origin
	minDepth int64
	// backfilled says that the last gap was tried to be filled.
	backfilled bool
	entered    int
}

// waitingEvent is an event that waits for others.
type waitingEvent struct {
	ev      *pdu.Event
	origin  string
	stored  bool    // it is in the inbox
	verdict verdict // what was missing at the last try
	// rounds is how many rounds of get_missing_events have led to the event.
	rounds   int
	authDone bool // its auth events were asked for
	judged   bool // the room's policy server was asked
	given    *incoming
	failed   bool // what it waits for cannot be had now
}

// left counts what is in the inbox.
func (d *drainage) left(ctx context.Context) (map[string]int, error) {
	counts := make(map[string]int)
	if d.room == 0 {
		return counts, nil
	}
	rows, err := d.s.store.InboxOf(ctx, d.room, maxInboxRoom)
	for _, row := range rows {
		counts[row.Origin]++
	}
	return counts, err
}

func (d *drainage) run(ctx context.Context) error {
	if err := d.load(ctx); err != nil {
		return err
	}
	for len(d.waiting) > 0 {
		if err := d.enter(ctx); err != nil {
			return err
		}
		target := d.target()
		if target == nil {
			return nil
		}
		if d.requests++; d.requests > maxDrainRequests || len(d.waiting) > maxDrainEvents {
			return nil
		}
		d.asked[target.origin]++
		if err := d.fetch(ctx, target); err != nil {
			return err
		}
	}
	return nil
}

// load reads the inbox. If we have left the room, there is nothing to wait for any more.
func (d *drainage) load(ctx context.Context) error {
	r, h, done, err := d.s.view(ctx, d.roomID)
	if errors.Is(err, errNoRoom) {
		return nil
	}
	if err != nil {
		return err
	}
	defer done()
	d.version, d.room = r.version, r.nid
	rows, err := d.s.store.InboxOf(ctx, d.room, maxInboxRoom)
	if err != nil {
		return err
	}
	for _, row := range rows {
		p := pduwire.PDU{EventID: row.EventID, JSON: row.JSON, Redacted: row.Redacted}
		ev, err := p.Load(r.version)
		if err != nil || !h.hosts.local() {
			if err := d.remove(ctx, row.EventID); err != nil {
				return err
			}
			continue
		}
		d.waiting[row.EventID] = &waitingEvent{ev: ev, origin: row.Origin, stored: true}
	}
	return nil
}

func (d *drainage) remove(ctx context.Context, eventID string) error {
	return d.s.store.DB.Write(ctx, func(tx *store.Tx) error { return storage.DeleteInbox(tx, d.room, eventID) })
}

// order sorts what waits so that each event comes after its prev events.
func (d *drainage) order() []*waitingEvent {
	list := make([]*waitingEvent, 0, len(d.waiting))
	for _, w := range d.waiting {
		list = append(list, w)
	}
	slices.SortFunc(list, func(a, b *waitingEvent) int {
		if a.ev.Depth != b.ev.Depth {
			return int(min(max(a.ev.Depth-b.ev.Depth, -1), 1))
		}
		if a.ev.EventID < b.ev.EventID {
			return -1
		}
		return 1
	})
	// Depths are what the senders claim; the edges decide.
	sorted := make([]*waitingEvent, 0, len(list))
	state := make(map[string]int8, len(list)) // 1: on the way, 2: done
	var visit func(w *waitingEvent)
	visit = func(w *waitingEvent) {
		if state[w.ev.EventID] != 0 {
			return
		}
		state[w.ev.EventID] = 1
		for _, id := range w.ev.PrevEvents {
			if p := d.waiting[id]; p != nil {
				visit(p)
			}
		}
		state[w.ev.EventID] = 2
		sorted = append(sorted, w)
	}
	for _, w := range list {
		visit(w)
	}
	return sorted
}

// recommend gets what the room's policy server has to say of what may enter.
func (d *drainage) recommend(ctx context.Context) error {
	var list []*waitingEvent
	var events []*pdu.Event
	for _, w := range d.waiting {
		if !w.judged {
			w.judged = true
			list, events = append(list, w), append(events, w.ev)
		}
	}
	r, h, done, err := d.s.view(ctx, d.roomID)
	if err != nil {
		return err
	}
	defer done()
	err = d.s.recommend(ctx, r, h, events)
	for i, w := range list {
		if w.ev = events[i]; w.given != nil {
			w.given.ev = w.ev
		}
	}
	return err
}

// enter lets everything enter the room that can.
func (d *drainage) enter(ctx context.Context) error {
	if err := d.recommend(ctx); err != nil {
		return err
	}
	lr, err := d.s.lockRoom(ctx, d.roomID)
	if err != nil {
		return err
	}
	var waits []func(context.Context) error
	var removed []string
	for _, w := range d.order() {
		in := &incoming{ev: w.ev}
		if w.given != nil {
			in = w.given
		}
		v, wait, stepErr := d.s.step(ctx, lr, in)
		w.verdict = v
		switch {
		case stepErr != nil && eventsFault(stepErr):
			removed = append(removed, w.ev.EventID)
			delete(d.waiting, w.ev.EventID)
		case stepErr != nil:
			err = stepErr
		case !v.missing():
			d.entered++
			delete(d.waiting, w.ev.EventID)
		}
		if wait != nil {
			waits = append(waits, wait)
		}
		if err != nil {
			break
		}
	}
	lr.unlock()
	for _, wait := range waits {
		err = errors.Join(err, wait(ctx))
	}
	for _, id := range removed {
		err = errors.Join(err, d.remove(ctx, id))
	}
	return err
}

// target picks the event whose missing events are to be fetched next: one that does not wait
// for another one here, of the origin that has had the fewest requests, so that nobody's
// events keep those of others waiting. It is nil if nothing more can be done.
func (d *drainage) target() (best *waitingEvent) {
	for _, w := range d.order() {
		if w.failed || !w.verdict.missing() {
			continue
		}
		waits := false
		for _, id := range w.verdict.prev {
			waits = waits || d.waiting[id] != nil
		}
		if !waits && (best == nil || d.asked[w.origin] < d.asked[best.origin]) {
			best = w
		}
	}
	return best
}

// fetch asks for what an event needs: the events before it, then the state there; its auth events.
func (d *drainage) fetch(ctx context.Context, w *waitingEvent) error {
	var err error
	switch {
	case len(w.verdict.prev) > 0 && w.rounds < maxMissingRounds:
		err = d.fetchMissing(ctx, w)
	case len(w.verdict.prev) > 0:
		err = d.fetchState(ctx, w)
	default:
		err = d.fetchAuth(ctx, w)
	}
	if err != nil && ctx.Err() == nil && isRemote(err) {
		w.failed = true // an answer of another server; what does not depend on it goes on
		return nil
	}
	return err
}

// isRemote tells errors that other servers have caused.
func isRemote(err error) bool {
	var e *merr.Error
	return errors.As(err, &e) || errors.Is(err, errUseless)
}

// errUseless says that another server's answer did not bring what was asked for.
var errUseless = errors.New("roomserver: an answer without what was asked for")
