package admin

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"hearth/clientapi/jobs"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// kindRedactUser is the job that redacts what a user has sent.
const kindRedactUser = "user.redact"

const (
	// usualRedactions is how many events of a room are redacted unless the request says otherwise.
	usualRedactions = 1000
	redactStep      = 50
	// maxFailures bounds how many failures a job remembers.
	maxFailures = 1000
)

type redactUser struct {
	UserID   string   `json:"user_id"`
	Rooms    []string `json:"rooms"`
	Reason   string   `json:"reason,omitempty"`
	Limit    int      `json:"limit"`
	UseAdmin bool     `json:"use_admin"`
	Actor    string   `json:"actor"`
}

// redacting is how far a job is.
type redacting struct {
	Room     int               `json:"room"`    // of the request's rooms
	InRoom   int               `json:"in_room"` // events looked at in it
	Before   int64             `json:"before,omitempty"`
	Redacted int               `json:"redacted"`
	Failed   map[string]string `json:"failed_redactions"`
}

// redactUser is POST /v1/user/{userId}/redact.
func (s *Server) redactUser(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[struct {
		Rooms    *[]string `json:"rooms"`
		Reason   string    `json:"reason"`
		Limit    *int      `json:"limit"`
		UseAdmin bool      `json:"use_admin"`
	}](r)
	if err != nil {
		return nil, err
	}
	id, err := userID(r) // of other servers as well
	if err != nil {
		return nil, err
	}
	if req.Rooms == nil {
		return nil, merr.MissingParam("rooms")
	}
	job := &redactUser{UserID: id, Rooms: *req.Rooms, Reason: req.Reason, Limit: usualRedactions, UseAdmin: req.UseAdmin, Actor: r.Identity.UserID}
	if req.Limit != nil {
		if job.Limit = *req.Limit; job.Limit <= 0 {
			return nil, merr.InvalidParam("limit must be greater than 0")
		}
	}
	for _, room := range job.Rooms {
		if _, _, err := pdu.ParseRoomID(room); err != nil {
			return nil, merr.InvalidParam("%s is not a legal room ID", room)
		}
	}
	if len(job.Rooms) == 0 {
		err := s.eachRoom(r, id, []string{"join", "leave", "ban", "knock", "invite"}, func(m *roomapi.Membership) error {
			job.Rooms = append(job.Rooms, m.RoomID)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if err := s.record(r, "user.redact", id, req.Reason, nil, map[string]any{"rooms": len(job.Rooms), "limit": job.Limit}); err != nil {
		return nil, err
	}
	jobID, err := s.Jobs().Start(r.Context(), kindRedactUser, id, job.Actor, job)
	if err != nil {
		return nil, err
	}
	return map[string]string{"redact_id": jobID}, nil
}

// redactStatus is GET /v1/user/redact_status/{redactId}.
func (s *Server) redactStatus(r *matrixhttp.Request) (any, error) {
	j, err := s.job(r, r.Param("redactId"), kindRedactUser)
	if err != nil {
		return nil, err
	}
	at := redacting{Failed: map[string]string{}}
	_ = json.Unmarshal(j.Progress, &at) // ours: an object
	out := map[string]any{"status": j.Status, "failed_redactions": at.Failed, "redacted": at.Redacted}
	if j.Error != "" {
		out["error"] = j.Error
	}
	return out, nil
}

// stepRedact redacts some events of one room.
func (s *Server) stepRedact(ctx context.Context, j *jobs.Job) (over bool, err error) {
	var req redactUser
	at := redacting{Failed: map[string]string{}}
	if err := errors.Join(json.Unmarshal(j.Params, &req), json.Unmarshal(j.Progress, &at)); err != nil {
		return false, merr.Internal(err)
	}
	if at.Room >= len(req.Rooms) {
		return true, nil
	}
	room := req.Rooms[at.Room]
	page, err := roomapi.SentBy.Do(ctx, s.Bus, &roomapi.SentByRequest{
		RoomID: room, UserID: req.UserID, Types: []string{"m.room.message", "m.room.encrypted", "m.sticker", "m.reaction", "m.room.member"},
		Before: at.Before, Limit: min(redactStep, req.Limit-at.InRoom),
	})
	if errors.Is(err, merr.NotFound("")) { // a room that we do not know
		page, err = &roomapi.SentByResponse{}, nil
	}
	if err != nil {
		return false, err
	}
	for _, event := range page.EventIDs {
		err := s.redactOne(ctx, &req, room, event, j.ID)
		if e := merr.From(err); e != nil && (e.Temporary || e.Status >= 500) {
			return false, err
		}
		at.InRoom++
		switch {
		case err == nil:
			at.Redacted++
		case len(at.Failed) < maxFailures:
			at.Failed[event] = merr.From(err).Message
		}
	}
	if at.Before = page.Before; !page.More || at.InRoom >= req.Limit {
		at.Room, at.InRoom, at.Before = at.Room+1, 0, 0
	}
	raw, err := json.Marshal(at)
	if err != nil {
		return false, merr.Internal(err)
	}
	j.Progress = raw
	return at.Room >= len(req.Rooms), nil
}

// redactOne redacts an event as its sender, or as the administrator where the sender cannot.
func (s *Server) redactOne(ctx context.Context, req *redactUser, room, event, job string) error {
	redact := func(sender string) error {
		_, err := roomapi.Redact.Do(ctx, s.Bus, &roomapi.RedactRequest{
			RoomID: room, Sender: sender, EventID: event, Reason: req.Reason, DeviceID: "job", TxnID: job + event,
		})
		return err
	}
	local := strings.HasSuffix(req.UserID, ":"+s.ServerName)
	if !local || req.UseAdmin {
		return redact(req.Actor)
	}
	return redact(req.UserID)
}
