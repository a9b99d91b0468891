package v3

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/roomserver/roomapi"
	"hearth/syncapi/core"
	"hearth/syncapi/internal/model"
	"hearth/syncapi/viewapi"
)

// response is the body of a /sync answer.
type response struct {
	NextBatch   string `json:"next_batch"`
	AccountData events `json:"account_data"`
	ToDevice    events `json:"to_device"`
	DeviceLists struct {
		Changed []string `json:"changed"`
		Left    []string `json:"left"`
	} `json:"device_lists"`
	OneTime map[string]int `json:"device_one_time_keys_count"`
	Unused  []string       `json:"device_unused_fallback_key_types"`
	Rooms   struct {
		Join   map[string]joinedRoom `json:"join"`
		Leave  map[string]joinedRoom `json:"leave"`
		Invite map[string]struct {
			State events `json:"invite_state"`
		} `json:"invite"`
		Knock map[string]struct {
			State events `json:"knock_state"`
		} `json:"knock"`
	} `json:"rooms"`
}

type joinedRoom struct {
	Summary *struct {
		Heroes  []string `json:"m.heroes"`
		Joined  *int     `json:"m.joined_member_count"`
		Invited *int     `json:"m.invited_member_count"`
	} `json:"summary"`
	State      *events `json:"state"`
	StateAfter *events `json:"state_after"`
	Timeline   *struct {
		Events    []event `json:"events"`
		Limited   bool    `json:"limited"`
		PrevBatch string  `json:"prev_batch"`
	} `json:"timeline"`
	Ephemeral   events `json:"ephemeral"`
	AccountData events `json:"account_data"`
}

type events struct {
	Events []event `json:"events"`
}

type event struct {
	EventID  string          `json:"event_id"`
	RoomID   string          `json:"room_id"`
	Type     string          `json:"type"`
	Sender   string          `json:"sender"`
	StateKey *string         `json:"state_key"`
	Content  json.RawMessage `json:"content"`
	Unsigned struct {
		Age        *int64          `json:"age"`
		TxnID      string          `json:"transaction_id"`
		Membership string          `json:"membership"`
		Redacted   json.RawMessage `json:"redacted_because"`
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
	h.owners.OnRoom, h.owners.OnUser = h.applyRoom, h.applyUser
	h.owners.OnTyping = func(t *roomapi.Typing) { h.engine.ApplyTyping(t) }
	h.restart(0)
	t.Cleanup(func() { h.stop() })
	return h
}

func (h *harness) applyRoom(p bus.Positioned[roomapi.Entry]) {
	_ = h.engine.ApplyRooms(context.Background(), []bus.Positioned[roomapi.Entry]{p}) // never fails
}

func (h *harness) applyUser(p bus.Positioned[userapi.Entry]) {
	_ = h.engine.ApplyUsers(context.Background(), []bus.Positioned[userapi.Entry]{p}) // never fails
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

func (h *harness) raw(req viewapi.SyncRequest) ([]byte, error) {
	return h.rawContext(context.Background(), req)
}

func (h *harness) rawContext(ctx context.Context, req viewapi.SyncRequest) ([]byte, error) {
	if req.DeviceID == "" {
		req.DeviceID = "D"
	}
	var body []byte
	err := h.service.Sync(ctx, &req, func(chunk []byte) error { body = append(body, chunk...); return nil })
	return body, err
}

func (h *harness) sync(req viewapi.SyncRequest) response {
	h.t.Helper()
	body, err := h.raw(req)
	if err != nil {
		h.t.Fatalf("sync of %s: %v", req.UserID, err)
	}
	var r response
	if err := json.Unmarshal(body, &r); err != nil {
		h.t.Fatalf("answer is not JSON: %v\n%s", err, body)
	}
	if r.NextBatch == "" {
		h.t.Fatalf("no next_batch in %s", body)
	}
	return r
}

const (
	alice = "@alice:h"
	bob   = "@bob:h"
	carol = "@carol:h"
	roomA = "!a:h"
	roomB = "!b:h"
)

func messageWithTxn(room, sender, device, txn string) model.Event {
	return model.Event{Room: room, Sender: sender, Type: "m.room.message", Content: `{"body":"x"}`, DeviceID: device, TxnID: txn}
}

// quiet is the answer that tells nothing new: the place, and the state of the device's keys.
func quiet(next string) string {
	return `{"next_batch":"` + next + `","device_one_time_keys_count":{"signed_curve25519":0},"device_unused_fallback_key_types":[]}`
}
