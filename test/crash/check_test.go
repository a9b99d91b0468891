package crash

import (
	"fmt"
	"slices"
	"testing"
)

const testRoom = "!room"

// goodHistory is a run of two senders without faults.
func goodHistory() *History {
	h := &History{
		Attempts: map[string]string{}, Acks: map[string][]Ack{},
		Baseline: map[string][]Event{testRoom: {{ID: "$create"}, {ID: "$join"}}},
		Messages: map[string][]Event{testRoom: {{ID: "$create"}, {ID: "$join"}}},
		Views:    map[string]map[string][]Event{}, StateViews: map[string]map[string]map[string]string{},
		State:  map[string]map[string]string{testRoom: {"m.room.create ": "$create", "topic ": "$s1-3"}},
		Values: []Value{{"account data of s0", "7", "7"}},
	}
	for i := range 10 {
		sender := fmt.Sprintf("s%d", i%2)
		e := Event{ID: fmt.Sprintf("$%s-%d", sender, i), Txn: fmt.Sprintf("%s-%d", sender, i)}
		h.Attempts[e.Txn] = testRoom
		h.Messages[testRoom] = append(h.Messages[testRoom], e)
		if i != 8 { // sent and stored, and the answer was lost
			h.Acks[sender] = append(h.Acks[sender], Ack{e.Txn, testRoom, e.ID})
		}
	}
	h.Attempts["s0-never"] = testRoom // sent and not stored, without an answer
	h.Acks["s0"] = append(h.Acks["s0"], h.Acks["s0"][1])
	for _, reader := range []string{"r0", "r1"} {
		h.Views[reader] = map[string][]Event{testRoom: slices.Clone(h.Messages[testRoom])}
		h.StateViews[reader] = map[string]map[string]string{testRoom: {"m.room.create ": "$create", "topic ": "$s1-3"}}
	}
	return h
}

func TestCheckAcceptsAGoodHistory(t *testing.T) {
	if found := Check(goodHistory()); len(found) > 0 {
		t.Fatalf("found %v", found)
	}
}

// Each fault is made in a good history, so nothing else can be what is found.
func TestCheckFinds(t *testing.T) {
	remove := func(h *History, list map[string][]Event, i int) {
		list[testRoom] = slices.Delete(slices.Clone(list[testRoom]), i, i+1)
	}
	everywhere := func(h *History, f func(events []Event) []Event) {
		h.Messages[testRoom] = f(slices.Clone(h.Messages[testRoom]))
		for _, v := range h.Views {
			v[testRoom] = f(slices.Clone(v[testRoom]))
		}
	}
	for _, tc := range []struct {
		name, kind string
		fault      func(h *History)
	}{
		{"an acknowledged event that is gone", lost, func(h *History) {
			everywhere(h, func(e []Event) []Event { return slices.Delete(e, 5, 6) })
		}},
		{"an event that is in another room", lost, func(h *History) {
			h.Acks["s0"][0].Room = "!other"
			h.Messages["!other"] = nil
		}},
		{"a room that lost its beginning", lost, func(h *History) {
			everywhere(h, func(e []Event) []Event { return slices.Delete(e, 1, 2) })
		}},
		{"an event twice", repeated, func(h *History) {
			everywhere(h, func(e []Event) []Event { return append(e, e[4]) })
		}},
		{"a transaction that was carried out twice", repeated, func(h *History) {
			everywhere(h, func(e []Event) []Event { return append(e, Event{ID: "$second", Txn: "s0-4"}) })
		}},
		{"a transaction without a 200 that was carried out twice", repeated, func(h *History) {
			everywhere(h, func(e []Event) []Event { return append(e, Event{ID: "$second", Txn: "s0-8"}) })
		}},
		{"an event that nobody sent", unknown, func(h *History) {
			everywhere(h, func(e []Event) []Event { return append(e, Event{ID: "$odd"}) })
		}},
		{"an event of an unknown transaction", unknown, func(h *History) {
			everywhere(h, func(e []Event) []Event { return append(e, Event{ID: "$odd", Txn: "s9-1"}) })
		}},
		{"a sender's events in another order", reordered, func(h *History) {
			everywhere(h, func(e []Event) []Event { e[4], e[6] = e[6], e[4]; return e })
		}},
		{"a repeat with another event", changed, func(h *History) {
			h.Acks["s0"][len(h.Acks["s0"])-1].ID = "$s0-4"
		}},
		{"a 200 with the event of another transaction", changed, func(h *History) {
			h.Acks["s1"][0].ID = "$s0-8"
		}},
		{"a gap in what a reader saw", lost, func(h *History) { remove(h, h.Views["r1"], 6) }},
		{"a reader without the end", lost, func(h *History) { remove(h, h.Views["r1"], 11) }},
		{"a reader that missed a room", lost, func(h *History) { delete(h.Views["r0"], testRoom) }},
		{"a reader that saw an event twice", repeated, func(h *History) {
			h.Views["r1"][testRoom] = slices.Insert(h.Views["r1"][testRoom], 6, h.Views["r1"][testRoom][5])
		}},
		{"a reader that saw an event again at the end", repeated, func(h *History) {
			h.Views["r1"][testRoom] = append(h.Views["r1"][testRoom], h.Views["r1"][testRoom][3])
		}},
		{"a reader that saw another order", reordered, func(h *History) {
			v := h.Views["r1"][testRoom]
			v[5], v[6] = v[6], v[5]
		}},
		{"a reader that saw what is not there", unknown, func(h *History) {
			h.Views["r1"][testRoom] = append(h.Views["r1"][testRoom], Event{ID: "$ghost", Txn: "s0-never"})
		}},
		{"a reader that saw a foreign room", unknown, func(h *History) { h.Views["r1"]["!foreign"] = nil }},
		{"a reader with old state", stale, func(h *History) { h.StateViews["r0"][testRoom]["topic "] = "$s1-1" }},
		{"a reader without a state event", stale, func(h *History) { delete(h.StateViews["r0"][testRoom], "topic ") }},
		{"a reader with more state", unknown, func(h *History) { h.StateViews["r0"][testRoom]["name "] = "$s1-1" }},
		{"an old value", stale, func(h *History) { h.Values[0].Got = "6" }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := goodHistory()
			tc.fault(h)
			found := Check(h)
			if !slices.ContainsFunc(found, func(p Problem) bool { return p.Kind == tc.kind }) {
				t.Fatalf("no %q in %v", tc.kind, found)
			}
		})
	}
}
