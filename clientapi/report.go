package clientapi

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
)

const (
	// contextOfReport is how many events before and after a reported one are kept with it.
	contextOfReport = 5
	// maxMembersOfReport bounds the members that are kept with a report.
	maxMembersOfReport = 100
)

type reportRequest struct {
	Reason *string `json:"reason"`
	// Score is from before v1.18: −100, most offensive, to 0.
	Score *int64 `json:"score"`
	// Claims is what the client says of encrypted events: what they say once decrypted, and
	// the sessions. Nobody can check it without the keys, so it is kept as what it is.
	Claims json.RawMessage `json:"org.hearth.decrypted"`
}

func (s *Server) decodeReport(r *matrixhttp.Request, needsReason bool) (*reportRequest, error) {
	req, err := matrixhttp.Decode[reportRequest](r)
	if err != nil {
		return nil, err
	}
	if req.Reason == nil {
		if needsReason {
			return nil, merr.MissingParam("reason")
		}
		req.Reason = new(string)
	}
	if len(*req.Reason) > userapi.MaxReason {
		return nil, merr.TooLarge("The reason is longer than %d bytes", userapi.MaxReason)
	}
	return req, s.limits.report.take(r.Identity.UserID)
}

// reportEvent is POST /rooms/{roomId}/report/{eventId}. The reporter must be in the room and see
// the event: 404 otherwise, whatever the cause ("Reporting Content").
func (s *Server) reportEvent(r *matrixhttp.Request) (any, error) {
	req, err := s.decodeReport(r, false)
	if err != nil {
		return nil, err
	}
	room, event := r.Param("roomId"), r.Param("eventId")
	hidden := merr.NotFound("The event was not found or you are not joined to the room")
	if in, err := s.joined(r.Context(), r.Identity.UserID, room); err != nil {
		return nil, err
	} else if !in {
		return nil, hidden
	}
	found, err := roomapi.Context.Do(r.Context(), s.bus, &roomapi.ContextRequest{
		RoomID: room, UserID: r.Identity.UserID, EventID: event, Limit: 2 * contextOfReport,
	})
	if err != nil {
		if merr.From(err).Status >= 500 {
			return nil, err
		}
		return nil, hidden
	}
	evidence, err := s.evidence(r, room, found)
	if err != nil {
		return nil, err
	}
	_, err = userapi.FileReport.Do(r.Context(), s.bus, &userapi.FileReportRequest{
		Kind: userapi.ReportEvent, Reporter: r.Identity.UserID, RoomID: room, EventID: event, UserID: found.Event.Sender,
		Reason: *req.Reason, Score: req.Score, Evidence: evidence, Claims: req.Claims,
	})
	return nil, err
}

// joined reports whether a user is in a room.
func (s *Server) joined(ctx context.Context, user, room string) (bool, error) {
	e, err := roomapi.GetStateEvent.Do(ctx, s.bus, &roomapi.StateEventRequest{RoomID: room, UserID: user, Type: "m.room.member", StateKey: user})
	if err != nil {
		if merr.From(err).Status >= 500 {
			return false, err
		}
		return false, nil
	}
	return e.Membership == "join", nil
}

// evidence is what the reporter sees around an event.
func (s *Server) evidence(r *matrixhttp.Request, room string, found *roomapi.ContextResponse) (json.RawMessage, error) {
	render := roomapi.Render{RoomID: room, UserID: r.Identity.UserID, Now: r.Time}
	list := func(events []*roomapi.Event) []json.RawMessage {
		out := make([]json.RawMessage, len(events))
		for i, e := range events {
			out[i] = e.AppendJSON(nil, render)
		}
		return out
	}
	members, err := s.membersOf(r.Context(), room, r.Identity.UserID)
	if err != nil {
		return nil, err
	}
	evidence := map[string]any{
		"event": json.RawMessage(found.Event.AppendJSON(nil, render)), "events_before": list(found.Before), "events_after": list(found.After),
		"members": members, "seen_ts": r.Time.UnixMilli(),
	}
	raw, err := json.Marshal(evidence)
	if err == nil && len(raw) > userapi.MaxEvidence/2 { // large neighbours are not worth the report
		delete(evidence, "events_before")
		delete(evidence, "events_after")
		raw, err = json.Marshal(evidence)
	}
	return raw, err
}

// errEnough ends a stream of which no more is wanted.
var errEnough = errors.New("clientapi: enough")

// membersOf lists some of the users in a room.
func (s *Server) membersOf(ctx context.Context, room, user string) ([]string, error) {
	members := []string{}
	err := roomapi.ReadEvents(ctx, s.bus, &roomapi.StateRequest{RoomID: room, UserID: user, Types: []string{"m.room.member"}, Membership: "join"},
		func(e *roomapi.Event) error {
			if len(members) == maxMembersOfReport {
				return errEnough
			}
			if e.StateKey != nil {
				members = append(members, *e.StateKey)
			}
			return nil
		})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return members, err
}

// reportRoom is POST /rooms/{roomId}/report. Anybody may report a room, and nobody learns
// whether there is one.
func (s *Server) reportRoom(r *matrixhttp.Request) (any, error) {
	req, err := s.decodeReport(r, true)
	if err != nil {
		return nil, err
	}
	room, err := roomID(r)
	if err != nil {
		return nil, err
	}
	_, err = userapi.FileReport.Do(r.Context(), s.bus, &userapi.FileReportRequest{
		Kind: userapi.ReportRoom, Reporter: r.Identity.UserID, RoomID: room, Reason: *req.Reason, Claims: req.Claims,
	})
	return nil, err
}

// reportUser is POST /users/{userId}/report. Anybody may report a user, and nobody learns
// whether there is one.
func (s *Server) reportUser(r *matrixhttp.Request) (any, error) {
	req, err := s.decodeReport(r, true)
	if err != nil {
		return nil, err
	}
	user := r.Param("userId")
	if err := userID(user); err != nil {
		return nil, err
	}
	_, err = userapi.FileReport.Do(r.Context(), s.bus, &userapi.FileReportRequest{
		Kind: userapi.ReportUser, Reporter: r.Identity.UserID, UserID: user, Reason: *req.Reason, Claims: req.Claims,
	})
	return nil, err
}

// reportEvery is the pace of reports of one user.
const (
	reportBurst = 20
	reportEvery = 10 * time.Second
)
