package appservice

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/internal/store"
	"hearth/internal/store/storetest"
	"hearth/roomserver/roomapi"
)

// rooms is a roomserver that has a log and aliases.
type rooms struct {
	mu      sync.Mutex
	log     []*roomapi.Entry
	aliases map[string][]string
	down    bool
	reads   int
	publish func(pos int64, e *roomapi.Entry)
}

func (r *rooms) head() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return int64(len(r.log))
}

func (r *rooms) append(entries ...*roomapi.Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range entries {
		r.log = append(r.log, e)
		if r.publish != nil {
			r.publish(int64(len(r.log)), e)
		}
	}
}

func (r *rooms) serve(t *testing.T, b *bus.Bus) {
	t.Helper()
	p := bus.NewPublisher(b, roomapi.Log, r.head)
	r.mu.Lock()
	r.publish = p.Publish
	r.mu.Unlock()
	err := bus.ServeLog(b, roomapi.Log, func(_ context.Context, after int64, limit int) ([]bus.Positioned[roomapi.Entry], int64, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.reads++
		if r.down {
			return nil, 0, merr.Unavailable("down")
		}
		var out []bus.Positioned[roomapi.Entry]
		for i := after; i < min(after+int64(limit), int64(len(r.log))); i++ {
			out = append(out, bus.Positioned[roomapi.Entry]{Pos: i + 1, Entry: r.log[i]})
		}
		return out, int64(len(r.log)), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = bus.Handle(b, roomapi.LocalAliases, func(_ context.Context, req *roomapi.RoomRequest) (*roomapi.AliasesResponse, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		list, ok := r.aliases[req.RoomID]
		if !ok {
			return nil, merr.NotFound("Unknown room")
		}
		return &roomapi.AliasesResponse{Aliases: list}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func event(room, sender, id string) *roomapi.Entry {
	return &roomapi.Entry{Kind: roomapi.KindEvent, RoomID: room, Event: &roomapi.Event{
		EventID: id, Type: "m.room.message", Sender: sender, OriginServerTS: 1000,
		JSON: json.RawMessage(`{"content":{"body":"hi"},"event_id":"` + id + `","origin_server_ts":1000,"sender":"` + sender + `","type":"m.room.message"}`),
	}}
}

func member(room, sender, user, membership, id string) *roomapi.Entry {
	return &roomapi.Entry{Kind: roomapi.KindEvent, RoomID: room, Event: &roomapi.Event{
		EventID: id, Type: "m.room.member", Sender: sender, StateKey: &user, Membership: membership, OriginServerTS: 1000,
		JSON: json.RawMessage(`{"content":{"membership":"` + membership + `"},"event_id":"` + id + `","origin_server_ts":1000,"sender":"` + sender +
			`","state_key":"` + user + `","type":"m.room.member"}`),
	}}
}

func receipt(room, user, kind, id string) *roomapi.Entry {
	return &roomapi.Entry{Kind: roomapi.KindReceipt, RoomID: room, Receipt: &roomapi.Receipt{UserID: user, Kind: kind, EventID: id, TS: 5}}
}

// request that a service got.
type arrival struct {
	method, path, query, auth, body string
}

// fakeService is an application service. answer decides the status; negative: the
// request is taken and the answer lost.
type fakeService struct {
	*httptest.Server
	mu  sync.Mutex
	got []arrival
	// confirmed are the indexes of those that were answered with 200.
	confirmed map[int]bool
	arrived   chan struct{}
	answer    func(a arrival) (int, string)
	inFlight  map[*http.Request]bool
	overlap   bool
}

func newFakeService(t *testing.T) *fakeService {
	f := &fakeService{confirmed: map[int]bool{}, inFlight: map[*http.Request]bool{}, arrived: make(chan struct{}, 1), answer: func(arrival) (int, string) { return 200, "{}" }}
	f.Server = httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(f.Close)
	return f
}

func (f *fakeService) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a := arrival{r.Method, r.URL.EscapedPath(), r.URL.RawQuery, r.Header.Get("Authorization"), string(body)}
	f.mu.Lock()
	f.got = append(f.got, a)
	at := len(f.got) - 1
	put := a.method == "PUT"
	if put {
		for other := range f.inFlight { // unless who sent it was stopped
			f.overlap = f.overlap || other.Context().Err() == nil
		}
		f.inFlight[r] = true
	}
	answer := f.answer
	f.mu.Unlock()
	status, text := answer(a)
	f.mu.Lock()
	delete(f.inFlight, r)
	f.confirmed[at] = status == 200
	f.mu.Unlock()
	poke(f.arrived)
	if status < 0 {
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

func (f *fakeService) set(answer func(a arrival) (int, string)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

func (f *fakeService) always(status int) { f.set(func(arrival) (int, string) { return status, "{}" }) }

// requests returns what came so far.
func (f *fakeService) requests() []arrival {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]arrival(nil), f.got...)
}

type txnBody struct {
	Events []struct {
		EventID  string         `json:"event_id"`
		RoomID   string         `json:"room_id"`
		Unsigned map[string]any `json:"unsigned"`
	} `json:"events"`
	Ephemeral []struct {
		Type    string          `json:"type"`
		RoomID  string          `json:"room_id"`
		Content json.RawMessage `json:"content"`
	} `json:"ephemeral"`
}

func (a arrival) txn() string { return a.path[strings.LastIndexByte(a.path, '/')+1:] }

func (a arrival) content(t *testing.T) txnBody {
	t.Helper()
	var b txnBody
	if err := json.Unmarshal([]byte(a.body), &b); err != nil {
		t.Fatalf("%q: %v", a.body, err)
	}
	return b
}

// events returns the ids of the events of different transactions that were confirmed,
// in order of arrival. It checks that a transaction that came twice was the same, and
// that no event came in two.
func (f *fakeService) events(t *testing.T) []string {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	bodies, txns, confirmed := map[string]string{}, map[string]string{}, map[string]bool{}
	for i, a := range f.got {
		if a.method != "PUT" {
			continue
		}
		if before, ok := bodies[a.txn()]; ok && before != a.body {
			t.Fatalf("transaction %s came as\n%s\nand as\n%s", a.txn(), before, a.body)
		}
		bodies[a.txn()] = a.body
		for _, e := range a.content(t).Events {
			if other, ok := txns[e.EventID]; ok && other != a.txn() {
				t.Fatalf("event %s came in transactions %s and %s", e.EventID, other, a.txn())
			}
			txns[e.EventID] = a.txn()
			if f.confirmed[i] && !confirmed[a.txn()] {
				out = append(out, e.EventID)
			}
		}
		confirmed[a.txn()] = confirmed[a.txn()] || f.confirmed[i]
	}
	return out
}

// await waits until the service has got these events, and no others.
func (f *fakeService) await(t *testing.T, want ...string) {
	t.Helper()
	f.until(t, func() bool { return len(f.events(t)) >= len(want) })
	if got := f.events(t); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("got  %v\nwant %v", got, want)
	}
}

func (f *fakeService) until(t *testing.T, what func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !what(); {
		if time.Now().After(deadline) {
			t.Fatalf("it does not come; so far %v", f.requests())
		}
		select {
		case <-f.arrived:
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// fixture is a Service with all that it needs.
type fixture struct {
	t     *testing.T
	e     storetest.Engine
	bus   *bus.Bus
	rooms *rooms
	regs  *Registrations
	s     *Service
	stop  func()
}

// each runs a test on SQLite with direct calls and on PostgreSQL over NATS.
func each(t *testing.T, test func(t *testing.T, f *fixture)) {
	storetest.EachEngine(t, func(t *testing.T, e storetest.Engine) {
		b, err := bus.Connect(t.Context(), bus.Options{Local: e.Name == "sqlite", Log: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		f := &fixture{t: t, e: e, bus: b, rooms: &rooms{aliases: map[string][]string{}}, stop: func() {}}
		f.rooms.serve(t, b)
		t.Cleanup(func() { f.stop() })
		test(t, f)
	})
}

func fast() tuning {
	return tuning{
		backoffMin: 5 * time.Millisecond, backoffMax: 20 * time.Millisecond, transaction: 5 * time.Second,
		query: time.Second, queryPause: time.Millisecond,
	}
}

// start starts a Service for registrations; one that runs is stopped before.
func (f *fixture) start(tune tuning, regs ...*Registration) {
	f.t.Helper()
	f.stop()
	f.regs = &Registrations{all: regs}
	s, err := newService(f.t.Context(), Deps{
		Bus: f.bus, Registrations: f.regs, DataDir: f.e.Options.DataDir, DatabaseURL: f.e.Options.URL,
		Log: quiet(), Now: time.Now,
	}, tune)
	if err != nil {
		f.t.Fatal(err)
	}
	f.s = s
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	f.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			f.t.Errorf("run: %v", err)
		}
		if err := s.Close(); err != nil {
			f.t.Errorf("close: %v", err)
		}
	})
}

// settle waits until the follower has read the whole log.
func (f *fixture) settle() {
	f.t.Helper()
	// An entry that has an effect makes the cursor be stored.
	user := fmt.Sprintf("@settle%d:test", f.rooms.head())
	f.rooms.append(member("!settle:test", user, user, "join", "$settle"))
	want := f.rooms.head()
	for deadline := time.Now().Add(20 * time.Second); ; {
		pos, _, _, err := f.s.db.progress(f.t.Context())
		if err == nil && pos >= want {
			return
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("the follower is at %d of %d: %v", pos, want, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// registration makes one with a namespace of users for each expression.
func registration(t *testing.T, id, url string, users ...string) *Registration {
	t.Helper()
	r := &Registration{ID: id, URL: url, Sender: "@" + id + ":test", server: "test", hsToken: "hs-" + id}
	for _, u := range users {
		r.Users = append(r.Users, namespace(t, u))
	}
	return r
}

func namespace(t *testing.T, expression string) Namespace {
	t.Helper()
	n, err := newNamespace(true, expression)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (f *fixture) rows(table string) int {
	f.t.Helper()
	var n int
	err := f.s.db.Read(f.t.Context(), func(r *store.Reader) error { return r.Row(`SELECT count(*) FROM ` + table).Scan(&n) })
	if err != nil {
		f.t.Fatal(err)
	}
	return n
}

func quiet() *logrus.Entry {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return logrus.NewEntry(log)
}
