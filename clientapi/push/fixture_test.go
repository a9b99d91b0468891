package push

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/internal/pushrules"
	"hearth/internal/store"
	"hearth/internal/store/storetest"
	"hearth/roomserver/roomapi"
	"hearth/syncapi/viewapi"
)

const (
	server     = "h"
	alice, bob = "@alice:h", "@bob:h"
	roomID     = "!room:h"
	phone      = "PHONE"
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

// fakeGateway is a push gateway.
type fakeGateway struct {
	*httptest.Server
	mu      sync.Mutex
	got     []map[string]any
	answer  func(n map[string]any) (status int, body string) // nil: takes everything
	block   chan struct{}                                    // if set, requests wait for it
	arrived chan struct{}
}

func newGateway(t *testing.T) *fakeGateway {
	g := &fakeGateway{arrived: make(chan struct{}, 10_000)}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var req struct{ Notification map[string]any }
		if err == nil {
			err = json.Unmarshal(body, &req)
		}
		if err != nil || r.URL.Path != notifyPath || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("request to %s: %v, %s", r.URL, err, body)
		}
		g.mu.Lock()
		g.got = append(g.got, req.Notification)
		status, answer := 200, `{"rejected":[]}`
		if g.answer != nil {
			status, answer = g.answer(req.Notification)
		}
		block := g.block
		g.mu.Unlock()
		g.arrived <- struct{}{}
		if block != nil {
			select {
			case <-block:
			case <-r.Context().Done():
			}
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer) // the other side may be gone
	}))
	t.Cleanup(g.Close)
	return g
}

func (g *fakeGateway) with(f func(*fakeGateway)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f(g)
}

func (g *fakeGateway) take() []map[string]any {
	g.mu.Lock()
	defer g.mu.Unlock()
	got := g.got
	g.got = nil
	return got
}

// wait waits for n more requests and returns them.
func (g *fakeGateway) wait(t *testing.T, n int) []map[string]any {
	t.Helper()
	for range n {
		select {
		case <-g.arrived:
		case <-time.After(10 * time.Second):
			t.Fatal("the gateway hears nothing")
		}
	}
	return g.take()
}

// none waits a moment in which nothing may come.
func (g *fakeGateway) none(t *testing.T, what string) {
	t.Helper()
	select {
	case <-g.arrived:
		t.Errorf("%s: %v", what, g.take())
	case <-time.After(150 * time.Millisecond):
	}
}

// fixture is a push server among fakes.
type fixture struct {
	t       *testing.T
	options store.Options
	bus     *bus.Bus
	owners  *owners
	gateway *fakeGateway
	s       *Server
	stop    func()
	mu      sync.Mutex
	offset  time.Duration // of the clock
}

func each(t *testing.T, test func(t *testing.T, f *fixture)) {
	storetest.EachEngine(t, func(t *testing.T, e storetest.Engine) {
		log := logrus.New()
		log.SetOutput(t.Output())
		log.SetLevel(logrus.DebugLevel)
		b, err := bus.Connect(t.Context(), bus.Options{Local: e.Options.URL == "", Log: logrus.NewEntry(log)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		f := &fixture{t: t, options: e.Options, bus: b, owners: newOwners(), gateway: newGateway(t)}
		f.owners.serve(t, b)
		f.start()
		t.Cleanup(func() { f.stop() })
		test(t, f)
	})
}

func (f *fixture) now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Now().Add(f.offset)
}

func (f *fixture) start() {
	f.t.Helper()
	s, err := New(context.Background(), Deps{
		Bus: f.bus, ServerName: server, DataDir: f.options.DataDir, DatabaseURL: f.options.URL, Log: f.options.Log, Now: f.now,
		Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Backoff: 20 * time.Millisecond,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	f.s = s
	f.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			f.t.Errorf("run: %v", err)
		}
		if err := s.Close(); err != nil {
			f.t.Errorf("close: %v", err)
		}
	})
	f.begun()
}

// begun waits until the log is followed.
func (f *fixture) begun() {
	f.t.Helper()
	for range 500 {
		if _, known, err := f.s.db.progress(f.t.Context()); err == nil && known {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	f.t.Fatal("the log is not followed")
}

// badge waits until the pushers' number is n.
func (f *fixture) badge(n int) {
	f.t.Helper()
	for range 500 {
		badges, err := f.s.db.badges(f.t.Context())
		if err != nil {
			f.t.Fatal(err)
		}
		sum := 0
		for _, b := range badges {
			sum += b
		}
		if sum == n {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	f.t.Fatalf("the badge does not become %d", n)
}

// set stores a pusher of alice's.
func (f *fixture) set(userID, device, key, format string) {
	f.t.Helper()
	text := func(s string) *string { return &s }
	data, _ := json.Marshal(map[string]string{"url": f.gateway.URL + notifyPath, "format": format, "custom": "x"})
	if format == "" {
		data, _ = json.Marshal(map[string]string{"url": f.gateway.URL + notifyPath, "custom": "x"})
	}
	p, _, err := f.s.check(userID, device, &setRequest{
		PushKey: &key, Kind: json.RawMessage(`"http"`), AppID: text("app"), AppName: text("App"), DeviceName: text("Phone"), Lang: text("en"),
		Data: canonical(data),
	})
	if err != nil {
		f.t.Fatal(err)
	}
	f.owners.locked(func() { p.since = int64(len(f.owners.log)) })
	now, gone, err := f.s.db.set(f.t.Context(), *p, false)
	if err != nil {
		f.t.Fatal(err)
	}
	f.s.users.drop(gone...)
	f.s.users.put(now)
}

func canonical(data []byte) []byte {
	var m map[string]any
	_ = json.Unmarshal(data, &m) // the test has made it
	out, _ := json.Marshal(m)
	return out
}

// eventIDs of notifications.
func eventIDs(list []map[string]any) (out []string) {
	for _, n := range list {
		id, _ := n["event_id"].(string)
		out = append(out, id)
	}
	return out
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}
