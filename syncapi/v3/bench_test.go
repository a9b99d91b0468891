package v3

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
	"hearth/syncapi/core"
	"hearth/syncapi/viewapi"
)

// fixed is a roomserver with rooms of equal size, behind a bus with direct calls.
type fixed struct {
	rooms, members int
	events         []*roomapi.Event // of each room: state, then ten messages
	head           int64
}

const benchTimeline = 10

func newFixed(rooms, members int) *fixed {
	f := &fixed{rooms: rooms, members: members, head: 1 << 20}
	add := func(typ, sender string, key *string, content string) {
		n := int64(len(f.events) + 1)
		state := ""
		if key != nil {
			state = fmt.Sprintf(`,"state_key":%q`, *key)
		}
		f.events = append(f.events, &roomapi.Event{
			EventID: fmt.Sprintf("$%043d", n), Type: typ, Sender: sender, StateKey: key, Pos: n, Ord: n << 20,
			JSON: json.RawMessage(fmt.Sprintf(`{"content":%s,"event_id":"$%043d","origin_server_ts":1700000000000,"sender":%q%s,"type":%q}`,
				content, n, sender, state, typ)),
		})
	}
	empty := ""
	for i := range 12 {
		add(fmt.Sprintf("m.room.state%d", i), "@user0:example.org", &empty, `{"some":"content of a state event"}`)
	}
	for i := range members {
		id := fmt.Sprintf("@user%d:example.org", i)
		add(memberType, id, &id, fmt.Sprintf(`{"avatar_url":"mxc://example.org/abcdefghijklmnop","displayname":"User %d","membership":"join"}`, i))
	}
	for i := range benchTimeline {
		add("m.room.message", fmt.Sprintf("@user%d:example.org", i%5), nil, `{"body":"`+strings.Repeat("word ", 20)+`","msgtype":"m.text"}`)
	}
	return f
}

func roomName(i int) string { return fmt.Sprintf("!room%06d:example.org", i) }

func (f *fixed) serve(b *bus.Bus) error {
	member := make(map[string]*roomapi.Event)
	for _, e := range f.events {
		if e.Type == memberType {
			member[*e.StateKey] = e
		}
	}
	for _, err := range []error{
		bus.HandleStream(b, roomapi.WindowStream, f.window),
		bus.Handle(b, roomapi.GetStateEvent, func(_ context.Context, req *roomapi.StateEventRequest) (*roomapi.Event, error) {
			if e := member[req.StateKey]; e != nil {
				return e, nil
			}
			return nil, merr.NotFound("no")
		}),
		bus.Handle(b, roomapi.Receipts, func(context.Context, *roomapi.ReceiptsRequest) (*roomapi.ReceiptsResponse, error) {
			return &roomapi.ReceiptsResponse{}, nil
		}),
		bus.Handle(b, userapi.ChangedAccountData, func(context.Context, *userapi.ChangedAccountDataRequest) (*userapi.ChangedAccountDataResponse, error) {
			return &userapi.ChangedAccountDataResponse{}, nil
		}),
		bus.Handle(b, userapi.GetAccountData, func(context.Context, *userapi.AccountDataRequest) (*userapi.AccountData, error) {
			return nil, merr.NotFound("no")
		}),
		bus.Handle(b, roomapi.Memberships, func(_ context.Context, req *roomapi.MembershipsRequest) (*roomapi.MembershipsResponse, error) {
			resp := &roomapi.MembershipsResponse{Pos: f.head}
			for i := range f.rooms {
				resp.Rooms = append(resp.Rooms, roomapi.Membership{RoomID: roomName(i), Membership: "join", Pos: 5})
			}
			return resp, nil
		}),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *fixed) window(_ context.Context, req *roomapi.WindowRequest, send func([]byte) error) error {
	w := roomapi.NewFrameWriter(send)
	info := &roomapi.WindowInfo{Pos: req.To, Membership: "join", MemberPos: 5, JoinedPos: 5, Joined: f.members,
		Heroes: []string{"@user1:example.org", "@user2:example.org"}}
	if err := w.Info(info); err != nil {
		return err
	}
	for i, e := range f.events {
		var err error
		switch {
		case i >= len(f.events)-benchTimeline:
			err = w.Timeline(e)
		case !req.Lazy || e.Type != memberType || i < 12+5:
			err = w.State(e)
		}
		if err != nil {
			return err
		}
	}
	return w.Flush()
}

// bench starts a service over f.
func bench(b *testing.B, f *fixed) (*Service, *core.Engine) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	conn, err := bus.Connect(b.Context(), bus.Options{Local: true, Log: logrus.NewEntry(log)})
	if err != nil {
		b.Fatal(err)
	}
	if err := f.serve(conn); err != nil {
		b.Fatal(err)
	}
	engine := core.New(core.Options{Source: core.Owners{Bus: conn}, Limits: core.DefaultLimits(), RoomPos: f.head})
	s, err := New(Deps{Engine: engine, Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Stop(); engine.Close(); conn.Close() })
	return s, engine
}

const me = "@user0:example.org"

