package delayed

import (
	"context"
	"encoding/json"
	"net/http"

	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

// view is an event as its owner sees it, with the names of the members that they had in
// older forms of the proposal.
func (e *event) view() map[string]any {
	v := map[string]any{
		"delay_id": e.id, "room_id": e.room, "type": e.typ, "content": json.RawMessage(e.content),
		"delay_ms": e.delay, "delay": e.delay, "scheduled_at": e.since, "delayed_since_ts": e.since, "running_since": e.since,
	}
	if e.stateKey != nil {
		v["state_key"] = *e.stateKey
	}
	return v
}

// outcome adds what became of an event.
func (e *event) outcome(v map[string]any) {
	if e.state == scheduled {
		return
	}
	v["finalised_ts"] = e.ended
	if e.state == sent {
		v["event_id"] = e.eventID
	}
	if e.failure != nil {
		v["error"] = json.RawMessage(e.failure)
	}
}

// finalised is an event that has ended, in the older form of the list.
func (e *event) finalised() map[string]any {
	v := map[string]any{"delayed_event": e.view(), "outcome": "cancel", "reason": "action", "origin_server_ts": e.ended}
	switch {
	case e.failure != nil:
		v["reason"], v["error"] = "error", json.RawMessage(e.failure)
	case e.state == sent:
		v["outcome"], v["event_id"] = "send", e.eventID
		if e.ended >= e.at {
			v["reason"] = "delay"
		}
	}
	return v
}

// List is GET /delayed_events.
func (s *Server) List(r *matrixhttp.Request) (any, error) {
	query := r.Query()
	status := query.Enum("status", "", "scheduled", "finalised")
	ids := query.All("delay_id")
	if err := query.Err(); err != nil {
		return nil, err
	}
	wanted := func(e *event) bool {
		for _, id := range ids {
			if id == e.id {
				return true
			}
		}
		return len(ids) == 0
	}
	answer := map[string]any{}
	if status != "finalised" {
		waiting, err := s.db.of(r.Context(), r.Identity.UserID, false)
		if err != nil {
			return nil, err
		}
		views := []any{}
		for _, e := range waiting {
			if wanted(e) {
				views = append(views, e.view())
			}
		}
		answer["delayed_events"], answer["scheduled"] = views, views
	}
	if status != "scheduled" {
		ended, err := s.db.of(r.Context(), r.Identity.UserID, true)
		if err != nil {
			return nil, err
		}
		views := []any{}
		for _, e := range ended {
			if wanted(e) {
				views = append(views, e.finalised())
			}
		}
		answer["finalised"] = views
	}
	return answer, nil
}

// One is GET /delayed_events/{delayId}.
func (s *Server) One(r *matrixhttp.Request) (any, error) {
	e, err := s.own(r.Context(), r.Identity.UserID, r.Param("delayId"))
	if err != nil {
		return nil, err
	}
	v := e.view()
	e.outcome(v)
	if e.state != scheduled {
		inner := map[string]any{}
		e.outcome(inner)
		v["finalised"] = inner
	}
	return v, nil
}

// own reads a user's event; that of another is unknown.
func (s *Server) own(ctx context.Context, userID, id string) (*event, error) {
	e, err := s.db.get(ctx, id)
	if err == nil && e.userID != userID {
		return nil, merr.NotFound("Unknown delayed event")
	}
	return e, err
}

// Act is POST /delayed_events/{delayId}/{action}.
func (s *Server) Act(r *matrixhttp.Request) (any, error) { return s.do(r, r.Param("action")) }

// ActInBody is POST /delayed_events/{delayId}, the form that has the action in the body.
func (s *Server) ActInBody(r *matrixhttp.Request) (any, error) {
	body, err := matrixhttp.Decode[struct {
		Action string `json:"action"`
	}](r)
	if err != nil {
		return nil, err
	}
	if body.Action == "" {
		return nil, merr.MissingParam("action")
	}
	return s.do(r, body.Action)
}

func (s *Server) do(r *matrixhttp.Request, action string) (any, error) {
	if action != "send" && action != "cancel" && action != "restart" {
		return nil, merr.InvalidParam("The actions are send, cancel and restart")
	}
	if err := s.limit(r.Identity.UserID); err != nil {
		return nil, err
	}
	id := r.Param("delayId")
	defer s.lock(id)()
	e, err := s.own(r.Context(), r.Identity.UserID, id)
	if err != nil {
		return nil, err
	}
	if e.state != scheduled {
		if action == "send" && e.state == sent || action == "cancel" && e.state == cancelled {
			return nil, nil
		}
		return nil, merr.New(http.StatusConflict, "M_UNKNOWN", "The event has been sent or cancelled already")
	}
	now := s.now().UnixMilli()
	switch action {
	case "restart":
		if err := s.db.restart(r.Context(), id, now); err != nil {
			return nil, err
		}
		return nil, nil // the timer that is running finds that it is too early
	case "send":
		if e.eventID, err = s.send(r.Context(), e); err != nil {
			return nil, err
		}
		e.state = sent
	default:
		e.state = cancelled
	}
	e.ended = now
	return nil, s.db.end(r.Context(), e)
}
