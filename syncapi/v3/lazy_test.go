package v3

import (
	"testing"

	"hearth/syncapi/viewapi"
)

const lazy = `{"room":{"state":{"lazy_load_members":true},"timeline":{"limit":2}}}`

// lazyRoom has alice, bob and carol; carol has not spoken lately.
func lazyRoom(t *testing.T) *harness {
	h := newHarness(t)
	h.owners.Create(roomA, alice, "shared")                            // $1 $2 $3
	h.owners.Member(roomA, bob, bob, "join")                           // $4
	h.owners.Member(roomA, carol, carol, "join")                       // $5
	h.owners.SetState(roomA, alice, "m.room.name", "", `{"name":"n"}`) // $6
	h.owners.Message(roomA, alice, "x")                                // $7
	h.owners.Message(roomA, alice, "y")                                // $8
	return h
}

func state(r response) []event {
	if s := r.Rooms.Join[roomA].State; s != nil {
		return s.Events
	}
	return nil
}

func TestLazyInitialHasSpeakersHeroesAndSelf(t *testing.T) {
	h := lazyRoom(t)
	for _, id := range []string{"@dan:h", "@eve:h", "@fred:h", "@gil:h", "@hal:h"} {
		h.owners.Member(roomA, id, id, "join") // heroes are the first five others: hal is none
	}
	h.owners.Message(roomA, bob, "x")
	h.owners.Message(roomA, bob, "y")
	r := h.sync(viewapi.SyncRequest{UserID: carol, Filter: []byte(lazy)})
	got := map[string]bool{}
	for _, e := range state(r) {
		if e.Type == memberType {
			got[*e.StateKey] = true
		}
	}
	for _, id := range []string{alice, bob, carol, "@dan:h", "@eve:h", "@fred:h"} {
		if !got[id] {
			t.Errorf("the member event of %s is missing", id)
		}
	}
	if got["@gil:h"] || got["@hal:h"] {
		t.Errorf("too many members: %v", got)
	}
}

func TestLazySendsEachMemberOnce(t *testing.T) {
	h := lazyRoom(t)
	filter := []byte(`{"room":{"state":{"lazy_load_members":true,"not_types":["m.room.create"]},"timeline":{"limit":2}}}`)
	first := h.sync(viewapi.SyncRequest{UserID: alice, Filter: filter})
	for _, id := range []string{"@d:h", "@e:h", "@f:h", "@g:h", "@z:h"} {
		h.owners.Member(roomA, id, id, "join")
	}
	r := h.sync(viewapi.SyncRequest{UserID: alice, Filter: filter, Since: first.NextBatch})
	h.owners.Message(roomA, "@z:h", "known from the gap")
	r2 := h.sync(viewapi.SyncRequest{UserID: alice, Filter: filter, Since: r.NextBatch})
	wantIDs(t, "state after the gap", state(r2))
	// A device that starts anew knows nobody.
	h.owners.Message(roomA, "@e:h", "x")
	r3 := h.sync(viewapi.SyncRequest{UserID: alice, Filter: filter, Since: r2.NextBatch, DeviceID: "other"})
	wantIDs(t, "state of another device", state(r3), "$10")
}

func TestLazyRepeatsWhatMayBeLost(t *testing.T) {
	h := lazyRoom(t)
	filter := []byte(lazy)
	h.owners.Member(roomA, "@d:h", "@d:h", "join") // $9
	h.owners.Member(roomA, "@e:h", "@e:h", "join")
	h.owners.Member(roomA, "@f:h", "@f:h", "join")
	h.owners.Member(roomA, "@g:h", "@g:h", "join") // $12, no hero
	h.owners.Message(roomA, alice, "x")
	h.owners.Message(roomA, alice, "x")
	first := h.sync(viewapi.SyncRequest{UserID: alice, Filter: filter})
	h.owners.Message(roomA, "@g:h", "x")
	for range 2 { // the first answer got lost
		r := h.sync(viewapi.SyncRequest{UserID: alice, Filter: filter, Since: first.NextBatch})
		wantIDs(t, "state", state(r), "$12")
	}
	r := h.sync(viewapi.SyncRequest{UserID: alice, Filter: filter, Since: first.NextBatch})
	h.owners.Message(roomA, "@g:h", "y")
	r = h.sync(viewapi.SyncRequest{UserID: alice, Filter: filter, Since: r.NextBatch})
	wantIDs(t, "state", state(r))
	h.owners.Message(roomA, "@g:h", "z")
	redundant := []byte(`{"room":{"state":{"lazy_load_members":true,"include_redundant_members":true},"timeline":{"limit":2}}}`)
	r = h.sync(viewapi.SyncRequest{UserID: alice, Filter: redundant, Since: r.NextBatch})
	wantIDs(t, "state with redundant members", state(r), "$12")
}

func TestLazyMemberFromMemoryIsThePresentOne(t *testing.T) {
	h := lazyRoom(t)
	filter := []byte(`{"room":{"state":{"lazy_load_members":true},"timeline":{"limit":1}}}`)
	a := h.sync(viewapi.SyncRequest{UserID: alice, Filter: filter, DeviceID: "1"}).NextBatch
	h.restart(100)
	h.owners.Message(roomA, bob, "x")
	wantIDs(t, "state", state(h.sync(viewapi.SyncRequest{UserID: alice, Filter: filter, Since: a, DeviceID: "1"})), "$4")
	profile := h.owners.SetState(roomA, bob, memberType, bob, `{"membership":"join","displayname":"B"}`)
	r := h.sync(viewapi.SyncRequest{UserID: alice, DeviceID: "2"})
	h.owners.Message(roomA, bob, "x")
	wantIDs(t, "state", state(h.sync(viewapi.SyncRequest{UserID: alice, Filter: filter, Since: r.NextBatch, DeviceID: "2"})), profile)
}

// A member event of an answer that got lost was never told, even if the next answer
// has another timeline.
func TestLazyAfterALostAnswer(t *testing.T) {
	h := lazyRoom(t)
	req := viewapi.SyncRequest{UserID: alice, Filter: []byte(lazy)}
	req.Since = h.sync(req).NextBatch
	h.owners.Message(roomA, carol, "lost")
	h.sync(req)
	h.owners.Message(roomA, bob, "x")
	h.owners.Message(roomA, bob, "y")
	req.Since = h.sync(req).NextBatch
	h.owners.Message(roomA, carol, "z")
	for _, e := range state(h.sync(req)) {
		if e.Type == memberType && *e.StateKey == carol {
			return
		}
	}
	t.Error("the client does not know carol")
}
