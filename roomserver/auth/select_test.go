package auth_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"hearth/internal/pdu"
	"hearth/roomserver/auth"
)

func TestSelect(t *testing.T) {
	const invite3 = `"third_party_invite":{"signed":{"token":"tok"}}`
	const via = `"join_authorised_via_users_server":"@mod:a"`
	for _, c := range []struct {
		name   string
		ev     event
		want   string // without create and power levels
		from   int
		before string // before from
	}{
		{"message", message(user), "m.room.member|@user:b", 0, ""},
		{"state", state("m.room.topic", user, `{}`), "m.room.member|@user:b", 0, ""},
		{"join", member(user, user, "join"), "m.room.member|@user:b m.room.join_rules|", 0, ""},
		{"knock", member(user, user, "knock"), "m.room.member|@user:b m.room.join_rules|", 0, ""},
		{"invite", member(mod, user, "invite"), "m.room.member|@mod:a m.room.member|@user:b m.room.join_rules|", 0, ""},
		{"leave", member(user, user, "leave"), "m.room.member|@user:b", 0, ""},
		{"kick", member(mod, user, "leave"), "m.room.member|@mod:a m.room.member|@user:b", 0, ""},
		{"ban", member(mod, user, "ban"), "m.room.member|@mod:a m.room.member|@user:b", 0, ""},
		{"third party invite", member(mod, user, "invite", invite3),
			"m.room.member|@mod:a m.room.member|@user:b m.room.join_rules| m.room.third_party_invite|tok", 0, ""},
		{"third party invite of a join", member(user, user, "join", invite3), "m.room.member|@user:b m.room.join_rules|", 0, ""},
		{"restricted join", member(user, user, "join", via), "m.room.member|@user:b m.room.join_rules| m.room.member|@mod:a", 8,
			"m.room.member|@user:b m.room.join_rules|"},
		{"authorised by oneself", member(mod, mod, "join", via), "m.room.member|@mod:a m.room.join_rules|", 0, ""},
		{"restricted invite", member(mod, user, "invite", via), "m.room.member|@mod:a m.room.member|@user:b m.room.join_rules|", 0, ""},
		{"no state key", event{typ: "m.room.member", sender: user, key: "-", content: `{"membership":"join"}`}, "m.room.member|@user:b m.room.join_rules|", 0, ""},
		{"malformed", event{typ: "m.room.member", sender: user, key: user, content: `{"membership":["invite"],"third_party_invite":5}`}, "m.room.member|@user:b", 0, ""},
	} {
		for _, v := range pdu.Versions() {
			r := newRoom(t, v)
			want := c.want
			if r.number() < c.from {
				want = c.before
			}
			want = "m.room.power_levels| " + want
			if !v.DomainlessRoomIDs {
				want = "m.room.create| " + want
			}
			var got []string
			for _, k := range auth.SelectFor(r.load(c.ev)) {
				got = append(got, k.Type+"|"+k.StateKey)
			}
			if got := strings.Join(got, " "); got != want {
				t.Errorf("v%s: %s: %s\nwant %s", v.ID, c.name, got, want)
			}
		}
	}
	for _, v := range pdu.Versions() {
		if got := auth.SelectFor(newRoom(t, v).create()); got != nil {
			t.Errorf("v%s: create needs %v", v.ID, got)
		}
	}
}

func TestCheckAuthEvents(t *testing.T) {
	for _, v := range pdu.Versions() {
		r := newRoom(t, v)
		get := func(typ, key string) *pdu.Event { return r.state.Event(typ, key) }
		create, pl, me := r.create(), get("m.room.power_levels", ""), get("m.room.member", user)
		base := []*pdu.Event{pl, me}
		number := "3."
		if !v.DomainlessRoomIDs {
			base = append(base, create)
			number = "2."
		}
		with := func(more ...*pdu.Event) []*pdu.Event { return append(slices.Clone(base), more...) }
		check := func(e event, list []*pdu.Event, rejected func(*pdu.Event) bool) error {
			e.authEvents = nil
			for _, a := range list {
				e.authEvents = append(e.authEvents, a.EventID)
			}
			return auth.CheckAuthEvents(r.load(e), list, rejected)
		}
		secondPL := r.load(levels(creator, `{}`))
		elsewhere := member(user, user, "join")
		elsewhere.room = "!elsewhere:a"
		aMessage := r.load(message(mod))
		createKey := r.load(event{typ: "m.room.create", sender: creator, key: "x", content: `{}`})
		for _, c := range []struct {
			name     string
			list     []*pdu.Event
			rejected func(*pdu.Event) bool
			want     string
		}{
			{"as selected", base, nil, "ok"},
			{"some may be missing", base[1:], nil, "ok"},
			{"one twice", with(pl), nil, number + "1"},
			{"two for one key", with(secondPL), nil, number + "1"},
			{"not needed", with(get("m.room.join_rules", "")), nil, number + "2"},
			{"another member", with(get("m.room.member", mod)), nil, number + "2"},
			{"a message", with(aMessage), nil, number + "2"},
			{"create with another key", with(createKey), nil, number + "2"},
			{"a rejected one", base, func(e *pdu.Event) bool { return e == me }, number + "3"},
			{"no rejected one", base, func(e *pdu.Event) bool { return false }, "ok"},
			{"another room", append(slices.Clone(base[2:]), r.load(elsewhere), pl), nil, number + "5"},
		} {
			if got := ruleOf(t, check(message(user), c.list, c.rejected)); got != c.want {
				t.Errorf("v%s: %s: %s, want %s", v.ID, c.name, got, c.want)
			}
		}
		if v.DomainlessRoomIDs {
			if got := ruleOf(t, check(message(user), with(create), nil)); got != "3.2" {
				t.Errorf("v%s: with the create event: %s", v.ID, got)
			}
		} else if got := ruleOf(t, check(message(user), base[:2], nil)); got != "2.4" {
			t.Errorf("v%s: without the create event: %s", v.ID, got)
		}
		// The list must be the one that the event names.
		ev := message(user)
		ev.authEvents = []string{pl.EventID, me.EventID}
		for _, list := range [][]*pdu.Event{{pl}, {pl, nil}, {pl, pl}, {pl, secondPL}, {pl, me, secondPL}} {
			if err := auth.CheckAuthEvents(r.load(ev), list, nil); !errors.Is(err, auth.ErrIncomplete) {
				t.Errorf("v%s: %d events: %v", v.ID, len(list), err)
			}
		}
		if err := auth.CheckAuthEvents(create, nil, nil); err != nil {
			t.Errorf("v%s: create: %v", v.ID, err)
		}
	}
}
