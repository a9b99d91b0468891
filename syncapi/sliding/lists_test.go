package sliding

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"hearth/syncapi/internal/model"
	"hearth/syncapi/viewapi"
)

func rooms(r response) []string { return slices.Sorted(maps.Keys(r.Rooms)) }

// filtered has rooms with the properties that filters look at.
func filtered(t *testing.T) *harness {
	h := newHarness(t)
	o := h.owners
	create := func(room, creator, typ string) {
		o.Send(model.Event{Room: room, Sender: creator, Type: "m.room.create", State: true, Content: typ})
		o.Member(room, creator, creator, "join")
	}
	create("!space:h", alice, `{"type":"m.space"}`)
	create("!call:h", alice, `{"type":"org.example.call"}`)
	create("!plain:h", alice, `{}`)
	create("!secret:h", alice, `{}`)
	create("!invite:h", bob, `{}`)
	create("!foreign:h", bob, `{"type":"m.space"}`)
	o.SetState("!secret:h", alice, "m.room.encryption", "", `{"algorithm":"m.megolm.v1.aes-sha2"}`)
	o.SetState("!plain:h", alice, "m.room.name", "", `{"name":"Plain Talk"}`)
	o.SetState("!space:h", alice, "m.space.child", "!plain:h", `{"via":["h"]}`)
	o.SetState("!space:h", alice, "m.space.child", "!secret:h", `{}`)
	o.SetState("!foreign:h", bob, "m.space.child", "!secret:h", `{"via":["h"]}`)
	o.Member("!invite:h", bob, alice, "invite")
	o.SetAccountData(alice, "!plain:h", "m.tag", `{"tags":{"m.favourite":{},"u.x":{}}}`)
	o.SetAccountData(alice, "!call:h", "m.tag", `{"tags":{"u.x":{}}}`)
	return h
}

func filterBody(filter string) string {
	return `{"lists":{"l":{"ranges":[[0,99]],"timeline_limit":1,"filters":` + filter + `}}}`
}

func TestFilters(t *testing.T) {
	for filter, want := range map[string]string{
		`{}`:                         "call invite plain secret space",
		`{"is_encrypted":true}`:      "secret",
		`{"is_encrypted":false}`:     "call invite plain space",
		`{"is_invite":true}`:         "invite",
		`{"is_invited":false}`:       "call plain secret space",
		`{"room_types":["m.space"]}`: "space",
		`{"room_types":[null]}`:      "invite plain secret",
		`{"room_types":[]}`:          "",
		`{"room_types":["m.space",null],"not_room_types":["m.space"]}`: "invite plain secret",
		`{"not_room_types":[null]}`:                                    "call space",
		`{"tags":["m.favourite"]}`:                                     "plain",
		`{"tags":["u.x"],"not_tags":["m.favourite"]}`:                  "call",
		`{"not_tags":["u.x"]}`:                                         "invite secret space",
		`{"room_name_like":"TALK"}`:                                    "plain",
		`{"spaces":["!space:h"]}`:                                      "plain",
		`{"spaces":["!foreign:h","!nowhere:h"]}`:                       "",
		`{"spaces":[]}`:                                                "",
		`{"is_dm":true}`:                                               "",
	} {
		h := filtered(t)
		p := &phone{h: h, user: alice, body: filterBody(filter)}
		r := p.sync()
		var names []string
		for _, id := range rooms(r) {
			names = append(names, strings.TrimSuffix(id[1:], ":h"))
		}
		if got := strings.Join(names, " "); got != want || r.Lists["l"].Count != len(names) {
			t.Errorf("%s: got %q (%d), want %q", filter, got, r.Lists["l"].Count, want)
		}
	}
}

