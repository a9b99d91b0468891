package roomserver

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"hash/fnv"
	"hearth/federationapi/remoteapi"
	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
	"maps"
	"slices"
	"sync"
	"testing"

	"hearth/internal/pdu"
	"hearth/internal/pduwire"
	"hearth/roomserver/auth"
)

// peer is another server as tests need it: it has a key, and it builds events on the
// part of a room that it is told of. It checks nothing.
type peer struct {
	t     testing.TB
	key   pdu.Signer
	v     *pdu.RoomVersion
	room  string
	state map[auth.StateKey]*pdu.Event
	heads []*pdu.Event
	known map[string]*pdu.Event
	// before has the state before each event.
	before map[string]map[auth.StateKey]*pdu.Event
	ts     int64
}

func newPeer(t testing.TB, name, version string) *peer {
	t.Helper()
	v, ok := pdu.Version(version)
	if !ok {
		t.Fatalf("no room version %s", version)
	}
	h := fnv.New128()
	h.Write([]byte(name))
	seed := append(h.Sum(nil), h.Sum(nil)...)
	return &peer{
		t: t, v: v, state: make(map[auth.StateKey]*pdu.Event), known: make(map[string]*pdu.Event), ts: 1_700_000_000_000,
		before: make(map[string]map[auth.StateKey]*pdu.Event),
		key:    pdu.Signer{ServerName: name, KeyID: "ed25519:p", Key: ed25519.NewKeyFromSeed(seed)},
	}
}

// user returns a user id of the peer's.
func (p *peer) user(localpart string) string { return "@" + localpart + ":" + p.key.ServerName }

// opt changes what an event is built from.
type opt func(*pdu.Template)

// after names the prev events.
func after(events ...*pdu.Event) opt {
	return func(t *pdu.Template) {
		t.PrevEvents, t.Depth = nil, 0
		for _, e := range events {
			t.PrevEvents = append(t.PrevEvents, e.Ref())
			t.Depth = max(t.Depth, e.Depth+1)
		}
	}
}

// authBy names the auth events.
func authBy(events ...*pdu.Event) opt {
	return func(t *pdu.Template) {
		t.AuthEvents = nil
		for _, e := range events {
			t.AuthEvents = append(t.AuthEvents, e.Ref())
		}
	}
}

// redacting names the target of a redaction.
func redacting(id string) opt {
	return func(t *pdu.Template) { t.Redacts = id }
}

// build makes an event on top of the heads without taking it in.
func (p *peer) build(sender, typ string, stateKey *string, content any, opts ...opt) *pdu.Event {
	p.t.Helper()
	body, err := json.Marshal(content)
	if err != nil {
		p.t.Fatal(err)
	}
	if body, err = pdu.Canonical(body, true); err != nil {
		p.t.Fatal(err)
	}
	p.ts++
	t := pdu.Template{RoomID: p.room, Type: typ, Sender: sender, StateKey: stateKey, Content: body, OriginServerTS: p.ts, Depth: 1}
	for _, key := range auth.Select(p.v, typ, sender, stateKey, body) {
		if e := p.state[key]; e != nil {
			t.AuthEvents = append(t.AuthEvents, e.Ref())
		}
	}
	after(p.heads...)(&t)
	t.Depth = max(t.Depth, 1)
	for _, o := range opts {
		o(&t)
	}
	if p.v.RedactsInContent && t.Redacts != "" {
		t.Content, _ = pdu.Set(t.Content, "redacts", pdu.AppendString(nil, t.Redacts))
		t.Redacts = ""
	}
	ev, err := pdu.Build(p.v, t, p.key)
	if err != nil {
		p.t.Fatal(err)
	}
	return ev
}

// take makes an event the newest of the room.
func (p *peer) take(ev *pdu.Event) *pdu.Event {
	if p.known[ev.EventID] != nil {
		return ev
	}
	p.known[ev.EventID] = ev
	p.before[ev.EventID] = maps.Clone(p.state)
	p.heads = slices.DeleteFunc(slices.Clone(p.heads), func(h *pdu.Event) bool { return slices.Contains(ev.PrevEvents, h.EventID) })
	p.heads = append(p.heads, ev)
	if ev.StateKey != nil {
		p.state[auth.StateKey{Type: ev.Type, StateKey: *ev.StateKey}] = ev
	}
	return ev
}

// send builds an event and takes it in.
func (p *peer) send(sender, typ string, stateKey *string, content any, opts ...opt) *pdu.Event {
	p.t.Helper()
	return p.take(p.build(sender, typ, stateKey, content, opts...))
}

