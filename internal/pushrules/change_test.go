package pushrules

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"hearth/internal/merr"
)

func ids(rules []Rule) (out []string) {
	for _, r := range rules {
		if !r.Default {
			out = append(out, r.RuleID)
		}
	}
	return out
}

func code(err error) string {
	var e *merr.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return fmt.Sprint(err)
}

func TestOrderOfRules(t *testing.T) {
	rs := Default(alice)
	plain := NewRule{Actions: raw(list(notify))}
	for _, c := range []struct {
		id, before, after string
		want              []string
	}{
		{"a", "", "", []string{"a"}},
		{"b", "", "", []string{"b", "a"}},
		{"c", "a", "", []string{"b", "c", "a"}},
		{"d", "", "b", []string{"b", "d", "c", "a"}},
		{"d", "", "", []string{"b", "d", "c", "a"}},
		{"b", "", "a", []string{"d", "c", "a", "b"}},
		{"b", "d", "", []string{"b", "d", "c", "a"}},
		{"b", "b", "", []string{"b", "d", "c", "a"}},
		{"e", "c", "b", []string{"b", "d", "e", "c", "a"}},
		{"a", "e", "", []string{"b", "d", "a", "e", "c"}},
	} {
		if err := rs.Put(Override, c.id, plain, c.before, c.after); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
		if got := ids(rs.Override); !slices.Equal(got, c.want) {
			t.Errorf("%s before %q after %q: %v, want %v", c.id, c.before, c.after, got, c.want)
		}
	}
	if rs.Override[0].RuleID != Master || rs.Override[6].RuleID != ".m.rule.suppress_notices" {
		t.Errorf("default rules moved: %v", rs.Override)
	}
}

