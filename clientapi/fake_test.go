package clientapi

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"hearth/internal/bus"
	"hearth/roomserver/roomapi"
	"hearth/syncapi/viewapi"
)

// fakeRooms answers the calls of roomserver and syncapi and remembers the last
// request of each subject as JSON.
type fakeRooms struct {
	mu   sync.Mutex
	last map[string]string
	fail error
	sync func(ctx context.Context, req *viewapi.SyncRequest, send func([]byte) error) error
	// states are contents by room and type; GetStateEvent answers with a member event for all others.
	states map[string]string
}

func (f *fakeRooms) stateEvent(_ context.Context, req *roomapi.StateEventRequest) (*roomapi.Event, error) {
	if err := f.note(roomapi.GetStateEvent.Subject, req); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if content, ok := f.states[req.RoomID+" "+req.Type]; ok {
		return &roomapi.Event{Type: req.Type, JSON: json.RawMessage(`{"content":` + content + `}`)}, nil
	}
	return testMember("@alice:test", `{"membership":"join"}`), nil
}

// took returns the last request of a subject and forgets it.
func (f *fakeRooms) took(subject string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer delete(f.last, subject)
	return f.last[subject]
}

// awaited is took for a request that comes by itself.
func (f *fakeRooms) awaited(t *testing.T, subject string) string {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if got := f.took(subject); got != "" {
			return got
		}
	}
	t.Fatalf("no request %s", subject)
	return ""
}

func (f *fakeRooms) failWith(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = err
}

func (f *fakeRooms) note(subject string, req any) error {
	body, err := json.Marshal(req)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last[subject] = string(body)
	return f.fail
}