func (p *peer) message(sender, body string, opts ...opt) *pdu.Event {
	p.t.Helper()
	return p.send(sender, "m.room.message", nil, map[string]any{"msgtype": "m.text", "body": body}, opts...)
}

func (p *peer) member(sender, target, membership string, opts ...opt) *pdu.Event {
	p.t.Helper()
	return p.send(sender, memberType, &target, map[string]any{"membership": membership}, opts...)
}

// create makes a public room of a creator with the power to do everything.
func (p *peer) create(creator string) {
	p.t.Helper()
	if !p.v.DomainlessRoomIDs {
		p.room = "!room:" + p.key.ServerName
	}
	content := map[string]any{"room_version": p.v.ID}
	if !p.v.CreatorIsSender {
		content["creator"] = creator
	}
	ev := p.build(creator, "m.room.create", ptr(""), content)
	p.room = ev.RoomID
	p.take(ev)
	p.member(creator, creator, "join")
	levels := map[string]any{"users": map[string]int{creator: 100}}
	if p.v.PrivilegedCreators {
		levels["users"] = map[string]int{}
	}
	p.send(creator, "m.room.power_levels", ptr(""), levels)
	p.send(creator, "m.room.join_rules", ptr(""), map[string]any{"join_rule": "public"})
}

// pdus is the wire form of events.
func pdus(events ...*pdu.Event) []pduwire.PDU {
	list := make([]pduwire.PDU, len(events))
	for i, ev := range events {
		list[i] = pduwire.Of(ev)
	}
	return list
}

// peer returns another server that knows all of a room's live events.
func (f *fixture) peer(name, room string) *peer {
	f.t.Helper()
	events := f.live(room)
	p := newPeer(f.t, name, events[0].Version.ID)
	p.room = room
	for _, ev := range events {
		p.take(ev)
	}
	p.ts = events[len(events)-1].OriginServerTS
	return p
}

// live lists the shown events of a room in the order of its timeline.
func (f *fixture) live(room string) (events []*pdu.Event) {
	f.t.Helper()
	r, _, done, err := f.s.view(f.t.Context(), room)
	if err != nil {
		f.t.Fatal(err)
	}
	defer done()
	rows, err := f.s.store.Forwards(f.t.Context(), r.nid, minOrd, maxOrd, 100_000)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, row := range rows {
		list, err := f.s.finish(f.t.Context(), r.version, []*storage.Event{row})
		if err != nil {
			f.t.Fatal(err)
		}
		if !list[0].hidden() {
			events = append(events, list[0].ev)
		}
	}
	return events
}

// event returns an event by id; nil if the server does not have it.
func (f *fixture) event(room, id string) *stored {
	f.t.Helper()
	r, _, done, err := f.s.view(f.t.Context(), room)
	if err != nil {
		f.t.Fatal(err)
	}
	defer done()
	e, err := f.s.eventByID(f.t.Context(), r, id)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		f.t.Fatal(err)
	}
	return e
}

// receive brings events from a peer; none of them may be refused.
func (f *fixture) receive(p *peer, events ...*pdu.Event) {
	f.t.Helper()
	for part := range slices.Chunk(events, maxReceived) {
		resp := do(f, roomapi.Receive, roomapi.ReceiveRequest{Origin: p.key.ServerName, RoomID: p.room, PDUs: pdus(part...)})
		if len(resp.Errors) > 0 {
			f.t.Fatalf("receive: %v", resp.Errors)
		}
	}
}

// value is the content of a piece of the room's state; "" if there is none.
func (f *fixture) value(room, typ, key string) string {
	f.t.Helper()
	r, h, done, err := f.s.view(f.t.Context(), room)
	if err != nil {
		f.t.Fatal(err)
	}
	defer done()
	e, err := f.s.committedState(f.t.Context(), r, h, typ, key)
	if err != nil {
		f.t.Fatal(err)
	}
	if e == nil {
		return ""
	}
	return string(e.ev.Content)
}

// answers lets peers answer what the roomserver asks of their servers.
func (f *fixture) answers(peers ...*peer) *remotes {
	f.t.Helper()
	r := &remotes{peers: make(map[string]*peer), asked: make(map[string]int)}
	for _, p := range peers {
		r.peers[p.key.ServerName] = p
	}
	for _, err := range []error{
		bus.Handle(f.bus, remoteapi.MissingEvents, r.missing),
		bus.Handle(f.bus, remoteapi.StateIDs, r.stateIDs),
		bus.HandleStream(f.bus, remoteapi.Events, r.events),
		bus.HandleStream(f.bus, remoteapi.EventAuth, r.eventAuth),
		bus.HandleStream(f.bus, remoteapi.State, r.state),
		bus.Handle(f.bus, remoteapi.Backfill, r.backfill),
	} {
		if err != nil {
			f.t.Fatal(err)
		}
	}
	return r
}

