package outbound

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"hearth/federationapi/health"
	"hearth/federationapi/internal/peertest"
	"hearth/federationapi/peers"
	"hearth/federationapi/storage"
	"hearth/federationapi/transport"
	"hearth/internal/bus"
	"hearth/internal/pduwire"
	"hearth/internal/store"
	"hearth/roomserver/roomapi"
)

const home = "home.example"

// world is Queues with a scripted roomserver and other servers, all at one address.
type world struct {
	t     testing.TB
	net   *peertest.Net
	bus   *bus.Bus
	rooms *rooms
	far   *far
	dir   string
	tune  Tune
	first time.Duration // of the back-off
	deny  []string

	*Queues
	db     *storage.DB
	health *health.Book
	stop   func()
}

func newWorld(t testing.TB) *world {
	t.Helper()
	return newWorldOn(t, true)
}

// newWorldOn is newWorld with a bus that may call directly, or not.
func newWorldOn(t testing.TB, local bool) *world {
	t.Helper()
	w := &world{
		t: t, net: peertest.NewNet(t), dir: t.TempDir(), first: 30 * time.Millisecond,
		tune: Tune{Hold: 300 * time.Millisecond, Scan: 5 * time.Millisecond, Answer: 2 * time.Second},
	}
	b, err := bus.Connect(context.Background(), bus.Options{Local: local, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	w.bus = b
	w.rooms = newRooms(t, b)
	w.far = newFar(t, w.net)
	t.Cleanup(func() { w.end() })
	return w
}

func quiet() *logrus.Entry {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return logrus.NewEntry(l)
}

func (w *world) storeOptions() store.Options {
	return store.Options{DataDir: w.dir, Log: quiet(), Now: time.Now}
}

// start opens the database and runs.
func (w *world) start() {
	w.t.Helper()
	db, err := storage.Open(context.Background(), w.storeOptions())
	if err != nil {
		w.t.Fatal(err)
	}
	w.db = db
	if w.health, err = health.Open(context.Background(), health.Options{DB: db, Log: quiet(), Now: time.Now, First: w.first, Longest: max(w.first, 200*time.Millisecond)}); err != nil {
		w.t.Fatal(err)
	}
	client := transport.New(transport.Options{
		Signer: peertest.Signer(home, "ed25519:1"), Dial: w.net.Dial, LookupSRV: w.net.LookupSRV, CAs: w.net.CA.Pool(), Now: time.Now,
	})
	w.Queues, err = New(context.Background(), Options{
		Bus: w.bus, ServerName: home, DB: db, Log: quiet(), Now: time.Now, Tune: w.tune,
		Ask: &peers.Client{Transport: client, Health: w.health, Servers: peers.List{Deny: w.deny}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
		client.Close()
	}
	w.until("it knows where to begin", func() bool {
		_, known, err := db.Cursor(context.Background())
		return err == nil && known
	})
}

// end stops in good order.
func (w *world) end() {
	if w.stop == nil {
		return
	}
	w.stop()
	w.stop = nil
	if err := w.db.Close(); err != nil {
		w.t.Error(err)
	}
}

// crash takes the database away before it stops, so that nothing is written at the end.
func (w *world) crash() {
	w.t.Helper()
	if err := w.db.Close(); err != nil {
		w.t.Error(err)
	}
	w.stop()
	w.stop = nil
}

// until waits until something is true.
func (w *world) until(what string, is func() bool) {
	w.t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			if w.Queues != nil {
				w.mu.Lock()
				for _, s := range w.servers {
					w.t.Logf("%+v %+v", *s, w.health.State(s.name))
				}
				w.t.Logf("handed %d of %d, %d ready, %d doubtful, %d running, %d trying", w.track.handed(), w.rooms.head(), len(w.ready), len(w.doubtful), w.running, w.trying)
				w.mu.Unlock()
			}
			w.t.Fatalf("not in time: %s", what)
		}
	}
}

// settle waits until nothing waits any more.
func (w *world) settled() {
	w.t.Helper()
	w.until("all queues are empty", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.servers) == 0 && w.track.handed() == w.rooms.head() && w.track.open() == 0
	})
}

