package roomserver

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/state"
	"hearth/roomserver/storage"
)

// room is the actor of one room: whoever holds its lock may stage changes.
//
// There are two views. The staged one chains events that are not on disk yet, so
// that one send need not wait for the commit of the one before; only the holder
// of the lock sees it. The committed one is what every query reads.
type room struct {
	id      string
	nid     int64
	version *pdu.RoomVersion

	// lock is held by sending to it. waiters counts those who want to.
	lock    chan struct{}
	waiters atomic.Int32

	// generation is the store's generation for which staged is true; guarded by lock.
	generation uint64
	staged     *head
	// sinceCheckpoint counts staged events since the last checkpoint; guarded by lock.
	sinceCheckpoint int
	// published says that the room is in the directory; guarded by lock.
	published bool
	// tidied is when a dummy event was last tried; guarded by lock.
	tidied time.Time
	// merged remembers results of state resolution by the set of snapshots; guarded by lock.
	merged map[string]int64

	committed atomic.Pointer[head] // set by Server.show
	stamp     atomic.Int64         // changes with the history of any state; 0: not known

	mu      sync.Mutex
	pending map[int64]*stored         // staged events and redacted forms that are not on disk yet
	ids     map[string]*stored        // the same by event id
	snaps   map[int64]*state.Snapshot // staged snapshots that are not on disk yet
	txns    map[string]*pendingTxn    // transaction ids of staged events, by txnKey

	gone  atomic.Bool   // the room is being deleted
	users int           // guarded by rooms.mu; a room in use is not evicted
	idle  *list.Element // its place in rooms.idle; nil while in use
	size  int           // as counted in rooms.size
}

// head is the state of a room after its newest event. It is immutable.
type head struct {
	pos         int64 // position of the newest event
	extremities []extremity
	snap        *state.Snapshot
	view        state.View
	// chain holds the snapshots that the next change builds on.
	chain           *snapChain
	joined, invited int64
	hosts           *hosts
	// gaps are the places where another server has told the state, the last one last.
	gaps []storage.Gap
}

// extremity is a forward extremity.
type extremity struct {
	nid, depth, gen int64
	snap            int64 // state after it
	id              string
	hash            []byte // reference hash; only for event format 1
}

// event returns an event that is staged but not on disk yet.
func (r *room) event(nid int64) (*stored, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.pending[nid]
	return e, ok
}

// pendingByID finds a staged event by id.
func (r *room) pendingByID(eventID string) *stored {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ids[eventID]
}

// stage keeps an event in memory until it is on disk. mu is held.
func (r *room) stage(e *stored) {
	r.pending[e.nid], r.ids[e.ev.EventID] = e, e
}

// settle forgets what stage has kept, but not a redacted form that is still on its way. mu is held.
func (r *room) settle(e *stored) {
	if r.pending[e.nid] == e {
		delete(r.pending, e.nid)
		delete(r.ids, e.ev.EventID)
	}
}

// reset forgets everything that is staged. mu is held.
func (r *room) reset() {
	r.pending, r.ids, r.snaps = make(map[int64]*stored), make(map[string]*stored), make(map[int64]*state.Snapshot)
}

// stagedSnap returns a snapshot that is staged but not on disk yet; nil if there is none.
func (r *room) stagedSnap(id int64) *state.Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.snaps[id]
}

func (r *room) pendingTxn(key string) *pendingTxn {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.txns[key]
}

// maxWaiters bounds how many commands wait for one room.
const maxWaiters = 200

// rooms holds the active rooms.
type rooms struct {
	mu   sync.Mutex
	byID map[string]*room
	idle *list.List // rooms that nobody uses, the one used last at the back
	size int        // of the idle rooms together, in bytes
}

// maxIdleBytes bounds the rooms that stay in memory when nobody uses them.
const maxIdleBytes = 24 << 20

func newRooms() *rooms { return &rooms{byID: make(map[string]*room), idle: list.New()} }

