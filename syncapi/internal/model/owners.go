// Package model is an obvious in-memory stand-in for the owners of rooms and users,
// for tests: it keeps every entry and answers every question by going through all
// of them.
package model

import (
	"encoding/json"
	"fmt"
	"strconv"
	"sync"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/roomserver/roomapi"
)

// Owners holds both logs. All methods may be used at the same time.
type Owners struct {
	// OnRoom, OnUser and OnTyping, if set, hear of each entry, in order. They must
	// not call back. Set them before use.
	OnRoom   func(bus.Positioned[roomapi.Entry])
	OnUser   func(bus.Positioned[userapi.Entry])
	OnTyping func(*roomapi.Typing)

	mu      sync.Mutex
	rooms   []bus.Positioned[roomapi.Entry]
	users   []bus.Positioned[userapi.Entry]
	forms   map[string]*roomapi.Event // present form of each event
	serial  int64
	windows int

	devices    map[string]*device
	keys       int64
	deviceAsks int
}

// New returns owners without rooms.
func New() *Owners { return &Owners{forms: map[string]*roomapi.Event{}} }

// Membership returns a user's present membership in a room, "" if there is none.
func (o *Owners) Membership(room, user string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	m, _ := o.member(room, user, int64(len(o.rooms)))
	return m
}

// Windows counts the windows that were asked for.
func (o *Owners) Windows() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.windows
}

// Heads returns the ends of the logs, without the lock of the caller.
func (o *Owners) heads() (int64, int64) { return int64(len(o.rooms)), int64(len(o.users)) }

// Rooms returns the entries of the room log after a position.
func (o *Owners) Rooms(after int64) []bus.Positioned[roomapi.Entry] {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]bus.Positioned[roomapi.Entry](nil), o.rooms[min(after, int64(len(o.rooms))):]...)
}

// Users returns the entries of the user log after a position.
func (o *Owners) Users(after int64) []bus.Positioned[userapi.Entry] {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]bus.Positioned[userapi.Entry](nil), o.users[min(after, int64(len(o.users))):]...)
}

func (o *Owners) append(e *roomapi.Entry) int64 {
	p := bus.Positioned[roomapi.Entry]{Pos: int64(len(o.rooms)) + 1, Entry: e}
	o.rooms = append(o.rooms, p)
	if o.OnRoom != nil {
		o.OnRoom(p)
	}
	return p.Pos
}

// Start is the time of the event at position 0, in milliseconds; each position is a second later.
const Start = 1_700_000_000_000

// Event describes an event to send.
type Event struct {
	Room, Sender, Type string
	State              bool // with StateKey
	StateKey           string
	Content            string // JSON
	DeviceID, TxnID    string
}

// Send appends an event and returns its id.
func (o *Owners) Send(e Event) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.send(e, nil)
}

func (o *Owners) send(e Event, redacted *roomapi.Event) string {
	pos := int64(len(o.rooms)) + 1
	if e.Content == "" {
		e.Content = "{}"
	}
	ev := &roomapi.Event{
		EventID: "$" + strconv.FormatInt(pos, 10), Type: e.Type, Sender: e.Sender, OriginServerTS: Start + pos*1000,
		Pos: pos, Ord: pos << 20, DeviceID: e.DeviceID, TxnID: e.TxnID,
	}
	state := ""
	if e.State {
		ev.StateKey = &e.StateKey
		state = `,"state_key":` + quote(e.StateKey)
		ev.Membership = membership(e.Content)
		if old := o.last(e.Room, e.Type, e.StateKey, pos); old != nil {
			ev.ReplacesState, ev.PrevContent, ev.PrevSender = old.EventID, old.Content(), old.Sender
		}
	}
	ev.JSON = json.RawMessage(fmt.Sprintf(`{"content":%s,"event_id":%s,"origin_server_ts":%d,"sender":%s%s,"type":%s}`,
		e.Content, quote(ev.EventID), ev.OriginServerTS, quote(e.Sender), state, quote(e.Type)))
	o.forms[ev.EventID] = ev
	if redacted != nil {
		o.forms[redacted.EventID] = redacted
	}
	o.append(&roomapi.Entry{Kind: roomapi.KindEvent, RoomID: e.Room, Event: ev, Redacted: redacted})
	return ev.EventID
}

