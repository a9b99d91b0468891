package auth_test

import (
	"testing"

	"hearth/internal/pdu"
	"hearth/roomserver/auth"
)

func joinRule(rule string) []event {
	return []event{state("m.room.join_rules", creator, `{"join_rule":"`+rule+`"}`)}
}

func TestMember(t *testing.T) {
	noKey := member(user, "-", "join")
	checkRows(t, []row{
		{"no state key", nil, noKey, "1-5=5.1 6-11=4.1 12=5.1"},
		{"no membership", nil, event{typ: "m.room.member", sender: user, key: user, content: `{}`}, "1-5=5.1 6-11=4.1 12=5.1"},
		{"unknown membership", nil, member(user, user, "dance"), "1-5=5.6 6=4.6 7=4.7 8-11=4.8 12=5.8"},
		{"membership is a number", nil, event{typ: "m.room.member", sender: user, key: user, content: `{"membership":1}`}, "1-5=5.6 6=4.6 7=4.7 8-11=4.8 12=5.8"},
		{"authorising user is no user id", nil, member(user, user, "join", `"join_authorised_via_users_server":"x"`), "1-7=ok 8-11=4.2.1 12=5.2.1"},
		{"authorising user is a number", nil, member(user, user, "leave", `"join_authorised_via_users_server":1`), "1-7=ok 8-11=4.2.1 12=5.2.1"},
	})
}

func TestJoin(t *testing.T) {
	first := func(sender, target string) event {
		e := member(sender, target, "join")
		e.prev = []string{"create"}
		return e
	}
	second := first(creator, creator)
	second.prev = []string{"$someother"}
	both := first(creator, creator)
	both.prev = []string{"$a", "$b"}
	outside := []event{member(creator, creator, "leave")}
	other := []event{state("m.room.create", creator, `{"creator":"@mod:a","room_version":"1"}`)}
	otherwise := "1-5=5.2.6 6-7=4.2.6 8-11=4.3.7 12=5.3.7"
	checkRows(t, []row{
		{"creator first", outside, first(creator, creator), "1-12=ok"},
		{"creator later", outside, second, otherwise},
		{"creator after two events", outside, both, otherwise},
		{"somebody else first", nil, first(nobody, nobody), otherwise},
		{"content.creator", append(outside, other...), first(creator, creator), "1-5=5.2.6 6-7=4.2.6 8-10=4.3.7 11=ok"},
		{"for somebody else", nil, member(mod, nobody, "join"), "1-5=5.2.2 6-7=4.2.2 8-11=4.3.2 12=5.3.2"},
		{"banned", joinRule("public"), member(banned, banned, "join"), "1-5=5.2.3 6-7=4.2.3 8-11=4.3.3 12=5.3.3"},

		{"invite: invited", joinRule("invite"), member(invited, invited, "join"), "1-12=ok"},
		{"invite: joined", joinRule("invite"), member(user, user, "join"), "1-12=ok"},
		{"invite: left", joinRule("invite"), member(left, left, "join"), otherwise},
		{"invite: stranger", joinRule("invite"), member(nobody, nobody, "join"), otherwise},
		{"invite: knocker", joinRule("invite"), member(knocker, knocker, "join"), otherwise},
		{"knock: invited", joinRule("knock"), member(invited, invited, "join"), "1-5=5.2.6 6=4.2.6 7-12=ok"},
		{"knock: joined", joinRule("knock"), member(user, user, "join"), "1-5=5.2.6 6=4.2.6 7-12=ok"},
		{"knock: knocker", joinRule("knock"), member(knocker, knocker, "join"), otherwise},
		{"public: stranger", joinRule("public"), member(nobody, nobody, "join"), "1-12=ok"},
		{"public: left", joinRule("public"), member(left, left, "join"), "1-12=ok"},
		{"public: knocker", joinRule("public"), member(knocker, knocker, "join"), "1-12=ok"},
		{"private: invited", joinRule("private"), member(invited, invited, "join"), otherwise},
		{"unknown: joined", joinRule("x"), member(user, user, "join"), otherwise},
		{"rule is a number", []event{state("m.room.join_rules", creator, `{"join_rule":1}`)}, member(invited, invited, "join"), otherwise},
		{"rule is missing", []event{state("m.room.join_rules", creator, `{}`)}, member(invited, invited, "join"), otherwise},
	})
	for _, v := range pdu.Versions() {
		r := newRoom(t, v)
		delete(r.state, auth.StateKey{Type: "m.room.join_rules"})
		if err := auth.Check(r.load(member(invited, invited, "join")), r.state); err != nil {
			t.Errorf("v%s: without join rules the invited may join: %v", v.ID, err)
		}
		if err := auth.Check(r.load(member(nobody, nobody, "join")), r.state); err == nil {
			t.Errorf("v%s: without join rules anybody may join", v.ID)
		}
	}
}

