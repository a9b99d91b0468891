package roomserver

import (
	"context"
	"errors"

	"hearth/federationapi/remoteapi"
	"hearth/internal/pdu"
	"hearth/internal/pduwire"
	"hearth/roomserver/auth"
	"hearth/roomserver/storage"
)

// Bounds of a room that another server gives us.
const (
	maxImportEvents = 1_000_000
	maxImportBytes  = 512 << 20
	importChunk     = 2000 // events that are authorized and stored at once
)

// importing takes in a room's state as it comes with the answer to a join. Events are
// stored in parts while they come, those whose auth events have not come yet at the end.
// Nobody sees any of it before finish, which makes the room known in one write.
type importing struct {
	s       *Server
	roomID  string
	version *pdu.RoomVersion
	join    *pdu.Event

	waiting []*pdu.Event // not stored yet
	late    []*pdu.Event // have auth events that had not come when it was their turn
	events  int
	bytes   int
	// state says which event each key has, held which of these are stored, with their numbers.
	state map[auth.StateKey]string
	held  map[string]heldEvent
}

// heldEvent is what is kept of an event of the state.
type heldEvent struct {
	nid        int64
	membership int64
	sender     string
}

// head takes the join as the other server has it: for a restricted room with the signature of
// the server that let the user in.
func (in *importing) head(h *remoteapi.JoinHeader) error {
	if h.MembersOmitted {
		return badAnswer("The state lacks members")
	}
	if !in.version.RestrictedJoins || h.Event.EventID == "" {
		return nil
	}
	ev, err := pdu.Parse(in.version, h.Event.JSON)
	if err != nil || ev.EventID != in.join.EventID || ev.Redacted {
		return badAnswer("The join is another one")
	}
	in.join = ev
	return nil
}

// take takes an event of the state or of the auth chain.
func (in *importing) take(ctx context.Context, kind byte, p pduwire.PDU) error {
	ev, err := p.Load(in.version)
	if err != nil {
		return badAnswer("An event cannot be read")
	}
	if ev.RoomID != in.roomID {
		return badAnswer("An event is of another room")
	}
	in.events++
	if in.bytes += len(p.JSON); in.events > maxImportEvents || in.bytes > maxImportBytes {
		return badAnswer("The room's state is too large")
	}
	if kind == remoteapi.KindState {
		if ev.StateKey == nil {
			return badAnswer("The state holds an event that is not state")
		}
		if in.state == nil {
			in.state, in.held = make(map[auth.StateKey]string), make(map[string]heldEvent)
		}
		key := auth.StateKey{Type: ev.Type, StateKey: *ev.StateKey}
		if other, ok := in.state[key]; ok && other != ev.EventID {
			return badAnswer("The state has two events for one key")
		}
		in.state[key] = ev.EventID
		in.held[ev.EventID] = heldEvent{}
	}
	if in.waiting = append(in.waiting, ev); len(in.waiting) < importChunk {
		return nil
	}
	return in.store(ctx, &in.late)
}

// store stores what waits. Events whose auth events are unknown go to late.
func (in *importing) store(ctx context.Context, late *[]*pdu.Event) error {
	if len(in.waiting) == 0 {
		return nil
	}
	lr, err := in.lock(ctx)
	if err != nil {
		return err
	}
	defer lr.unlock()
	found, err := in.s.storeOutliers(ctx, lr, in.waiting)
	if err != nil {
		return err
	}
	for _, ev := range in.waiting {
		e := found[ev.EventID]
		if e == nil {
			*late = append(*late, ev)
			continue
		}
		if _, wanted := in.held[ev.EventID]; wanted && e.flags&storage.FlagRejected == 0 {
			in.held[ev.EventID] = heldEvent{nid: e.nid, membership: storage.MembershipNumber(membershipIn(ev)), sender: ev.Sender}
		}
	}
	in.waiting = nil
	return nil
}

