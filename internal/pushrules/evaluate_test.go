package pushrules

import (
	"encoding/json"
	"fmt"
	"testing"

	"hearth/internal/pdu"
)

const alice, bob, roomID = "@alice:h", "@bob:h", "!room:h"

type fakeRoom struct {
	members int
	name    string
	power   Power
	asked   int
}

func (r *fakeRoom) Members() int        { r.asked++; return r.members }
func (r *fakeRoom) DisplayName() string { r.asked++; return r.name }
func (r *fakeRoom) MayNotify(sender, kind string) bool {
	r.asked++
	return r.power.MayNotify(sender, kind)
}

// event makes an event of bob's; fields replace those of the event.
func event(t testing.TB, fields string) *Event {
	t.Helper()
	all := map[string]json.RawMessage{
		"event_id": json.RawMessage(`"$e"`), "sender": json.RawMessage(`"` + bob + `"`),
		"type": json.RawMessage(`"m.room.message"`), "content": json.RawMessage(`{}`), "origin_server_ts": json.RawMessage(`1`),
	}
	if err := json.Unmarshal([]byte(fields), &all); err != nil {
		t.Fatal(err)
	}
	body, _ := json.Marshal(all)
	body, err := pdu.Canonical(body, true)
	if err != nil {
		t.Fatal(err)
	}
	typ, _ := pdu.GetString(body, "type")
	sender, _ := pdu.GetString(body, "sender")
	var key *string
	if k, ok := pdu.GetString(body, "state_key"); ok {
		key = &k
	}
	return NewEvent(roomID, typ, sender, key, body)
}

