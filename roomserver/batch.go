package roomserver

import (
	"context"
	"errors"
	"fmt"

	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/internal/store"
	"hearth/roomserver/auth"
	"hearth/roomserver/state"
	"hearth/roomserver/storage"
)

// draft is an event that somebody wants to send.
type draft struct {
	typ      string
	sender   string
	stateKey *string
	content  []byte // canonical
	redacts  string
	ts       int64  // milliseconds; 0: now
	device   string // scope of txn
	txn      string // with its endpoint, by scopedTxn
	givenTxn string // as the device gave it
}

// batch collects events of one room that are committed together. It builds on the
// staged view of the room and changes nothing until it is staged.
type batch struct {
	s     *Server
	room  *lockedRoom
	base  *head
	items []*item
	// overlay is the state that the batch's own events have set.
	overlay map[state.Key]*stored
	rows    storage.Append
	fresh   map[int64]bool // names that rows already brings
	// redacted are new forms of events, with the redaction that made them.
	redacted   []redaction
	mergedKeys []mergedKey
	kept       *int64 // the lifetime of the room's events, in milliseconds; nil: not worked out yet
	release    func() // called after the commit; nil: nothing to do
}

// item is an event of a batch.
type item struct {
	*stored
	at         int64 // position in the log
	row        storage.Event
	key        state.Key // of an event that changes the state
	authEvents []*stored
	prevNids   []int64 // prev events; nil: the item before, for the first one the forward extremities
	plan       *plan   // nil: the event follows all forward extremities
	members    []memberChange
	relation   *storage.Relation
	replaced   *stored // the state event whose place the event takes
	device     string
	txn        string
	federate   bool    // goes to the other servers in the room
	promoted   bool    // was stored as an outlier: it has its number
	redaction  *stored // came before the event itself
}

// self is the event's number where it is not known yet: see selfNid.
func (it *item) self() int64 {
	if it.promoted {
		return it.nid
	}
	return selfNid
}

type redaction struct {
	target *stored
	form   *pdu.Event
	by     *stored
}

func (lr *lockedRoom) begin() *batch {
	return &batch{s: lr.s, room: lr, base: lr.staged, overlay: make(map[state.Key]*stored), fresh: make(map[int64]bool)}
}

// name returns the number of a name; the batch brings its row if needed.
func (b *batch) name(ctx context.Context, s string) (int64, error) {
	nid, fresh, err := b.s.names.intern(ctx, s)
	if err != nil {
		return 0, err
	}
	if fresh && !b.fresh[nid] {
		b.fresh[nid] = true
		b.rows.Names = append(b.rows.Names, storage.Name{Nid: nid, S: s})
	}
	return nid, nil
}

// stateEvent returns an event of the state after the batch so far; nil if there is none.
func (b *batch) stateEvent(ctx context.Context, typ, stateKey string) (*stored, error) {
	key, ok, err := b.s.stateKey(ctx, typ, stateKey)
	if err != nil || !ok {
		return nil, err
	}
	if e, ok := b.overlay[key]; ok {
		return e, nil
	}
	if b.base == nil {
		return nil, nil
	}
	nid := b.base.view.Get(key)
	if nid == 0 {
		return nil, nil
	}
	return b.s.event(ctx, b.room.room, nid)
}

// stateKey translates a type and a state key; ok is false if either was never seen.
func (s *Server) stateKey(ctx context.Context, typ, stateKey string) (key state.Key, ok bool, err error) {
	t, ok, err := s.names.lookup(ctx, typ)
	if err != nil || !ok {
		return key, false, err
	}
	k, ok, err := s.names.lookup(ctx, stateKey)
	return state.Key{Type: t, StateKey: k}, ok, err
}

// authState shows the batch's state to the auth rules. The first error of a read
// sticks, and the rules must not be believed then.
type authState struct {
	ctx context.Context
	b   *batch
	err error
}