// What filters look at may change; the next answer follows.
func TestFiltersFollow(t *testing.T) {
	h := filtered(t)
	o := h.owners
	for _, c := range []struct {
		filter, room string
		change       func()
	}{
		{`{"is_encrypted":true}`, "!plain:h", func() { o.SetState("!plain:h", alice, "m.room.encryption", "", `{"algorithm":"x"}`) }},
		{`{"tags":["new"]}`, "!space:h", func() { o.SetAccountData(alice, "!space:h", "m.tag", `{"tags":{"new":{}}}`) }},
		{`{"spaces":["!space:h"]}`, "!call:h", func() { o.SetState("!space:h", alice, "m.space.child", "!call:h", `{"via":["h"]}`) }},
		{`{"room_name_like":"fresh"}`, "!call:h", func() { o.SetState("!call:h", alice, "m.room.name", "", `{"name":"Fresh"}`) }},
		{`{"is_invite":true}`, "!foreign:h", func() { o.Member("!foreign:h", bob, alice, "invite") }},
	} {
		p := &phone{h: h, user: alice, body: filterBody(c.filter)}
		before := p.sync().Lists["l"].Count
		c.change()
		r := p.sync()
		if _, ok := r.Rooms[c.room]; !ok || r.Lists["l"].Count != before+1 {
			t.Errorf("%s: %v, count %d then %d", c.filter, rooms(r), before, r.Lists["l"].Count)
		}
	}
}

func TestWindows(t *testing.T) {
	h := newHarness(t)
	for i := range 6 {
		h.owners.Create(fmt.Sprintf("!%d:h", i), alice, "shared")
	}
	body := func(ranges string) string { return `{"lists":{"l":{` + ranges + `"timeline_limit":1}}}` }
	p := &phone{h: h, user: alice, body: body(`"ranges":[[0,1]],`)}
	if got := rooms(p.sync()); !slices.Equal(got, []string{"!4:h", "!5:h"}) {
		t.Errorf("the first two: %v", got)
	}
	p.body = body(`"ranges":[[0,0],[4,4]],`)
	if got := rooms(p.sync()); !slices.Equal(got, []string{"!1:h"}) {
		t.Errorf("a second range: %v", got)
	}
	h.owners.Message("!2:h", alice, "x") // the order is 2 5 4 3 1 0
	if got := rooms(p.sync()); !slices.Equal(got, []string{"!2:h"}) {
		t.Errorf("a room at the top: %v", got)
	}
	h.owners.Message("!0:h", alice, "x") // the order is 0 2 5 4 3 1
	if got := rooms(p.sync()); !slices.Equal(got, []string{"!0:h", "!3:h"}) {
		t.Errorf("a room that moved down: %v", got)
	}
	p.body = body("")
	if r := p.sync(); r.Lists["l"].Count != 6 || len(r.Rooms) != 0 {
		t.Errorf("all rooms: %v", rooms(r))
	}
	p.body = body(`"ranges":[[0,0]],`)
	p.sync()
	h.owners.Message("!4:h", alice, "x")
	h.owners.Message("!5:h", alice, "x")
	if got := rooms(p.sync()); !slices.Equal(got, []string{"!5:h"}) {
		t.Errorf("two changed, one in the window: %v", got)
	}
	p.body = body(`"ranges":[[0,2]],`)
	r := p.sync()
	if got := rooms(r); !slices.Equal(got, []string{"!4:h"}) || r.Rooms["!4:h"].Initial || len(r.Rooms["!4:h"].Timeline) != 1 {
		t.Errorf("the one that was left behind: %v", r.Rooms)
	}
}

