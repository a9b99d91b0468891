package roomserver

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"hearth/internal/pdu"
	"hearth/internal/store"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

const (
	// expireStep is how many events one write purges, and expirePause what other writes get in between.
	expireStep  = 256
	expirePause = 10 * time.Millisecond
	// expireRooms is how many rooms are looked up at once.
	expireRooms = 256
	// maxNamedRooms is how many rooms a receipt names.
	maxNamedRooms = 100
)

// purger is who purges; one at a time.
type purger struct {
	busy  chan struct{}
	whole bool // rooms are looked through from their beginning; guarded by busy

	mu   sync.Mutex // guards jobs and last
	jobs []*purgeJob
	last int64 // the number of the newest job

	queue chan *purgeJob // as long as jobs may be
}

func newPurger() *purger {
	return &purger{busy: make(chan struct{}, 1), whole: true, queue: make(chan *purgeJob, maxPurgeJobs)}
}

func (p *purger) begin(ctx context.Context) error {
	select {
	case p.busy <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *purger) end() { <-p.busy }

// expiring is the purge of one room.
type expiring struct {
	s    *Server
	room *room
	x    *expiry
	// upto is a time in milliseconds, high an order; what is later stays.
	upto, high int64
	// all is set where what is purged was chosen by hand: how far the room was purged is not noted then.
	all     bool
	foreign bool // only events of other servers' users
	dry     bool

	events, bytes int64
}

// expireRoom purges what has expired in a room, by the policy p.
func (s *Server) expireRoom(ctx context.Context, roomID string, p *roomapi.RetentionPolicy, dry bool) (events, bytes int64, err error) {
	r, h, done, err := s.view(ctx, roomID)
	if err != nil {
		return 0, 0, err
	}
	defer done()
	ms, err := s.lifetimeBy(ctx, r, h, p)
	if err != nil || ms == 0 {
		return 0, 0, err
	}
	now := s.now().UnixMilli()
	e := &expiring{s: s, room: r, upto: now - ms, high: math.MaxInt64, dry: dry, x: &expiry{s: s, room: r, head: h, now: now, cut: now - ms}}
	err = e.run(ctx)
	return e.events, e.bytes, err
}

func (e *expiring) run(ctx context.Context) error {
	if e.s.keeping.Load().held(e.x.now, roomapi.HoldRoom, e.room.id) {
		return nil
	}
	from, ord := int64(math.MinInt64), int64(math.MinInt64)
	head := storage.OrdAfter(e.x.head.pos)
	if !e.all && !e.dry && !e.s.purger.whole {
		upto, seen, err := e.s.store.Purged(ctx, e.room.nid)
		if err != nil {
			return err
		}
		if seen != 0 {
			if err := e.replaced(ctx, seen, head, upto); err != nil {
				return err
			}
			from, ord = upto, int64(math.MaxInt64)
		}
	}
	for {
		rows, err := e.s.store.InTime(ctx, e.room.nid, from, ord, e.upto, e.high, expireStep)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			break
		}
		last := rows[len(rows)-1]
		from, ord = last.TS, last.Ord
		if err := e.purge(ctx, rows); err != nil {
			return err
		}
		if len(rows) < expireStep {
			break
		}
	}
	return e.finish(ctx, head)
}

// replaced purges the state events that have been replaced since the room was last purged.
func (e *expiring) replaced(ctx context.Context, seen, head, upto int64) error {
	for seen < head {
		nids, last, err := e.s.store.Replaced(ctx, e.room.nid, seen, min(upto, e.upto), expireStep)
		if err != nil || last == 0 {
			return err
		}
		rows, err := e.s.store.EventsByNid(ctx, nids)
		if err != nil {
			return err
		}
		if err := e.purge(ctx, rows); err != nil {
			return err
		}
		seen = last
	}
	return nil
}

// finish notes how far the room is purged, and tells it if anything is gone.
func (e *expiring) finish(ctx context.Context, head int64) error {
	if e.dry {
		return nil
	}
	if !e.all {
		x := storage.Expiry{Room: e.room.nid, Upto: e.upto, Ord: head}
		if err := e.s.store.DB.Write(ctx, x.Write); err != nil {
			return err
		}
	}
	if e.events == 0 {
		return nil
	}
	return e.s.tellRetention(ctx, e.room.id, e.room.nid)
}

