package v3

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"hearth/internal/merr"
	"hearth/syncapi/viewapi"
)

func TestFilters(t *testing.T) {
	tests := []struct {
		name, filter string
		want         string // what was told of: timeline, state, receipt, typing, tag, direct; rooms
	}{
		{"None", `{}`, "a:timeline a:receipt a:typing a:tag b:timeline direct"},
		{"OnlyRoom", `{"room":{"rooms":["!b:h"]}}`, "b:timeline direct"},
		{"NoRooms", `{"room":{"rooms":[]}}`, "direct"},
		{"NotRoom", `{"room":{"not_rooms":["!a:h"]}}`, "b:timeline direct"},
		{"NotTypes", `{"room":{"timeline":{"not_types":["m.room.mess*"]}}}`, "a:receipt a:typing a:tag direct"},
		{"Types", `{"room":{"timeline":{"types":["m.room.message"]}}}`, "a:timeline a:receipt a:typing a:tag b:timeline direct"},
		{"NoTypes", `{"room":{"timeline":{"types":[]},"ephemeral":{"types":[]},"account_data":{"types":[]}}}`, "direct"},
		{"Senders", `{"room":{"timeline":{"senders":["@bob:h"]}}}`, "a:receipt a:typing a:tag b:timeline direct"},
		{"NotSenders", `{"room":{"timeline":{"not_senders":["@bob:h"]}}}`, "a:timeline a:receipt a:typing a:tag direct"},
		{"TimelineRooms", `{"room":{"timeline":{"rooms":["!b:h"]}}}`, "a:receipt a:typing a:tag b:timeline direct"},
		{"EphemeralNotTyping", `{"room":{"ephemeral":{"not_types":["m.typing"]}}}`, "a:timeline a:receipt a:tag b:timeline direct"},
		{"EphemeralNotRoom", `{"room":{"ephemeral":{"not_rooms":["!a:h"]}}}`, "a:timeline a:tag b:timeline direct"},
		{"NoAccountData", `{"account_data":{"not_types":["*"]},"room":{"account_data":{"not_types":["*"]}}}`, "a:timeline a:receipt a:typing b:timeline"},
		{"URL", `{"room":{"timeline":{"contains_url":true}}}`, "a:receipt a:typing a:tag b:timeline direct"},
		{"NoURL", `{"room":{"timeline":{"contains_url":false}}}`, "a:timeline a:receipt a:typing a:tag direct"},
	}
	h := newHarness(t)
	h.owners.Create(roomA, alice, "shared")
	h.owners.Create(roomB, bob, "shared")
	h.owners.Member(roomB, alice, alice, "join")
	since := h.sync(viewapi.SyncRequest{UserID: alice}).NextBatch
	m := h.owners.Message(roomA, alice, "x")
	msg := messageWithTxn(roomB, bob, "", "")
	msg.Content = `{"body":"x","url":"mxc://h/1"}`
	h.owners.Send(msg)
	h.owners.Receipt(roomA, bob, "m.read", m, "")
	h.owners.Typing(roomA, bob)
	h.owners.SetAccountData(alice, roomA, "m.tag", `{}`)
	h.owners.SetAccountData(alice, "", "m.direct", `{}`)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := h.sync(viewapi.SyncRequest{UserID: alice, Since: since, Filter: []byte(test.filter)})
			var got []string
			for _, id := range []string{roomA, roomB} {
				room := r.Rooms.Join[id]
				short := id[1:2] + ":"
				if room.Timeline != nil {
					got = append(got, short+"timeline")
				}
				for _, e := range slices.Backward(room.Ephemeral.Events) {
					got = append(got, short+strings.TrimPrefix(e.Type, "m."))
				}
				for _, e := range room.AccountData.Events {
					got = append(got, short+strings.TrimPrefix(e.Type, "m."))
				}
			}
			for _, e := range r.AccountData.Events {
				got = append(got, strings.TrimPrefix(e.Type, "m."))
			}
			if s := strings.Join(got, " "); s != test.want {
				t.Errorf("got  %s\nwant %s", s, test.want)
			}
		})
	}
}

func TestStateFilter(t *testing.T) {
	h := newHarness(t)
	h.owners.Create(roomA, alice, "shared")
	h.owners.Message(roomA, alice, "x")
	r := h.sync(viewapi.SyncRequest{UserID: alice,
		Filter: []byte(`{"room":{"timeline":{"limit":1},"state":{"types":["m.room.create"]}}}`)})
	wantIDs(t, "state", r.Rooms.Join[roomA].State.Events, "$1")
}

func TestStateThatTheTimelineFilterTakesAwayGoesToTheOwner(t *testing.T) {
	h := newHarness(t)
	h.owners.Create(roomA, alice, "shared")
	since := h.sync(viewapi.SyncRequest{UserID: alice}).NextBatch
	topic := h.owners.SetState(roomA, alice, "m.room.topic", "", `{}`)
	m := h.owners.Message(roomA, alice, "x")
	r := h.sync(viewapi.SyncRequest{UserID: alice, Since: since, Filter: []byte(`{"room":{"timeline":{"types":["m.room.message"]}}}`)})
	room := r.Rooms.Join[roomA]
	wantIDs(t, "timeline", room.Timeline.Events, m)
	wantIDs(t, "state", room.State.Events, topic)
}

func TestEventFields(t *testing.T) {
	h := newHarness(t)
	h.owners.Create(roomA, alice, "shared")
	h.owners.Message(roomA, alice, "x")
	body, err := h.raw(viewapi.SyncRequest{UserID: alice,
		Filter: []byte(`{"event_fields":["type","content.body","content.a\\.b"],"room":{"timeline":{"limit":1}}}`)})
	if err != nil || !strings.Contains(string(body), `"timeline":{"events":[{"content":{"body":"x"},"type":"m.room.message"}]`) {
		t.Errorf("%s %v", body, err)
	}
}

func TestBadRequests(t *testing.T) {
	h := newHarness(t)
	tests := []struct {
		name string
		req  viewapi.SyncRequest
		code string
	}{
		{"ErrToken", viewapi.SyncRequest{Since: "x"}, "M_INVALID_PARAM"},
		{"ErrTokenNegative", viewapi.SyncRequest{Since: "s-1_0_0"}, "M_INVALID_PARAM"},
		{"ErrFilterNotJSON", viewapi.SyncRequest{Filter: []byte(`{`)}, "M_BAD_JSON"},
		{"ErrFilterTypes", viewapi.SyncRequest{Filter: []byte(`{"room":{"timeline":{"types":"x"}}}`)}, "M_BAD_JSON"},
		{"ErrFilterLimit", viewapi.SyncRequest{Filter: []byte(`{"room":{"timeline":{"limit":-1}}}`)}, "M_INVALID_PARAM"},
		{"ErrFilterSize", viewapi.SyncRequest{Filter: []byte(`{"x":"` + strings.Repeat("x", maxFilter) + `"}`)}, "M_TOO_LARGE"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.req.UserID = alice
			body, err := h.raw(test.req)
			var e *merr.Error
			if !errors.As(err, &e) || e.Code != test.code || e.Status < 400 || e.Status >= http.StatusInternalServerError || len(body) > 0 {
				t.Errorf("got %v with body %q, want %s", err, body, test.code)
			}
		})
	}
}
