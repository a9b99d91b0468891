package sliding

import (
	"encoding/json"
	"fmt"
	"testing"

	"hearth/clientapi/userapi"
	"hearth/syncapi/viewapi"
)

// keyed is a device that asks for messages to it and for the rooms at once.
type keyed struct {
	h          *harness
	pos, since string
	keys       int // number of the last key
	rooms      int // answers with rooms
}

type keyedAnswer struct {
	Pos        string                     `json:"pos"`
	Rooms      map[string]json.RawMessage `json:"rooms"`
	Extensions struct {
		ToDevice struct {
			Next   string `json:"next_batch"`
			Events []struct {
				Content struct {
					N int `json:"n"`
				} `json:"content"`
			} `json:"events"`
		} `json:"to_device"`
	} `json:"extensions"`
}

// ask makes a request; the answer counts as received if the client says so.
func (k *keyed) ask(received bool) keyedAnswer {
	k.h.t.Helper()
	body := fmt.Sprintf(`{"lists":{"all":{"ranges":[[0,9]],"timeline_limit":5,"required_state":[]}},`+
		`"extensions":{"to_device":{"enabled":true,"since":%q}}}`, k.since)
	raw, err := k.h.raw(k.h.t.Context(), viewapi.SlidingRequest{UserID: alice, Pos: k.pos, Body: json.RawMessage(body)})
	if err != nil {
		k.h.t.Fatal(err)
	}
	var a keyedAnswer
	if err := json.Unmarshal(raw, &a); err != nil {
		k.h.t.Fatalf("%v: %s", err, raw)
	}
	if !received {
		return a
	}
	k.pos = a.Pos
	if next := a.Extensions.ToDevice.Next; next != "" {
		k.since = next
	}
	for _, e := range a.Extensions.ToDevice.Events {
		if e.Content.N != k.keys+1 {
			k.h.t.Errorf("key %d comes after %d", e.Content.N, k.keys)
		}
		k.keys = e.Content.N
	}
	if len(a.Rooms) > 0 {
		k.rooms++
	}
	return a
}

// TestKeysComeBeforeMessages: events wait for the messages to the device that were sent
// before them, however many these are; but not for those that come later.
func TestKeysComeBeforeMessages(t *testing.T) {
	h := newHarness(t)
	h.owners.Create(roomA, alice, "shared")
	k := &keyed{h: h}
	k.ask(true)
	k.rooms = 0
	const keys = 2*userapi.MaxToDeviceBatch + 50
	for n := range keys {
		h.owners.SendToDevice(alice, "D", n+1)
	}
	h.owners.Message(roomA, alice, "needs all keys")
	for range 2 {
		if a := k.ask(true); len(a.Rooms) > 0 || len(a.Extensions.ToDevice.Events) != userapi.MaxToDeviceBatch {
			t.Fatalf("%d rooms with %d keys", len(a.Rooms), len(a.Extensions.ToDevice.Events))
		}
		// An answer that gets lost is given again.
		if a := k.ask(false); k.keys == 2*userapi.MaxToDeviceBatch && len(a.Rooms) != 1 {
			t.Errorf("the event waits for ever: %+v", a)
		}
	}
	if a := k.ask(true); len(a.Rooms) != 1 || k.keys != keys {
		t.Errorf("%d rooms after key %d", len(a.Rooms), k.keys)
	}
	if a := k.ask(true); len(a.Rooms) > 0 {
		t.Errorf("the event comes twice: %+v", a)
	}
}

// TestKeysHoldEventsNotForEver: who sends keys without end does not keep events from a device.
func TestKeysHoldEventsNotForEver(t *testing.T) {
	h := newHarness(t)
	h.owners.Create(roomA, alice, "shared")
	k := &keyed{h: h}
	k.ask(true)
	k.rooms = 0
	sent := 0
	send := func(n int) {
		for range n {
			sent++
			h.owners.SendToDevice(alice, "D", sent)
		}
	}
	send(150)
	h.owners.Message(roomA, alice, "x")
	for answers := 1; k.rooms == 0; answers++ {
		if answers > 4 {
			t.Fatalf("no event after %d answers and %d keys", answers, k.keys)
		}
		send(200)
		k.ask(true)
	}
	if k.keys < 150 {
		t.Errorf("the event came after key %d", k.keys)
	}
}