func (a *authState) Event(typ, stateKey string) *pdu.Event {
	e, err := a.b.stateEvent(a.ctx, typ, stateKey)
	if err != nil && a.err == nil {
		a.err = err
	}
	if e == nil {
		return nil
	}
	return e.ev
}

// add builds an event on top of the batch, signs it and checks that its sender may
// send it: 403 M_FORBIDDEN if not, 413 if it is too large.
func (b *batch) add(ctx context.Context, d draft) (*item, error) {
	it, err := b.build(ctx, d)
	if err != nil {
		return nil, err
	}
	return it, b.accept(ctx, it)
}

// accept takes a built event into the batch if its sender may send it.
func (b *batch) accept(ctx context.Context, it *item) error {
	st := &authState{ctx: ctx, b: b}
	err := auth.Check(it.ev, st)
	if st.err != nil {
		return st.err
	}
	if err != nil {
		var rejection *auth.Rejection
		if errors.As(err, &rejection) {
			return merr.Forbidden("%s", rejection.Reason).WithCause(err)
		}
		return err
	}
	if err := b.place(ctx, it); err != nil {
		return err
	}
	if err := b.follow(ctx, it); err != nil {
		return err
	}
	b.items = append(b.items, it)
	return nil
}

// build makes and signs the PDU.
func (b *batch) build(ctx context.Context, d draft) (*item, error) {
	v := b.room.version
	t := pdu.Template{
		RoomID: b.room.id, Type: d.typ, Sender: d.sender, StateKey: d.stateKey, Content: d.content, Redacts: d.redacts,
		OriginServerTS: d.ts,
	}
	if t.OriginServerTS == 0 {
		t.OriginServerTS = b.s.now().UnixMilli()
	}
	it := &item{stored: &stored{gen: 1}, device: d.device, txn: d.txn, federate: true}
	it.origin = storage.PackOrigin(d.device, d.givenTxn)
	for _, key := range auth.Select(v, d.typ, d.sender, d.stateKey, d.content) {
		e, err := b.stateEvent(ctx, key.Type, key.StateKey)
		if err != nil {
			return nil, err
		}
		if e == nil {
			continue
		}
		it.authEvents = append(it.authEvents, e)
		it.gen = max(it.gen, e.gen+1)
		t.AuthEvents = append(t.AuthEvents, refOf(e.ev))
	}
	for _, x := range b.extremities() {
		t.PrevEvents = append(t.PrevEvents, pdu.Ref{EventID: x.id, SHA256: x.hash})
		t.Depth = max(t.Depth, x.depth+1)
	}
	it.depth = min(max(t.Depth, 1), pdu.MaxDepth)
	t.Depth = it.depth
	if d.typ == "m.room.create" && v.DomainlessRoomIDs {
		t.RoomID = ""
	}
	ev, err := pdu.Build(v, t, b.s.key)
	if err != nil {
		return nil, err
	}
	it.ev = ev
	return it, nil
}

func refOf(ev *pdu.Event) pdu.Ref {
	if ev.Version.EventFormat == 1 {
		return ev.Ref()
	}
	return pdu.Ref{EventID: ev.EventID}
}

// maxPrev is how many prev events an event may name, and an event of ours does name.
const maxPrev = 20

// extremities are the events that the next one follows.
func (b *batch) extremities() []extremity {
	if n := len(b.items); n > 0 {
		return []extremity{extremityOf(b.items[n-1].stored)}
	}
	if b.base == nil {
		return nil
	}
	return b.base.extremities
}

// place works out the rows of an event, all but its number.
func (b *batch) place(ctx context.Context, it *item) (err error) {
	if err := b.late(ctx, it); err != nil {
		return err
	}
	ev := it.ev
	it.row = storage.Event{
		Room: b.room.nid, Key: storage.EventKey(ev.EventID), TS: ev.OriginServerTS, Depth: it.depth, Gen: it.gen,
		Origin: it.origin, JSON: ev.JSON,
	}
	if it.row.Type, err = b.name(ctx, ev.Type); err != nil {
		return err
	}
	if it.row.Sender, err = b.name(ctx, ev.Sender); err != nil {
		return err
	}
	if ev.StateKey == nil {
		return b.relate(ctx, it)
	}
	if it.row.StateKey, err = b.name(ctx, *ev.StateKey); err != nil {
		return err
	}
	it.row.IsState = true
	it.key = state.Key{Type: it.row.Type, StateKey: it.row.StateKey}
	return nil
}

