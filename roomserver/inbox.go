package roomserver

import (
	"context"
	"sync"
	"time"

	"hearth/internal/pdu"
	"hearth/internal/store"
	"hearth/roomserver/storage"
)

// Bounds of the inbox, in PDUs.
const (
	maxInboxRoom   = 1000
	maxInboxOrigin = 5000
	maxInbox       = 50_000
	inboxLifetime  = 24 * time.Hour
)

// inbox knows which rooms have PDUs that wait for events which they name, and gives
// these rooms to workers in turn. The PDUs are in the store.
type inbox struct {
	now func() time.Time

	mu      sync.Mutex // guards what follows
	rooms   map[string]*waitingRoom
	origins map[string]int // PDUs by server
	total   int
	queue   []string      // rooms that want a worker, the one that waits longest first
	bell    chan struct{} // holds one if a worker should look
}

// waitingRoom is a room with PDUs in the inbox.
type waitingRoom struct {
	byOrigin map[string]int
	n        int
	queued   bool
	running  bool
	again    bool      // something came while a worker was at it
	failures int       // tries in a row that brought nothing
	last     time.Time // end of the last try
}

func newInbox(now func() time.Time) *inbox {
	return &inbox{now: now, rooms: make(map[string]*waitingRoom), origins: make(map[string]int), bell: make(chan struct{}, 1)}
}

// holds reports whether PDUs of a room wait.
func (in *inbox) holds(roomID string) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.rooms[roomID] != nil
}

// admit makes room for PDUs of an origin and returns how many of n fit.
func (in *inbox) admit(roomID, origin string, n int) int {
	in.mu.Lock()
	defer in.mu.Unlock()
	w := in.rooms[roomID]
	held := 0
	if w != nil {
		held = w.n
	}
	n = max(0, min(n, maxInboxRoom-held, maxInboxOrigin-in.origins[origin], maxInbox-in.total))
	if n > 0 {
		in.count(roomID, origin, n)
	}
	return n
}

// count counts PDUs. mu is held.
func (in *inbox) count(roomID, origin string, n int) {
	w := in.rooms[roomID]
	if w == nil {
		w = &waitingRoom{byOrigin: make(map[string]int)}
		in.rooms[roomID] = w
	}
	w.byOrigin[origin] += n
	w.n += n
	in.origins[origin] += n
	in.total += n
}

// settle replaces what is known of a room by what is in the store.
func (in *inbox) settle(roomID string, counts map[string]int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if w := in.rooms[roomID]; w != nil {
		for origin, n := range w.byOrigin {
			if in.origins[origin] -= n; in.origins[origin] <= 0 {
				delete(in.origins, origin)
			}
		}
		in.total -= w.n
		w.n, w.byOrigin = 0, make(map[string]int)
	}
	for origin, n := range counts {
		in.count(roomID, origin, n)
	}
}

// Times between tries for a room that brought nothing.
const (
	firstRetry = 5 * time.Second
	lastRetry  = time.Hour
)

// due is when a room is tried again.
func (w *waitingRoom) due() time.Time {
	if w.failures == 0 {
		return time.Time{}
	}
	return w.last.Add(min(firstRetry<<min(w.failures-1, 20), lastRetry))
}

// wake says that an origin has spoken in a room: it may be tried again, but after
// failures not at once.
func (in *inbox) wake(roomID string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	w := in.rooms[roomID]
	switch {
	case w == nil:
	case w.running:
		w.again = true
	case w.failures == 0 || in.now().Sub(w.last) >= firstRetry:
		in.enqueue(roomID, w)
	}
}

// enqueue puts a room at the end of the queue. mu is held.
func (in *inbox) enqueue(roomID string, w *waitingRoom) {
	if w.queued || w.running {
		return
	}
	w.queued = true
	in.queue = append(in.queue, roomID)
	in.ring()
}

func (in *inbox) ring() {
	select {
	case in.bell <- struct{}{}:
	default:
	}
}