func TestRestrictedJoin(t *testing.T) {
	via := func(who, by string) event {
		return member(who, who, "join", `"join_authorised_via_users_server":"`+by+`"`)
	}
	high := append(joinRule("restricted"), levels(creator, `{"users":{"@admin:a":100,"@mod:a":50},"invite":50}`))
	const old = "1-5=5.2.6 6-7=4.2.6 "
	const oldKnock = "1-5=5.2.6 6-7=4.2.6 8-9=4.3.7 "
	checkRows(t, []row{
		{"invited", joinRule("restricted"), member(invited, invited, "join"), old + "8-12=ok"},
		{"joined", joinRule("restricted"), member(user, user, "join"), old + "8-12=ok"},
		{"authorised", joinRule("restricted"), via(nobody, mod), old + "8-12=ok"},
		{"not authorised", joinRule("restricted"), member(nobody, nobody, "join"), old + "8-11=4.3.5.2 12=5.3.5.2"},
		{"by somebody who may invite", high, via(nobody, mod), old + "8-12=ok"},
		{"by somebody who may not invite", high, via(nobody, user), old + "8-11=4.3.5.2 12=5.3.5.2"},
		{"by somebody who left", joinRule("restricted"), via(nobody, left), old + "8-11=4.3.5.2 12=5.3.5.2"},
		{"by the invited", joinRule("restricted"), via(nobody, invited), old + "8-11=4.3.5.2 12=5.3.5.2"},
		{"by oneself", joinRule("restricted"), via(nobody, nobody), old + "8-11=4.3.5.2 12=5.3.5.2"},
		{"banned", joinRule("restricted"), via(banned, mod), "1-5=5.2.3 6-7=4.2.3 8-11=4.3.3 12=5.3.3"},
		{"creators may invite", high, via(nobody, creator), "8-11=4.3.5.2 12=ok"},

		{"knock_restricted: authorised", joinRule("knock_restricted"), via(nobody, mod), oldKnock + "10-12=ok"},
		{"knock_restricted: invited", joinRule("knock_restricted"), member(invited, invited, "join"), oldKnock + "10-12=ok"},
		{"knock_restricted: not authorised", joinRule("knock_restricted"), member(nobody, nobody, "join"), oldKnock + "10-11=4.3.5.2 12=5.3.5.2"},
	})
}

func TestSignedBy(t *testing.T) {
	for _, v := range pdu.Versions() {
		r := newRoom(t, v)
		r.put(joinRule("restricted")...)
		ev := r.load(member(nobody, nobody, "join", `"join_authorised_via_users_server":"`+mod+`"`))
		var asked []string
		for _, signed := range []bool{true, false} {
			rules := auth.Rules{SignedBy: func(of *pdu.Event, server string) bool {
				if of != ev {
					t.Errorf("v%s: asked about another event", v.ID)
				}
				asked = append(asked, server)
				return signed
			}}
			err := rules.Check(ev, r.state)
			if allowed := err == nil; v.RestrictedJoins && allowed != signed || !v.RestrictedJoins && allowed {
				t.Errorf("v%s: signed %v: %v", v.ID, signed, err)
			}
		}
		if v.RestrictedJoins && (len(asked) != 2 || asked[0] != "a") || !v.RestrictedJoins && asked != nil {
			t.Errorf("v%s: asked for %v", v.ID, asked)
		}
	}
}

func TestInvite(t *testing.T) {
	high := []event{levels(creator, `{"users":{"@admin:a":100,"@mod:a":50},"invite":50}`)}
	checkRows(t, []row{
		{"stranger", nil, member(user, nobody, "invite"), "1-12=ok"},
		{"left", nil, member(user, left, "invite"), "1-12=ok"},
		{"again", nil, member(user, invited, "invite"), "1-12=ok"},
		{"knocker", nil, member(user, knocker, "invite"), "1-12=ok"},
		{"sender outside", nil, member(left, nobody, "invite"), "1-5=5.3.2 6-7=4.3.2 8-11=4.4.2 12=5.4.2"},
		{"target joined", nil, member(user, mod, "invite"), "1-5=5.3.3 6-7=4.3.3 8-11=4.4.3 12=5.4.3"},
		{"target banned", nil, member(admin, banned, "invite"), "1-5=5.3.3 6-7=4.3.3 8-11=4.4.3 12=5.4.3"},
		{"level too low", high, member(user, nobody, "invite"), "1-5=5.3.5 6-7=4.3.5 8-11=4.4.5 12=5.4.5"},
		{"level enough", high, member(mod, nobody, "invite"), "1-12=ok"},
		{"oneself", nil, member(user, user, "invite"), "1-5=5.3.3 6-7=4.3.3 8-11=4.4.3 12=5.4.3"},
	})
}

