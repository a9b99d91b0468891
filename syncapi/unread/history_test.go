package unread

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	"hearth/internal/pushrules"
	"hearth/roomserver/roomapi"
	"hearth/syncapi/core"
	"hearth/syncapi/internal/model"
)

// count is the reference: the spec's words in the plainest form.
func count(p *model.Past, notifies func(*roomapi.Event) (notify, highlight bool), ignored map[string]bool) *Room {
	r := &Room{Threads: map[string]Counts{}}
	sent := map[string]int64{}
	for _, ev := range p.Events {
		own := ev.Type == "m.room.member" && *ev.StateKey == p.User
		if ev.Sender == p.User && !own && len(ev.RedactedBecause) == 0 {
			sent[p.Thread(ev)] = ev.Ord
		}
	}
	for _, ev := range p.Events {
		thread := p.Thread(ev)
		if ev.Sender == p.User || ignored[ev.Sender] || len(ev.RedactedBecause) > 0 ||
			ev.Ord <= max(p.Joined, p.Marks[""], p.Marks[thread], sent[thread]) {
			continue
		}
		notify, highlight := notifies(ev)
		if !notify {
			continue
		}
		r.All.add(highlight)
		if thread == "main" {
			r.Main.add(highlight)
		} else {
			c := r.Threads[thread]
			c.add(highlight)
			r.Threads[thread] = c
		}
	}
	return r
}

// TestRandomHistories compares counts with the reference.
func TestRandomHistories(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { randomHistory(t, rand.New(rand.NewPCG(seed, 7))) })
	}
}

// history is a random history under way.
type history struct {
	*world
	rnd     *rand.Rand
	ids     map[string][]string // messages by room
	parents map[string]bool     // that reactions relate to
	muted   map[string]bool
	ignored map[string]bool
}

func randomHistory(t *testing.T, rnd *rand.Rand) {
	limits := core.DefaultLimits()
	limits.Events = 3 + rnd.IntN(20)
	limits.Bytes = 4000 + rnd.IntN(60_000)
	h := &history{world: newWorld(t, limits), rnd: rnd, ids: map[string][]string{}, parents: map[string]bool{}}
	for _, room := range []string{roomA, roomB} {
		h.Create(room, alice, "shared")
		h.Member(room, bob, bob, "join")
		h.Member(room, carol, carol, "join")
	}
	u := h.acquire(alice)
	known := map[string]*Room{roomA: {}, roomB: {}}
	var sinceRoom, sinceUser int64
	for step := range 300 {
		h.step()
		if rnd.IntN(3) != 0 {
			continue
		}
		for room, k := range known {
			if h.Membership(room, alice) != "join" {
				known[room] = nil // a client is told all when the user is back
				continue
			}
			got := h.count(u, room)
			want := count(h.Past(alice, room), h.notifies, h.ignored)
			if !got.same(want) {
				t.Fatalf("step %d, %s: %+v, want %+v", step, room, got, want)
			}
			if k == nil || got.Changed > sinceRoom || got.ChangedBy > sinceUser {
				known[room] = got
			} else if !k.same(got) {
				t.Fatalf("step %d, %s: changed without saying so: %+v, was %+v", step, room, got, k)
			}
		}
		sinceRoom, sinceUser = h.engine.Cursors()
	}
}

// notifies says what alice's rules make of an event.
func (h *history) notifies(ev *roomapi.Event) (notify, highlight bool) {
	var c struct {
		Relates struct {
			Rel string `json:"rel_type"`
		} `json:"m.relates_to"`
		Mentions struct {
			Users []string `json:"user_ids"`
		} `json:"m.mentions"`
	}
	_ = json.Unmarshal(ev.Content(), &c) // the test has made it
	if ev.Type != "m.room.message" || h.muted["all"] {
		return false, false
	}
	if len(c.Mentions.Users) > 0 {
		return true, true
	}
	return c.Relates.Rel != "m.replace", false
}

func (h *history) step() {
	room := []string{roomA, roomB}[h.rnd.IntN(2)]
	sender := []string{alice, bob, bob, carol, carol}[h.rnd.IntN(5)]
	if h.Membership(room, sender) != "join" {
		h.Member(room, sender, sender, "join")
		return
	}
	pick := func() string {
		ids := h.ids[room]
		if len(ids) == 0 {
			return h.say(room, bob, `{"body":"first"}`)
		}
		return ids[max(0, len(ids)-1-h.rnd.IntN(12))]
	}
	var id string
	switch n := h.rnd.IntN(20); {
	case n < 5:
		id = h.say(room, sender, `{"body":"x"}`)
	case n < 7:
		id = h.say(room, sender, `{"body":"x","m.mentions":{"user_ids":["@alice:h"]}}`)
	case n < 10:
		id = h.say(room, sender, relates("m.thread", pick()))
	case n < 12:
		parent := pick()
		h.parents[parent] = true
		id = h.say(room, sender, relates([]string{"m.replace", "m.reference", "m.annotation"}[h.rnd.IntN(3)], parent))
	case n < 13:
		if target := pick(); !h.parents[target] {
			h.Redact(room, sender, target)
		}
	case n < 16:
		h.receipt(room, pick())
	case n < 17:
		h.SetState(room, sender, "m.room.member", sender, `{"membership":"join","displayname":"x"}`)
	case n < 18:
		h.Member(room, sender, sender, "leave")
	case n < 19:
		h.changeRules()
	default:
		h.SetState(room, sender, "m.room.topic", "", `{"topic":"x"}`)
	}
	if id != "" {
		h.ids[room] = append(h.ids[room], id)
	}
}

// receipt moves a receipt of alice's forward, as the owner makes sure.
func (h *history) receipt(room, target string) {
	if h.Membership(room, alice) != "join" {
		return
	}
	p := h.Past(alice, room)
	for _, ev := range p.Events {
		if ev.EventID != target {
			continue
		}
		thread := []string{"", "main", p.Thread(ev)}[h.rnd.IntN(3)]
		if p.Marks[thread] < ev.Ord {
			h.Receipt(room, alice, []string{"m.read", "m.read.private"}[h.rnd.IntN(2)], target, thread)
		}
	}
}

func (h *history) changeRules() {
	if h.rnd.IntN(2) == 0 {
		h.ignored = map[string]bool{carol: h.rnd.IntN(2) == 0}
		list := `{"ignored_users":{}}`
		if h.ignored[carol] {
			list = `{"ignored_users":{"@carol:h":{}}}`
		}
		h.SetAccountData(alice, "", ignoredType, list)
		return
	}
	h.muted = map[string]bool{"all": h.rnd.IntN(3) == 0}
	rules := pushrules.Default(alice)
	_ = rules.SetEnabled(pushrules.Override, pushrules.Master, h.muted["all"])
	h.SetAccountData(alice, "", pushrules.AccountDataType, string(rules.Marshal()))
}