// lock locks the room as one of the version that it has. We must not take part in it.
func (in *importing) lock(ctx context.Context) (*lockedRoom, error) {
	lr, known, err := in.s.lockAny(ctx, in.roomID)
	if err != nil {
		return nil, err
	}
	if known && lr.version != in.version {
		lr.unlock()
		return nil, badAnswer("The room has version %s", lr.version.ID)
	}
	if err := in.s.ensureRoom(ctx, lr, in.version); err != nil {
		lr.unlock()
		return nil, err
	}
	lr.version = in.version // of a room without state only an inviter has told the version
	return lr, nil
}

// finish checks that the state lets the user in, and makes the room known: the state, and the
// join as its first event.
func (in *importing) finish(ctx context.Context) error {
	if err := in.store(ctx, &in.late); err != nil {
		return err
	}
	in.waiting, in.late = in.late, nil
	var unknown []*pdu.Event
	if err := in.store(ctx, &unknown); err != nil {
		return err
	}
	lr, err := in.lock(ctx)
	if err != nil {
		return err
	}
	defer lr.unlock()
	it, err := in.check(ctx, lr)
	if err != nil {
		return err
	}
	return in.commit(ctx, lr, it)
}

// importState shows the given state to the auth rules.
type importState struct {
	ctx context.Context
	in  *importing
	r   *room
	err error
}

func (st *importState) Event(typ, stateKey string) *pdu.Event {
	held := st.in.held[st.in.state[auth.StateKey{Type: typ, StateKey: stateKey}]]
	if held.nid == 0 {
		return nil
	}
	e, err := st.in.s.event(st.ctx, st.r, held.nid)
	if err != nil {
		st.err = errors.Join(st.err, err)
		return nil
	}
	return e.ev
}

// check checks the create event, and the join both against its auth events and the state.
func (in *importing) check(ctx context.Context, lr *lockedRoom) (*item, error) {
	st := &importState{ctx: ctx, in: in, r: lr.room}
	create := st.Event("m.room.create", "")
	if st.err != nil {
		return nil, st.err
	}
	if create == nil {
		return nil, badAnswer("The state has no valid create event")
	}
	version, ok := pdu.GetString(create.Content, "room_version")
	if !ok {
		version = "1"
	}
	if version != in.version.ID {
		return nil, badAnswer("The room has version %s", version)
	}
	it, err := in.authorize(ctx, lr)
	if err != nil {
		return nil, err
	}
	err = auth.Check(in.join, st)
	if st.err != nil {
		return nil, st.err
	}
	if err != nil {
		return nil, badAnswer("The state does not let the user in").WithCause(err)
	}
	return it, nil
}

// authorize checks the join against its auth events.
func (in *importing) authorize(ctx context.Context, lr *lockedRoom) (*item, error) {
	ids := in.join.AuthEvents
	if in.version.DomainlessRoomIDs {
		ids = append([]string{createID(in.roomID)}, ids...)
	}
	known, err := in.s.eventsByID(ctx, lr.room, ids)
	if err != nil {
		return nil, err
	}
	list, ok := authEvents(in.join, known)
	if !ok {
		return nil, badAnswer("The join's auth events are not in the auth chain")
	}
	var create *stored
	if in.version.DomainlessRoomIDs {
		create = known[createID(in.roomID)]
	}
	var rejection *auth.Rejection
	if err := checkAuthEvents(in.join, list, create); errors.As(err, &rejection) {
		return nil, badAnswer("The join's auth events do not let the user in").WithCause(err)
	} else if err != nil {
		return nil, err
	}
	it := &item{stored: &stored{depth: max(in.join.Depth, 1), gen: 1, flags: storage.FlagReset, ev: in.join}, authEvents: list}
	for _, a := range list {
		it.gen = max(it.gen, a.gen+1)
		it.auth = append(it.auth, a.nid)
	}
	return it, nil
}