func TestLeave(t *testing.T) {
	pl := func(more string) []event {
		return []event{levels(creator, `{"users":{"@admin:a":100,"@mod:a":50,"@user:b":50},`+more+`}`)}
	}
	const self = "1-5=5.4.1 6-7=4.4.1 8-11=4.5.1 12=5.5.1"
	const otherwise = "1-5=5.4.5 6-7=4.4.5 8-11=4.5.5 12=5.5.5"
	checkRows(t, []row{
		{"joined", nil, member(user, user, "leave"), "1-12=ok"},
		{"invited", nil, member(invited, invited, "leave"), "1-12=ok"},
		{"knocker", nil, member(knocker, knocker, "leave"), "1-5=5.4.1 6=4.4.1 7-12=ok"},
		{"left", nil, member(left, left, "leave"), self},
		{"banned", nil, member(banned, banned, "leave"), self},
		{"stranger", nil, member(nobody, nobody, "leave"), self},

		{"kick", nil, member(mod, user, "leave"), "1-12=ok"},
		{"kick an invited", nil, member(mod, invited, "leave"), "1-12=ok"},
		{"kick from outside", nil, member(left, user, "leave"), "1-5=5.4.2 6-7=4.4.2 8-11=4.5.2 12=5.5.2"},
		{"kick, level too low", nil, member(user, invited, "leave"), otherwise},
		{"kick an equal", pl(`"kick":50`), member(mod, user, "leave"), otherwise},
		{"kick a superior", nil, member(mod, admin, "leave"), otherwise},
		{"kick level", pl(`"kick":51`), member(mod, invited, "leave"), otherwise},
		{"kick the creator", nil, member(admin, creator, "leave"), "1-11=ok 12=5.5.5"},
		{"creator kicks", nil, member(creator, admin, "leave"), "1-5=5.4.5 6-7=4.4.5 8-11=4.5.5 12=ok"},

		{"unban", nil, member(mod, banned, "leave"), "1-12=ok"},
		{"unban, ban level", pl(`"ban":51`), member(mod, banned, "leave"), "1-5=5.4.3 6-7=4.4.3 8-11=4.5.3 12=5.5.3"},
		{"unban, kick level", pl(`"kick":51`), member(mod, banned, "leave"), otherwise},
		{"unban an equal", pl(`"users_default":50`), member(mod, banned, "leave"), otherwise},
	})
}

func TestBan(t *testing.T) {
	pl := func(more string) []event {
		return []event{levels(creator, `{"users":{"@admin:a":100,"@mod:a":50,"@user:b":50},`+more+`}`)}
	}
	const otherwise = "1-5=5.5.3 6-7=4.5.3 8-11=4.6.3 12=5.6.3"
	checkRows(t, []row{
		{"joined", nil, member(mod, user, "ban"), "1-12=ok"},
		{"stranger", nil, member(mod, nobody, "ban"), "1-12=ok"},
		{"again", nil, member(mod, banned, "ban"), "1-12=ok"},
		{"from outside", nil, member(left, user, "ban"), "1-5=5.5.1 6-7=4.5.1 8-11=4.6.1 12=5.6.1"},
		{"level too low", nil, member(user, nobody, "ban"), otherwise},
		{"ban level", pl(`"ban":51`), member(mod, nobody, "ban"), otherwise},
		{"an equal", pl(`"ban":50`), member(mod, user, "ban"), otherwise},
		{"a superior", nil, member(mod, admin, "ban"), otherwise},
		{"oneself", nil, member(mod, mod, "ban"), otherwise},
		{"the creator", nil, member(admin, creator, "ban"), "1-11=ok 12=5.6.3"},
		{"creator oneself", nil, member(creator, creator, "ban"), otherwise},
	})
}

func TestKnock(t *testing.T) {
	const unknown = "1-5=5.6 6=4.6 "
	checkRows(t, []row{
		{"stranger", joinRule("knock"), member(nobody, nobody, "knock"), unknown + "7-12=ok"},
		{"left", joinRule("knock"), member(left, left, "knock"), unknown + "7-12=ok"},
		{"again", joinRule("knock"), member(knocker, knocker, "knock"), unknown + "7-12=ok"},
		{"knock_restricted", joinRule("knock_restricted"), member(nobody, nobody, "knock"), unknown + "7=4.6.1 8-9=4.7.1 10-12=ok"},
		{"invite", joinRule("invite"), member(nobody, nobody, "knock"), unknown + "7=4.6.1 8-11=4.7.1 12=5.7.1"},
		{"public", joinRule("public"), member(nobody, nobody, "knock"), unknown + "7=4.6.1 8-11=4.7.1 12=5.7.1"},
		{"restricted", joinRule("restricted"), member(nobody, nobody, "knock"), unknown + "7=4.6.1 8-11=4.7.1 12=5.7.1"},
		{"for somebody else", joinRule("knock"), member(mod, nobody, "knock"), unknown + "7=4.6.2 8-11=4.7.2 12=5.7.2"},
		{"banned", joinRule("knock"), member(banned, banned, "knock"), unknown + "7=4.6.4 8-11=4.7.4 12=5.7.4"},
		{"invited", joinRule("knock"), member(invited, invited, "knock"), unknown + "7=4.6.4 8-11=4.7.4 12=5.7.4"},
		{"joined", joinRule("knock"), member(user, user, "knock"), unknown + "7=4.6.4 8-11=4.7.4 12=5.7.4"},
	})
}
