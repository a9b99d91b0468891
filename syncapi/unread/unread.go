// Package unread counts unread notifications of users in rooms, as the push rules of
// each say (client-server API, "Receiving notifications").
//
// Nothing is written, and nothing is done when an event comes. A user's counts in a
// room are brought up to date when a sync asks for them, from the recent events that
// package core holds; when those do not reach back far enough, the owner of the room
// is asked for the events after the user's receipt, of which it gives the latest
// roomapi.MaxUnread. What is counted is therefore never more than that.
//
// An event is unread if it came after the user's joining, after the user's unthreaded
// receipt, after his receipt for the event's thread, and after his own last event in
// that thread: to send is to have read. Redacted events and those of ignored users do
// not count. Conditions of rules about the room speak of the room as it is when an
// event is looked at.
package unread

import (
	"context"
	"encoding/json"
	"errors"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/lru"
	"hearth/internal/merr"
	"hearth/internal/pushrules"
	"hearth/roomserver/roomapi"
	"hearth/syncapi/core"
)

// Source is what is asked of the owners of rooms and users.
type Source interface {
	Unread(ctx context.Context, req *roomapi.UnreadRequest, f func(*roomapi.UnreadRoom)) error
	Event(ctx context.Context, req *roomapi.EventRequest) (*roomapi.Event, error)
	Piece(ctx context.Context, req *userapi.AccountDataRequest) (*userapi.AccountData, error)
}

// Owners is the Source that asks over the bus.
type Owners struct{ Bus *bus.Bus }

// Unread reads rooms.
func (o Owners) Unread(ctx context.Context, req *roomapi.UnreadRequest, f func(*roomapi.UnreadRoom)) error {
	return roomapi.ReadUnread(ctx, o.Bus, req, f)
}

// Event reads an event.
func (o Owners) Event(ctx context.Context, req *roomapi.EventRequest) (*roomapi.Event, error) {
	return roomapi.GetEvent.Do(ctx, o.Bus, req)
}

// Piece reads a piece of account data.
func (o Owners) Piece(ctx context.Context, req *userapi.AccountDataRequest) (*userapi.AccountData, error) {
	return userapi.GetAccountData.Do(ctx, o.Bus, req)
}

// Bounds of what is remembered.
const (
	maxStates = 1 << 17 // units of about 300 bytes
	maxRules  = 4096    // users
	maxRooms  = 16384
)

// Counter counts. Its methods may be used at the same time.
type Counter struct {
	engine *core.Engine
	source Source
	states *lru.Cache[key, *state]
	rules  *lru.Cache[string, *rules]
	rooms  *lru.Cache[string, *room]
}

type key struct{ user, room string }

// New returns a counter that knows nothing yet.
func New(engine *core.Engine, source Source) *Counter {
	return &Counter{
		engine: engine, source: source,
		states: lru.New(maxStates, func(_ key, s *state) int { return s.weight() }),
		rules:  lru.New[string, *rules](maxRules, nil),
		rooms:  lru.New[string, *room](maxRooms, nil),
	}
}

// Counts are numbers of unread notifications.
type Counts struct{ Notifications, Highlights int }

func (c *Counts) add(highlight bool) {
	c.Notifications++
	if highlight {
		c.Highlights++
	}
}

// Room is what is unread in a room.
type Room struct {
	All  Counts
	Main Counts // what is in no thread
	// Threads has the threads in which something is unread, by the root's event id.
	Threads map[string]Counts
	// Changed is a position of the room log, and ChangedBy one of the user log, after
	// which the counts did not change.
	Changed, ChangedBy int64
}

// Room counts what is unread in a room that u has joined.
func (c *Counter) Room(ctx context.Context, u *core.User, roomID string) (*Room, error) {
	r, err := c.rulesOf(ctx, u)
	if err != nil {
		return nil, err
	}
	k := key{u.ID, roomID}
	s := c.states.GetOrPut(k, &state{user: u.ID, room: roomID})
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.weight()
	v := &view{Counter: c, ctx: ctx, user: u, rules: r, state: s}
	if err := v.update(); err != nil {
		return nil, err
	}
	if s.weight() != before {
		c.states.Put(k, s)
	}
	return s.summary(), nil
}

// Total counts what is unread in all rooms that u has joined.
func (c *Counter) Total(ctx context.Context, u *core.User) (sum Counts, err error) {
	for _, id := range c.engine.JoinedRooms(u) {
		r, err := c.Room(ctx, u, id)
		if err != nil {
			return sum, err
		}
		sum.Notifications += r.All.Notifications
		sum.Highlights += r.All.Highlights
	}
	return sum, nil
}

// rules are the rules of a user, true at pos of the user log. The rest is immutable.
type rules struct {
	pos      int64
	version  version
	compiled *pushrules.Compiled
	ignored  map[string]bool
}

// version is when the rules and the ignored users were changed.
type version struct{ rules, ignored int64 }

func (v version) last() int64 { return max(v.rules, v.ignored) }

const ignoredType = "m.ignored_user_list"

// rulesTypes are the types of account data on which all counts depend.
var rulesTypes = [...]string{pushrules.AccountDataType, ignoredType}

// Depends reports whether counts depend on global account data of a type.
func Depends(typ string) bool { return typ == rulesTypes[0] || typ == rulesTypes[1] }

func (c *Counter) rulesOf(ctx context.Context, u *core.User) (*rules, error) {
	_, now := c.engine.Cursors()
	old, ok := c.rules.Get(u.ID)
	if ok && (old.pos >= now || !c.engine.Changed(u, old.pos, rulesTypes[:]...)) {
		if old.pos < now {
			fresh := *old
			fresh.pos = now
			c.rules.Put(u.ID, &fresh)
		}
		return old, nil
	}
	r := &rules{pos: now}
	content, err := c.piece(ctx, u.ID, pushrules.AccountDataType, &r.version.rules)
	if err != nil {
		return nil, err
	}
	list, err := c.piece(ctx, u.ID, ignoredType, &r.version.ignored)
	if err != nil {
		return nil, err
	}
	r.compiled = pushrules.Compile(u.ID, pushrules.Load(u.ID, content))
	var ignored struct {
		Users map[string]json.RawMessage `json:"ignored_users"`
	}
	_ = json.Unmarshal(list, &ignored) // what a client has put there may be anything
	r.ignored = make(map[string]bool, len(ignored.Users))
	for id := range ignored.Users {
		r.ignored[id] = true
	}
	c.rules.Put(u.ID, r)
	return r, nil
}

// piece reads a piece of global account data; nil if it was never set.
func (c *Counter) piece(ctx context.Context, userID, typ string, pos *int64) (json.RawMessage, error) {
	d, err := c.source.Piece(ctx, &userapi.AccountDataRequest{UserID: userID, Type: typ})
	if errors.Is(err, merr.NotFound("")) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	*pos = d.Pos
	return d.Content, nil
}