func TestConditions(t *testing.T) {
	room := &fakeRoom{members: 10, name: "Ally (she)", power: Power{Levels: []byte(`{"users":{"@bob:h":50}}`)}}
	for _, c := range []struct {
		name, condition, event string
		want                   bool
	}{
		{"the spec's topic", `{"kind":"event_match","key":"content.topic","pattern":"lunc?*"}`, `{"type":"m.room.topic","state_key":"","content":{"topic":"Lunch plans"}}`, true},
		{"no string", `{"kind":"event_match","key":"content.topic","pattern":"*"}`, `{"content":{"topic":null}}`, false},
		{"absent", `{"kind":"event_match","key":"content.topic","pattern":"*"}`, `{}`, false},
		{"a part of the body", `{"kind":"event_match","key":"content.body","pattern":"ex*ple"}`, `{"content":{"body":"An example event."}}`, true},
		{"not a part of other keys", `{"kind":"event_match","key":"content.formatted_body","pattern":"example"}`, `{"content":{"formatted_body":"An example"}}`, false},
		{"room id", `{"kind":"event_match","key":"room_id","pattern":"!ROOM:h"}`, `{}`, true},
		{"state key of a message", `{"kind":"event_match","key":"state_key","pattern":"*"}`, `{}`, false},
		{"sender", `{"kind":"event_match","key":"sender","pattern":"@bob:*"}`, `{}`, true},
		{"event id", `{"kind":"event_match","key":"event_id","pattern":"$?"}`, `{}`, true},
		{"no pattern", `{"kind":"event_match","key":"type"}`, `{}`, false},
		{"no key", `{"kind":"event_match","pattern":"*"}`, `{}`, false},
		{"pattern is a number", `{"kind":"event_match","key":"type","pattern":1}`, `{}`, false},
		{"the spec's m.federate", `{"kind":"event_property_is","key":"content.m\\.federate","value":true}`, `{"content":{"m.federate":true}}`, true},
		{"no cast of text", `{"kind":"event_property_is","key":"content.m\\.federate","value":true}`, `{"content":{"m.federate":"true"}}`, false},
		{"no cast of numbers", `{"kind":"event_property_is","key":"content.m\\.federate","value":true}`, `{"content":{"m.federate":1}}`, false},
		{"integer", `{"kind":"event_property_is","key":"content.n","value":-7}`, `{"content":{"n":-7}}`, true},
		{"integer out of range", `{"kind":"event_property_is","key":"content.n","value":9007199254740992}`, `{"content":{"n":7}}`, false},
		{"null", `{"kind":"event_property_is","key":"content.n","value":null}`, `{"content":{"n":null}}`, true},
		{"null is not absent", `{"kind":"event_property_is","key":"content.n","value":null}`, `{}`, false},
		{"value absent", `{"kind":"event_property_is","key":"content.n"}`, `{"content":{"n":null}}`, false},
		{"objects never", `{"kind":"event_property_is","key":"content.n","value":{}}`, `{"content":{"n":{}}}`, false},
		{"exact case", `{"kind":"event_property_is","key":"type","value":"M.room.message"}`, `{}`, false},
		{"top level", `{"kind":"event_property_is","key":"type","value":"m.room.message"}`, `{}`, true},
		{"escapes", `{"kind":"event_property_is","key":"content.a\\\\b\\.c\\x.d","value":"y"}`, `{"content":{"a\\b.c\\x":{"d":"y"}}}`, true},
		{"a dot is no name", `{"kind":"event_property_is","key":"content.m.federate","value":true}`, `{"content":{"m.federate":true}}`, false},
		{"the spec's alt_aliases", `{"kind":"event_property_contains","key":"content.alt_aliases","value":"#myroom:example.com"}`, `{"content":{"alt_aliases":["#somewhere:example.org","#myroom:example.com"]}}`, true},
		{"no partial values", `{"kind":"event_property_contains","key":"content.alt_aliases","value":":example.com"}`, `{"content":{"alt_aliases":["#myroom:example.com"]}}`, false},
		{"mixed values", `{"kind":"event_property_contains","key":"content.a","value":3}`, `{"content":{"a":[{"b":3},[3],"3",null,3]}}`, true},
		{"no array", `{"kind":"event_property_contains","key":"content.a","value":"x"}`, `{"content":{"a":"x"}}`, false},
		{"no array at the top", `{"kind":"event_property_contains","key":"type","value":"m.room.message"}`, `{}`, false},
		{"display name", `{"kind":"contains_display_name"}`, `{"content":{"body":"hello ALLY (she)!"}}`, true},
		{"display name in a word", `{"kind":"contains_display_name"}`, `{"content":{"body":"sally (she)"}}`, false},
		{"members", `{"kind":"room_member_count","is":"10"}`, `{}`, true},
		{"members ==", `{"kind":"room_member_count","is":"==10"}`, `{}`, true},
		{"members <", `{"kind":"room_member_count","is":"<10"}`, `{}`, false},
		{"members <=", `{"kind":"room_member_count","is":"<=10"}`, `{}`, true},
		{"members >", `{"kind":"room_member_count","is":">9"}`, `{}`, true},
		{"members >=", `{"kind":"room_member_count","is":">=11"}`, `{}`, false},
		{"members =", `{"kind":"room_member_count","is":"=10"}`, `{}`, false},
		{"members without a number", `{"kind":"room_member_count","is":">"}`, `{}`, false},
		{"members absent", `{"kind":"room_member_count"}`, `{}`, false},
		{"members is a number", `{"kind":"room_member_count","is":10}`, `{}`, false},
		{"power", `{"kind":"sender_notification_permission","key":"room"}`, `{}`, true},
		{"power lacking", `{"kind":"sender_notification_permission","key":"room"}`, `{"sender":"@carol:h"}`, false},
		{"power without key", `{"kind":"sender_notification_permission"}`, `{}`, false},
		{"unknown", `{"kind":"org.example.moon","phase":"full"}`, `{}`, false},
	} {
		rs := &Ruleset{Override: []Rule{{RuleID: "r", Enabled: true, Conditions: raw([]string{c.condition}), Actions: raw(list(notify))}}}
		o := Compile(alice, rs).Evaluate(event(t, c.event), room)
		if got := o != nil; got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestDefaultRules(t *testing.T) {
	for _, c := range []struct {
		name, event string
		members     int
		rule        string // "": none matches
		notify      bool
		highlight   bool
	}{
		{"message in a group", `{"content":{"msgtype":"m.text","body":"x"}}`, 3, ".m.rule.message", true, false},
		{"message of two", `{"content":{"msgtype":"m.text","body":"x"}}`, 2, ".m.rule.room_one_to_one", true, false},
		{"encrypted in a group", `{"type":"m.room.encrypted"}`, 3, ".m.rule.encrypted", true, false},
		{"encrypted of two", `{"type":"m.room.encrypted"}`, 2, ".m.rule.encrypted_room_one_to_one", true, false},
		{"notice", `{"content":{"msgtype":"m.notice"}}`, 2, ".m.rule.suppress_notices", false, false},
		{"invite", `{"type":"m.room.member","state_key":"@alice:h","content":{"membership":"invite"}}`, 1, ".m.rule.invite_for_me", true, false},
		{"invite of another", `{"type":"m.room.member","state_key":"@carol:h","content":{"membership":"invite"}}`, 2, ".m.rule.member_event", false, false},
		{"mention", `{"content":{"body":"x","m.mentions":{"user_ids":["@carol:h","@alice:h"]}}}`, 3, ".m.rule.is_user_mention", true, true},
		{"mention of another", `{"content":{"body":"alice","m.mentions":{"user_ids":["@alice:hh"]}}}`, 3, ".m.rule.message", true, false},
		{"room mention", `{"content":{"m.mentions":{"room":true}}}`, 3, ".m.rule.is_room_mention", true, true},
		{"room mention without power", `{"sender":"@carol:h","content":{"m.mentions":{"room":true}}}`, 3, ".m.rule.message", true, false},
		{"tombstone", `{"type":"m.room.tombstone","state_key":""}`, 3, ".m.rule.tombstone", true, true},
		{"tombstone that is no state", `{"type":"m.room.tombstone"}`, 3, "", false, false},
		{"reaction", `{"type":"m.reaction"}`, 2, ".m.rule.reaction", false, false},
		{"server acl", `{"type":"m.room.server_acl","state_key":""}`, 2, ".m.rule.room.server_acl", false, false},
		{"edit", `{"content":{"m.relates_to":{"rel_type":"m.replace"}}}`, 2, ".m.rule.suppress_edits", false, false},
		{"call", `{"type":"m.call.invite"}`, 3, ".m.rule.call", true, false},
		{"topic", `{"type":"m.room.topic","state_key":""}`, 2, "", false, false},
		{"own message", `{"sender":"@alice:h"}`, 2, "", false, false},
	} {
		room := &fakeRoom{members: c.members, power: Power{Levels: []byte(`{"users":{"@bob:h":"50"}}`)}}
		o := Compile(alice, Default(alice)).Evaluate(event(t, c.event), room)
		switch {
		case o == nil && c.rule != "", o != nil && o.RuleID != c.rule:
			t.Errorf("%s: %+v, want %q", c.name, o, c.rule)
		case o != nil && (o.Notify != c.notify || o.Highlight != c.highlight):
			t.Errorf("%s: %+v", c.name, o)
		}
	}
}

// The order of kinds, and the master rule before all.
func TestPriorities(t *testing.T) {
	rs := Default(alice)
	put := func(kind, id string, n NewRule) {
		t.Helper()
		if err := rs.Put(kind, id, n, "", ""); err != nil {
			t.Fatal(err)
		}
	}
	evaluate := func() string {
		o := Compile(alice, rs).Evaluate(event(t, `{"content":{"body":"tea time"}}`), &fakeRoom{members: 2})
		if o == nil {
			return ""
		}
		return o.Kind + " " + o.RuleID
	}
	actions := raw(list(notify))
	tea, time := "tea", "time"
	for _, step := range []struct {
		do   func()
		want string
	}{
		{func() { put(Underride, "u", NewRule{Actions: actions}) }, "underride u"},
		{func() { put(Sender, bob, NewRule{Actions: actions}) }, "sender " + bob},
		{func() { put(RoomKind, roomID, NewRule{Actions: actions}) }, "room " + roomID},
		{func() { put(Content, "tea", NewRule{Actions: actions, Pattern: &tea}) }, "content tea"},
		{func() { put(Content, "time", NewRule{Actions: actions, Pattern: &time}) }, "content time"},
		{func() { put(Override, "o", NewRule{Actions: actions}) }, "override o"},
		{func() { _ = rs.SetEnabled(Override, Master, true) }, "override " + Master},
		{func() { _ = rs.SetEnabled(Override, Master, false); _ = rs.SetEnabled(Override, "o", false) }, "content time"},
	} {
		step.do()
		if got := evaluate(); got != step.want {
			t.Errorf("got %q, want %q", got, step.want)
		}
	}
}

func TestTweaks(t *testing.T) {
	for actions, want := range map[string]Outcome{
		`["notify",{"set_tweak":"highlight"}]`:                           {Notify: true, Highlight: true, Tweaks: json.RawMessage(`{"highlight":true}`)},
		`["notify",{"set_tweak":"highlight","value":false}]`:             {Notify: true, Tweaks: json.RawMessage(`{"highlight":false}`)},
		`["dont_notify",{"set_tweak":"highlight"}]`:                      {Tweaks: json.RawMessage(`{"highlight":true}`)},
		`["notify",{"set_tweak":"sound","value":"x"},"coalesce"]`:        {Notify: true, Sound: true, Tweaks: json.RawMessage(`{"sound":"x"}`)},
		`["notify",{"set_tweak":"org.example.light","value":{"a":[1]}}]`: {Notify: true, Tweaks: json.RawMessage(`{"org.example.light":{"a":[1]}}`)},
		`[]`: {Tweaks: json.RawMessage(`{}`)},
	} {
		var list []json.RawMessage
		if err := json.Unmarshal([]byte(actions), &list); err != nil {
			t.Fatal(err)
		}
		o := outcome(Override, &Rule{Actions: list})
		if o.Notify != want.Notify || o.Highlight != want.Highlight || o.Sound != want.Sound || string(o.Tweaks) != string(want.Tweaks) {
			t.Errorf("%s: %+v", actions, o)
		}
	}
}

func TestPower(t *testing.T) {
	for _, c := range []struct {
		levels     string
		creators   []string
		privileged bool
		want       bool
	}{
		{``, nil, false, false},
		{``, []string{bob}, false, true},
		{`{}`, []string{bob}, false, false},
		{`{}`, []string{bob}, true, true},
		{`{"users":{"@bob:h":50}}`, nil, false, true},
		{`{"users":{"@bob:h":49}}`, nil, false, false},
		{`{"users_default":50}`, nil, false, true},
		{`{"users":{"@bob:h":49},"notifications":{"room":20}}`, nil, false, true},
		{`{"users":{"@bob:h":99},"notifications":{"room":100}}`, nil, false, false},
		{`{"users":{"@bob:h":" 60 "},"notifications":{"room":"60"}}`, nil, false, true},
		{`{"users":{"@bob:h":50},"notifications":null}`, nil, false, true},
	} {
		p := Power{Creators: c.creators, Privileged: c.privileged}
		if c.levels != "" {
			p.Levels = []byte(c.levels)
		}
		if got := p.MayNotify(bob, "room"); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// The room is asked only when the rest of a rule matches.
func TestRoomIsAskedLast(t *testing.T) {
	room := &fakeRoom{members: 2}
	Compile(alice, Default(alice)).Evaluate(event(t, `{"type":"org.example.thing"}`), room)
	if room.asked != 0 {
		t.Errorf("asked %d times", room.asked)
	}
}

func benchmark(b *testing.B, rs *Ruleset, fields string) {
	c := Compile(alice, rs)
	e := event(b, fields)
	room := &fakeRoom{members: 50}
	b.ReportAllocs()
	for b.Loop() {
		fresh := NewEvent(e.RoomID, e.Type, e.Sender, e.StateKey, e.json)
		c.Evaluate(fresh, room)
	}
}

const ordinary = `{"content":{"msgtype":"m.text","body":"It is time for tea, is it not? Yes, quite so.","m.mentions":{"user_ids":["@carol:h"]}}}`

func BenchmarkDefaultRules(b *testing.B) { benchmark(b, Default(alice), ordinary) }

func BenchmarkTypicalUser(b *testing.B) {
	rs := Default(alice)
	for i := range 10 {
		word := fmt.Sprintf("keyword%d", i)
		_ = rs.Put(Content, word, NewRule{Pattern: &word, Actions: raw(list(notify))}, "", "")
	}
	for i := range 50 {
		id := fmt.Sprintf("!muted%d:h", i)
		_ = rs.Put(Override, id, NewRule{Actions: raw(nil), Conditions: raw(list(match("room_id", id)))}, "", "")
	}
	benchmark(b, rs, ordinary)
}

func BenchmarkMostRules(b *testing.B) {
	rs := Default(alice)
	for i := range MaxRules {
		id := fmt.Sprintf("%05d", i)
		rs.Override = append(rs.Override, Rule{RuleID: id, Enabled: true, Conditions: raw(list(match("content.k"+id, "x"))), Actions: raw(nil)})
	}
	benchmark(b, rs, ordinary)
}
