package sliding

import (
	"container/list"
	"context"
	"math"
	"math/rand/v2"
	"strconv"
	"sync"

	"hearth/syncapi/core"
	"hearth/syncapi/viewapi"
)

// Bounds of the connections in memory.
const (
	maxConns       = 20_000
	maxDeviceConns = 16
	maxKnown       = 600_000 // rooms of all connections, of about 100 bytes each
	maxSets        = 200     // sets of required state that a connection remembers
)

// connKey names a connection.
type connKey struct{ user, device, id string }

// conn is one connection. Only the request that has the turn uses it.
type conn struct {
	key  connKey
	id   uint64
	turn chan struct{} // holds a token while nobody has the turn

	state         // what the client has acknowledged
	next  *change // what the last answer told, if it was not acknowledged
	last  uint64  // seq of the last answer

	rules  *rules // of the last request
	sets   []*stateSet
	setIDs map[string]int32
	names  []string // of lists, for known.lists

	// guarded by conns.mu
	at     *list.Element
	cancel context.CancelFunc // ends the request that has or wants the turn
	weight int
}

// state is what a client knows.
type state struct {
	seq    uint64
	since  viewapi.Token // the place up to which live rooms are known
	rooms  map[string]known
	counts map[string]int // of lists
	rules  string         // text of the rules that applied
	direct map[string]bool
	ext    enabled
	// recount: a room that was left comes into the list, or goes out of it, because
	// the client has been told: those that it knows are there, unless they are forgotten.
	recount bool
	// hold, if not 0, says that rooms are held back until the device has the messages up
	// to this position of the user log.
	hold int64
}

// change is what an answer makes of the state. Its rooms are only those that change.
type change struct {
	state
	members []memberMark
}

// memberMark is a member event that a lazily loading client was told. The room is a
// markKey.
type memberMark struct{ room, user string }

// markKey names a room as it was told as a whole at a position: a client that is told
// so again forgets its members.
func markKey(roomID string, since int64) string { return roomID + strconv.FormatInt(since, 36) }

// kind is a client's idea of its membership.
type kind uint8

const (
	joined kind = iota + 1
	invited
	left
)

// known is what a client knows of a room.
type known struct {
	kind kind
	// live: the room is known up to state.since. Otherwise up to pos; events after
	// it came when the room was in no window.
	live bool
	dm   bool
	pos  int64
	// since is the position at which the room was told as a whole.
	since int64
	// count is how many of the latest events the client has without a gap.
	count int32
	set   int32  // index of the stateSet that was told
	lists uint64 // bit 0: by subscription; others: conn.names
}

// allEvents is the count of a client that has every event it may see.
const allEvents = math.MaxInt32

// from is the position up to which the client knows a room.
func (s *state) from(k known) int64 {
	if k.live {
		return s.since.Room
	}
	return k.pos
}

// conns are the connections of a process.
type conns struct {
	mu      sync.Mutex // guards what follows
	byKey   map[connKey]*conn
	devices map[connKey]int // connections of a device; the id is empty
	order   *list.List      // of *conn, the one used least lately first
	weight  int
}

func newConns() *conns {
	return &conns{byKey: map[connKey]*conn{}, devices: map[connKey]int{}, order: list.New()}
}

// take gives the turn on a connection to a request, whose context cancel ends, and
// ends the request before, if it is still there: its client has given it up. Without
// a position the connection is a new one. M_UNKNOWN_POS if there is no such connection.
func (c *conns) take(ctx context.Context, cancel context.CancelFunc, key connKey, pos *viewapi.Pos) (*conn, error) {
	n := c.find(key, pos, cancel)
	if n == nil {
		return nil, viewapi.UnknownPos()
	}
	select {
	case <-n.turn:
		return n, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *conns) find(key connKey, pos *viewapi.Pos, cancel context.CancelFunc) *conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.byKey[key]
	if pos != nil && (n == nil || n.id != pos.Conn) {
		return nil
	}
	if n != nil && n.cancel != nil {
		n.cancel()
	}
	if pos == nil {
		if n != nil {
			c.drop(n)
		}
		n = c.add(key)
	}
	n.cancel = cancel
	c.order.MoveToBack(n.at)
	return n
}

func (c *conns) add(key connKey) *conn {
	n := &conn{key: key, id: rand.Uint64(), turn: make(chan struct{}, 1), weight: 1, setIDs: map[string]int32{}}
	n.rooms = map[string]known{}
	n.turn <- struct{}{}
	device := connKey{user: key.user, device: key.device}
	if c.devices[device] >= maxDeviceConns {
		c.dropOldest(device)
	}
	c.byKey[key] = n
	c.devices[device]++
	n.at = c.order.PushBack(n)
	c.weight++
	c.shrink(n)
	return n
}

// done gives the turn back.
func (c *conns) done(n *conn) {
	n.turn <- struct{}{}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byKey[n.key] == n {
		weight := 1 + len(n.rooms)
		c.weight += weight - n.weight
		n.weight = weight
		c.shrink(n)
	}
}

// shrink drops connections until the others are in bounds.
func (c *conns) shrink(but *conn) {
	for c.weight > maxKnown || len(c.byKey) > maxConns {
		first := c.order.Front()
		if first == nil || first.Value.(*conn) == but {
			return
		}
		c.drop(first.Value.(*conn))
	}
}

func (c *conns) dropOldest(device connKey) {
	for e := c.order.Front(); e != nil; e = e.Next() {
		if n := e.Value.(*conn); n.key.user == device.user && n.key.device == device.device {
			c.drop(n)
			return
		}
	}
}

// drop forgets a connection and ends its request.
func (c *conns) drop(n *conn) {
	if n.cancel != nil {
		n.cancel()
	}
	delete(c.byKey, n.key)
	c.order.Remove(n.at)
	c.weight -= n.weight
	device := connKey{user: n.key.user, device: n.key.device}
	if c.devices[device]--; c.devices[device] == 0 {
		delete(c.devices, device)
	}
}

// size returns the numbers of connections and of their rooms.
func (c *conns) size() (conns, rooms int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.byKey), c.weight - len(c.byKey)
}

// begin brings the state to a position: the one of the last answer, which the client
// has received then, or the one before it.
func (n *conn) begin(pos *viewapi.Pos, members core.Device) error {
	switch {
	case pos == nil:
		return nil
	case n.next != nil && pos.Seq == n.next.seq:
		n.acknowledge(members)
	case pos.Seq != n.seq:
		return viewapi.UnknownPos()
	}
	n.next = nil
	return nil
}

func (n *conn) acknowledge(members core.Device) {
	rooms := n.rooms
	for id, k := range n.next.rooms {
		rooms[id] = k
	}
	for _, m := range n.next.members {
		members.Mark(m.room, m.user, 0)
	}
	n.state = n.next.state
	n.rooms = rooms
}

// set returns the index of a set of required state; −1 if there are too many.
func (n *conn) set(rules []*stateRule) int32 {
	key := setKey(rules)
	if id, ok := n.setIDs[key]; ok {
		return id
	}
	if len(n.sets) == maxSets {
		return -1
	}
	id := int32(len(n.sets))
	n.sets = append(n.sets, newStateSet(rules, n.key.user))
	n.setIDs[key] = id
	return id
}

// bit is the bit of a list in known.lists. The last one stands for several.
func (n *conn) bit(name string) uint64 {
	for i, known := range n.names {
		if known == name {
			return 2 << i
		}
	}
	if len(n.names) < 62 {
		n.names = append(n.names, name)
		return 2 << (len(n.names) - 1)
	}
	return 1 << 63
}
