package push

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/internal/pushrules"
	"hearth/roomserver/roomapi"
	"hearth/syncapi/viewapi"
)

// owners answers what push asks of others.
type owners struct {
	mu      sync.Mutex
	log     []*roomapi.Entry
	users   []*userapi.Entry
	members map[string][]string
	rules   map[string]*pushrules.Ruleset
	devices map[string]bool // user and device
	hidden  map[string]bool // events that nobody may see
	unread  int             // -1: syncapi is away
	rooms   *bus.Publisher[roomapi.Entry]
	tell    *bus.Publisher[userapi.Entry]
}

func newOwners() *owners {
	return &owners{
		members: map[string][]string{roomID: {alice, bob}}, rules: map[string]*pushrules.Ruleset{},
		devices: map[string]bool{alice + phone: true, alice + "TABLET": true, bob + phone: true}, hidden: map[string]bool{}, unread: 1,
	}
}

func (o *owners) locked(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f()
}

func (o *owners) append(e *roomapi.Entry) int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	pos := int64(len(o.log)) + 1
	if e.Event != nil {
		e.Event.Pos, e.Event.Ord = pos, pos<<20
	}
	o.log = append(o.log, e)
	o.rooms.Publish(pos, e)
	return pos
}

// say appends a message of bob's and returns its id.
func (o *owners) say(content string) string {
	return o.event(roomID, bob, "m.room.message", nil, content)
}

func (o *owners) event(room, sender, typ string, stateKey *string, content string) string {
	var id string
	o.locked(func() { id = fmt.Sprintf("$%d", len(o.log)+1) })
	key := ""
	if stateKey != nil {
		key = fmt.Sprintf(`,"state_key":%q`, *stateKey)
	}
	var c struct{ Membership string }
	_ = json.Unmarshal([]byte(content), &c) // other types have none
	o.append(&roomapi.Entry{Kind: roomapi.KindEvent, RoomID: room, Event: &roomapi.Event{
		EventID: id, Type: typ, Sender: sender, StateKey: stateKey, Membership: c.Membership, OriginServerTS: time.Now().UnixMilli(),
		JSON: json.RawMessage(fmt.Sprintf(`{"content":%s,"event_id":%q,"sender":%q%s,"type":%q}`, content, id, sender, key, typ)),
	}})
	return id
}

func (o *owners) find(id string) *roomapi.Event {
	for _, e := range o.log {
		if e.Event != nil && e.Event.EventID == id {
			return e.Event
		}
	}
	return nil
}

// changeRules sets alice's rules.
func (o *owners) changeRules(change func(*pushrules.Ruleset)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	rs := pushrules.Default(alice)
	change(rs)
	o.rules[alice] = rs
	e := &userapi.Entry{Kind: userapi.KindAccountData, UserID: alice, Data: &userapi.AccountData{Type: pushrules.AccountDataType}}
	o.users = append(o.users, e)
	o.tell.Publish(int64(len(o.users)), e)
}

func positioned[E any](log []*E, after int64, limit int) (out []bus.Positioned[E], head int64) {
	for i := after; i < min(after+int64(limit), int64(len(log))); i++ {
		out = append(out, bus.Positioned[E]{Pos: i + 1, Entry: log[i]})
	}
	return out, int64(len(log))
}

func call[Req, Resp any](o *owners, b *bus.Bus, c bus.Call[Req, Resp], h func(*Req) (*Resp, error)) error {
	return bus.Handle(b, c, func(_ context.Context, req *Req) (*Resp, error) {
		o.mu.Lock()
		defer o.mu.Unlock()
		return h(req)
	})
}

