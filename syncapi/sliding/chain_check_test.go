package sliding

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"hearth/roomserver/roomapi"
	"hearth/syncapi/core"
	"hearth/syncapi/internal/model"
	"hearth/syncapi/viewapi"
)

// check compares one answer with the model.
type check struct {
	w     *world
	c     *client
	first bool // the first answer of the connection
	lag   bool // the engine was behind the owners
	now   viewapi.Token
	view  model.View

	list    []place // the list that windows are cut from
	unclear bool    // whether the user was put out of a room depends on who remembers
}

// place is a room in the list.
type place struct {
	id, kind string
	at       int64
}

func (k *check) errorf(format string, args ...any) {
	k.w.t.Helper()
	k.w.t.Errorf("%s of %s up to %s: %s", k.c.name, k.c.user, k.now, fmt.Sprintf(format, args...))
}

// membership is the user's relation to a room, gathered from its entries.
type membership struct {
	kind               string
	at, forgot         int64
	last               int64 // position of the room's last event
	ousted, long, ever bool
}

func (k *check) memberships() map[string]*membership {
	all := map[string]*membership{}
	for _, p := range k.w.h.owners.Rooms(0) {
		if p.Pos > k.now.Room {
			break
		}
		m := all[p.Entry.RoomID]
		if m == nil {
			m = &membership{}
			all[p.Entry.RoomID] = m
		}
		if p.Entry.Kind == roomapi.KindForget && p.Entry.UserID == k.c.user {
			m.forgot = p.Pos
		}
		ev := p.Entry.Event
		if ev == nil {
			continue
		}
		m.last = p.Pos
		if ev.Type != memberType || *ev.StateKey != k.c.user {
			continue
		}
		out := ev.Sender != k.c.user && (ev.Membership == "leave" || ev.Membership == "ban")
		m.ousted = out && m.kind == "join"
		m.long = out && (m.kind == "join" || m.long)
		m.kind, m.at = ev.Membership, p.Pos
		m.ever = m.ever || ev.Membership == "join"
	}
	return all
}

// order finds the list of rooms.
func (k *check) order() map[string]*membership {
	all := k.memberships()
	for id, m := range all {
		mine := k.c.rooms[id]
		switch m.kind {
		case "":
			continue
		case "join":
			k.list = append(k.list, place{id, "join", m.last})
			continue
		case "invite", "knock":
			k.list = append(k.list, place{id, "outside", m.at})
			continue
		}
		forgotten := m.forgot > m.at
		if forgotten && (mine == nil || mine.kind == "leave") || mine == nil && !m.ousted {
			k.unclear = k.unclear || mine == nil && m.long && !forgotten
			continue
		}
		k.list = append(k.list, place{id, "leave", m.at})
	}
	slices.SortFunc(k.list, func(a, b place) int { return cmp.Compare(b.at, a.at) })
	return all
}

// wanted are the rooms that the rules of the request name, with the timeline limit.
func (k *check) wanted(all map[string]*membership) map[string]int {
	limits := map[string]int{}
	for i, p := range k.list {
		if i <= k.c.last {
			limits[p.id] = k.c.limit
		}
	}
	for id, limit := range k.c.subs {
		if m := all[id]; m != nil && m.kind != "" {
			limits[id] = max(limits[id], limit)
		}
	}
	return limits
}

func (k *check) apply(r *response) {
	all := k.order()
	limits := k.wanted(all)
	for id, room := range r.Rooms {
		limit, ok := limits[id]
		if !ok && !k.unclear {
			k.errorf("%s is in no window", id)
			continue
		}
		switch {
		case k.view.Joined[id] != nil:
			k.join(id, &room, limit)
		case k.view.Invited[id], k.view.Knocked[id]:
			k.outside(id, &room)
		case k.view.Left[id] != nil:
			k.leave(id, &room)
		default:
			k.errorf("%s is nothing to the user", id)
		}
	}
	for _, e := range r.Extensions.AccountData.Global {
		k.c.account["\x00"+e.Type] = string(e.Content)
	}
	for id, list := range r.Extensions.AccountData.Rooms {
		for _, e := range list {
			k.c.account[id+"\x00"+e.Type] = string(e.Content)
		}
	}
	for id, e := range r.Extensions.Receipts.Rooms {
		k.receipts(id, e.Content)
	}
	if n := r.Lists["rooms"].Count; n != len(k.list) && !k.unclear {
		k.errorf("count is %d, want %d: %v", n, len(k.list), k.list)
	}
}

