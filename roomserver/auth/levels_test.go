package auth_test

import (
	"fmt"
	"strings"
	"testing"

	"hearth/internal/pdu"
	"hearth/roomserver/auth"
)

// Values of a power level and what they mean; "-" is: refused.
var levelValues = []struct{ json, old, strictJSON, integers string }{
	// v1–v5, v6–v9, v10+
	{`50`, "50", "50", "50"},
	{`-1`, "-1", "-1", "-1"},
	{`0`, "0", "0", "0"},
	{`9007199254740991`, "9007199254740991", "9007199254740991", "9007199254740991"},
	{`"50"`, "50", "50", "-"},
	{`"-50"`, "-50", "-50", "-"},
	{`"+50"`, "50", "50", "-"},
	{`" 00100 "`, "100", "100", "-"},
	{`"\t-00100\n"`, "-100", "-100", "-"},
	{`"99999999999999999999"`, "9223372036854775806", "9223372036854775806", "-"},
	{`"-99999999999999999999"`, "-9223372036854775806", "-9223372036854775806", "-"},
	{`"9223372036854775807"`, "9223372036854775806", "9223372036854775806", "-"},
	{`""`, "-", "-", "-"},
	{`" "`, "-", "-", "-"},
	{`"+"`, "-", "-", "-"},
	{`"+-1"`, "-", "-", "-"},
	{`"1_0"`, "-", "-", "-"},
	{`"0x10"`, "-", "-", "-"},
	{`"1 0"`, "-", "-", "-"},
	{`"50.0"`, "-", "-", "-"},
	{`"1e2"`, "-", "-", "-"},
	{`"NaN"`, "-", "-", "-"},
	{`50.57`, "50", "-", "-"},
	{`-50.57`, "-50", "-", "-"},
	{`50.0`, "50", "-", "-"},
	{`1e2`, "100", "-", "-"},
	{`5.114698E4`, "51146", "-", "-"},
	{`1e300`, "9223372036854775806", "-", "-"},
	{`-1e300`, "-9223372036854775806", "-", "-"},
	{`9007199254740993`, "9007199254740993", "-", "-"},
	{`99999999999999999999`, "9223372036854775806", "-", "-"},
	{`1e400`, "-", "-", "-"},
	{`true`, "-", "-", "-"},
	{`false`, "-", "-", "-"},
	{`null`, "-", "-", "-"},
	{`[]`, "-", "-", "-"},
	{`[50]`, "-", "-", "-"},
	{`{}`, "-", "-", "-"},
	{`{"a":50}`, "-", "-", "-"},
}

func wantLevel(v *pdu.RoomVersion, i int) string {
	c := levelValues[i]
	switch {
	case v.IntegerPowerLevels:
		return c.integers
	case v.StrictJSON:
		return c.strictJSON
	}
	return c.old
}

func TestLevelValues(t *testing.T) {
	for _, v := range pdu.Versions() {
		for i, c := range levelValues {
			want := wantLevel(v, i)
			// Package pdu is the gate for what is no canonical JSON.
			content, err := pdu.Canonical([]byte(`{"users":{"@x:a":`+c.json+`}}`), v.StrictJSON)
			if err != nil {
				if want != "-" {
					t.Errorf("v%s: %s does not pass the gate: %v", v.ID, c.json, err)
				}
				continue
			}
			p, err := auth.ParsePowerLevels(v, content)
			if got := "-"; err != nil {
				if want != got {
					t.Errorf("v%s: %s is refused: %v", v.ID, c.json, err)
				}
				continue
			}
			if got := fmt.Sprint(p.User("@x:a")); got != want {
				t.Errorf("v%s: %s is %s, want %s", v.ID, c.json, got, want)
			}
		}
	}
}