func TestRefusedRules(t *testing.T) {
	ok, pattern := raw(list(notify)), "x"
	long := strings.Repeat("x", MaxPattern+1)
	for _, c := range []struct {
		name, kind, id string
		rule           NewRule
		before         string
		want           string
	}{
		{"kind", "overrides", "a", NewRule{Actions: ok}, "", "M_INVALID_PARAM"},
		{"dot", Override, ".a", NewRule{Actions: ok}, "", "M_INVALID_PARAM"},
		{"default", Override, Master, NewRule{Actions: ok}, "", "M_INVALID_PARAM"},
		{"slash", Override, "a/b", NewRule{Actions: ok}, "", "M_INVALID_PARAM"},
		{"backslash", Override, `a\b`, NewRule{Actions: ok}, "", "M_INVALID_PARAM"},
		{"empty", Override, "", NewRule{Actions: ok}, "", "M_INVALID_PARAM"},
		{"long", Override, strings.Repeat("a", MaxRuleID+1), NewRule{Actions: ok}, "", "M_INVALID_PARAM"},
		{"no actions", Override, "a", NewRule{}, "", "M_MISSING_PARAM"},
		{"no pattern", Content, "a", NewRule{Actions: ok}, "", "M_MISSING_PARAM"},
		{"long pattern", Content, "a", NewRule{Actions: ok, Pattern: &long}, "", "M_INVALID_PARAM"},
		{"unknown action", Override, "a", NewRule{Actions: raw(list(`"shout"`))}, "", "M_INVALID_PARAM"},
		{"action null", Override, "a", NewRule{Actions: raw(list(`null`))}, "", "M_INVALID_PARAM"},
		{"action number", Override, "a", NewRule{Actions: raw(list(`1`))}, "", "M_INVALID_PARAM"},
		{"action object", Override, "a", NewRule{Actions: raw(list(`{"value":1}`))}, "", "M_INVALID_PARAM"},
		{"condition", Override, "a", NewRule{Actions: ok, Conditions: raw(list(`{"key":"x"}`))}, "", "M_INVALID_PARAM"},
		{"condition null", Override, "a", NewRule{Actions: ok, Conditions: raw(list(`null`))}, "", "M_INVALID_PARAM"},
		{"conditions", Override, "a", NewRule{Actions: ok, Conditions: slices.Repeat(raw(list(`{"kind":"x"}`)), MaxConditions+1)}, "", "M_INVALID_PARAM"},
		{"before", Content, "a", NewRule{Actions: ok, Pattern: &pattern}, "nobody", "M_UNKNOWN"},
		{"before a default", Override, "a", NewRule{Actions: ok}, Master, "M_UNKNOWN"},
	} {
		rs := Default(alice)
		if got := code(rs.Put(c.kind, c.id, c.rule, c.before, "")); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestTooManyRules(t *testing.T) {
	rs := Default(alice)
	for i := range MaxRules {
		rs.Sender = append(rs.Sender, Rule{RuleID: fmt.Sprint(i), Actions: []json.RawMessage{}})
	}
	if got := code(rs.Put(Override, "one more", NewRule{Actions: raw(nil)}, "", "")); got != "M_TOO_LARGE" {
		t.Errorf("one more rule: %s", got)
	}
	if got := code(rs.Put(Sender, "7", NewRule{Actions: raw(nil)}, "", "")); got != "<nil>" {
		t.Errorf("replacing one: %s", got)
	}
	rs = Default(alice)
	big := raw(list(`{"set_tweak":"x","value":"` + strings.Repeat("x", MaxBytes) + `"}`))
	if got := code(rs.Put(Override, "big", NewRule{Actions: big}, "", "")); got != "M_TOO_LARGE" {
		t.Errorf("a large rule: %s", got)
	}
	if got := code(rs.SetActions(Override, Master, big)); got != "M_TOO_LARGE" {
		t.Errorf("large actions: %s", got)
	}
}

func TestChangesOfDefaultRules(t *testing.T) {
	rs := Default(alice)
	if err := rs.SetEnabled(Override, Master, true); err != nil {
		t.Error(err)
	}
	if err := rs.SetActions(Underride, ".m.rule.message", raw(list(`"dont_notify"`))); err != nil {
		t.Error(err)
	}
	if got := code(rs.Delete(Override, Master)); got != "M_INVALID_PARAM" {
		t.Errorf("delete: %s", got)
	}
	for _, err := range []error{
		rs.SetEnabled(Override, "x", true), rs.SetActions(Content, "x", nil), rs.Delete(RoomKind, "x"),
	} {
		if code(err) != "M_NOT_FOUND" {
			t.Errorf("got %v", err)
		}
	}
	_ = rs.Put(Override, "mine", NewRule{Actions: raw(list(notify))}, "", "")
	_ = rs.SetEnabled(Override, "mine", false)
	_ = rs.Put(Override, "mine", NewRule{Actions: raw(nil)}, "", "")

	again := Load(alice, rs.Marshal())
	if string(again.Marshal()) != string(rs.Marshal()) {
		t.Errorf("read again:\n%s\nwas\n%s", again.Marshal(), rs.Marshal())
	}
	if !again.Override[0].Enabled || again.Override[1].RuleID != "mine" || again.Override[1].Enabled {
		t.Errorf("override: %+v", again.Override[:2])
	}
	if r, err := again.Get(Underride, ".m.rule.message"); err != nil || len(r.Actions) != 0 || !r.Enabled {
		t.Errorf("message: %+v, %v", r, err)
	}
	if err := again.Delete(Override, "mine"); err != nil || index(again.Override, "mine") >= 0 {
		t.Errorf("delete: %v", err)
	}
}

// Rules of older versions go, and those that came later are there.
func TestLoadFollowsTheSpec(t *testing.T) {
	stored := `{"global":{"override":[{"rule_id":".m.rule.contains_display_name","default":true,"enabled":true,"actions":["notify"]}],
		"room":[{"rule_id":"!r:h","default":false,"enabled":true,"actions":null}]}}`
	rs := Load(alice, json.RawMessage(stored))
	if index(rs.Override, ".m.rule.contains_display_name") >= 0 || index(rs.Override, ".m.rule.suppress_edits") < 0 || len(rs.Room) != 1 {
		t.Errorf("loaded: %s", rs.Marshal())
	}
	for _, broken := range []string{``, `null`, `[]`, `{"global":[]}`, `{"global":{"override":{}}}`, `{`} {
		if got := Load(alice, json.RawMessage(broken)); string(got.Marshal()) != string(Default(alice).Marshal()) {
			t.Errorf("%q: %s", broken, got.Marshal())
		}
	}
}

func TestCopyRoom(t *testing.T) {
	rs := Default(alice)
	mute := NewRule{Actions: raw(nil), Conditions: raw(list(match("room_id", "!old:h"), match("type", "m.room.message")))}
	_ = rs.Put(Override, "!old:h", mute, "", "")
	_ = rs.Put(RoomKind, "!old:h", NewRule{Actions: raw(list(notify))}, "", "")
	if !rs.CopyRoom("!old:h", "!new:h") {
		t.Error("nothing was copied")
	}
	o, err := rs.Get(Override, "!new:h")
	if err != nil || len(o.Conditions) != 2 || !strings.Contains(string(o.Conditions[0]), "!new:h") {
		t.Errorf("override: %+v, %v", o, err)
	}
	if r, err := rs.Get(RoomKind, "!new:h"); err != nil || len(r.Actions) != 1 {
		t.Errorf("room: %+v, %v", r, err)
	}
	if old, _ := rs.Get(Override, "!old:h"); !strings.Contains(string(old.Conditions[0]), "!old:h") {
		t.Error("the old rule changed")
	}
	if rs.CopyRoom("!old:h", "!new:h") || rs.CopyRoom("!other:h", "!new:h") {
		t.Error("copied again")
	}
}

func FuzzRules(f *testing.F) {
	f.Add([]byte(Default(alice).Marshal()), []byte(`{"body":"x"}`))
	f.Add([]byte(`{"global":{"override":[{"rule_id":"x","enabled":true,"conditions":[{"kind":"event_match","key":"content.a\\.b.c","pattern":"*?*"},{"kind":"room_member_count","is":"+1"}],"actions":["notify",{"set_tweak":"highlight","value":[]}]}]}}`), []byte(`{"a.b":{"c":"x"}}`))
	f.Fuzz(func(t *testing.T, stored, content []byte) {
		rs := Load(alice, stored)
		again := Load(alice, rs.Marshal())
		if string(again.Marshal()) != string(rs.Marshal()) {
			t.Errorf("%s\nbecame\n%s", rs.Marshal(), again.Marshal())
		}
		e := NewEvent(roomID, "m.room.message", bob, nil, append(append([]byte(`{"content":`), content...), '}'))
		if o := Compile(alice, rs).Evaluate(e, &fakeRoom{members: 2, name: "x"}); o != nil && !json.Valid(o.Tweaks) {
			t.Errorf("tweaks: %s", o.Tweaks)
		}
	})
}