func (o *owners) serve(t *testing.T, b *bus.Bus) {
	t.Helper()
	o.locked(func() {
		o.rooms = bus.NewPublisher(b, roomapi.Log, func() int64 { o.mu.Lock(); defer o.mu.Unlock(); return int64(len(o.log)) })
		o.tell = bus.NewPublisher(b, userapi.Log, func() int64 { o.mu.Lock(); defer o.mu.Unlock(); return int64(len(o.users)) })
	})
	for _, err := range []error{
		bus.ServeLog(b, roomapi.Log, func(_ context.Context, after int64, limit int) ([]bus.Positioned[roomapi.Entry], int64, error) {
			o.mu.Lock()
			defer o.mu.Unlock()
			out, head := positioned(o.log, after, limit)
			return out, head, nil
		}),
		bus.ServeLog(b, userapi.Log, func(_ context.Context, after int64, limit int) ([]bus.Positioned[userapi.Entry], int64, error) {
			o.mu.Lock()
			defer o.mu.Unlock()
			out, head := positioned(o.users, after, limit)
			return out, head, nil
		}),
		call(o, b, roomapi.LocalMembers, func(req *roomapi.LocalMembersRequest) (*roomapi.LocalMembersResponse, error) {
			return &roomapi.LocalMembersResponse{UserIDs: o.members[req.RoomID]}, nil
		}),
		call(o, b, roomapi.GetEvent, func(req *roomapi.EventRequest) (*roomapi.Event, error) {
			if ev := o.find(req.EventID); ev != nil && !o.hidden[ev.EventID] {
				return ev, nil
			}
			return nil, merr.NotFound("Unknown event")
		}),
		call(o, b, roomapi.GetStateEvent, o.stateEvent),
		call(o, b, roomapi.InviteState, func(*roomapi.InviteStateRequest) (*roomapi.InviteStateResponse, error) {
			return &roomapi.InviteStateResponse{Events: json.RawMessage(`[{"content":{"name":"Elsewhere"},"sender":"@bob:h","state_key":"","type":"m.room.name"},` +
				`{"content":{"displayname":"B"},"sender":"@bob:h","state_key":"@bob:h","type":"m.room.member"}]`)}, nil
		}),
		call(o, b, userapi.PushRules, func(req *userapi.UserRequest) (*userapi.PushRulesResponse, error) {
			rs := o.rules[req.UserID]
			if rs == nil {
				rs = pushrules.Default(req.UserID)
			}
			return &userapi.PushRulesResponse{Content: rs.Marshal()}, nil
		}),
		call(o, b, userapi.GetAccountData, func(*userapi.AccountDataRequest) (*userapi.AccountData, error) {
			return nil, merr.NotFound("Account data not found")
		}),
		call(o, b, userapi.GetDevice, func(req *userapi.DeviceRequest) (*userapi.Device, error) {
			if !o.devices[req.UserID+req.DeviceID] {
				return nil, merr.NotFound("Device not found")
			}
			return &userapi.Device{DeviceID: req.DeviceID}, nil
		}),
		call(o, b, userapi.Devices, func(req *userapi.UserRequest) (*userapi.DevicesResponse, error) {
			r := &userapi.DevicesResponse{}
			for _, id := range []string{phone, "TABLET"} {
				if o.devices[req.UserID+id] {
					r.Devices = append(r.Devices, userapi.Device{DeviceID: id})
				}
			}
			return r, nil
		}),
		call(o, b, viewapi.Unread, func(*viewapi.UnreadRequest) (*viewapi.UnreadResponse, error) {
			if o.unread < 0 {
				return nil, merr.Unavailable("away")
			}
			return &viewapi.UnreadResponse{Notifications: o.unread}, nil
		}),
		bus.HandleStream(b, roomapi.UnreadStream, o.streamUnread),
		bus.HandleStream(b, roomapi.RecentStream, o.streamRecent),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (o *owners) stateEvent(req *roomapi.StateEventRequest) (*roomapi.Event, error) {
	content := map[string]string{
		"m.room.name": `{"name":"The room"}`, "m.room.canonical_alias": `{"alias":"#room:h"}`, "m.room.member": `{"displayname":"Bob"}`,
	}[req.Type]
	return &roomapi.Event{Type: req.Type, JSON: json.RawMessage(`{"content":` + content + `}`)}, nil
}

func (o *owners) info(room string) *roomapi.UnreadRoom {
	return &roomapi.UnreadRoom{RoomID: room, Joined: true, Members: len(o.members[room]), Marks: []roomapi.Mark{{Ord: 2 << 20}}}
}

func (o *owners) streamUnread(_ context.Context, req *roomapi.UnreadRequest, send func([]byte) error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	w := roomapi.NewFrameWriter(send)
	for _, id := range req.Rooms {
		if err := w.Room(o.info(id)); err != nil {
			return err
		}
	}
	return w.Flush()
}

func (o *owners) streamRecent(_ context.Context, req *roomapi.RecentRequest, send func([]byte) error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	w := roomapi.NewFrameWriter(send)
	if err := w.Room(o.info(roomID)); err != nil {
		return err
	}
	before := int64(len(o.log)) + 1
	if req.Before > 0 {
		before = min(before, req.Before)
	}
	for pos := before - 1; pos > 0; pos-- {
		if e := o.log[pos-1]; e.Event != nil && e.RoomID == roomID {
			if err := w.Unread(&roomapi.UnreadEvent{RoomID: roomID, Thread: roomapi.MainThread, Event: e.Event}); err != nil {
				return err
			}
		}
	}
	return w.Flush()
}
