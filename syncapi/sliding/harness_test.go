package sliding

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
	"hearth/syncapi/core"
	"hearth/syncapi/internal/model"
	"hearth/syncapi/viewapi"
)

// response is the body of an answer, in either form.
type response struct {
	Pos   string `json:"pos"`
	TxnID string `json:"txn_id"`
	Lists map[string]struct {
		Count int `json:"count"`
	} `json:"lists"`
	Rooms      map[string]roomResult `json:"rooms"`
	Extensions struct {
		AccountData struct {
			Global []event            `json:"global"`
			Rooms  map[string][]event `json:"rooms"`
		} `json:"account_data"`
		Receipts struct {
			Rooms map[string]event `json:"rooms"`
		} `json:"receipts"`
		Typing struct {
			Rooms map[string]event `json:"rooms"`
		} `json:"typing"`
	} `json:"extensions"`
}

type roomResult struct {
	Initial    bool            `json:"initial"`
	Membership string          `json:"membership"`
	Lists      []string        `json:"lists"`
	Name       json.RawMessage `json:"name"`
	Avatar     json.RawMessage `json:"avatar"`
	IsDM       *bool           `json:"is_dm"`
	Heroes     []struct {
		UserID string `json:"user_id"`
		Name   string `json:"displayname"`
	} `json:"heroes"`
	State         []event `json:"required_state"`
	Timeline      []event `json:"timeline"`
	Limited       bool    `json:"limited"`
	Expanded      bool    `json:"unstable_expanded_timeline"`
	StableExpand  bool    `json:"expanded_timeline"`
	NumLive       *int    `json:"num_live"`
	PrevBatch     string  `json:"prev_batch"`
	Joined        *int    `json:"joined_count"`
	Invited       *int    `json:"invited_count"`
	BumpStamp     int64   `json:"bump_stamp"`
	InviteState   []event `json:"invite_state"`
	Stripped      []event `json:"stripped_state"`
	Notifications *int    `json:"notification_count"`
	Highlights    *int    `json:"highlight_count"`
}

type event struct {
	EventID  string          `json:"event_id"`
	Type     string          `json:"type"`
	Sender   string          `json:"sender"`
	StateKey *string         `json:"state_key"`
	Content  json.RawMessage `json:"content"`
	Unsigned struct {
		Membership string `json:"membership"`
	} `json:"unsigned"`
}

func ids(list []event) []string {
	out := []string{}
	for _, e := range list {
		out = append(out, e.EventID)
	}
	return out
}

// harness is a service over a model of the owners.
type harness struct {
	t       testing.TB
	owners  *model.Owners
	limits  core.Limits
	engine  *core.Engine
	service *Service
}

func newHarness(t testing.TB) *harness {
	h := &harness{t: t, owners: model.New(), limits: core.DefaultLimits()}
	h.owners.OnRoom = func(p bus.Positioned[roomapi.Entry]) {
		_ = h.engine.ApplyRooms(context.Background(), []bus.Positioned[roomapi.Entry]{p}) // never fails
	}
	h.owners.OnUser = func(p bus.Positioned[userapi.Entry]) {
		_ = h.engine.ApplyUsers(context.Background(), []bus.Positioned[userapi.Entry]{p}) // never fails
	}
	h.owners.OnTyping = func(t *roomapi.Typing) { h.engine.ApplyTyping(t) }
	h.restart(0)
	t.Cleanup(func() { h.stop() })
	return h
}

func (h *harness) stop() {
	h.service.Stop()
	h.engine.Close()
}

// restart starts anew from the ends of the logs, or so many entries before.
func (h *harness) restart(replay int64) {
	if h.engine != nil {
		h.stop()
	}
	rooms, users, _ := h.owners.Heads(context.Background()) // never fails
	from := max(0, rooms-replay)
	h.engine = core.New(core.Options{Source: h.owners, Limits: h.limits, RoomPos: from, UserPos: users})
	_ = h.engine.ApplyRooms(context.Background(), h.owners.Rooms(from)) // never fails
	service, err := New(Deps{Engine: h.engine, Now: func() time.Time { return time.UnixMilli(model.Start + 10_000_000) }})
	if err != nil {
		h.t.Fatal(err)
	}
	h.service = service
}

func (h *harness) raw(ctx context.Context, req viewapi.SlidingRequest) ([]byte, error) {
	if req.DeviceID == "" {
		req.DeviceID = "D"
	}
	var body []byte
	err := h.service.Sync(ctx, &req, func(chunk []byte) error { body = append(body, chunk...); return nil })
	return body, err
}

func (h *harness) sync(req viewapi.SlidingRequest) response {
	h.t.Helper()
	r, err := h.try(req)
	if err != nil {
		h.t.Fatalf("sync of %s: %v", req.UserID, err)
	}
	return r
}

func (h *harness) try(req viewapi.SlidingRequest) (r response, err error) {
	h.t.Helper()
	body, err := h.raw(context.Background(), req)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(body, &r); err != nil {
		h.t.Fatalf("answer is not JSON: %v\n%s", err, body)
	}
	return r, nil
}

func isCode(err error, code string) bool {
	var e *merr.Error
	return errors.As(err, &e) && e.Code == code
}

// phone is a client with one connection.
type phone struct {
	h      *harness
	user   string
	pos    string
	stable bool
	body   string
}

func (p *phone) sync() response {
	p.h.t.Helper()
	r := p.h.sync(p.request())
	p.pos = r.Pos
	return r
}

func (p *phone) request() viewapi.SlidingRequest {
	return viewapi.SlidingRequest{UserID: p.user, Pos: p.pos, Stable: p.stable, Body: json.RawMessage(p.body)}
}

const (
	alice = "@alice:h"
	bob   = "@bob:h"
	carol = "@carol:h"
	roomA = "!a:h"
	roomB = "!b:h"
	roomC = "!c:h"
)