// follow lets a placed event follow all forward extremities.
func (b *batch) follow(ctx context.Context, it *item) (err error) {
	if !it.row.IsState {
		return nil
	}
	if it.replaced, err = b.current(ctx, it.key); err != nil {
		return err
	}
	return b.changeState(ctx, it, state.Entry{Key: it.key, Event: it.self()})
}

// redact replaces target by its redacted form when the batch is committed.
func (b *batch) redact(target, by *stored) error {
	form, err := target.ev.Redact()
	if err != nil {
		return fmt.Errorf("redact %s: %w", target.ev.EventID, err)
	}
	b.redacted = append(b.redacted, redaction{target: target, form: form, by: by})
	return nil
}

// stage queues the batch for the writer and makes it the room's staged view. The
// returned function waits until it is on disk. store.ErrStale means that a write
// before it has failed: lock the room again and start over.
func (b *batch) stage() (wait func(context.Context) error, err error) {
	done := make(chan error, 1)
	b.s.rooms.retain(b.room.room)
	b.rows.Room = b.room.nid
	var c *commit
	_, err = b.s.store.DB.Stage(b.room.generation, len(b.items), func(first int64) store.Op {
		c = b.number(first)
		c.done = done
		return store.Op{Run: c.run, Done: c.finish}
	})
	if err != nil {
		b.s.rooms.release(b.room.room)
		return nil, err
	}
	if c.err == nil {
		b.room.staged = c.head
		for _, m := range b.mergedKeys {
			b.room.remember(m.key, m.snap)
		}
	}
	return waitFor(done), nil
}

// update locks a room, lets f add events to a batch, and waits until they are on
// disk. If f adds nothing, nothing is written, but what f saw is on disk then.
func (s *Server) update(ctx context.Context, roomID string, f func(b *batch) error) error {
	for attempt := 0; ; attempt++ {
		wait, err := s.tryUpdate(ctx, roomID, f, attempt >= policyTries)
		if errors.Is(err, store.ErrStale) && attempt < 3 || errors.Is(err, errMoved) {
			continue
		}
		if err != nil || wait == nil {
			return err
		}
		return wait(ctx)
	}
}

// tryUpdate does it once. hold keeps the room locked while its policy server is asked.
func (s *Server) tryUpdate(ctx context.Context, roomID string, f func(b *batch) error, hold bool) (wait func(context.Context) error, err error) {
	lr, err := s.lockRoom(ctx, roomID)
	if err != nil {
		return nil, err
	}
	b := lr.begin()
	if err := f(b); err != nil {
		lr.unlock()
		return nil, err
	}
	if err := b.awaitPolicy(ctx, hold); err != nil {
		return nil, err
	}
	lr = b.room
	defer lr.unlock()
	if len(b.items) > 0 {
		if err := b.entry(ctx); err != nil {
			return nil, err
		}
		return b.stage()
	}
	if lr.staged.pos == lr.committed.Load().pos {
		return nil, nil
	}
	// The answer may rest on an event that is staged; it must not get out first.
	return s.barrier(lr.generation)
}

// barrier waits until everything staged before it is on disk.
func (s *Server) barrier(gen uint64) (wait func(context.Context) error, err error) {
	done := make(chan error, 1)
	_, err = s.store.DB.Stage(gen, 0, func(int64) store.Op {
		return store.Op{Run: func(*store.Tx) error { return nil }, Done: func(err error) { done <- err }}
	})
	if err != nil {
		return nil, err
	}
	return waitFor(done), nil
}

func waitFor(done <-chan error) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