// Where the rules of versions 1 to 9 say nothing about a malformed value it is as
// if it were not there, so that such rooms stay joinable.
func TestMalformedLevelsByVersion(t *testing.T) {
	for _, name := range []string{"users_default", "events_default", "state_default", "ban", "redact", "kick", "invite"} {
		checkRows(t, []row{
			{name, nil, levels(admin, `{"`+name+`":true,"users":{"@admin:a":100,"@mod:a":50}}`), "1-9=ok 10-11=9.1 12=10.1"},
			{name + " null", nil, levels(admin, `{"`+name+`":null,"users":{"@admin:a":100,"@mod:a":50}}`), "1-9=ok 10-11=9.1 12=10.1"},
			{name + " string", nil, levels(admin, `{"`+name+`":"50","users":{"@admin:a":100,"@mod:a":50}}`), "1-9=ok 10-11=9.1 12=10.1"},
			{name + " nested", nil, levels(admin, `{"`+name+`":{"a":50},"users":{"@admin:a":100,"@mod:a":50}}`), "1-9=ok 10-11=9.1 12=10.1"},
		})
	}
	for _, name := range []string{"events", "notifications"} {
		for _, val := range []string{`null`, `[]`, `5`, `{"room":null}`, `{"room":true}`, `{"room":"50"}`, `{"a":1,"room":{}}`} {
			checkRows(t, []row{{name + " " + val, nil,
				levels(admin, `{"`+name+`":`+val+`,"users":{"@admin:a":100,"@mod:a":50}}`), "1-9=ok 10-11=9.2 12=10.2"}})
		}
	}
	const users = "1-5=10.1 6-9=9.1 10-11=9.3 12=10.3"
	for _, val := range []string{`null`, `[]`, `"x"`, `{"@x:a":null}`, `{"@x:a":true}`, `{"@x:a":"y"}`, `{"x":1}`, `{"@x":1}`, `{"":1}`, `{"@x:a":1,"#x:a":1}`} {
		checkRows(t, []row{{"users " + val, nil, levels(admin, `{"users":`+val+`}`), users}})
	}
	checkRows(t, []row{
		{"user as string", nil, levels(admin, `{"users":{"@admin:a":"100","@mod:a":"50"}}`), "1-9=ok 10-11=9.3 12=10.3"},
		{"without users", nil, levels(admin, `{"users":{"@admin:a":100}}`), "1-12=ok"},
		{"historical user id", nil, levels(admin, `{"users":{"@admin:a":100,"@mod:a":50,"@ÄÖ !:b":1}}`), "1-12=ok"},
	})
}

// A malformed value in the state counts as absent when others are checked.
func TestMalformedLevelsInState(t *testing.T) {
	for _, v := range pdu.Versions()[:9] {
		r := newRoom(t, v)
		r.put(levels(admin, `{"users":{"@admin:a":100,"@mod:a":50,"@user:b":true},"users_default":"x","state_default":null,"events":{"m.room.topic":{},"m.room.name":"0"},"invite":[],"kick":true,"notifications":5}`))
		p := auth.LevelsOf(v, r.state)
		if p.UsersDefault != 0 || p.StateDefault != 50 || p.Invite != 0 || p.Kick != 50 || p.User(user) != 0 ||
			p.ForEvent("m.room.topic", true) != 50 || p.ForEvent("m.room.name", true) != 0 || p.Notification("room") != 50 {
			t.Errorf("v%s: %+v", v.ID, p)
		}
		if err := auth.Check(r.load(member(user, nobody, "invite")), r.state); err != nil {
			t.Errorf("v%s: %v", v.ID, err)
		}
	}
}

func TestDefaultLevels(t *testing.T) {
	for _, v := range pdu.Versions() {
		r := newRoom(t, v)
		delete(r.state, auth.StateKey{Type: "m.room.power_levels"})
		p := auth.LevelsOf(v, r.state)
		want := int64(100)
		if v.PrivilegedCreators {
			want = auth.Infinite
		}
		if p.User(creator) != want || p.User(mod) != 0 {
			t.Errorf("v%s: creator %d, other %d", v.ID, p.User(creator), p.User(mod))
		}
		if p.Ban != 50 || p.Kick != 50 || p.Redact != 50 || p.Invite != 0 || p.EventsDefault != 0 || p.StateDefault != 50 ||
			p.ForEvent("m.room.topic", true) != 50 || p.ForEvent("m.room.message", false) != 0 || p.Notification("room") != 50 {
			t.Errorf("v%s: %+v", v.ID, p)
		}
		r.put(levels(creator, `{}`))
		if p = auth.LevelsOf(v, r.state); !v.PrivilegedCreators && p.User(creator) != 0 {
			t.Errorf("v%s: creator keeps %d although there is an event", v.ID, p.User(creator))
		}
		if p = auth.LevelsOf(v, auth.Events{}); p.User(creator) != 0 {
			t.Errorf("v%s: no state at all: %d", v.ID, p.User(creator))
		}
	}
}

