package roomserver

import (
	"context"
	"errors"

	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/internal/pduwire"
	"hearth/internal/store"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

// maxReceived is how many PDUs one request brings.
const maxReceived = 50

// receive takes PDUs of a transaction. Those that name events which we do not have wait in
// the inbox, from which a worker takes them when it has got these.
func (s *Server) receive(ctx context.Context, req *roomapi.ReceiveRequest) (*roomapi.ReceiveResponse, error) {
	if len(req.PDUs) > maxReceived {
		return nil, merr.InvalidParam("Too many PDUs")
	}
	r, h, done, err := s.view(ctx, req.RoomID)
	if errors.Is(err, errNoRoom) {
		return s.receiveOutside(ctx, req)
	}
	if err != nil {
		return nil, err
	}
	defer done()
	if err := s.checkACL(ctx, r, h, req.Origin); err != nil {
		return nil, err
	}
	if !h.hosts.local() {
		return s.receiveOutside(ctx, req)
	}
	rc := &reception{s: s, origin: req.Origin, roomID: req.RoomID, errors: make(map[string]string)}
	events := rc.load(r.version, req.PDUs)
	if err := s.recommend(ctx, r, h, events); err != nil {
		return nil, err
	}
	for attempt := 0; ; attempt++ {
		err := rc.try(ctx, events)
		if err == nil {
			return &roomapi.ReceiveResponse{Errors: rc.errors}, nil
		}
		if !errors.Is(err, store.ErrStale) || attempt == 3 {
			return nil, err
		}
	}
}

// reception is one call of receive.
type reception struct {
	s              *Server
	origin, roomID string
	errors         map[string]string // by event id
	waits          []func(context.Context) error
}

// load parses the PDUs; those that are not of the room are refused.
func (rc *reception) load(v *pdu.RoomVersion, list []pduwire.PDU) []*pdu.Event {
	events := make([]*pdu.Event, 0, len(list))
	for i := range list {
		ev, err := list[i].Load(v)
		switch {
		case err != nil:
			rc.errors[list[i].EventID] = merr.From(err).Message
		case ev.RoomID != rc.roomID:
			rc.errors[list[i].EventID] = "The event is of another room"
		default:
			events = append(events, ev)
		}
	}
	return events
}

// try lets the events enter the room one after another and waits for the disk. It may be
// called again: what is known by then is passed over.
func (rc *reception) try(ctx context.Context, events []*pdu.Event) error {
	rc.waits = rc.waits[:0]
	waiting, err := rc.enter(ctx, events)
	if err != nil {
		return err
	}
	if len(waiting) > 0 {
		wait, err := rc.putAside(ctx, waiting)
		if err != nil {
			return err
		}
		rc.waits = append(rc.waits, wait)
	}
	for _, wait := range rc.waits {
		if err := wait(ctx); err != nil {
			return err
		}
	}
	if rc.s.inbox.holds(rc.roomID) {
		rc.s.inbox.wake(rc.roomID)
	}
	return nil
}

// enter stages what can be staged and returns the events that have to wait.
func (rc *reception) enter(ctx context.Context, events []*pdu.Event) (waiting []*pdu.Event, err error) {
	lr, err := rc.s.lockRoom(ctx, rc.roomID)
	if err != nil {
		return nil, err
	}
	defer lr.unlock()
	for _, ev := range events {
		v, wait, err := rc.s.step(ctx, lr, &incoming{ev: ev})
		switch {
		case err != nil && eventsFault(err):
			rc.errors[ev.EventID] = merr.From(err).Message
		case err != nil:
			return nil, err
		case v.missing():
			waiting = append(waiting, ev)
		case wait != nil:
			rc.waits = append(rc.waits, wait)
		}
	}
	wait, err := rc.s.tidy(ctx, lr)
	if err != nil {
		return nil, err
	}
	if wait != nil {
		rc.waits = append(rc.waits, wait)
	}
	if len(rc.waits) == 0 && lr.staged.pos != lr.committed.Load().pos {
		// An event may be known because it is staged; the answer must not get out first.
		wait, err := rc.s.barrier(lr.generation)
		if err != nil {
			return nil, err
		}
		rc.waits = append(rc.waits, wait)
	}
	return waiting, nil
}

// eventsFault tells errors that an event has brought upon itself from those that may pass.
func eventsFault(err error) bool {
	var e *merr.Error
	return errors.As(err, &e) && e.Status < 500 && !e.Temporary
}

// step lets one event enter a locked room and stages it. wait is nil if there is nothing to
// wait for.
func (s *Server) step(ctx context.Context, lr *lockedRoom, in *incoming) (v verdict, wait func(context.Context) error, err error) {
	b := lr.begin()
	if v, err = b.take(ctx, in); err != nil || v.missing() {
		return v, nil, err
	}
	if s.inbox.holds(lr.id) {
		b.rows.Processed = []string{in.ev.EventID}
	}
	if v.known {
		if b.rows.Processed != nil {
			wait, err = s.leaveInbox(lr, in.ev.EventID)
		}
		return v, wait, err
	}
	if err = b.entry(ctx); err == nil {
		wait, err = b.stage()
	}
	if err != nil {
		b.drop()
	}
	return v, wait, err
}

// leaveInbox takes an event that has come in another way out of the inbox.
func (s *Server) leaveInbox(lr *lockedRoom, eventID string) (wait func(context.Context) error, err error) {
	done := make(chan error, 1)
	_, err = s.store.DB.Stage(lr.generation, 0, func(int64) store.Op {
		return store.Op{
			Run:  func(tx *store.Tx) error { return storage.DeleteInbox(tx, lr.nid, eventID) },
			Done: func(err error) { done <- err },
		}
	})
	return waitFor(done), err
}