// row returns what is stored of a server.
func (w *world) row(name string) (storage.Destination, bool) {
	list, err := w.db.Destinations(context.Background(), "", 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, d := range list {
		if d.Server == name {
			return d, true
		}
	}
	return storage.Destination{}, false
}

// rooms is a scripted roomserver.
type rooms struct {
	pub *bus.Publisher[roomapi.Entry]

	mu     sync.Mutex
	log    []roomapi.Entry
	events map[int64]roomapi.OutgoingEvent
	hosts  map[string][]string
	newest map[string]roomapi.OutgoingEvent
	fails  int // calls that fail from now on
}

func newRooms(t testing.TB, b *bus.Bus) *rooms {
	r := &rooms{events: map[int64]roomapi.OutgoingEvent{}, hosts: map[string][]string{}, newest: map[string]roomapi.OutgoingEvent{}}
	for _, err := range []error{
		bus.ServeLog(b, roomapi.Log, func(_ context.Context, after int64, limit int) ([]bus.Positioned[roomapi.Entry], int64, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			var out []bus.Positioned[roomapi.Entry]
			for i := after; i < int64(len(r.log)) && len(out) < limit; i++ {
				out = append(out, bus.Positioned[roomapi.Entry]{Pos: i + 1, Entry: &r.log[i]})
			}
			return out, int64(len(r.log)), nil
		}),
		bus.Handle(b, roomapi.Outgoing, r.outgoing),
		bus.Handle(b, roomapi.Hosts, func(_ context.Context, req *roomapi.HostsRequest) (*roomapi.HostsResponse, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			return &roomapi.HostsResponse{Servers: slices.Clone(r.hosts[req.RoomID])}, nil
		}),
		bus.Handle(b, roomapi.HostOf, r.hostOf),
		bus.Handle(b, roomapi.Extremities, func(_ context.Context, req *roomapi.HostsRequest) (*roomapi.ExtremitiesResponse, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			return &roomapi.ExtremitiesResponse{PDUs: []pduwire.PDU{r.newest[req.RoomID].PDU}}, nil
		}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	r.pub = bus.NewPublisher(b, roomapi.Log, r.head)
	return r
}

func (r *rooms) head() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return int64(len(r.log))
}

func (r *rooms) outgoing(_ context.Context, req *roomapi.OutgoingRequest) (*roomapi.OutgoingResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fails > 0 {
		r.fails--
		return nil, fmt.Errorf("the roomserver is out of order")
	}
	resp := &roomapi.OutgoingResponse{}
	for _, pos := range req.Positions {
		if e, ok := r.events[pos]; ok && len(resp.Events) < 30 { // cut, as a large answer is
			resp.Events = append(resp.Events, e)
		}
	}
	return resp, nil
}

func (r *rooms) hostOf(_ context.Context, req *roomapi.HostOfRequest) (*roomapi.HostOfResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	resp := &roomapi.HostOfResponse{}
	for room, hosts := range r.hosts {
		if room > req.After && slices.Contains(hosts, req.Server) {
			resp.Rooms = append(resp.Rooms, roomapi.HostRoom{RoomID: room, Pos: r.newest[room].Pos})
		}
	}
	slices.SortFunc(resp.Rooms, func(a, b roomapi.HostRoom) int { return cmp.Compare(a.RoomID, b.RoomID) })
	if resp.More = len(resp.Rooms) > 3; resp.More {
		resp.Rooms = resp.Rooms[:3]
	}
	return resp, nil
}

// send adds an event to a room and returns its id.
func (r *rooms) send(room, content string) string {
	return r.add(room, `"m.room.message"`, content, nil)
}

// add adds an event that also goes to other servers than are in the room after it.
func (r *rooms) add(room, kind, content string, also []string) string {
	r.mu.Lock()
	pos := int64(len(r.log) + 1)
	id := fmt.Sprintf("$%d", pos)
	e := roomapi.OutgoingEvent{
		Pos: pos, RoomID: room, Hosts: append(slices.Clone(r.hosts[room]), also...),
		PDU: pduwire.PDU{EventID: id, JSON: json.RawMessage(fmt.Sprintf(`{"content":%s,"id":%q,"room_id":%q,"type":%s}`, content, id, room, kind))},
	}
	r.events[pos], r.newest[room] = e, e
	entry := roomapi.Entry{Kind: roomapi.KindEvent, RoomID: room, Federate: true, Event: &roomapi.Event{Type: strings.Trim(kind, `"`), JSON: json.RawMessage(`{}`)}}
	r.log = append(r.log, entry)
	r.mu.Unlock()
	r.pub.Publish(pos, &entry)
	return id
}

// entry adds an entry that is no event of ours.
func (r *rooms) entry(e roomapi.Entry) {
	r.mu.Lock()
	r.log = append(r.log, e)
	pos := int64(len(r.log))
	r.mu.Unlock()
	r.pub.Publish(pos, &e)
}

// far are the other servers: all names lead to one listener.
type far struct {
	t   testing.TB
	net *peertest.Net
	at  string

	mu   sync.Mutex
	seen map[string][]sent
	// answer decides what a server does; nil: it takes everything.
	answer func(server string, s sent) int
	hang   map[string]chan struct{} // servers that do not answer until it is closed
}

// sent is a transaction as it arrived.
type sent struct {
	id   string
	body string
	pdus []string // ids
	edus []json.RawMessage
	took bool
}

func newFar(t testing.TB, n *peertest.Net) *far {
	f := &far{t: t, net: n, seen: map[string][]sent{}, hang: map[string]chan struct{}{}}
	p := peertest.New(t, n, "all", "all:1", "*.far")
	f.at = p.Address()
	p.HandlePrefix("/_matrix/federation/v1/send/", f.take)
	return f
}

// name makes a server that can be reached.
func (f *far) name(i int) string {
	name := fmt.Sprintf("s%d.far:1", i)
	f.net.Place(name, f.at)
	return name
}

func (f *far) take(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var txn struct {
		Origin string `json:"origin"`
		TS     int64  `json:"origin_server_ts"`
		PDUs   []struct {
			ID string `json:"id"`
		} `json:"pdus"`
		EDUs []json.RawMessage `json:"edus"`
	}
	if err := json.Unmarshal(body, &txn); err != nil || r.Method != http.MethodPut || txn.Origin != home || txn.TS == 0 || txn.PDUs == nil {
		f.t.Errorf("%s %s %s: %v", r.Method, r.URL, body, err)
	}
	if len(txn.PDUs) > 50 || len(txn.EDUs) > 100 || len(txn.PDUs)+len(txn.EDUs) == 0 {
		f.t.Errorf("a transaction with %d PDUs and %d EDUs", len(txn.PDUs), len(txn.EDUs))
	}
	s := sent{id: path.Base(r.URL.Path), body: string(body), edus: txn.EDUs}
	for _, p := range txn.PDUs {
		s.pdus = append(s.pdus, p.ID)
	}
	f.mu.Lock()
	hang := f.hang[r.Host]
	status := 200
	if f.answer != nil {
		status = f.answer(r.Host, s)
	}
	at := len(f.seen[r.Host])
	f.seen[r.Host] = append(f.seen[r.Host], s)
	f.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-r.Context().Done():
			return
		}
	}
	f.mu.Lock()
	f.seen[r.Host][at].took = status == 200
	f.mu.Unlock()
	w.WriteHeader(status)
	_, _ = io.WriteString(w, `{"pdus":{}}`)
}

// set changes what servers do.
func (f *far) set(answer func(server string, s sent) int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

// all lists the transactions that reached a server.
func (f *far) all(server string) []sent {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.seen[server])
}

// took lists the events that a server took, in order, and the EDUs.
func (f *far) took(server string) (pdus []string, edus []string) {
	for _, s := range f.all(server) {
		if s.took {
			pdus = append(pdus, s.pdus...)
			for _, e := range s.edus {
				edus = append(edus, string(e))
			}
		}
	}
	return pdus, edus
}

func status(code int) func(string, sent) int { return func(string, sent) int { return code } }