func TestCreators(t *testing.T) {
	for _, v := range pdu.Versions() {
		r := newRoom(t, v)
		r.put(state("m.room.create", creator, `{"creator":"@other:a","additional_creators":["@more:b"]}`))
		want := map[bool]string{true: "@creator:a", false: "@other:a"}[v.CreatorIsSender]
		if v.PrivilegedCreators {
			want += " @more:b"
		}
		if got := strings.Join(auth.Creators(r.create()), " "); got != want {
			t.Errorf("v%s: %s, want %s", v.ID, got, want)
		}
		p := auth.LevelsOf(v, r.state)
		if v.PrivilegedCreators && (p.User("@more:b") != auth.Infinite || p.User(creator) != auth.Infinite) {
			t.Errorf("v%s: creators are not infinite", v.ID)
		}
		if !v.PrivilegedCreators && p.User("@more:b") != 0 {
			t.Errorf("v%s: additional creator has %d", v.ID, p.User("@more:b"))
		}
		r.put(state("m.room.create", creator, `{"creator":7}`))
		if got := auth.Creators(r.create()); !v.CreatorIsSender && got != nil {
			t.Errorf("v%s: %v", v.ID, got)
		}
	}
}

func TestPowerLevelChanges(t *testing.T) {
	const base = `"users":{"@admin:a":100,"@mod:a":50}`
	pl := func(sender, more string) event {
		if more != "" {
			more = "," + more
		}
		return levels(sender, `{`+base+more+`}`)
	}
	was := func(more string) []event { return []event{pl(creator, more)} }
	const (
		named1 = "1-5=10.3.1 6-9=9.3.1 10-11=9.5.1 12=10.6.1"
		named2 = "1-5=10.3.2 6-9=9.3.2 10-11=9.5.2 12=10.6.2"
		oldEv  = "1-5=10.4.1 6-9=9.4.1 10-11=9.6.1 12=10.7.1"
		newEv  = "1-5=10.5.1 6-9=9.5.1 10-11=9.7.1 12=10.8.1"
		oldUs  = "1-5=10.6.1 6-9=9.6.1 10-11=9.8.1 12=10.9.1"
		newUs  = "1-5=10.7.1 6-9=9.7.1 10-11=9.9.1 12=10.10.1"
	)
	rows := []row{
		{"nothing", nil, pl(mod, ""), "1-12=ok"},
		{"too low to send", nil, pl(user, ""), "1-5=8 6-11=7 12=8"},
		{"message of that type too", was(`"events_default":0`), event{typ: "m.room.power_levels", sender: user, key: "-", content: `{` + base + `,"invite":60}`}, named2},

		{"events, add", nil, pl(mod, `"events":{"x":50}`), "1-12=ok"},
		{"events, add above", nil, pl(mod, `"events":{"x":51}`), newEv},
		{"events, raise above", was(`"events":{"x":0}`), pl(mod, `"events":{"x":51}`), newEv},
		{"events, lower from above", was(`"events":{"x":51}`), pl(mod, `"events":{"x":50}`), oldEv},
		{"events, lower from equal", was(`"events":{"x":50}`), pl(mod, `"events":{"x":0}`), "1-12=ok"},
		{"events, remove from above", was(`"events":{"x":51}`), pl(mod, ``), oldEv},
		{"events, remove an equal", was(`"events":{"x":50}`), pl(mod, ``), "1-12=ok"},
		{"events, leave one above", was(`"events":{"x":51,"y":1}`), pl(mod, `"events":{"x":51,"y":2}`), "1-12=ok"},
		{"events, change behind others", was(`"events":{"a":1,"b":2,"x":51}`), pl(mod, `"events":{"a":1,"c":3,"x":50}`), oldEv},

		{"notifications, add above", nil, pl(mod, `"notifications":{"room":51}`), "1-5=ok 6-9=9.5.1 10-11=9.7.1 12=10.8.1"},
		{"notifications, lower from above", was(`"notifications":{"room":51}`), pl(mod, `"notifications":{"room":5}`), "1-5=ok 6-9=9.4.1 10-11=9.6.1 12=10.7.1"},
		{"notifications, remove from above", was(`"notifications":{"room":51}`), pl(mod, ``), "1-5=ok 6-9=9.4.1 10-11=9.6.1 12=10.7.1"},
		{"notifications, lower from equal", was(`"notifications":{"room":50}`), pl(mod, `"notifications":{"room":0}`), "1-12=ok"},

		{"users, add", nil, levels(mod, `{"users":{"@admin:a":100,"@mod:a":50,"@user:b":50}}`), "1-12=ok"},
		{"users, add above", nil, levels(mod, `{"users":{"@admin:a":100,"@mod:a":50,"@user:b":51}}`), newUs},
		{"users, raise oneself", nil, levels(mod, `{"users":{"@admin:a":100,"@mod:a":51}}`), newUs},
		{"users, lower oneself", nil, levels(mod, `{"users":{"@admin:a":100,"@mod:a":49}}`), "1-12=ok"},
		{"users, remove oneself", nil, levels(mod, `{"users":{"@admin:a":100}}`), "1-12=ok"},
		{"users, lower a superior", nil, levels(mod, `{"users":{"@admin:a":99,"@mod:a":50}}`), oldUs},
		{"users, remove a superior", nil, levels(mod, `{"users":{"@mod:a":50}}`), oldUs},
		{"users, lower an equal", []event{levels(creator, `{"users":{"@admin:a":100,"@mod:a":50,"@user:b":50}}`)},
			levels(mod, `{"users":{"@admin:a":100,"@mod:a":50,"@user:b":49}}`), oldUs},
		{"users, remove an equal", []event{levels(creator, `{"users":{"@admin:a":100,"@mod:a":50,"@user:b":50}}`)},
			levels(mod, `{"users":{"@admin:a":100,"@mod:a":50}}`), oldUs},
		{"users, raise an inferior to equal", []event{levels(creator, `{"users":{"@admin:a":100,"@mod:a":50,"@user:b":49}}`)},
			levels(mod, `{"users":{"@admin:a":100,"@mod:a":50,"@user:b":50}}`), "1-12=ok"},

		{"creator among users", nil, levels(admin, `{"users":{"@admin:a":100,"@mod:a":50,"@creator:a":1}}`), "1-11=ok 12=10.4"},
		{"creator puts oneself in", nil, levels(creator, `{"users":{"@admin:a":100,"@mod:a":50,"@creator:a":100}}`), "1-5=8 6-11=7 12=10.4"},
		{"creator may all", was(`"ban":200,"notifications":{"room":200},"events":{"x":200}`),
			levels(creator, `{"users":{"@mod:a":9007199254740991},"kick":9007199254740991,"notifications":{"room":1}}`), "1-5=8 6-11=7 12=ok"},
		{"string equals number", was(`"events":{"x":"60"},"ban":"60"`), pl(mod, `"events":{"x":60},"ban":60`), "1-9=ok"},
	}
	for _, name := range []string{"users_default", "events_default", "state_default", "ban", "redact", "kick", "invite"} {
		q := `"` + name + `":`
		rows = append(rows,
			row{name + ", add", nil, pl(mod, q+`50`), "1-12=ok"},
			row{name + ", add above", nil, pl(mod, q+`51`), named2},
		)
		if name == "state_default" || name == "users_default" || name == "events_default" {
			continue // the state below would change who may send
		}
		rows = append(rows,
			row{name + ", lower from above", was(q + `51`), pl(mod, q+`50`), named1},
			row{name + ", lower from equal", was(q + `50`), pl(mod, q+`0`), "1-12=ok"},
			row{name + ", remove from above", was(q + `51`), pl(mod, ``), named1},
			row{name + ", leave above", was(q + `51`), pl(mod, q+`51`), "1-12=ok"},
		)
	}
	// The default counts where the property is missing.
	low := func(more string) event {
		return levels(creator, `{"users":{"@mod:a":40},"events":{"m.room.power_levels":40}`+more+`}`)
	}
	lowBy := func(more string) event { e := low(more); e.sender = mod; return e }
	rows = append(rows,
		row{"default above the sender, added", []event{low(``)}, lowBy(`,"ban":40`), named1},
		row{"default above the sender, removed", []event{low(`,"ban":40`)}, lowBy(``), named2},
		row{"default below the sender, added", []event{low(``)}, lowBy(`,"invite":40`), "1-12=ok"},
	)
	checkRows(t, rows)

	for _, v := range pdu.Versions() {
		r := newRoom(t, v)
		delete(r.state, auth.StateKey{Type: "m.room.power_levels"})
		if err := auth.Check(r.load(levels(creator, `{"users":{"@mod:a":1000},"ban":1000}`)), r.state); err != nil {
			t.Errorf("v%s: first power levels: %v", v.ID, err)
		}
	}
}
