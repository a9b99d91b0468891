package sliding

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/clientapi/userapi"
	"hearth/syncapi/viewapi"
)

// told syncs and returns the changes of threads in the answer as text.
func told(h *harness, pos *string, limit int) string {
	h.t.Helper()
	body := fmt.Sprintf(`{"extensions":{%q:{"enabled":true,"limit":%d}}}`, threadsName, limit)
	raw, err := h.raw(h.t.Context(), viewapi.SlidingRequest{UserID: alice, Pos: *pos, Body: json.RawMessage(body)})
	if err != nil {
		h.t.Fatal(err)
	}
	var a struct {
		Pos        string                         `json:"pos"`
		Extensions map[string]userapi.ThreadsBody `json:"extensions"`
	}
	if err := json.Unmarshal(raw, &a); err != nil {
		h.t.Fatalf("%v: %s", err, raw)
	}
	*pos = a.Pos
	var list []string
	ext := a.Extensions[threadsName]
	for _, room := range slices.Sorted(maps.Keys(ext.Subscribed)) {
		for _, id := range slices.Sorted(maps.Keys(ext.Subscribed[room])) {
			t := ext.Subscribed[room][id]
			list = append(list, fmt.Sprint(id, "+", t.BumpStamp, map[bool]string{true: "a"}[t.Automatic]))
		}
	}
	for _, room := range slices.Sorted(maps.Keys(ext.Unsubscribed)) {
		for _, id := range slices.Sorted(maps.Keys(ext.Unsubscribed[room])) {
			list = append(list, fmt.Sprint(id, "-", ext.Unsubscribed[room][id].BumpStamp))
		}
	}
	return strings.TrimSpace(strings.Join(list, " ") + " " + ext.PrevBatch)
}

func TestThreadSubscriptions(t *testing.T) {
	h := newHarness(t)
	same := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	h.owners.SetThread(alice, roomA, "$a", true, true)  // 1
	h.owners.SetThread(alice, roomA, "$b", true, false) // 2
	h.owners.SetThread(bob, roomA, "$a", true, false)   // 3
	h.owners.SetThread(alice, roomB, "$c", true, true)  // 4
	h.owners.SetThread(alice, roomA, "$a", false, false)
	h.restart(0)
	pos := ""
	same("all", told(h, &pos, 10), "$b+2 $c+4a $a-5")
	same("nothing new", told(h, &pos, 10), "")
	before := pos
	h.owners.SetThread(bob, roomA, "$b", true, false) // 6
	h.owners.SetThread(alice, roomA, "$a", true, false)
	h.owners.SetThread(alice, roomA, "$b", false, false)
	h.owners.SetThread(alice, roomA, "$b", true, true) // 9
	same("the latest", told(h, &pos, 1), "$b+9a t9_5")
	again := before
	same("asked again", told(h, &again, 10), "$a+7 $b+9a")
	fresh := ""
	same("anew, in part", told(h, &fresh, 2), "$a+7 $b+9a t7_0")

	_, err := h.raw(t.Context(), viewapi.SlidingRequest{UserID: alice, Body: json.RawMessage(`{"extensions":{"` + threadsName + `":{"enabled":true,"limit":0}}}`)})
	if !isCode(err, "M_INVALID_PARAM") {
		t.Errorf("limit 0: %v", err)
	}
}

// A subscription ends the wait of a client that asks for them.
func TestThreadSubscriptionsWake(t *testing.T) {
	h := newHarness(t)
	pos := ""
	if got := told(h, &pos, 10); got != "" {
		t.Fatal(got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	type answer struct {
		body []byte
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		body, err := h.raw(ctx, viewapi.SlidingRequest{
			UserID: alice, Pos: pos, TimeoutMS: 15_000, Body: json.RawMessage(`{"extensions":{"` + threadsName + `":{"enabled":true}}}`),
		})
		got <- answer{body, err}
	}()
	time.Sleep(50 * time.Millisecond) // also right if the request comes after
	h.owners.SetThread(alice, roomA, "$a", true, false)
	if a := <-got; a.err != nil || !strings.Contains(string(a.body), `"$a":{"automatic":false,"bump_stamp":1}`) {
		t.Errorf("%s %v", a.body, a.err)
	}
}
