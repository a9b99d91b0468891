package search

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"hearth/internal/bus"
	"hearth/internal/store"
	"hearth/internal/store/storetest"
	"hearth/roomserver/roomapi"
)

// each runs a test with an index on both engines. open opens it again on the same tables.
func each(t *testing.T, test func(t *testing.T, open func() *Index)) {
	storetest.EachEngine(t, func(t *testing.T, e storetest.Engine) {
		test(t, func() *Index { return open(t, e.Options) })
	})
}

func open(t testing.TB, o store.Options) *Index {
	t.Helper()
	log := logrus.New()
	log.SetOutput(t.Output())
	x, err := New(context.Background(), Deps{DataDir: o.DataDir, DatabaseURL: o.URL, Log: logrus.NewEntry(log), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// said is a message as the room log tells it.
func said(pos int64, room, sender, text string) bus.Positioned[roomapi.Entry] {
	return entry(pos, room, sender, "m.room.message", nil, map[string]any{"body": text, "msgtype": "m.text"})
}

func entry(pos int64, room, sender, typ string, key *string, content map[string]any) bus.Positioned[roomapi.Entry] {
	body, err := json.Marshal(map[string]any{"content": content})
	if err != nil {
		panic(err)
	}
	return bus.Positioned[roomapi.Entry]{Pos: pos, Entry: &roomapi.Entry{
		Kind: roomapi.KindEvent, RoomID: room,
		Event: &roomapi.Event{EventID: fmt.Sprint("$", pos), Type: typ, Sender: sender, StateKey: key, Pos: pos, JSON: body},
	}}
}

func (x *Index) take(t testing.TB, batch ...bus.Positioned[roomapi.Entry]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := x.apply(ctx, batch); err != nil {
		t.Fatal(err)
	}
}

func (x *Index) store(t testing.TB) {
	t.Helper()
	if err := x.flush(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func (x *Index) positions(t testing.TB, req Request) []int64 {
	t.Helper()
	if req.Limit == 0 {
		req.Limit = 1000
	}
	if req.Kinds == 0 {
		req.Kinds = Any
	}
	answer, err := x.Find(context.Background(), &req)
	if err != nil {
		t.Fatal(err)
	}
	found := []int64{}
	for _, h := range answer.Hits {
		found = append(found, h.Pos)
	}
	return found
}