// next waits for a room that wants a worker; false when ctx ends.
func (in *inbox) next(ctx context.Context) (roomID string, ok bool) {
	for {
		in.mu.Lock()
		if len(in.queue) > 0 {
			roomID, in.queue = in.queue[0], in.queue[1:]
			w := in.rooms[roomID]
			w.queued, w.running, w.again = false, true, false
			if len(in.queue) > 0 {
				in.ring()
			}
			in.mu.Unlock()
			return roomID, true
		}
		in.mu.Unlock()
		select {
		case <-in.bell:
		case <-ctx.Done():
			return "", false
		}
	}
}

// done ends a worker's turn; progress says whether it has brought anything.
func (in *inbox) done(roomID string, progress bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	w := in.rooms[roomID]
	w.running, w.last = false, in.now()
	if w.failures++; progress {
		w.failures = 0
	}
	switch {
	case w.n == 0 && !w.again:
		delete(in.rooms, roomID)
	case progress || w.again:
		in.enqueue(roomID, w)
	}
}

// poll queues the rooms whose time has come.
func (in *inbox) poll() {
	in.mu.Lock()
	defer in.mu.Unlock()
	now := in.now()
	for roomID, w := range in.rooms {
		if !w.due().After(now) {
			in.enqueue(roomID, w)
		}
	}
}

// putAside stores events in the inbox, as many as there is room for; the others are refused.
func (rc *reception) putAside(ctx context.Context, waiting []*pdu.Event) (wait func(context.Context) error, err error) {
	n := rc.s.inbox.admit(rc.roomID, rc.origin, len(waiting))
	for _, ev := range waiting[n:] {
		rc.errors[ev.EventID] = "Too many events wait for others that are missing"
	}
	r, _, done, err := rc.s.view(ctx, rc.roomID)
	if err != nil {
		return nil, err
	}
	defer done()
	rows := make([]storage.Inbox, n)
	for i, ev := range waiting[:n] {
		rows[i] = storage.Inbox{
			Room: r.nid, EventID: ev.EventID, Origin: rc.origin, At: rc.s.now().UnixMilli() + int64(i), Redacted: ev.Redacted, JSON: ev.JSON,
		}
	}
	written := make(chan error, 1)
	_, err = rc.s.store.DB.Stage(rc.s.store.DB.Generation(), 0, func(int64) store.Op {
		return store.Op{Done: func(err error) { written <- err }, Run: func(tx *store.Tx) error {
			for i := range rows {
				if err := rows[i].Write(tx); err != nil {
					return err
				}
			}
			return nil
		}}
	})
	return waitFor(written), err
}

// inboxWorkers is how many rooms are worked on at the same time.
const inboxWorkers = 8

// startInbox brings what waits in the store to mind.
func (s *Server) startInbox(ctx context.Context) error {
	counts, err := s.store.InboxCounts(ctx)
	if err != nil {
		return err
	}
	s.inbox.mu.Lock()
	defer s.inbox.mu.Unlock()
	for _, c := range counts {
		s.inbox.count(c.RoomID, c.Origin, int(c.N))
	}
	return nil
}

// runInbox lets workers fetch what PDUs in the inbox wait for, until ctx ends.
func (s *Server) runInbox(ctx context.Context) {
	for range inboxWorkers {
		s.work.Go(func() {
			for {
				roomID, ok := s.inbox.next(ctx)
				if !ok {
					return
				}
				s.inbox.done(roomID, s.drain(ctx, roomID))
			}
		})
	}
	poll, expire := time.NewTicker(time.Second), time.NewTicker(10*time.Minute)
	defer poll.Stop()
	defer expire.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-poll.C:
			s.inbox.poll()
		case <-expire.C:
			before := s.now().Add(-inboxLifetime).UnixMilli()
			if err := s.store.DB.Write(ctx, func(tx *store.Tx) error { return storage.ExpireInbox(tx, before) }); err != nil && ctx.Err() == nil {
				s.log.WithError(err).Warn("expire events that wait for others")
			}
		}
	}
}