// purge puts the stubs in the place of those of some events that may go.
func (e *expiring) purge(ctx context.Context, rows []*storage.Event) error {
	events, err := e.s.finish(ctx, e.room.version, rows)
	if err != nil {
		return err
	}
	events = slices.DeleteFunc(events, func(ev *stored) bool { return !e.may(ctx, ev) })
	if len(events) == 0 {
		return nil
	}
	for _, ev := range events {
		e.events, e.bytes = e.events+1, e.bytes+int64(len(ev.ev.JSON))
	}
	if e.dry {
		return nil
	}
	if err := e.unindex(ctx, events); err != nil {
		return err
	}
	for attempt := 0; ; attempt++ {
		err := e.write(ctx, events)
		if !errors.Is(err, store.ErrStale) || attempt == 3 {
			if err != nil {
				return err
			}
			return sleep(ctx, expirePause)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// may reports whether an event may be purged: it is not of the present state, nothing holds it, and no later event
// needs its content for its authorization.
func (e *expiring) may(ctx context.Context, ev *stored) bool {
	switch {
	case ev.flags&storage.FlagPurged != 0 || e.x.current(ctx, ev):
		return false
	case neededWhole(ev.ev):
		return false
	case e.foreign && pdu.Domain(ev.ev.Sender) == e.s.serverName:
		return false
	}
	return !e.s.keeping.Load().holdsEvent(e.x.now, e.room.id, ev.ev)
}

// neededWhole reports whether the authorization of later events needs what the redacted form of an event lacks.
func neededWhole(ev *pdu.Event) bool {
	return ev.Type == "m.room.create" || ev.Type == "m.room.third_party_invite" // its keys
}

// unindex takes events out of the search index, once it has read as far as they reach.
func (e *expiring) unindex(ctx context.Context, events []*stored) error {
	var positions []int64
	for _, ev := range events {
		if pos := ev.pos(); pos > 0 {
			positions = append(positions, pos)
		}
	}
	if len(positions) == 0 {
		return nil
	}
	waiting, cancel := context.WithTimeout(ctx, 5*time.Second)
	err := e.s.search.Wait(waiting, slices.Max(positions))
	cancel()
	if err != nil && ctx.Err() != nil {
		return err
	}
	return e.s.search.RemoveEvents(ctx, e.room.id, positions)
}

// write replaces the bodies, with the room locked: what has come to be state in the meantime stays.
func (e *expiring) write(ctx context.Context, events []*stored) error {
	lr, err := e.s.lockRoom(ctx, e.room.id)
	if err != nil {
		return err
	}
	defer lr.unlock()
	now := expiry{s: e.s, room: lr.room, head: lr.staged}
	b := lr.begin()
	x := &storage.Expiry{Room: lr.nid}
	forms := make([]*stored, 0, len(events))
	for _, ev := range events {
		if now.current(ctx, ev) {
			continue
		}
		form, err := purgedForm(ev)
		if err != nil {
			return err
		}
		forms = append(forms, form)
		x.Events = append(x.Events, storage.Purged{Nid: ev.nid, JSON: form.ev.JSON})
		x.Bytes += int64(len(ev.ev.JSON))
		if broken := b.brokenRelation(ev); broken != nil && ev.redactedBy == 0 && !ev.hidden() {
			x.Broken = append(x.Broken, *broken)
		}
	}
	if len(forms) == 0 {
		return nil
	}
	done := make(chan error, 1)
	_, err = e.s.store.DB.Stage(lr.generation, 0, func(int64) store.Op {
		return store.Op{Run: x.Write, Done: func(err error) {
			if err == nil {
				e.s.forgetPurged(forms)
			}
			done <- err
		}}
	})
	if err != nil {
		return err
	}
	return waitFor(done)(ctx)
}

// purgedForm is what is left of an event in memory and on disk.
func purgedForm(ev *stored) (*stored, error) {
	redacted, err := ev.ev.Redact()
	if err != nil {
		return nil, err
	}
	form := *ev
	form.ev, form.flags, form.origin = redacted, ev.flags|storage.FlagPurged, ""
	form.client = clientEvent(&form, nil, nil)
	return &form, nil
}

// forgetPurged puts the stubs in the place of cached events, and forgets what shows them as the state before.
func (s *Server) forgetPurged(forms []*stored) {
	gone := make(map[int64]bool, len(forms))
	for _, form := range forms {
		s.cache.Put(form.nid, form)
		gone[form.nid] = true
	}
	s.cache.DeleteFunc(func(_ int64, e *stored) bool {
		return e.replaces != 0 && gone[e.replaces] || e.redactedBy != 0 && gone[e.redactedBy]
	})
}

// tellRetention adds an entry to the log after which nobody shows what they remember of a room; of all rooms if nid is 0.
func (s *Server) tellRetention(ctx context.Context, roomID string, nid int64) error {
	for attempt := 0; ; attempt++ {
		done := make(chan error, 1)
		_, err := s.store.DB.Stage(s.store.DB.Generation(), 1, func(first int64) store.Op {
			return store.Op{
				Run: func(tx *store.Tx) error { return storage.LogRetention(tx, first, int64(roomapi.KindRetention), nid) },
				Done: func(err error) {
					if err == nil {
						s.entries.Publish(first, &roomapi.Entry{Kind: roomapi.KindRetention, RoomID: roomID})
					}
					done <- err
				},
			}
		})
		if err == nil {
			err = waitFor(done)(ctx)
		}
		if !errors.Is(err, store.ErrStale) || attempt == 3 {
			return err
		}
	}
}