func syncOnce(b *testing.B, s *Service, req *viewapi.SyncRequest) (next string, size int) {
	var first []byte
	if err := s.Sync(context.Background(), req, func(chunk []byte) error {
		if size == 0 {
			first = append(first, chunk[:min(len(chunk), 100)]...)
		}
		size += len(chunk)
		return nil
	}); err != nil {
		b.Fatal(err)
	}
	next, _, _ = strings.Cut(strings.TrimPrefix(string(first), `{"next_batch":"`), `"`)
	return next, size
}

// post appends messages to the first n rooms.
func post(e *core.Engine, f *fixed, pos int64, n int) {
	var batch []bus.Positioned[roomapi.Entry]
	for i := range n {
		ev := *f.events[len(f.events)-1]
		ev.Pos = pos + int64(i) + 1
		ev.Ord, ev.OriginServerTS = ev.Pos<<20, time.Now().UnixMilli()
		batch = append(batch, bus.Positioned[roomapi.Entry]{Pos: ev.Pos, Entry: &roomapi.Entry{Kind: roomapi.KindEvent, RoomID: roomName(i), Event: &ev}})
	}
	_ = e.ApplyRooms(context.Background(), batch) // never fails
}

func BenchmarkEmptyIncremental(b *testing.B) {
	for _, rooms := range []int{300, 3000} {
		b.Run(fmt.Sprintf("Rooms=%d", rooms), func(b *testing.B) {
			f := newFixed(rooms, 50)
			s, e := bench(b, f)
			post(e, f, f.head, rooms)
			since := viewapi.Token{Room: f.head + int64(rooms)}.String()
			req := &viewapi.SyncRequest{UserID: me, DeviceID: "D", Since: since}
			syncOnce(b, s, req)
			b.ReportAllocs()
			for b.Loop() {
				syncOnce(b, s, req)
			}
		})
	}
}

func BenchmarkChangedRooms(b *testing.B) {
	for _, changed := range []int{1, 50} {
		b.Run(fmt.Sprintf("Changed=%d", changed), func(b *testing.B) {
			f := newFixed(300, 50)
			s, e := bench(b, f)
			pos := f.head
			req := &viewapi.SyncRequest{UserID: me, DeviceID: "D", Since: viewapi.Token{Room: pos}.String(), Filter: json.RawMessage(lazyFilter)}
			syncOnce(b, s, req)
			b.ReportAllocs()
			for b.Loop() {
				post(e, f, pos, changed)
				pos += int64(changed)
				req.Since, _ = syncOnce(b, s, req)
			}
		})
	}
}

const lazyFilter = `{"room":{"state":{"lazy_load_members":true},"timeline":{"limit":10}}}`

func BenchmarkInitial(b *testing.B) {
	for name, filter := range map[string]string{"Lazy": lazyFilter, "All": `{"room":{"timeline":{"limit":10}}}`} {
		b.Run(name, func(b *testing.B) {
			f := newFixed(300, 50)
			s, _ := bench(b, f)
			req := &viewapi.SyncRequest{UserID: me, DeviceID: "D", Filter: json.RawMessage(filter)}
			b.ReportAllocs()
			for b.Loop() {
				_, size := syncOnce(b, s, req)
				b.SetBytes(int64(size))
			}
		})
	}
}

// BenchmarkIdlePolls reports the memory of a waiting long-poll: heap and stack.
func BenchmarkIdlePolls(b *testing.B) {
	const polls = 2000
	f := newFixed(100, 50)
	s, e := bench(b, f)
	post(e, f, f.head, 100)
	since := viewapi.Token{Room: f.head + 99}.String()
	for i := range polls { // users are loaded and have their answers
		syncOnce(b, s, &viewapi.SyncRequest{UserID: fmt.Sprint("@", i), DeviceID: "D", Since: since})
	}
	for b.Loop() {
		before := memory()
		ctx, cancel := context.WithCancel(context.Background())
		var all sync.WaitGroup
		for i := range polls {
			all.Go(func() {
				req := &viewapi.SyncRequest{UserID: fmt.Sprint("@", i), DeviceID: "D", TimeoutMS: 300_000,
					Since: viewapi.Token{Room: f.head + 100}.String(), Filter: json.RawMessage(lazyFilter)}
				_ = s.Sync(ctx, req, func([]byte) error { return nil }) // its error is that of ctx
			})
		}
		for s.active.Load() < polls {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(100 * time.Millisecond)
		b.ReportMetric(float64(memory()-before)/polls, "B/poll")
		cancel()
		all.Wait()
	}
}

func memory() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// BenchmarkFanOut measures the time from an event to the last of 500 answers.
func BenchmarkFanOut(b *testing.B) {
	const polls = 500
	f := newFixed(100, 50)
	s, e := bench(b, f)
	pos := f.head
	for b.Loop() {
		var all sync.WaitGroup
		since := viewapi.Token{Room: pos}.String()
		b.StopTimer()
		for i := range polls {
			all.Go(func() {
				syncOnce(b, s, &viewapi.SyncRequest{UserID: fmt.Sprint("@", i), DeviceID: "D", Since: since, TimeoutMS: 300_000})
			})
		}
		for s.active.Load() < polls {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(10 * time.Millisecond)
		b.StartTimer()
		post(e, f, pos, 1)
		pos++
		all.Wait()
	}
}