func TestLimitsThatGrow(t *testing.T) {
	for name, stable := range map[string]bool{"unstable": false, "stable": true} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			o := h.owners
			o.Create(roomA, alice, "shared")
			var sent []string
			for i := range 4 {
				sent = append(sent, o.Message(roomA, alice, fmt.Sprint(i)))
			}
			state := `[]`
			if stable {
				state = `{}`
			}
			body := func(n int) string {
				return fmt.Sprintf(`{"room_subscriptions":{"%s":{"timeline_limit":%d,"required_state":%s}}}`, roomA, n, state)
			}
			p := &phone{h: h, user: alice, stable: stable, body: body(1)}
			p.sync()
			sent = append(sent, o.Message(roomA, alice, "4"))
			p.sync()
			p.body = body(2)
			if r := p.sync(); len(r.Rooms) != 0 {
				t.Errorf("the client had two events: %+v", r.Rooms)
			}
			p.body = body(4)
			sent = append(sent, o.Message(roomA, alice, "5"))
			got := p.sync().Rooms[roomA]
			if !slices.Equal(ids(got.Timeline), sent[2:]) || got.Expanded == stable || got.StableExpand != stable || *got.NumLive != 1 || got.Initial {
				t.Errorf("expanded: %+v, want %v", got, sent[2:])
			}
			p.body = body(100)
			if got = p.sync().Rooms[roomA]; len(got.Timeline) != 9 || got.Limited {
				t.Errorf("everything: %+v", got)
			}
			p.body = body(50)
			p.sync()
			p.body = body(100)
			if r := p.sync(); len(r.Rooms) != 0 {
				t.Errorf("everything again: %+v", r.Rooms)
			}
		})
	}
}

func TestRequiredStateThatGrows(t *testing.T) {
	h := newHarness(t)
	o := h.owners
	o.Create(roomA, alice, "shared")
	o.Member(roomA, bob, bob, "join")
	o.SetState(roomA, alice, "m.room.topic", "", `{}`)
	o.SetState(roomA, alice, "m.x", "1", `{}`)
	o.SetState(roomA, alice, "m.x", "2", `{}`)
	body := func(state string) string {
		return `{"lists":{"l":{"ranges":[[0,9]],"timeline_limit":1,"required_state":[["m.room.topic",""]]}},"room_subscriptions":{"` + roomA +
			`":{"timeline_limit":1,"required_state":` + state + `}}}`
	}
	p := &phone{h: h, user: alice, body: body(`[]`)}
	if got := keys(p.sync().Rooms[roomA].State); !slices.Equal(got, []string{"m.room.topic|"}) {
		t.Errorf("at first: %v", got)
	}
	p.body = body(`[["m.x","*"],["m.room.topic",""]]`)
	if got := p.sync().Rooms[roomA]; !slices.Equal(keys(got.State), []string{"m.x|1", "m.x|2"}) || len(got.Timeline) != 0 || got.Initial {
		t.Errorf("more: %+v", got)
	}
	p.body = body(`[["*","*"],["m.room.member","$LAZY"]]`)
	if got := keys(p.sync().Rooms[roomA].State); !slices.Equal(got, []string{"m.room.create|", "m.room.history_visibility|"}) {
		t.Errorf("all: %v", got)
	}
	p.body = body(`[["*","*"]]`)
	if got := keys(p.sync().Rooms[roomA].State); !slices.Equal(got, []string{"m.room.member|@alice:h", "m.room.member|@bob:h"}) {
		t.Errorf("all with members: %v", got)
	}
}

func TestRequiredState(t *testing.T) {
	for raw, want := range map[string]string{
		`[]`:                        "",
		`[["m.room.member","$ME"]]`: "m.room.member|@alice:h",
		`[["*","@bob:h"]]`:          "m.room.member|@bob:h m.x|@bob:h",
		`[["m.room.member","*"],["m.room.member","$LAZY"]]`:                    "m.room.member|@alice:h m.room.member|@bob:h",
		`[["m.room.member","$LAZY"]]`:                                          "m.room.member|@alice:h",
		`{"include":[]}`:                                                       "",
		`{"include":[{}],"exclude":[{"type":"m.room.member"},{"type":"m.x"}]}`: "m.room.create| m.room.history_visibility|",
		`{"include":[{"state_key":"@bob:h"}]}`:                                 "m.room.member|@bob:h m.x|@bob:h",
		`{"include":[{"type":"m.room.member"}],"lazy_members":true}`:           "m.room.member|@alice:h",
		`{"include":[{"type":"m.x"}],"exclude":[{}]}`:                          "",
		`{"include":[{"type":"m.room.member","state_key":"@bob:h"}],"exclude":[{"type":"m.room.member"}],"lazy_members":true}`: "m.room.member|@alice:h",
	} {
		h := newHarness(t)
		o := h.owners
		o.Create(roomA, alice, "shared")
		o.Member(roomA, bob, bob, "join")
		o.SetState(roomA, bob, "m.x", bob, `{}`)
		o.Message(roomA, alice, "x")
		p := &phone{h: h, user: alice, stable: raw[0] == '{', body: `{"room_subscriptions":{"` + roomA + `":{"timeline_limit":1,"required_state":` + raw + `}}}`}
		if got := strings.Join(keys(p.sync().Rooms[roomA].State), " "); got != want {
			t.Errorf("%s: got %s, want %s", raw, got, want)
		}
	}
}