// remotes answers requests to other servers.
type remotes struct {
	mu    sync.Mutex
	peers map[string]*peer
	asked map[string]int  // requests by kind
	deny  map[string]bool // kinds that are not answered
}

func (r *remotes) peer(kind, name string) (*peer, func(), error) {
	r.mu.Lock()
	r.asked[kind]++
	p := r.peers[name]
	if p == nil || r.deny[kind] {
		r.mu.Unlock()
		return nil, nil, merr.Unavailable("no such server")
	}
	return p, r.mu.Unlock, nil
}

func (r *remotes) missing(_ context.Context, req *remoteapi.MissingRequest) (*remoteapi.PDUs, error) {
	p, done, err := r.peer("missing", req.Destination)
	if err != nil {
		return nil, err
	}
	defer done()
	return &remoteapi.PDUs{Events: pdus(p.walk(req.Latest, req.Earliest, req.Limit, false)...)}, nil
}

func (r *remotes) backfill(_ context.Context, req *remoteapi.BackfillRequest) (*remoteapi.PDUs, error) {
	p, done, err := r.peer("backfill", req.Destination)
	if err != nil {
		return nil, err
	}
	defer done()
	return &remoteapi.PDUs{Events: pdus(p.walk(req.From, nil, req.Limit, true)...)}, nil
}

// walk goes back from events, newest first, up to others.
func (p *peer) walk(from, to []string, limit int, including bool) (list []*pdu.Event) {
	seen := make(map[string]bool)
	for _, id := range to {
		seen[id] = true
	}
	queue := slices.Clone(from)
	for len(queue) > 0 && len(list) < limit {
		ev := p.known[queue[0]]
		start := slices.Contains(from, queue[0])
		queue = queue[1:]
		if ev == nil || seen[ev.EventID] {
			continue
		}
		seen[ev.EventID] = true
		if !start || including {
			list = append(list, ev)
		}
		queue = append(queue, ev.PrevEvents...)
	}
	return list
}

func (r *remotes) stateIDs(_ context.Context, req *remoteapi.StateIDsRequest) (*remoteapi.StateIDsResponse, error) {
	p, done, err := r.peer("state_ids", req.Destination)
	if err != nil {
		return nil, err
	}
	defer done()
	resp := &remoteapi.StateIDsResponse{}
	chain := make(map[string]*pdu.Event)
	for _, ev := range p.before[req.EventID] {
		resp.State = append(resp.State, ev.EventID)
		p.chain(ev, chain)
	}
	for id := range chain {
		resp.AuthChain = append(resp.AuthChain, id)
	}
	return resp, nil
}

// chain collects the auth chain of an event.
func (p *peer) chain(ev *pdu.Event, into map[string]*pdu.Event) {
	for _, id := range ev.AuthEvents {
		if a := p.known[id]; a != nil && into[id] == nil {
			into[id] = a
			p.chain(a, into)
		}
	}
}

func (r *remotes) events(_ context.Context, req *remoteapi.EventsRequest, send func([]byte) error) error {
	p, done, err := r.peer("event", req.Destination)
	if err != nil {
		return err
	}
	defer done()
	w := pduwire.NewWriter(send)
	for _, id := range req.EventIDs {
		if ev := p.known[id]; ev != nil {
			if err := w.Write(0, pduwire.Of(ev)); err != nil {
				return err
			}
		}
	}
	return w.Flush()
}

func (r *remotes) eventAuth(_ context.Context, req *remoteapi.EventAuthRequest, send func([]byte) error) error {
	p, done, err := r.peer("event_auth", req.Destination)
	if err != nil {
		return err
	}
	defer done()
	chain := make(map[string]*pdu.Event)
	p.chain(p.known[req.EventID], chain)
	w := pduwire.NewWriter(send)
	for _, ev := range chain {
		if err := w.Write(0, pduwire.Of(ev)); err != nil {
			return err
		}
	}
	return w.Flush()
}

func (r *remotes) state(_ context.Context, req *remoteapi.StateIDsRequest, send func([]byte) error) error {
	p, done, err := r.peer("state", req.Destination)
	if err != nil {
		return err
	}
	defer done()
	w := remoteapi.NewJoinWriter(send)
	chain := make(map[string]*pdu.Event)
	for _, ev := range p.before[req.EventID] {
		p.chain(ev, chain)
		if err := w.State(pduwire.Of(ev)); err != nil {
			return err
		}
	}
	for _, ev := range chain {
		if err := w.Auth(pduwire.Of(ev)); err != nil {
			return err
		}
	}
	return w.Flush()
}
