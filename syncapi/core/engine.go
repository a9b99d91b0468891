package core

import (
	"container/list"
	"context"
	"sync"
	"time"

	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
	"hearth/syncapi/notify"
	"hearth/syncapi/viewapi"
)

// Limits bound the memory of an Engine.
type Limits struct {
	Events      int // of the timeline, a room
	Receipts    int // a room
	Members     int // cached member events, a room
	Bytes       int // of what is kept of all rooms, roughly
	Memberships int // of users that are kept in memory, together; those in use may exceed it
	UserSyncs   int // syncs of one user at a time
}

// DefaultLimits suit one server process.
func DefaultLimits() Limits {
	return Limits{Events: 40, Receipts: 64, Members: 64, Bytes: 32 << 20, Memberships: 500_000, UserSyncs: 64}
}

// Options of New. RoomPos and UserPos are the positions after which the followers
// deliver entries.
type Options struct {
	Source           Source
	Limits           Limits
	RoomPos, UserPos int64
	Now              func() time.Time // nil: time.Now
}

// Engine holds the views. All methods may be used at the same time, except that
// each Apply method has one caller at a time, who calls it in order of position.
type Engine struct {
	source Source
	limits Limits
	now    func() time.Time
	moved  notify.Bell // rings when a cursor moved
	work   sync.WaitGroup
	ctx    context.Context // of background work
	cancel context.CancelFunc

	// mu guards what follows and all fields of room, recent, User and member that
	// are not said to be fixed. It is held for moments only, never during a call.
	mu               sync.RWMutex
	roomPos, userPos int64 // cursors
	typing           int64 // highest typing serial seen
	floor            int64 // nothing happened after it in rooms that have no recent
	rooms            map[string]*room
	order            *list.List // of *room with recent; front: quiet for the longest time
	bytes            int        // sum of recent.bytes
	users            map[string]*User
	idle             *list.List // of *User without refs; front: idle for the longest time
	memberships      int        // sum of the sizes of users
	dirty            []*User    // to be woken after this batch
	lists            deviceLists
	presences        presences
	reading          int // users whose rooms are read to place their presence
}

// New returns an engine without views.
func New(o Options) *Engine {
	now := o.Now
	if now == nil {
		now = time.Now
	}
	e := &Engine{
		source: o.Source, limits: o.Limits, now: now,
		roomPos: o.RoomPos, userPos: o.UserPos, floor: o.RoomPos,
		rooms: map[string]*room{}, order: list.New(),
		users: map[string]*User{}, idle: list.New(),
		lists: newDeviceLists(o.UserPos), presences: newPresences(),
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	return e
}

// Close ends background work and waits for it.
func (e *Engine) Close() {
	e.cancel()
	e.work.Wait()
}

// Source returns the owners.
func (e *Engine) Source() Source { return e.source }

// Cursors returns the positions up to which the logs were applied.
func (e *Engine) Cursors() (room, user int64) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.roomPos, e.userPos
}

// catchUp is how long a sync waits for the logs to reach its token.
const catchUp = 5 * time.Second

// WaitFor waits until the cursors have reached token: at once, unless this process
// is behind another one that gave out the token. After 5 s it fails: 503 if the
// owners are ahead of us, 400 M_INVALID_PARAM if the position never existed.
func (e *Engine) WaitFor(ctx context.Context, token viewapi.Token) error {
	if e.reached(token) {
		return nil
	}
	short, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	if e.Reach(short, token) == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	rooms, users, err := e.source.Heads(ctx)
	if err != nil {
		return err
	}
	if token.Room > rooms || token.User > users {
		return merr.InvalidParam("Unknown sync token")
	}
	return merr.Unavailable("The server is catching up, try again")
}

// Reach waits until the cursors have reached token or ctx ends, whose error it returns.
func (e *Engine) Reach(ctx context.Context, token viewapi.Token) error {
	l := e.moved.Listen()
	defer l.Close()
	for !e.reached(token) {
		select {
		case <-l.C():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (e *Engine) reached(token viewapi.Token) bool {
	room, user := e.Cursors()
	return room >= token.Room && user >= token.User
}

// Size says what is in memory, for metrics.
type Size struct{ Rooms, Recent, Bytes, Users, Memberships int }

// Size returns what is in memory.
func (e *Engine) Size() Size {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return Size{
		Rooms: len(e.rooms), Recent: e.order.Len(), Bytes: e.bytes,
		Users: len(e.users), Memberships: e.memberships,
	}
}

// Member returns the current member event of target in a room that u has joined:
// nil if there is none.
func (e *Engine) Member(ctx context.Context, u *User, roomID, target string) (*roomapi.Event, error) {
	e.mu.RLock()
	before := e.roomPos
	if r := e.rooms[roomID]; r != nil && r.recent != nil {
		if ev := r.recent.members[target]; ev != nil {
			e.mu.RUnlock()
			return ev, nil
		}
	}
	e.mu.RUnlock()
	ev, err := e.source.StateEvent(ctx, &roomapi.StateEventRequest{
		RoomID: roomID, UserID: u.ID, Type: "m.room.member", StateKey: target,
	})
	if err != nil {
		if gone(err) {
			return nil, nil
		}
		return nil, err
	}
	shared := *ev
	shared.UserMembership = "" // is that of u
	e.mu.Lock()
	defer e.mu.Unlock()
	if r := e.rooms[roomID]; r != nil && r.recent != nil {
		e.keepMember(r.recent, target, &shared, before)
	}
	return &shared, nil
}
