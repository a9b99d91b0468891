package v3

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"hearth/clientapi/userapi"
	"hearth/internal/merr"
	"hearth/internal/pushrules"
	"hearth/roomserver/roomapi"
	"hearth/syncapi/internal/model"
	"hearth/syncapi/unread"
	"hearth/syncapi/viewapi"
)

// owner is the unread.Source of a model.
type owner struct{ *model.Owners }

func (o owner) Unread(_ context.Context, req *roomapi.UnreadRequest, f func(*roomapi.UnreadRoom)) error {
	for _, id := range req.Rooms {
		f(o.Owners.Unread(req, id))
	}
	return nil
}

func (o owner) Event(context.Context, *roomapi.EventRequest) (*roomapi.Event, error) {
	return nil, merr.NotFound("Unknown event")
}

func (o owner) Piece(ctx context.Context, req *userapi.AccountDataRequest) (*userapi.AccountData, error) {
	return o.AccountDataOf(ctx, req)
}

func newCountingHarness(t testing.TB) *harness {
	h := newHarness(t)
	h.service.Stop()
	service, err := New(Deps{
		Engine: h.engine, Unread: unread.New(h.engine, owner{h.owners}),
		Now: func() time.Time { return time.UnixMilli(model.Start + 10_000_000) },
	})
	if err != nil {
		t.Fatal(err)
	}
	h.service = service
	return h
}

type counted struct {
	NextBatch string `json:"next_batch"`
	Account   events `json:"account_data"`
	Rooms     struct {
		Join map[string]struct {
			Timeline *struct{ Events []event }
			Unread   *numbers           `json:"unread_notifications"`
			Threads  map[string]numbers `json:"unread_thread_notifications"`
		}
	}
}

type numbers struct {
	Highlights    int `json:"highlight_count"`
	Notifications int `json:"notification_count"`
}

func (h *harness) counted(req viewapi.SyncRequest) counted {
	h.t.Helper()
	body, err := h.raw(req)
	if err != nil {
		h.t.Fatal(err)
	}
	var c counted
	if err := json.Unmarshal(body, &c); err != nil {
		h.t.Fatalf("%v: %s", err, body)
	}
	return c
}

func TestUnreadCounts(t *testing.T) {
	h := newCountingHarness(t)
	const me, you, room = "@me:h", "@you:h", "!r:h"
	h.owners.Create(room, me, "shared")
	h.owners.Member(room, you, you, "join")
	a := h.owners.Message(room, you, "a")
	threads := json.RawMessage(`{"room":{"timeline":{"unread_thread_notifications":true}}}`)

	c := h.counted(viewapi.SyncRequest{UserID: me})
	if n := c.Rooms.Join[room].Unread; n == nil || *n != (numbers{0, 1}) {
		t.Errorf("initial: %+v", n)
	}
	if !slices.ContainsFunc(c.Account.Events, func(e event) bool { return e.Type == pushrules.AccountDataType }) {
		t.Errorf("no push rules: %+v", c.Account)
	}
	reply := h.owners.Send(model.Event{Room: room, Sender: you, Type: "m.room.message",
		Content: `{"m.relates_to":{"rel_type":"m.thread","event_id":"` + a + `"}}`})
	whole := h.counted(viewapi.SyncRequest{UserID: me, Since: c.NextBatch})
	if r := whole.Rooms.Join[room]; *r.Unread != (numbers{0, 2}) || r.Threads != nil {
		t.Errorf("without threads: %+v", r)
	}
	apart := h.counted(viewapi.SyncRequest{UserID: me, Since: c.NextBatch, Filter: threads})
	if r := apart.Rooms.Join[room]; *r.Unread != (numbers{0, 1}) || len(r.Threads) != 1 || r.Threads[a] != (numbers{0, 1}) {
		t.Errorf("with threads: %+v", r)
	}
	// Another device reads the room with nobody seeing it.
	h.owners.Receipt(room, me, "m.read.private", reply, "")
	quiet := json.RawMessage(`{"room":{"ephemeral":{"types":[]}}}`)
	read := h.counted(viewapi.SyncRequest{UserID: me, Since: whole.NextBatch, Filter: quiet})
	if r, ok := read.Rooms.Join[room]; !ok || *r.Unread != (numbers{}) || r.Timeline != nil {
		t.Errorf("after the receipt: %+v", read)
	}
	again := h.counted(viewapi.SyncRequest{UserID: me, Since: read.NextBatch, Filter: quiet})
	if len(again.Rooms.Join) != 0 {
		t.Errorf("nothing happened: %+v", again)
	}
}

