package clientapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"hearth/clientapi/delayed"
	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

// callRoutes are the endpoints that group calls need: what they can use, and events that
// are sent later.
func (s *Server) callRoutes() []matrixhttp.Route {
	const prefix = unstable + "/org.matrix.msc4140"
	of := func(h func(*delayed.Server, *matrixhttp.Request) (any, error)) matrixhttp.Handler {
		return func(r *matrixhttp.Request) (any, error) {
			if s.delayed == nil {
				return nil, merr.Unrecognized()
			}
			return h(s.delayed, r)
		}
	}
	return table([]line{
		{http.MethodGet, unstable + "/org.matrix.msc4143/rtc/transports", s.guest, noneBody, s.callTransports},
		{http.MethodPut, prefix + "/rooms/{roomId}/delayed_event/{eventType}/{txnId}", s.guest, contentBody, s.delayEvent},
		{http.MethodGet, prefix + "/delayed_events", s.guest, noneBody, of((*delayed.Server).List)},
		{http.MethodGet, prefix + "/delayed_events/{delayId}", s.guest, noneBody, of((*delayed.Server).One)},
		{http.MethodPost, prefix + "/delayed_events/{delayId}", s.guest, optionalBody, of((*delayed.Server).ActInBody)},
		{http.MethodPost, prefix + "/delayed_events/{delayId}/{action}", s.guest, optionalBody, of((*delayed.Server).Act)},
	})
}

// delayParam asks that an event be sent later, in the form that clients speak today.
const delayParam = "org.matrix.msc4140.delay"

// delayedID is the answer to an event that is sent later.
type delayedID struct {
	ID string `json:"delay_id"`
}

// delay schedules an event if its request says so; nil if it does not.
func (s *Server) delay(r *matrixhttp.Request, e delayed.Event) (*delayedID, error) {
	query := r.Query()
	if s.delayed == nil || !query.Has(delayParam) {
		return nil, nil
	}
	e.Delay = time.Duration(query.Int(delayParam, 0, 0, maxTimestamp)) * time.Millisecond
	if err := query.Err(); err != nil {
		return nil, err
	}
	return s.schedule(r, e)
}

func (s *Server) schedule(r *matrixhttp.Request, e delayed.Event) (*delayedID, error) {
	if s.delayed == nil {
		return nil, merr.Unrecognized()
	}
	e.UserID, e.DeviceID = r.Identity.UserID, r.Identity.DeviceID
	id, err := s.delayed.Schedule(r.Context(), &e)
	if err != nil {
		return nil, err
	}
	return &delayedID{id}, nil
}

// delayEvent is PUT /rooms/{roomId}/delayed_event/{eventType}/{txnId}.
func (s *Server) delayEvent(r *matrixhttp.Request) (any, error) {
	room, err := roomID(r)
	if err != nil {
		return nil, err
	}
	txn, err := transaction(r)
	if err != nil {
		return nil, err
	}
	ts, err := timestamp(r)
	if err != nil {
		return nil, err
	}
	body, err := matrixhttp.Decode[struct {
		Delay    *int64     `json:"delay_ms"`
		StateKey *string    `json:"state_key"`
		Content  *rawObject `json:"content"`
	}](r)
	switch {
	case err != nil:
		return nil, err
	case body.Delay == nil:
		return nil, merr.MissingParam("delay_ms")
	case body.Content == nil:
		return nil, merr.MissingParam("content")
	}
	if err := s.limits.send.take(r.Identity.UserID); err != nil {
		return nil, err
	}
	content := json.RawMessage(*body.Content)
	if body.StateKey != nil {
		err = s.maySet(r, room, r.Param("eventType"), *body.StateKey, content)
	} else {
		err = s.policy.MaySend(r.Context(), r.Identity.UserID, room, r.Param("eventType"), nil, content)
	}
	if err != nil {
		return nil, err
	}
	return s.schedule(r, delayed.Event{
		RoomID: room, Type: r.Param("eventType"), TxnID: txn, StateKey: body.StateKey, Content: content,
		Timestamp: ts, Delay: time.Duration(min(max(*body.Delay, 0), maxTimestamp)) * time.Millisecond,
	})
}

// delayedSender says whether a user may still send, when the time of an event has come.
func (s *Server) delayedSender(ctx context.Context, userID string) (silent bool, err error) {
	u, err := userapi.GetUser.Do(ctx, s.bus, &userapi.UserRequest{UserID: userID})
	switch {
	case err != nil:
		return false, err
	case u.Suspended, u.Locked:
		return false, suspended()
	}
	return u.ShadowBanned, nil
}

// delayLimits is the capability that tells of the limits.
func delayLimits() map[string]int64 {
	return map[string]int64{"max_delay_ms": delayed.MaxDelay.Milliseconds(), "max_scheduled": delayed.MaxScheduled}
}