func TestBadRequests(t *testing.T) {
	h := newHarness(t)
	many := func(n int, entry string) string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf(entry, i))
		}
		return strings.Join(list, ",")
	}
	for _, c := range []struct {
		stable     bool
		body, code string
	}{
		{false, `[]`, "M_BAD_JSON"},
		{false, `{"lists":5}`, "M_BAD_JSON"},
		{false, `{"lists":{"l":{"ranges":[[1,0]]}}}`, "M_INVALID_PARAM"},
		{false, `{"lists":{"l":{"ranges":[[-1,0]]}}}`, "M_INVALID_PARAM"},
		{false, `{"lists":{"l":{"ranges":[[1]]}}}`, "M_INVALID_PARAM"},
		{false, `{"lists":{"l":{"timeline_limit":-1}}}`, "M_INVALID_PARAM"},
		{false, `{"lists":{"l":{"required_state":[["a"]]}}}`, ""},
		{false, `{"lists":{"l":{"required_state":{}}}}`, "M_BAD_JSON"},
		{false, `{"lists":{` + many(101, `"%d":{}`) + `}}`, "M_INVALID_PARAM"},
		{false, `{"room_subscriptions":{` + many(501, `"!%d":{}`) + `}}`, "M_INVALID_PARAM"},
		{false, `{"conn_id":"` + strings.Repeat("x", 256) + `"}`, "M_INVALID_PARAM"},
		{true, `{"lists":{"l":{"timeline_limit":1}}}`, "M_MISSING_PARAM"},
		{true, `{"lists":{"l":{"required_state":{}}}}`, "M_MISSING_PARAM"},
		{true, `{"lists":{"l l":{"timeline_limit":1,"required_state":{}}}}`, "M_INVALID_PARAM"},
		{true, `{"lists":{"l":{"timeline_limit":1,"required_state":{},"range":[2,1]}}}`, "M_INVALID_PARAM"},
		{true, `{"lists":{"l":{"timeline_limit":1,"required_state":[]}}}`, "M_BAD_JSON"},
		{true, `{"room_subscriptions":{` + many(101, `"!%d":{"timeline_limit":1,"required_state":{}}`) + `}}`, "M_INVALID_PARAM"},
	} {
		_, err := h.try(viewapi.SlidingRequest{UserID: alice, Stable: c.stable, Body: json.RawMessage(c.body)})
		if c.code == "" && err != nil || c.code != "" && !isCode(err, c.code) {
			t.Errorf("%.80s: %v, want %s", c.body, err, c.code)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(elementX, false)
	f.Add(stableRoom, true)
	f.Add(filterBody(`{"room_types":[null,"x"],"spaces":["!a"],"tags":[]}`), false)
	f.Fuzz(func(t *testing.T, body string, stable bool) {
		r, err := parse(json.RawMessage(body), stable)
		if err != nil {
			return
		}
		for i := range r.rules.lists {
			l := &r.rules.lists[i]
			if l.limit < 0 || l.limit > maxTimeline {
				t.Errorf("limit %d", l.limit)
			}
			for j, s := range l.ranges {
				if s.first > s.last || j > 0 && s.first <= l.ranges[j-1].last {
					t.Errorf("ranges %v", l.ranges)
				}
			}
			newStateSet([]*stateRule{l.state}, alice).wants(memberType, alice)
		}
	})
}