// acquire returns the room with an id; release must follow.
func (rs *rooms) acquire(id string) *room {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := rs.byID[id]
	if r == nil {
		r = &room{id: id, lock: make(chan struct{}, 1), txns: make(map[string]*pendingTxn)}
		r.reset()
		rs.byID[id] = r
	}
	rs.use(r)
	return r
}

// adopt takes in a room that was made just now and is in use by its maker; false
// if there is one with that id.
func (rs *rooms) adopt(r *room) bool {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.byID[r.id] != nil {
		return false
	}
	rs.byID[r.id] = r
	r.users = 1
	return true
}

// use counts one more user. rs.mu is held.
func (rs *rooms) use(r *room) {
	r.users++
	if r.idle != nil {
		rs.wake(r)
	}
}

// retain counts one more user of a room that is in use.
func (rs *rooms) retain(r *room) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.use(r)
}

func (rs *rooms) release(r *room) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r.users--
	if r.users > 0 || rs.byID[r.id] != r {
		return
	}
	if r.committed.Load() == nil || r.gone.Load() { // a room that we do not know (any more)
		delete(rs.byID, r.id)
		return
	}
	r.idle, r.size = rs.idle.PushBack(r), r.bytes()
	rs.size += r.size
	for rs.size > maxIdleBytes {
		oldest := rs.idle.Front().Value.(*room)
		rs.wake(oldest)
		delete(rs.byID, oldest.id)
	}
}

// bytes is about what the room takes in memory.
func (r *room) bytes() int { return 4096 + 40*r.committed.Load().view.Len() }

// wake takes a room off the idle list. rs.mu is held.
func (rs *rooms) wake(r *room) {
	rs.idle.Remove(r.idle)
	rs.size -= r.size
	r.idle = nil
}

// lockedRoom is a room whose lock is held; only Server.lockRoom makes one.
type lockedRoom struct {
	*room
	s *Server
}

// unlock gives the room to the next.
func (lr *lockedRoom) unlock() {
	<-lr.lock
	lr.s.rooms.release(lr.room)
}

// errNoRoom is the cause of every answer that a room is unknown.
var errNoRoom = errors.New("roomserver: unknown room")

// lockRoom waits for the room's lock and loads the room if it is not in memory:
// 404 if we do not know its state, 503 if too many wait for it.
func (s *Server) lockRoom(ctx context.Context, id string) (*lockedRoom, error) {
	lr, known, err := s.lockAny(ctx, id)
	if err == nil && !known {
		lr.unlock()
		return nil, merr.NotFound("Unknown room").WithCause(errNoRoom)
	}
	return lr, err
}

// lockAny locks a room whether or not we know its state. Without state the room has a
// number and a version only if a user of ours was invited or has knocked.
func (s *Server) lockAny(ctx context.Context, id string) (lr *lockedRoom, known bool, err error) {
	if lr, err = s.waitForRoom(ctx, id); err != nil {
		return nil, false, err
	}
	if err := s.refusePurging(id); err != nil {
		lr.unlock()
		return nil, false, err
	}
	gen := s.store.DB.Generation()
	if lr.staged != nil && lr.generation == gen {
		return lr, true, nil
	}
	if known, err = s.load(ctx, lr.room, gen); err != nil {
		lr.unlock()
		return nil, false, err
	}
	return lr, known, nil
}

// waitForRoom waits for a room's lock.
func (s *Server) waitForRoom(ctx context.Context, id string) (*lockedRoom, error) {
	r := s.rooms.acquire(id)
	if r.waiters.Add(1) > maxWaiters {
		r.waiters.Add(-1)
		s.rooms.release(r)
		return nil, merr.Busy(time.Second)
	}
	select {
	case r.lock <- struct{}{}:
		r.waiters.Add(-1)
	case <-ctx.Done():
		r.waiters.Add(-1)
		s.rooms.release(r)
		return nil, ctx.Err()
	}
	return &lockedRoom{room: r, s: s}, nil
}