func (k *check) outside(id string, room *roomResult) {
	state := room.InviteState
	if k.c.stable {
		state = room.Stripped
	}
	if len(state) == 0 || len(room.Timeline)+len(room.State) > 0 || !room.Initial {
		k.errorf("invite or knock to %s: %+v", id, room)
	}
	k.c.rooms[id] = &clientRoom{kind: "outside", since: k.now.Room, upTo: k.now.Room}
}

func (k *check) leave(id string, room *roomResult) {
	visible := k.view.Left[id].Timeline
	for _, e := range room.Timeline {
		if !slices.ContainsFunc(visible, func(v *roomapi.Event) bool { return v.EventID == e.EventID }) {
			k.errorf("%s in %s, which was left, is not for the user", e.EventID, id)
		}
	}
	own := k.view.Left[id].State[memberType+"\x00"+k.c.user]
	told := slices.ContainsFunc(room.State, func(e event) bool { return e.EventID == own })
	if !told && !k.c.stable || k.c.stable && room.Membership != "leave" && room.Membership != "ban" {
		k.errorf("%s was left, but the answer does not say so: %+v", id, room)
	}
	if mine := k.c.rooms[id]; mine != nil && mine.kind == "leave" && k.memberships()[id].at <= mine.upTo {
		k.errorf("%s is told again after it was left", id)
	}
	k.c.rooms[id] = &clientRoom{kind: "leave", since: k.now.Room, upTo: k.now.Room}
}

func (k *check) join(id string, room *roomResult, limit int) {
	joined, mine := k.view.Joined[id], k.c.rooms[id]
	if room.InviteState != nil || room.Stripped != nil {
		k.errorf("%s is joined, but has stripped state", id)
	}
	if mine == nil || mine.kind != "join" || joined.Since > mine.upTo {
		if !room.Initial {
			k.errorf("%s is new, but not initial", id)
			return
		}
	} else if room.Initial {
		k.errorf("%s is initial, but is known since %d up to %d", id, mine.since, mine.upTo)
	}
	if room.Initial {
		mine = &clientRoom{kind: "join", since: k.now.Room, state: map[string]string{}, receipts: map[string]string{}}
		k.c.rooms[id] = mine
	}
	k.timeline(id, room, joined, mine, limit)
	for _, e := range room.State {
		key := e.Type + "\x00" + *e.StateKey
		if want := joined.State[key]; want != e.EventID && !k.lag {
			k.errorf("state %q of %s: told %s, is %s", key, id, e.EventID, want)
		}
		mine.state[key] = e.EventID
	}
	for _, e := range room.Timeline {
		if k.c.lazy && mine.state[memberType+"\x00"+e.Sender] == "" {
			k.errorf("the client does not know %s, who sent %s in %s", e.Sender, e.EventID, id)
		}
	}
	mine.upTo = k.now.Room
}

// timeline compares the timeline of an answer with what the user may see.
func (k *check) timeline(id string, room *roomResult, want *model.Room, mine *clientRoom, limit int) {
	from := mine.upTo
	if room.Initial || room.Expanded || room.StableExpand {
		from = 0
	}
	var expect []string
	for _, e := range want.Timeline {
		if e.Pos > from {
			expect = append(expect, e.EventID)
		}
	}
	limited := len(expect) > limit || from == 0 && want.Hole > 0 || want.Hole > from
	expect = expect[max(0, len(expect)-limit):]
	if got := ids(room.Timeline); !slices.Equal(got, expect) {
		k.errorf("timeline of %s: got %v, want %v", id, got, expect)
	}
	if room.Limited != limited {
		k.errorf("timeline of %s: limited is %v", id, room.Limited)
	}
	if from == 0 && !room.Initial && len(expect) > 0 && len(k.newer(want, mine.upTo)) >= limit {
		k.errorf("timeline of %s is called expanded, but has nothing old", id)
	}
	if from == 0 || limited {
		mine.have = 0
	}
	mine.have += len(expect)
	if k.first && room.NumLive != nil && *room.NumLive != 0 {
		k.errorf("%s: events of the first answer are called live", id)
	}
	if !room.Initial && room.NumLive != nil && *room.NumLive != min(limit, len(k.newer(want, mine.upTo))) {
		k.errorf("%s: %d events are called live", id, *room.NumLive)
	}
}