func answers[Req, Resp any](t *testing.T, b *bus.Bus, f *fakeRooms, c bus.Call[Req, Resp], resp Resp) {
	t.Helper()
	err := bus.Handle(b, c, func(_ context.Context, req *Req) (*Resp, error) {
		if err := f.note(c.Subject, req); err != nil {
			return nil, err
		}
		r := resp
		return &r, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func testMessage(id string) *roomapi.Event {
	return &roomapi.Event{
		EventID: id, Type: "m.room.message", Sender: "@alice:test", OriginServerTS: 1_700_000_000_000 - 5000, Ord: 3, Pos: 3,
		JSON: json.RawMessage(`{"content":{"body":"<hi>"},"event_id":"` + id + `","origin_server_ts":1,"sender":"@alice:test","type":"m.room.message"}`),
	}
}

func testMember(user, content string) *roomapi.Event {
	return &roomapi.Event{
		EventID: "$m", Type: "m.room.member", Sender: user, StateKey: &user,
		JSON: json.RawMessage(`{"content":` + content + `,"event_id":"$m","sender":"` + user + `","state_key":"` + user + `","type":"m.room.member"}`),
	}
}

func fake(t *testing.T, b *bus.Bus) *fakeRooms {
	t.Helper()
	f := &fakeRooms{last: map[string]string{}}
	member := roomapi.MembershipResponse{RoomID: testRoom, EventID: testEvent}
	answers(t, b, f, roomapi.Create, roomapi.CreateResponse{RoomID: testRoom})
	answers(t, b, f, roomapi.Send, roomapi.SendResponse{EventID: testEvent})
	answers(t, b, f, roomapi.Redact, roomapi.SendResponse{EventID: testEvent})
	answers(t, b, f, roomapi.Join, member)
	answers(t, b, f, roomapi.Knock, member)
	answers(t, b, f, roomapi.Leave, member)
	answers(t, b, f, roomapi.Invite, member)
	answers(t, b, f, roomapi.Kick, member)
	answers(t, b, f, roomapi.Ban, member)
	answers(t, b, f, roomapi.Unban, member)
	answers(t, b, f, roomapi.Forget, roomapi.Empty{})
	answers(t, b, f, roomapi.UpdateProfile, roomapi.UpdateProfileResponse{})
	answers(t, b, f, roomapi.SetTyping, roomapi.Empty{})
	answers(t, b, f, roomapi.SetReceipt, roomapi.Empty{})
	answers(t, b, f, roomapi.SetAlias, roomapi.Empty{})
	answers(t, b, f, roomapi.DeleteAlias, roomapi.Empty{})
	answers(t, b, f, roomapi.ResolveAlias, roomapi.AliasResponse{RoomID: testRoom, Servers: []string{"test"}})
	answers(t, b, f, roomapi.Aliases, roomapi.AliasesResponse{})
	answers(t, b, f, roomapi.GetEvent, *testMessage(testEvent))
	must(t, bus.Handle(b, roomapi.GetStateEvent, f.stateEvent))
	must(t, bus.ServeLog(b, roomapi.Log, func(context.Context, int64, int) ([]bus.Positioned[roomapi.Entry], int64, error) {
		return nil, 0, nil
	}))
	answers(t, b, f, roomapi.Messages, roomapi.MessagesResponse{
		Start: roomapi.Point{Ord: 9}, End: roomapi.Point{Ord: 2}, Events: []*roomapi.Event{testMessage("$a"), testMessage("$b")},
		State: []*roomapi.Event{testMember("@alice:test", `{}`)},
	})
	answers(t, b, f, roomapi.Relations, roomapi.MessagesResponse{End: roomapi.Point{Ord: 2}, Events: []*roomapi.Event{testMessage("$a")}})
	answers(t, b, f, roomapi.Threads, roomapi.MessagesResponse{})
	answers(t, b, f, roomapi.Hierarchy, roomapi.HierarchyResponse{
		Rooms: []roomapi.Summary{{RoomID: testRoom, JoinRule: "public", ChildrenState: json.RawMessage("[]")}}, Next: "h_1_0_false",
	})
	answers(t, b, f, roomapi.GetSummary, roomapi.Summary{RoomID: testRoom, Membership: "join"})
	answers(t, b, f, roomapi.PublicRooms, roomapi.PublicRoomsResponse{Chunk: []roomapi.Summary{{RoomID: testRoom, Joined: 3}}, Total: 1})
	answers(t, b, f, roomapi.IsPublished, roomapi.Published{Published: true})
	answers(t, b, f, roomapi.SetPublished, roomapi.Empty{})
	answers(t, b, f, roomapi.EventAt, *testMessage(testEvent))
	answers(t, b, f, roomapi.Upgrade, roomapi.CreateResponse{RoomID: "!new:test"})
	answers(t, b, f, roomapi.Context, roomapi.ContextResponse{
		Start: roomapi.Point{Ord: 1}, End: roomapi.Point{Pos: 7}, Event: testMessage(testEvent),
	})
	pages := map[string]roomapi.MembershipsResponse{
		"":     {Rooms: []roomapi.Membership{{RoomID: "!a:t"}, {RoomID: "!b:t"}}, More: true},
		"!b:t": {Rooms: []roomapi.Membership{{RoomID: "!c:t"}}},
	}
	must(t, bus.Handle(b, roomapi.Memberships, func(_ context.Context, req *roomapi.MembershipsRequest) (*roomapi.MembershipsResponse, error) {
		page := pages[req.After]
		return &page, f.note("memberships", req)
	}))
	must(t, bus.HandleStream(b, roomapi.StateStream, func(_ context.Context, req *roomapi.StateRequest, send func([]byte) error) error {
		if err := f.note("state", req); err != nil {
			return err
		}
		w := roomapi.NewFrameWriter(send)
		for _, e := range []*roomapi.Event{
			testMember("@alice:test", `{"membership":"join","displayname":"Al","avatar_url":5}`), testMember("@bob:test", `{"membership":"join"}`),
		} {
			if err := w.State(e); err != nil {
				return err
			}
		}
		return w.Flush()
	}))
	answers(t, b, f, roomapi.InviteState, roomapi.InviteStateResponse{Events: json.RawMessage(`[]`)})
	fakePeople(t, b, f)
	must(t, bus.HandleStream(b, viewapi.Sync, func(ctx context.Context, req *viewapi.SyncRequest, send func([]byte) error) error {
		if err := f.note("sync", req); err != nil {
			return err
		}
		f.mu.Lock()
		handler := f.sync
		f.mu.Unlock()
		if handler != nil {
			return handler(ctx, req, send)
		}
		if err := send([]byte(`{"next_batch":`)); err != nil {
			return err
		}
		return send([]byte(`"s1_1_0"}`))
	}))
	return f
}