// view returns a room as it is on disk, for queries. done must be called.
func (s *Server) view(ctx context.Context, id string) (r *room, h *head, done func(), err error) {
	if err := s.refusePurging(id); err != nil {
		return nil, nil, nil, err
	}
	r = s.rooms.acquire(id)
	if h := r.committed.Load(); h != nil && !r.gone.Load() {
		return r, h, func() { s.rooms.release(r) }, nil
	}
	lr, err := s.lockRoom(ctx, id)
	s.rooms.release(r)
	if err != nil {
		return nil, nil, nil, err
	}
	<-lr.lock
	return lr.room, lr.committed.Load(), func() { s.rooms.release(lr.room) }, nil
}

// load reads the room from the store; known is false if we have no state of it. The
// lock is held.
func (s *Server) load(ctx context.Context, r *room, gen uint64) (known bool, err error) {
	r.staged, r.generation = nil, gen
	row, err := s.store.Room(ctx, r.id)
	if errors.Is(err, storage.ErrNotFound) {
		r.nid, r.version = 0, nil
		return false, nil
	}
	if err != nil {
		return false, err
	}
	version, ok := pdu.Version(row.Version)
	if !ok {
		return false, fmt.Errorf("room %s has the unknown version %q", r.id, row.Version)
	}
	r.nid, r.version = row.Nid, version
	if row.Snap == 0 {
		return false, nil
	}
	if r.published, err = s.store.IsPublished(ctx, r.nid); err != nil {
		return false, err
	}
	h, replayed, err := s.loadHead(ctx, r, row)
	if err != nil {
		return false, fmt.Errorf("load room %s: %w", r.id, err)
	}
	r.mu.Lock()
	r.reset() // nothing is staged in this generation
	r.mu.Unlock()
	r.staged, r.sinceCheckpoint, r.merged = h, replayed, nil
	s.show(r, h, false)
	r.gone.Store(false)
	return true, nil
}

// loadHead brings the checkpoint up to date: each accepted event takes the place
// of its prev events among the forward extremities.
func (s *Server) loadHead(ctx context.Context, r *room, row *storage.Room) (h *head, replayed int, err error) {
	extremities := make(map[int64]bool, 1)
	for _, nid := range row.Heads {
		extremities[nid] = true
	}
	h = &head{pos: row.Pos}
	snap := row.Snap
	events, err := s.store.ReplayAfter(ctx, r.nid, row.Pos)
	if err != nil {
		return nil, 0, err
	}
	for _, e := range events {
		h.pos = e.Ord >> storage.OrdShift
		if e.Flags&(storage.HiddenFlags|storage.FlagAside) != 0 {
			continue
		}
		for _, prev := range e.Links.Prev {
			delete(extremities, prev)
		}
		extremities[e.Nid] = true
		snap = e.Cur
	}
	if err := s.loadExtremities(ctx, r, h, extremities); err != nil {
		return nil, 0, err
	}
	if err := s.loadState(ctx, r, h, snap); err != nil {
		return nil, 0, err
	}
	if h.joined, h.invited, err = s.store.MemberCounts(ctx, r.nid); err != nil {
		return nil, 0, err
	}
	servers, err := s.store.Hosts(ctx, r.nid)
	if err != nil {
		return nil, 0, err
	}
	h.hosts = newHosts(s.serverName, servers)
	if h.gaps, err = s.store.Gaps(ctx, r.nid); err != nil {
		return nil, 0, err
	}
	return h, len(events), nil
}

func (s *Server) loadExtremities(ctx context.Context, r *room, h *head, nids map[int64]bool) error {
	list := make([]int64, 0, len(nids))
	for nid := range nids {
		list = append(list, nid)
	}
	rows, err := s.store.EventsByNid(ctx, list)
	if err != nil {
		return err
	}
	events, err := s.finish(ctx, r.version, rows)
	if err != nil {
		return err
	}
	for _, e := range events {
		h.extremities = append(h.extremities, extremityOf(e))
	}
	return nil
}

func extremityOf(e *stored) extremity {
	x := extremity{nid: e.nid, depth: e.depth, gen: e.gen, snap: e.snap, id: e.ev.EventID}
	if e.ev.Version.EventFormat == 1 {
		x.hash = e.ev.ReferenceHash()
	}
	return x
}