// newer are the events after a position.
func (k *check) newer(room *model.Room, pos int64) []*roomapi.Event {
	i := len(room.Timeline)
	for i > 0 && room.Timeline[i-1].Pos > pos {
		i--
	}
	return room.Timeline[i:]
}

func (k *check) receipts(id string, raw json.RawMessage) {
	mine := k.c.rooms[id]
	if mine == nil || mine.kind != "join" {
		k.errorf("receipts of %s, which the client does not know as joined", id)
		return
	}
	var content map[string]map[string]map[string]json.RawMessage
	if err := json.Unmarshal(raw, &content); err != nil {
		k.errorf("receipt: %v", err)
	}
	for event, kinds := range content {
		for kind, users := range kinds {
			for user := range users {
				if kind == core.PrivateReceipt && user != k.c.user {
					k.errorf("a private receipt of %s", user)
				}
				mine.receipts[user+"\x00"+kind] = event
			}
		}
	}
}

// compare compares what the client has added up with the model, in its windows.
func (k *check) compare(r *response) {
	if k.unclear {
		return
	}
	kinds := map[string]string{}
	for _, p := range k.list {
		kinds[p.id] = p.kind
	}
	for id, limit := range k.wanted(k.memberships()) {
		mine := k.c.rooms[id]
		switch kind := kinds[id]; {
		case kind == "": // subscribed to, but left
		case mine == nil || mine.kind != kind:
			if !k.lag {
				k.errorf("%s should be known as %s: %+v", id, kind, mine)
			}
		case kind == "join":
			k.compareRoom(id, mine, k.view.Joined[id])
			if n := len(k.view.Joined[id].Timeline); mine.have < min(limit, n) {
				k.errorf("%s: the client has %d events, wants %d of %d", id, mine.have, limit, n)
			}
		}
	}
	for _, d := range k.view.Account {
		if mine := k.c.rooms[d.RoomID]; d.RoomID != "" && (mine == nil || mine.kind != "join" || kinds[d.RoomID] != "join") {
			continue
		}
		if got := k.c.account[d.RoomID+"\x00"+d.Type]; got != string(d.Content) && (d.RoomID == "" || r.Rooms[d.RoomID].Initial) {
			k.errorf("account data %s of %q: got %s, want %s", d.Type, d.RoomID, got, d.Content)
		}
	}
}

func (k *check) compareRoom(id string, mine *clientRoom, want *model.Room) {
	if missed := k.newer(want, mine.upTo); len(missed) > 0 {
		k.errorf("%s: %d events after %d were not told", id, len(missed), mine.upTo)
	}
	if k.lag {
		return
	}
	for key, event := range want.State {
		switch {
		case mine.state[key] == event:
		case k.c.lazy && (!strings.HasPrefix(key, memberType) && !strings.HasPrefix(key, "m.room.topic") || mine.state[key] == ""):
		case k.c.lazy && mine.state[key] != "" && strings.HasPrefix(key, memberType):
			// A gap makes the client forget its members.
		default:
			k.errorf("state %q of %s: got %q, want %q", key, id, mine.state[key], event)
		}
	}
	present := map[string]string{}
	for _, rc := range want.Receipts {
		if rc.Pos > mine.since || rc.UserID == k.c.user {
			present[rc.UserID+"\x00"+rc.Kind] = rc.EventID
		}
	}
	for key, event := range present {
		if mine.receipts[key] != event {
			k.errorf("receipts of %s: %q is at %q, want %q (%v)", id, key, mine.receipts[key], event, slices.Collect(maps.Keys(mine.receipts)))
		}
	}
}