// Create makes a room with a history visibility and joins its creator.
func (o *Owners) Create(room, creator, visibility string) {
	o.Send(Event{Room: room, Sender: creator, Type: "m.room.create", State: true})
	o.Member(room, creator, creator, "join")
	o.SetState(room, creator, "m.room.history_visibility", "", `{"history_visibility":`+quote(visibility)+`}`)
}

// Member appends a member event.
func (o *Owners) Member(room, sender, target, membership string) string {
	return o.SetState(room, sender, "m.room.member", target, `{"membership":`+quote(membership)+`}`)
}

// SetState appends a state event.
func (o *Owners) SetState(room, sender, typ, key, content string) string {
	return o.Send(Event{Room: room, Sender: sender, Type: typ, State: true, StateKey: key, Content: content})
}

// Message appends a message.
func (o *Owners) Message(room, sender, body string) string {
	return o.Send(Event{Room: room, Sender: sender, Type: "m.room.message", Content: `{"body":` + quote(body) + `}`})
}

// Redact appends a redaction and redacts its target.
func (o *Owners) Redact(room, sender, target string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	old := o.forms[target]
	red := *old
	content := "{}"
	if old.Membership != "" {
		content = `{"membership":` + quote(old.Membership) + `}`
	}
	state := ""
	if old.StateKey != nil {
		state = `,"state_key":` + quote(*old.StateKey)
	}
	red.JSON = json.RawMessage(fmt.Sprintf(`{"content":%s,"event_id":%s,"origin_server_ts":%d,"sender":%s%s,"type":%s}`,
		content, quote(old.EventID), old.OriginServerTS, quote(old.Sender), state, quote(old.Type)))
	red.RedactedBecause = json.RawMessage(`{"type":"m.room.redaction"}`)
	return o.send(Event{Room: room, Sender: sender, Type: "m.room.redaction", Content: `{"redacts":` + quote(target) + `}`}, &red)
}

// Receipt sets a receipt.
func (o *Owners) Receipt(room, user, kind, event, thread string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	pos := int64(len(o.rooms)) + 1
	o.append(&roomapi.Entry{Kind: roomapi.KindReceipt, RoomID: room, Receipt: &roomapi.Receipt{
		UserID: user, Kind: kind, EventID: event, ThreadID: thread, TS: Start + pos*1000, Pos: pos,
	}})
}

// Forget makes a user forget a room.
func (o *Owners) Forget(room, user string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.append(&roomapi.Entry{Kind: roomapi.KindForget, RoomID: room, UserID: user})
}

// Typing says who types in a room.
func (o *Owners) Typing(room string, users ...string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.serial++
	if o.OnTyping != nil {
		o.OnTyping(&roomapi.Typing{Serial: o.serial, RoomID: room, UserIDs: users})
	}
}

// SetAccountData sets a piece of account data.
func (o *Owners) SetAccountData(user, room, typ, content string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	pos := int64(len(o.users)) + 1
	p := bus.Positioned[userapi.Entry]{Pos: pos, Entry: &userapi.Entry{Kind: userapi.KindAccountData, UserID: user,
		Data: &userapi.AccountData{RoomID: room, Type: typ, Content: json.RawMessage(content), Pos: pos}}}
	o.users = append(o.users, p)
	if o.OnUser != nil {
		o.OnUser(p)
	}
}

// SetThread subscribes a user to a thread, or ends the subscription.
func (o *Owners) SetThread(user, room, thread string, subscribed, automatic bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	pos := int64(len(o.users)) + 1
	p := bus.Positioned[userapi.Entry]{Pos: pos, Entry: &userapi.Entry{Kind: userapi.KindThread, UserID: user,
		Thread: &userapi.ThreadSubscription{RoomID: room, ThreadID: thread, Subscribed: subscribed, Automatic: automatic, Pos: pos}}}
	o.users = append(o.users, p)
	if o.OnUser != nil {
		o.OnUser(p)
	}
}

func quote(s string) string {
	b, _ := json.Marshal(s) // a string always marshals
	return string(b)
}

func membership(content string) string {
	var c struct {
		Membership string `json:"membership"`
	}
	_ = json.Unmarshal([]byte(content), &c) // content of other types has none
	return c.Membership
}
