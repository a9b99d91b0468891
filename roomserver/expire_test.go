package roomserver

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/internal/testkit/postgres"
	"hearth/roomserver/roomapi"
)

// keeper is a roomserver with a clock that the test sets, and an audit log.
type keeper struct {
	*fixture
	t0  time.Time
	now atomic.Int64 // milliseconds

	mu    sync.Mutex
	audit []*userapi.AuditEntry
	gone  []userapi.DroppedFile
}

func newKeeper(t *testing.T, url string, policy roomapi.RetentionPolicy) *keeper {
	k := &keeper{t0: time.Now().Truncate(time.Millisecond)}
	k.now.Store(k.t0.UnixMilli())
	f := &fixture{t: t, dir: t.TempDir(), url: url, local: url == ""}
	f.alter = func(d *Deps) {
		d.Now = func() time.Time { return time.UnixMilli(k.now.Load()) }
		d.Retention = policy
		err := bus.Handle(d.Bus, userapi.RecordAction, func(_ context.Context, e *userapi.AuditEntry) (*userapi.AuditEntry, error) {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.audit = append(k.audit, e)
			return e, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		err = bus.Handle(d.Bus, userapi.DropMedia, func(_ context.Context, req *userapi.DropMediaRequest) (*userapi.Empty, error) {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.gone = append(k.gone, req.Files...)
			return &userapi.Empty{}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	f.start()
	t.Cleanup(func() { f.stop() })
	k.fixture = f
	return k
}

// at sets the clock to a time after the beginning.
func (k *keeper) at(d time.Duration) { k.now.Store(k.t0.Add(d).UnixMilli()) }

func eachKeeper(t *testing.T, policy roomapi.RetentionPolicy, test func(t *testing.T, k *keeper)) {
	t.Run("SQLite", func(t *testing.T) { test(t, newKeeper(t, "", policy)) })
	t.Run("PostgreSQL", func(t *testing.T) { test(t, newKeeper(t, postgres.URL(t), policy)) })
}

func (k *keeper) message(room, sender, txn, content string) string {
	k.t.Helper()
	return do(k.fixture, roomapi.Send, roomapi.SendRequest{RoomID: room, Sender: sender, DeviceID: "D", TxnID: txn, Type: "m.room.message", Content: []byte(content)}).EventID
}

// kept is a room with all kinds of things that can expire, each with the word secret.
type kept struct{ room, root, edit, reply, topic, present string }

// fill makes the room; retention is the content of its m.room.retention, empty for none.
func (k *keeper) fill(retention string) kept {
	k.t.Helper()
	room := do(k.fixture, roomapi.Create, roomapi.CreateRequest{Creator: alice, Preset: "public_chat"}).RoomID
	do(k.fixture, roomapi.Join, roomapi.JoinRequest{RoomIDOrAlias: room, UserID: bob})
	if retention != "" {
		k.state(room, alice, "m.room.retention", "", retention)
	}
	r := kept{room: room}
	r.topic = k.state(room, alice, "m.room.topic", "", `{"topic":"secret old"}`)
	r.present = k.state(room, alice, "m.room.topic", "", `{"topic":"present"}`)
	r.root = k.message(room, alice, "1", `{"msgtype":"m.text","body":"secret root"}`)
	r.edit = k.message(room, alice, "2", `{"msgtype":"m.text","body":"* secret edit","m.new_content":{"msgtype":"m.text","body":"secret edit"},"m.relates_to":{"rel_type":"m.replace","event_id":"`+r.root+`"}}`)
	r.reply = k.message(room, alice, "3", `{"msgtype":"m.text","body":"secret reply","m.relates_to":{"rel_type":"m.thread","event_id":"`+r.root+`"}}`)
	return r
}

// reads asks for a room's past in every way that a user or the server itself has, and returns those
// that have shown anything secret.
func (k *keeper) reads(r kept) (shown []string) {
	k.t.Helper()
	ctx := k.t.Context()
	if err := k.s.search.Wait(ctx, k.s.store.DB.Head()); err != nil {
		k.t.Fatal(err)
	}
	note := func(how string, found bool, err error) {
		k.t.Helper()
		if err != nil && merr.From(err).Code != "M_NOT_FOUND" {
			k.t.Errorf("%s: %v", how, err)
		}
		if found {
			shown = append(shown, how)
		}
	}
	secret := func(events ...*roomapi.Event) bool {
		for _, e := range events {
			if e != nil && (bytes.Contains(e.JSON, []byte("secret")) || bytes.Contains(e.Relations, []byte("secret"))) {
				return true
			}
		}
		return false
	}
	for _, user := range []string{bob, roomapi.Everything} {
		for _, id := range []string{r.root, r.edit, r.reply, r.topic} {
			e, err := roomapi.GetEvent.Do(ctx, k.bus, &roomapi.EventRequest{RoomID: r.room, UserID: user, EventID: id})
			note("event", secret(e), err)
			c, err := roomapi.Context.Do(ctx, k.bus, &roomapi.ContextRequest{RoomID: r.room, UserID: user, EventID: id, Limit: 100})
			note("context", c != nil && secret(append(append([]*roomapi.Event{c.Event}, c.Before...), c.After...)...), err)
		}
		for _, back := range []bool{true, false} {
			page, err := roomapi.Messages.Do(ctx, k.bus, &roomapi.MessagesRequest{RoomID: r.room, UserID: user, Backwards: back, Limit: 100})
			note("messages", page != nil && secret(page.Events...), err)
		}
		page, err := roomapi.Relations.Do(ctx, k.bus, &roomapi.RelationsRequest{RoomID: r.room, UserID: user, EventID: r.root, Limit: 100, Backwards: true})
		note("relations", page != nil && secret(page.Events...), err)
		page, err = roomapi.Threads.Do(ctx, k.bus, &roomapi.ThreadsRequest{RoomID: r.room, UserID: user, Limit: 100})
		note("threads", page != nil && secret(page.Events...), err)
		e, err := roomapi.EventAt.Do(ctx, k.bus, &roomapi.EventAtRequest{RoomID: r.room, UserID: user, TS: k.t0.UnixMilli() + 1000, Backwards: true})
		note("timestamp_to_event", secret(e), err)
	}
	found, err := roomapi.Search.Do(ctx, k.bus, &roomapi.SearchRequest{UserID: bob, Term: "secret", Rooms: []string{r.room}, Limit: 10})
	note("search", found != nil && len(found.Results)+found.Count > 0, err)
	w, err := roomapi.ReadWindow(ctx, k.bus, &roomapi.WindowRequest{RoomID: r.room, UserID: bob, Limit: 50})
	note("window", w != nil && secret(append(w.Timeline, w.State...)...), err)
	u, err := k.s.unread(ctx, r.room, bob, 100)
	note("unread", u != nil && func() bool {
		for _, e := range u.Events {
			if secret(e.Event) {
				return true
			}
		}
		return false
	}(), err)
	k.readsOfServers(r, note)
	entries, _, err := k.s.readLog(ctx, 0, 500)
	note("log", func() bool {
		for _, e := range entries {
			if e.Entry.Event != nil && e.Entry.Event.StateKey == nil && secret(e.Entry.Event) {
				return true
			}
		}
		return false
	}(), err)
	return shown
}

// readsOfServers asks as another server that is in the room would.
func (k *keeper) readsOfServers(r kept, note func(how string, found bool, err error)) {
	k.t.Helper()
	ctx, server := k.t.Context(), "other.example"
	rm, h, done, err := k.s.view(ctx, r.room)
	if err != nil {
		k.t.Fatal(err)
	}
	defer done()
	sight, err := k.s.newSight(ctx, rm, server)
	if err != nil {
		k.t.Fatal(err)
	}
	events := make([]*stored, 0, 3)
	for _, id := range []string{r.root, r.topic, r.present} {
		e, err := k.s.eventByID(ctx, rm, id)
		if err != nil {
			k.t.Fatal(err)
		}
		events = append(events, e)
		ev, err := sight.shown(ctx, e)
		note("federation: event", ev != nil && bytes.Contains(ev.JSON, []byte("secret")), err)
	}
	var sent []byte
	send := func(chunk []byte) error {
		sent = append(sent, chunk...)
		return nil
	}
	w := &dagWalk{s: k.s, room: rm, seen: map[int64]bool{}, prev: map[int64][]int64{}, limit: 100, minDepth: minOrd}
	w.push(events)
	if err := w.run(ctx); err != nil {
		k.t.Fatal(err)
	}
	err = w.sendTo(ctx, server, send)
	note("federation: backfill", bytes.Contains(sent, []byte("secret")), err)
	sent = nil
	nids, err := k.s.stateBefore(ctx, h, events[2])
	if err != nil {
		k.t.Fatal(err)
	}
	x, err := k.s.expiryOf(ctx, rm, h)
	if err != nil {
		k.t.Fatal(err)
	}
	lists := &listWriter{s: k.s, version: rm.version, send: send, expiry: x}
	err = lists.events(ctx, []eventList{{`{"pdus":[`, nids}})
	note("federation: state", bytes.Contains(sent, []byte("secret")), err)
	c, err := roomapi.Context.Do(ctx, k.bus, &roomapi.ContextRequest{RoomID: r.room, UserID: roomapi.Everything, EventID: r.topic, Limit: 0})
	note("state of the past", c != nil && func() bool {
		for _, e := range c.State {
			if bytes.Contains(e.JSON, []byte("secret")) || bytes.Contains(e.PrevContent, []byte("secret")) {
				return true
			}
		}
		return false
	}(), err)
	present, err := roomapi.GetStateEvent.Do(ctx, k.bus, &roomapi.StateEventRequest{RoomID: r.room, UserID: bob, Type: "m.room.topic"})
	note("what the state was before", present != nil && bytes.Contains(present.PrevContent, []byte("secret")), err)
}

const hourMS = 3_600_000

// TestExpiryHidesAtOnce looks through every way to read one millisecond before a room's lifetime ends, and when it does.
func TestExpiryHidesAtOnce(t *testing.T) {
	eachKeeper(t, roomapi.RetentionPolicy{}, func(t *testing.T, k *keeper) {
		r := k.fill(`{"max_lifetime":3600000}`)
		k.at(time.Hour - time.Millisecond)
		ways := map[string]bool{}
		for _, how := range k.reads(r) {
			ways[how] = true
		}
		for _, how := range []string{"event", "context", "messages", "relations", "threads", "timestamp_to_event", "search", "window", "unread", "log",
			"federation: event", "federation: backfill", "federation: state", "state of the past", "what the state was before"} {
			if !ways[how] {
				t.Errorf("%s shows nothing before the lifetime ends", how)
			}
		}
		k.at(time.Hour)
		if shown := k.reads(r); len(shown) > 0 {
			t.Errorf("shown after the lifetime ended: %v", shown)
		}
		topic := do(k.fixture, roomapi.GetStateEvent, roomapi.StateEventRequest{RoomID: r.room, UserID: bob, Type: "m.room.topic"})
		if !bytes.Contains(topic.JSON, []byte("present")) {
			t.Errorf("the present topic is gone: %s", topic.JSON)
		}
	})
}

// stored reports whether any file of the SQLite databases holds a text.
func (k *keeper) stored(text string) bool {
	k.t.Helper()
	files, err := filepath.Glob(filepath.Join(k.dir, "*"))
	if err != nil {
		k.t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			k.t.Fatal(err)
		}
		if bytes.Contains(data, []byte(text)) {
			return true
		}
	}
	return false
}

func (k *keeper) receipt() *roomapi.DeletionReceipt {
	return do(k.fixture, roomapi.RunRetention, roomapi.RunRetentionRequest{Actor: alice})
}

// TestPurge runs the purge and looks at what is left.
func TestPurge(t *testing.T) {
	eachKeeper(t, roomapi.RetentionPolicy{DefaultMaxLifetime: hourMS}, func(t *testing.T, k *keeper) {
		r := k.fill("")
		k.at(30 * time.Minute)
		young := k.message(r.room, bob, "4", `{"msgtype":"m.text","body":"young"}`)
		k.at(time.Hour)
		dry := do(k.fixture, roomapi.RunRetention, roomapi.RunRetentionRequest{DryRun: true})
		receipt := k.receipt()
		if dry.Events != receipt.Events || dry.Bytes != receipt.Bytes || receipt.Rooms != 1 || receipt.Events < 4 || receipt.Overwritten == 0 {
			t.Errorf("the dry run said %+v, the receipt %+v", dry, receipt)
		}
		if len(k.audit) != 1 || k.audit[0].Actor != alice || !strings.Contains(string(k.audit[0].After), fmt.Sprintf(`"events":%d,`, receipt.Events)) {
			t.Errorf("in the audit log is %+v", k.audit)
		}
		if again := k.receipt(); again.Events != 0 || len(k.audit) != 1 {
			t.Errorf("the second run purged %d events, the audit log has %d entries", again.Events, len(k.audit))
		}
		if k.url == "" {
			if k.stored("secret") {
				t.Error("what was purged is still in a file")
			}
			if !k.stored(`"young"`) || !k.stored("present") {
				t.Error("what was to be kept is in no file")
			}
		}
		for range 2 {
			if shown := k.reads(r); len(shown) > 0 {
				t.Errorf("shown after the purge: %v", shown)
			}
			page := do(k.fixture, roomapi.Messages, roomapi.MessagesRequest{RoomID: r.room, UserID: alice, Backwards: true, Limit: 100})
			if !slicesHas(page.Events, young) {
				t.Error("a young message is gone")
			}
			k.restart()
		}
		k.message(r.room, bob, "5", `{"msgtype":"m.text","body":"the room goes on"}`)
		do(k.fixture, roomapi.Join, roomapi.JoinRequest{RoomIDOrAlias: r.room, UserID: carol})
	})
}

func slicesHas(events []*roomapi.Event, id string) bool {
	for _, e := range events {
		if e.EventID == id {
			return true
		}
	}
	return false
}

// TestPurgeLeavesNewState purges a state event only when another has taken its place, and then does.
func TestPurgeLeavesNewState(t *testing.T) {
	k := newKeeper(t, "", roomapi.RetentionPolicy{DefaultMaxLifetime: hourMS})
	r := k.fill("")
	k.at(2 * time.Hour)
	k.receipt()
	k.state(r.room, alice, "m.room.topic", "", `{"topic":"third"}`)
	if !k.stored(`"present"`) {
		t.Fatal("the topic was purged while it was the room's")
	}
	if receipt := k.receipt(); receipt.Events != 1 || k.stored(`"present"`) {
		t.Errorf("after the topic was replaced %d events are purged", receipt.Events)
	}
}

// TestHold keeps what an administrator holds, which clients do not see all the same.
func TestHold(t *testing.T) {
	for _, kind := range []string{roomapi.HoldRoom, roomapi.HoldUser, roomapi.HoldEvent} {
		t.Run(kind, func(t *testing.T) {
			k := newKeeper(t, "", roomapi.RetentionPolicy{DefaultMaxLifetime: hourMS})
			r := k.fill("")
			target := map[string]string{roomapi.HoldRoom: r.room, roomapi.HoldUser: alice, roomapi.HoldEvent: r.root}[kind]
			refused(k.fixture, roomapi.PlaceHold, roomapi.Hold{Kind: kind, Target: target}, "M_INVALID_PARAM")
			hold := do(k.fixture, roomapi.PlaceHold, roomapi.Hold{Kind: kind, Target: target, Reason: "an inquiry", Actor: alice})
			k.at(time.Hour)
			k.receipt()
			if !k.stored("secret root") {
				t.Error("what was held is gone")
			}
			refused(k.fixture, roomapi.GetEvent, roomapi.EventRequest{RoomID: r.room, UserID: bob, EventID: r.root}, "M_NOT_FOUND")
			if e := do(k.fixture, roomapi.GetEvent, roomapi.EventRequest{RoomID: r.room, UserID: roomapi.Everything, EventID: r.root}); !bytes.Contains(e.JSON, []byte("secret root")) {
				t.Error("the server itself does not see what is held")
			}
			k.restart()
			do(k.fixture, roomapi.LiftHold, roomapi.Hold{ID: hold.ID})
			k.receipt()
			if k.stored("secret") {
				t.Error("what was held is still there after the hold was lifted")
			}
		})
	}
}

// TestPolicyAtRunTime changes the policy and a room's lifetime, which hold after a restart.
func TestPolicyAtRunTime(t *testing.T) {
	k := newKeeper(t, "", roomapi.RetentionPolicy{})
	r := k.fill("")
	k.at(time.Minute)
	if len(k.reads(r)) == 0 {
		t.Fatal("nothing is shown though nothing expires")
	}
	refused(k.fixture, roomapi.SetRetention, roomapi.SetRetentionRequest{Policy: &roomapi.RetentionPolicy{Public: -1}}, "M_INVALID_PARAM")
	refused(k.fixture, roomapi.SetRetention, roomapi.SetRetentionRequest{Policy: &roomapi.RetentionPolicy{Private: 5}}, "M_INVALID_PARAM")
	do(k.fixture, roomapi.SetRetention, roomapi.SetRetentionRequest{Policy: &roomapi.RetentionPolicy{Public: 60_000}})
	k.restart()
	if shown := k.reads(r); len(shown) > 0 {
		t.Errorf("shown after public rooms got a lifetime: %v", shown)
	}
	do(k.fixture, roomapi.SetRetention, roomapi.SetRetentionRequest{Configured: true})
	if len(k.reads(r)) == 0 {
		t.Error("nothing is shown though the configuration counts again")
	}
	got := do(k.fixture, roomapi.SetRetention, roomapi.SetRetentionRequest{Room: &roomapi.RoomLifetime{RoomID: r.room, MaxLifetime: 60_000}})
	if len(got.Rooms) != 1 || got.Changed {
		t.Errorf("the answer is %+v", got)
	}
	if shown := k.reads(r); len(shown) > 0 {
		t.Errorf("shown after the room got a lifetime: %v", shown)
	}
}

// TestLateEventIsNeverStored sends, as a bridge does, an event whose time is past.
func TestLateEventIsNeverStored(t *testing.T) {
	k := newKeeper(t, "", roomapi.RetentionPolicy{DefaultMaxLifetime: hourMS})
	r := k.fill("")
	id := do(k.fixture, roomapi.Send, roomapi.SendRequest{
		RoomID: r.room, Sender: alice, Type: "m.room.message", Content: []byte(`{"body":"belated"}`), Timestamp: k.t0.Add(-time.Hour).UnixMilli(),
	}).EventID
	refused(k.fixture, roomapi.GetEvent, roomapi.EventRequest{RoomID: r.room, UserID: alice, EventID: id}, "M_NOT_FOUND")
	if k.stored("belated") {
		t.Error("an event that had expired was stored")
	}
}

// TestPurgeHistory purges by hand up to an event.
func TestPurgeHistory(t *testing.T) {
	eachKeeper(t, roomapi.RetentionPolicy{}, func(t *testing.T, k *keeper) {
		r := k.fill("")
		last := k.message(r.room, bob, "9", `{"msgtype":"m.text","body":"last"}`)
		refused(k.fixture, roomapi.PurgeStatus, roomapi.PurgeHistoryResponse{PurgeID: "1"}, "M_NOT_FOUND")
		wait := func(id string) {
			t.Helper()
			for range 500 {
				switch status := do(k.fixture, roomapi.PurgeStatus, roomapi.PurgeHistoryResponse{PurgeID: id}); status.Status {
				case "complete":
					return
				case "failed":
					t.Fatal(status.Error)
				}
				time.Sleep(10 * time.Millisecond)
			}
			t.Fatal("the purge does not end")
		}
		wait(do(k.fixture, roomapi.PurgeHistory, roomapi.PurgeHistoryRequest{RoomID: r.room, EventID: last}).PurgeID)
		if len(k.reads(r)) == 0 {
			t.Error("events of this server's users were purged without being asked for")
		}
		wait(do(k.fixture, roomapi.PurgeHistory, roomapi.PurgeHistoryRequest{RoomID: r.room, EventID: last, Local: true}).PurgeID)
		if shown := k.reads(r); len(shown) > 0 {
			t.Errorf("shown after the purge: %v", shown)
		}
		do(k.fixture, roomapi.GetEvent, roomapi.EventRequest{RoomID: r.room, UserID: alice, EventID: last})
	})
}

// TestFilesGoWithTheirLastMessage follows files by the events that show them.
func TestFilesGoWithTheirLastMessage(t *testing.T) {
	eachKeeper(t, roomapi.RetentionPolicy{DefaultMaxLifetime: hourMS}, func(t *testing.T, k *keeper) {
		r := k.fill("")
		file := func(name string) string { return "mxc://test.example/" + name }
		show := func(txn, content string) string { return k.message(r.room, alice, txn, content) }
		show("a", `{"msgtype":"m.image","body":"x","url":"`+file("once")+`","info":{"thumbnail_url":"`+file("small")+`"}}`)
		show("b", `{"msgtype":"m.image","body":"x","url":"`+file("twice")+`"}`)
		show("c", `{"msgtype":"m.image","body":"x","url":"`+file("avatar")+`"}`)
		show("d", `{"msgtype":"m.image","body":"x","url":"mxc://elsewhere.example/foreign"}`)
		k.state(r.room, alice, "m.room.avatar", "", `{"url":"`+file("avatar")+`"}`)
		redacted := show("e", `{"msgtype":"m.image","body":"x","url":"`+file("redacted")+`"}`)
		do(k.fixture, roomapi.Send, roomapi.SendRequest{RoomID: r.room, Sender: alice, Type: "m.sticker", Content: []byte(`{"body":"s","url":"` + file("sticker") + `"}`)})
		k.at(30 * time.Minute)
		show("f", `{"msgtype":"m.image","body":"again","url":"`+file("twice")+`"}`)
		went := func(want ...string) {
			t.Helper()
			k.receipt()
			k.mu.Lock()
			defer k.mu.Unlock()
			var got []string
			for _, f := range k.gone {
				if f.UserID != alice {
					t.Errorf("%s is said to be of %s", f.URI, f.UserID)
				}
				got = append(got, strings.TrimPrefix(f.URI, "mxc://test.example/"))
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("these files go: %v, want %v", got, want)
			}
			k.gone = nil
		}
		went()
		do(k.fixture, roomapi.Redact, roomapi.RedactRequest{RoomID: r.room, Sender: alice, EventID: redacted})
		went("redacted")
		k.at(time.Hour)
		went("once", "small")
		k.at(90 * time.Minute)
		went("twice")
		went()
	})
}
