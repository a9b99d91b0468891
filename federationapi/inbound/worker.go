package inbound

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"hearth/federationapi/verify"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/internal/pduwire"
	"hearth/roomserver/roomapi"
)

const (
	roomsAtOnce = 4
	// keyTimeout is how long the keys of one room's events may take.
	keyTimeout = 40 * time.Second
	maxError   = 500 // bytes of the text of an error
)

// retries are the pauses before a room that is busy is tried again.
var retries = [...]time.Duration{100 * time.Millisecond, 500 * time.Millisecond, 2 * time.Second}

// worker carries out one transaction.
type worker struct {
	in     *Inbound
	origin string
	// last: what may pass is not waited for any more.
	last bool

	mu     sync.Mutex
	order  []string          // event ids
	errors map[string]string // by event id; "": there is none
}

// carryOut returns a temporary error if the transaction has to be sent again. What was
// done before does no harm when it is done once more.
func (w *worker) carryOut(ctx context.Context, t *transaction) error {
	for _, id := range t.lost {
		w.note(id, "The event names no room")
	}
	// The keys to events must not come later than the events.
	if err := w.edus(ctx, t.edus, before); err != nil {
		return err
	}
	var group errgroup.Group
	group.SetLimit(roomsAtOnce)
	for _, room := range t.rooms {
		group.Go(func() error { return w.room(ctx, room) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return w.edus(ctx, t.edus, after)
}

// room checks the events of a room and hands them on.
func (w *worker) room(ctx context.Context, room *roomPDUs) error {
	known, err := roomapi.FederationRoom.Do(ctx, w.in.d.Bus, &roomapi.FederationRoomRequest{RoomID: room.id, Origin: w.origin})
	if err != nil {
		return w.refuse(err, namedIDs(room.pdus))
	}
	version, ok := pdu.Version(known.Version)
	if !ok {
		return w.refuse(merr.NotFound("The room has an unknown version"), namedIDs(room.pdus))
	}
	good, err := w.verify(ctx, version, room)
	if len(good) == 0 || err != nil {
		return err
	}
	ids := make([]string, len(good))
	for i, p := range good {
		ids[i] = p.EventID
	}
	answer, err := w.receive(ctx, &roomapi.ReceiveRequest{Origin: w.origin, RoomID: room.id, PDUs: good})
	if err != nil {
		return w.refuse(err, ids)
	}
	for _, id := range ids {
		w.note(id, answer.Errors[id])
	}
	return nil
}

// verify drops the events that do not pass. One whose key cannot be had now is dropped
// too: it is found again when a later event names it.
func (w *worker) verify(ctx context.Context, version *pdu.RoomVersion, room *roomPDUs) ([]pduwire.PDU, error) {
	raws := make([]json.RawMessage, len(room.pdus))
	for i, raw := range room.pdus {
		raws[i] = raw
	}
	limited, cancel := context.WithTimeout(ctx, keyTimeout)
	defer cancel()
	events, bad := verify.Events(limited, w.in.d.Ring, version, raws)
	if err := ctx.Err(); err != nil {
		return nil, merr.Unavailable("The transaction took too long").WithCause(err)
	}
	if len(bad) > 0 { // one line: who sends much that is bad must not fill the log
		w.in.d.Log.WithError(bad[0].Err).WithFields(logrus.Fields{"server": w.origin, "event": bad[0].EventID, "n": len(bad)}).Info("events were dropped")
	}
	for _, f := range bad {
		if f.EventID != "" {
			w.note(f.EventID, text(f.Err))
		}
	}
	var good []pduwire.PDU
	for _, e := range events {
		if e.RoomID != room.id {
			w.note(e.EventID, "The event is of another room")
			continue
		}
		good = append(good, pduwire.Of(e))
	}
	return good, nil
}

// receive asks again while the room is busy.
func (w *worker) receive(ctx context.Context, req *roomapi.ReceiveRequest) (*roomapi.ReceiveResponse, error) {
	for i := 0; ; i++ {
		answer, err := roomapi.Receive.Do(ctx, w.in.d.Bus, req)
		if err == nil || i == len(retries) || !busy(err) {
			return answer, err
		}
		select {
		case <-time.After(retries[i]):
		case <-ctx.Done():
			return nil, err
		}
	}
}

func busy(err error) bool {
	e := merr.From(err)
	return e.Temporary && e.RetryAfter > 0
}

// refuse notes an error for events. What may pass puts the whole transaction off: a
// server that gets 200 does not send the events again.
func (w *worker) refuse(err error, ids []string) error {
	e := merr.From(err)
	if !w.last && (e.Temporary || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return merr.New(http.StatusServiceUnavailable, e.Code, "Not all of the transaction could be carried out").WithCause(err)
	}
	if e.Status >= http.StatusInternalServerError {
		w.in.d.Log.WithError(err).WithField("server", w.origin).Error("events of a transaction were not received")
	}
	for _, id := range ids {
		w.note(id, text(err))
	}
	return nil
}

// namedIDs are the ids that events give themselves: of a room that we do not know we
// cannot tell how ids are made.
func namedIDs(raws [][]byte) []string {
	var ids []string
	for _, raw := range raws {
		id, _ := pdu.GetString(raw, "event_id")
		if _, _, err := pdu.ParseEventID(id); err == nil {
			ids = append(ids, id)
		}
	}
	return ids
}

// note says what became of an event; an error stays.
func (w *worker) note(id, failure string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	known, ok := w.errors[id]
	if !ok {
		w.order = append(w.order, id)
	}
	if known == "" {
		w.errors[id] = failure
	}
}

// answer is the body of the answer ("PDU Processing Results").
func (w *worker) answer() json.RawMessage {
	dst := []byte(`{"pdus":{`)
	for i, id := range w.order {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(pdu.AppendString(dst, id), `:{`...)
		if failure := w.errors[id]; failure != "" {
			dst = pdu.AppendString(append(dst, `"error":`...), failure)
		}
		dst = append(dst, '}')
	}
	return append(dst, "}}"...)
}

// text is what another server may know of an error.
func text(err error) string {
	s := merr.From(err).Message
	return s[:min(len(s), maxError)]
}