// A long-poll is not woken by what neither shows nor counts.
func TestUnreadCountsDoNotWake(t *testing.T) {
	h := newCountingHarness(t)
	const me, you, room = "@me:h", "@you:h", "!r:h"
	h.owners.Create(room, me, "shared")
	h.owners.Member(room, you, you, "join")
	nothing := json.RawMessage(`{"room":{"timeline":{"types":[]},"state":{"types":[]},"ephemeral":{"types":[]}}}`)
	since := h.counted(viewapi.SyncRequest{UserID: me, Filter: nothing}).NextBatch
	h.owners.Send(model.Event{Room: room, Sender: you, Type: "m.reaction"})
	c := h.counted(viewapi.SyncRequest{UserID: me, Since: since, Filter: nothing})
	if len(c.Rooms.Join) != 0 {
		t.Errorf("a reaction: %+v", c)
	}
	h.owners.Message(room, you, "x")
	c = h.counted(viewapi.SyncRequest{UserID: me, Since: since, Filter: nothing})
	if r, ok := c.Rooms.Join[room]; !ok || *r.Unread != (numbers{0, 1}) {
		t.Errorf("a message: %+v", c)
	}
}

func TestNewRulesChangeTheCountsOfAllRooms(t *testing.T) {
	h := newCountingHarness(t)
	const me, you = "@me:h", "@you:h"
	rooms := []string{"!1:h", "!2:h", "!3:h"}
	for _, room := range rooms {
		h.owners.Create(room, me, "shared")
		h.owners.Member(room, you, you, "join")
	}
	h.owners.Message(rooms[0], you, "x")
	h.owners.Message(rooms[1], you, "x")
	since := h.counted(viewapi.SyncRequest{UserID: me}).NextBatch
	rules := pushrules.Default(me)
	_ = rules.SetEnabled(pushrules.Override, pushrules.Master, true)
	h.owners.SetAccountData(me, "", pushrules.AccountDataType, string(rules.Marshal()))
	c := h.counted(viewapi.SyncRequest{UserID: me, Since: since})
	if len(c.Rooms.Join) != 2 || *c.Rooms.Join[rooms[0]].Unread != (numbers{}) || *c.Rooms.Join[rooms[1]].Unread != (numbers{}) {
		t.Errorf("%+v", c.Rooms.Join)
	}
	if c = h.counted(viewapi.SyncRequest{UserID: me, Since: c.NextBatch}); len(c.Rooms.Join) != 0 {
		t.Errorf("again: %+v", c.Rooms.Join)
	}
}

func BenchmarkIncrementalWithCounts(b *testing.B) {
	for name, make := range map[string]func(testing.TB) *harness{"with": newCountingHarness, "without": newHarness} {
		b.Run(name, func(b *testing.B) {
			h := make(b)
			const me, you, room = "@me:h", "@you:h", "!r:h"
			h.owners.Create(room, me, "shared")
			h.owners.Member(room, you, you, "join")
			since := h.counted(viewapi.SyncRequest{UserID: me}).NextBatch
			last := h.owners.Message(room, you, "x")
			for b.Loop() {
				b.StopTimer()
				h.owners.Receipt(room, me, "m.read", last, "")
				last = h.owners.Message(room, you, "x")
				b.StartTimer()
				since = h.counted(viewapi.SyncRequest{UserID: me, Since: since}).NextBatch
			}
		})
	}
}
