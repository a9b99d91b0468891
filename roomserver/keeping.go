package roomserver

import (
	"context"
	"math"

	"hearth/internal/pdu"
	"hearth/roomserver/retention"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

// keeping is what the server knows of how long events are kept. It is immutable; a change replaces it.
type keeping struct {
	policy  roomapi.RetentionPolicy
	changed bool // not that of the configuration
	rooms   map[string]int64
	holds   []roomapi.Hold
}

// loadKeeping reads it from the store.
func (s *Server) loadKeeping(ctx context.Context) error {
	found, err := s.store.Retention(ctx)
	if err != nil {
		return err
	}
	k := &keeping{policy: s.configured, rooms: found.Rooms, holds: found.Holds}
	if found.Policy != nil {
		k.policy, k.changed = *found.Policy, true
	}
	s.keeping.Store(k)
	return nil
}

// held reports whether a hold keeps something from being purged at a time in milliseconds.
func (k *keeping) held(now int64, kind, target string) bool {
	for i := range k.holds {
		if h := &k.holds[i]; h.Kind == kind && h.Target == target && (h.Until == 0 || h.Until > now) {
			return true
		}
	}
	return false
}

// holds reports whether a hold concerns an event.
func (k *keeping) holdsEvent(now int64, roomID string, ev *pdu.Event) bool {
	return len(k.holds) > 0 && (k.held(now, roomapi.HoldRoom, roomID) || k.held(now, roomapi.HoldUser, ev.Sender) || k.held(now, roomapi.HoldEvent, ev.EventID))
}

// lifetime is how long a room's events are kept, in milliseconds, 0: without end. h is a view of the room.
func (s *Server) lifetime(ctx context.Context, r *room, h *head) (int64, error) {
	return s.lifetimeBy(ctx, r, h, &s.keeping.Load().policy)
}

func (s *Server) lifetimeBy(ctx context.Context, r *room, h *head, p *roomapi.RetentionPolicy) (int64, error) {
	f := retention.Facts{Few: h.joined+h.invited <= 2, Forgotten: !h.hosts.local(), Override: s.keeping.Load().rooms[r.id]}
	for _, typ := range []string{retention.Type, retention.UnstableType} {
		e, err := s.committedState(ctx, r, h, typ, "")
		if err != nil {
			return 0, err
		}
		if e != nil {
			if f.Own = retention.OwnLifetime(e.ev.Content); f.Own > 0 {
				break
			}
		}
	}
	if p.Public+p.Direct+p.Private > 0 {
		e, err := s.committedState(ctx, r, h, "m.room.join_rules", "")
		if err != nil {
			return 0, err
		}
		if e != nil {
			rule, _ := pdu.GetString(e.ev.Content, "join_rule")
			f.Public = rule == "public"
		}
	}
	if p.Encrypted > 0 {
		e, err := s.committedState(ctx, r, h, "m.room.encryption", "")
		if err != nil {
			return 0, err
		}
		f.Encrypted = e != nil
	}
	return retention.Lifetime(p, f), nil
}

// never is a cut that no event is before.
const never = math.MinInt64

// expiry tells which events of a room have expired, at the time when it was made.
type expiry struct {
	s    *Server
	room *room
	head *head
	now  int64
	// Events up to this time, in milliseconds, have expired.
	cut int64
	// held events are shown all the same.
	showHeld bool
	// present are the events of the present state, once they are asked for.
	present map[int64]bool
}

// expiry looks at a room as it is on disk.
func (s *Server) expiry(ctx context.Context, r *room) (*expiry, error) {
	h := r.committed.Load()
	if h == nil && r.nid != 0 { // no actor: see searchedRoom
		may, err := s.mayExpire(ctx, r)
		if err != nil {
			return nil, err
		}
		if may {
			_, loaded, done, err := s.view(ctx, r.id)
			if err != nil && !unknownRoom(err) {
				return nil, err
			}
			if err == nil {
				h = loaded
				done()
			}
		}
	}
	return s.expiryOf(ctx, r, h)
}

// mayExpire reports whether anything may bound the lifetime of a room's events, without its state.
func (s *Server) mayExpire(ctx context.Context, r *room) (bool, error) {
	k := s.keeping.Load()
	if retention.Everywhere(&k.policy) || k.rooms[r.id] != 0 {
		return true, nil
	}
	for _, typ := range []string{retention.Type, retention.UnstableType} {
		key, ok, err := s.stateKey(ctx, typ, "")
		if err != nil {
			return false, err
		}
		if !ok {
			continue
		}
		if said, err := s.store.StateHistory(ctx, r.nid, key.Type, key.StateKey); err != nil || len(said) > 0 {
			return true, err
		}
	}
	return false, nil
}

func (s *Server) expiryOf(ctx context.Context, r *room, h *head) (*expiry, error) {
	x := &expiry{s: s, room: r, head: h, now: s.now().UnixMilli(), cut: never}
	if h == nil {
		return x, nil
	}
	ms, err := s.lifetime(ctx, r, h)
	if err == nil && ms > 0 {
		x.cut = x.now - ms
	}
	return x, err
}

// gone reports whether an event has expired or is purged. What is of the room's present state never is.
func (x *expiry) gone(ctx context.Context, e *stored) bool {
	purged := e.flags&storage.FlagPurged != 0
	if !purged && e.ev.OriginServerTS > x.cut {
		return false
	}
	if x.current(ctx, e) {
		return false
	}
	return purged || !x.showHeld || !x.s.keeping.Load().holdsEvent(x.now, x.room.id, e.ev)
}

// current reports whether an event is part of the room's present state.
func (x *expiry) current(ctx context.Context, e *stored) bool {
	if e.ev.StateKey == nil || x.head == nil {
		return false
	}
	key, ok, err := x.s.stateKey(ctx, e.ev.Type, *e.ev.StateKey)
	return err == nil && ok && x.head.view.Get(key) == e.nid
}

// client is an event as clients may see it where it stands for the state of the past: redacted if it has expired, and
// without what the state was before if that has.
func (x *expiry) client(ctx context.Context, e *stored) *roomapi.Event {
	if x.gone(ctx, e) {
		form, err := purgedForm(e)
		if err != nil { // nothing of it is certain to be harmless
			return &roomapi.Event{EventID: e.ev.EventID, Type: e.ev.Type, Sender: e.ev.Sender, StateKey: e.ev.StateKey, OriginServerTS: e.ev.OriginServerTS, JSON: []byte("{}")}
		}
		return form.client
	}
	if e.replacedTS == 0 || e.replacedTS > x.cut {
		return e.client
	}
	c := *e.client
	c.PrevContent, c.PrevSender = nil, ""
	return &c
}

// body is a PDU as other servers may see it where it stands for the state of the past.
func (x *expiry) body(v *pdu.RoomVersion, nid int64, json []byte) ([]byte, error) {
	if ts, ok := pdu.GetInt(json, "origin_server_ts"); !ok || ts > x.cut {
		return json, nil
	}
	if x.present == nil {
		x.present = make(map[int64]bool, x.head.view.Len())
		for entry := range x.head.view.All() {
			x.present[entry.Event] = true
		}
	}
	if x.present[nid] {
		return json, nil
	}
	ev, err := pdu.Load(v, json, "$")
	if err != nil {
		return nil, err
	}
	if neededWhole(ev) {
		return json, nil
	}
	form, err := ev.Redact()
	if err != nil {
		return nil, err
	}
	return form.JSON, nil
}

// late replaces an event that has expired before it came by its stub: it is never shown. State and redactions are
// needed first, and are purged in their turn.
func (b *batch) late(ctx context.Context, it *item) error {
	if b.base == nil {
		return nil
	}
	if b.kept == nil {
		ms, err := b.s.lifetime(ctx, b.room.room, b.base)
		if err != nil {
			return err
		}
		b.kept = &ms
	}
	if *b.kept == 0 || !expiresAtOnce(it.ev, b.s.now().UnixMilli()-*b.kept) {
		return nil
	}
	form, err := it.ev.Redact()
	if err != nil {
		return err
	}
	it.ev, it.flags = form, it.flags|storage.FlagPurged
	return nil
}

func expiresAtOnce(ev *pdu.Event, cut int64) bool {
	return ev.StateKey == nil && ev.Type != redactionType && ev.OriginServerTS <= cut
}
