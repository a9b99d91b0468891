package auth_test

import (
	"errors"
	"net/http"
	"testing"

	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/auth"
)

func TestCreate(t *testing.T) {
	const ok = `{"creator":"@creator:a"}`
	create := func(content string) event { return state("m.room.create", creator, content) }
	withPrev := create(ok)
	withPrev.prev = []string{"$" + "abc"}
	foreign := create(ok)
	foreign.sender = "@creator:b"
	withRoom := create(ok)
	withRoom.roomIDField = true
	checkRows(t, []row{
		{"fine", nil, create(ok), "1-12=ok"},
		{"prev events", nil, withPrev, "1-12=1.1"},
		{"other server's room id", nil, foreign, "1-11=1.2 12=ok"},
		{"room id present", nil, withRoom, "1-11=ok 12=1.2"},
		{"known version", nil, create(`{"creator":"@creator:a","room_version":"1"}`), "1-12=ok"},
		{"unknown version", nil, create(`{"creator":"@creator:a","room_version":"x"}`), "1-12=1.3"},
		{"version is a number", nil, create(`{"creator":"@creator:a","room_version":1}`), "1-12=1.3"},
		{"version is null", nil, create(`{"creator":"@creator:a","room_version":null}`), "1-12=1.3"},
		{"no creator", nil, create(`{}`), "1-10=1.4 11-12=ok"},
		{"additional creators", nil, create(`{"creator":"@c:a","additional_creators":["@x:b","@:c"]}`), "1-12=ok"},
		{"no additional creators", nil, create(`{"creator":"@c:a","additional_creators":[]}`), "1-12=ok"},
		{"additional creators null", nil, create(`{"creator":"@c:a","additional_creators":null}`), "1-11=ok 12=1.4"},
		{"additional creators object", nil, create(`{"creator":"@c:a","additional_creators":{}}`), "1-11=ok 12=1.4"},
		{"additional creator number", nil, create(`{"creator":"@c:a","additional_creators":["@x:b",1]}`), "1-11=ok 12=1.4"},
		{"additional creator no user id", nil, create(`{"creator":"@c:a","additional_creators":["@x"]}`), "1-11=ok 12=1.4"},
		{"bad before good", nil, create(`{"creator":"@c:a","additional_creators":["x","@x:b"]}`), "1-11=ok 12=1.4"},
	})
}

func TestRoomAndFederation(t *testing.T) {
	closed := func(content string) []event {
		return []event{state("m.room.create", creator, content)}
	}
	for _, v := range pdu.Versions() {
		r := newRoom(t, v)
		r.put(closed(`{"creator":"@creator:a","m.federate":false}`)...)
		if v.DomainlessRoomIDs {
			// The new create event has another id; move the room there.
			r.id = r.create().RoomID
		}
		want := map[bool]string{true: "4", false: "3"}[v.DomainlessRoomIDs]
		if got := ruleOf(t, auth.Check(r.load(message(user)), r.state)); got != want {
			t.Errorf("v%s: user of another server in a closed room: %s, want %s", v.ID, got, want)
		}
		if got := ruleOf(t, auth.Check(r.load(message(mod)), r.state)); got != "ok" {
			t.Errorf("v%s: user of the room's server in a closed room: %s", v.ID, got)
		}

		r = newRoom(t, v)
		elsewhere := message(user)
		elsewhere.room = "!other:a"
		want = map[bool]string{true: "2", false: "2.5"}[v.DomainlessRoomIDs]
		if got := ruleOf(t, auth.Check(r.load(elsewhere), r.state)); got != want {
			t.Errorf("v%s: event of another room: %s, want %s", v.ID, got, want)
		}
		delete(r.state, auth.StateKey{Type: "m.room.create"})
		want = map[bool]string{true: "2", false: "2.4"}[v.DomainlessRoomIDs]
		if got := ruleOf(t, auth.Check(r.load(message(user)), r.state)); got != want {
			t.Errorf("v%s: no create event: %s, want %s", v.ID, got, want)
		}
	}
}

// In a room that anything but the boolean false leaves open everybody may talk.
func TestFederateOnlyFalseCloses(t *testing.T) {
	for _, v := range pdu.Versions() {
		for _, val := range []string{`true`, `null`, `"false"`, `0`, `[]`} {
			r := newRoom(t, v)
			r.put(state("m.room.create", creator, `{"creator":"@creator:a","m.federate":`+val+`}`))
			if v.DomainlessRoomIDs {
				r.id = r.create().RoomID
			}
			if err := auth.Check(r.load(message(user)), r.state); err != nil {
				t.Errorf("v%s: m.federate %s: %v", v.ID, val, err)
			}
		}
	}
}

func TestAliases(t *testing.T) {
	aliases := func(sender, key string) event {
		return event{typ: "m.room.aliases", sender: sender, key: key, content: `{"aliases":[]}`}
	}
	low := []event{levels(creator, `{"users":{"@admin:a":100,"@mod:a":50},"state_default":0}`)}
	checkRows(t, []row{
		{"no state key", nil, aliases(user, "-"), "1-5=4.1 6-12=ok"},
		{"other server", nil, aliases(user, "a"), "1-5=4.2 6-11=7 12=8"},
		{"own server", nil, aliases(user, "b"), "1-5=ok 6-11=7 12=8"},
		{"not a member", nil, aliases(nobody, "b"), "1-5=ok 6-11=5 12=6"},
		{"not a member, no state key", nil, aliases(nobody, "-"), "1-5=4.1 6-11=5 12=6"},
		{"enough power", low, aliases(user, "a"), "1-5=4.2 6-12=ok"},
	})
}

func TestOtherEvents(t *testing.T) {
	topic := func(sender string) event { return state("m.room.topic", sender, `{}`) }
	keyed := func(sender, key string) event {
		return event{typ: "org.example.own", sender: sender, key: key, content: `{}`}
	}
	invite3 := func(sender string) event {
		return event{typ: "m.room.third_party_invite", sender: sender, key: "token", content: `{}`}
	}
	pl := func(more string) []event {
		return []event{levels(creator, `{"users":{"@admin:a":100,"@mod:a":50},`+more+`}`)}
	}
	checkRows(t, []row{
		{"member talks", nil, message(user), "1-12=ok"},
		{"stranger talks", nil, message(nobody), "1-5=6 6-11=5 12=6"},
		{"invited talks", nil, message(invited), "1-5=6 6-11=5 12=6"},
		{"banned talks", nil, message(banned), "1-5=6 6-11=5 12=6"},
		{"knocker talks", nil, message(knocker), "1-5=6 6-11=5 12=6"},

		{"third party invite, enough", nil, invite3(user), "1-12=ok"},
		{"third party invite, stranger", nil, invite3(nobody), "1-5=6 6-11=5 12=6"},
		{"third party invite, too low", pl(`"invite":50`), invite3(user), "1-5=7.1 6-11=6.1 12=7.1"},
		{"third party invite, just enough", pl(`"invite":50`), invite3(mod), "1-12=ok"},
		{"third party invite, events do not count", pl(`"events":{"m.room.third_party_invite":99}`), invite3(user), "1-12=ok"},

		{"state, default too high", nil, topic(user), "1-5=8 6-11=7 12=8"},
		{"state, default", nil, topic(mod), "1-12=ok"},
		{"state_default", pl(`"state_default":51`), topic(mod), "1-5=8 6-11=7 12=8"},
		{"events_default", pl(`"events_default":1`), message(user), "1-5=8 6-11=7 12=8"},
		{"events_default does not touch state", pl(`"events_default":99`), topic(mod), "1-12=ok"},
		{"events, lower", pl(`"events":{"m.room.topic":0}`), topic(user), "1-12=ok"},
		{"events, higher", pl(`"events":{"m.room.message":1}`), message(user), "1-5=8 6-11=7 12=8"},
		{"events, escaped key", pl(`"events":{"m.room.\u006dessage":1}`), message(user), "1-5=8 6-11=7 12=8"},
		{"users_default", pl(`"users_default":50`), topic(user), "1-12=ok"},
		{"negative", pl(`"users_default":-1`), message(user), "1-5=8 6-11=7 12=8"},
		{"odd case has no meaning", pl(`"USERS_DEFAULT":100,"State_Default":0`), topic(user), "1-5=8 6-11=7 12=8"},

		{"own user id as key", pl(`"state_default":0`), keyed(user, user), "1-12=ok"},
		{"other user id as key", pl(`"state_default":0`), keyed(user, mod), "1-5=9 6-11=8 12=9"},
		{"an @ alone is enough", pl(`"state_default":0`), keyed(admin, "@"), "1-5=9 6-11=8 12=9"},
		{"user id later in the key", pl(`"state_default":0`), keyed(user, "_@mod:a"), "1-12=ok"},
	})
}

func TestRedactionRule(t *testing.T) {
	redact := func(sender, id, target string) event {
		return event{typ: "m.room.redaction", sender: sender, key: "-", content: `{"redacts":"` + target + `"}`, redacts: target, id: id}
	}
	pl := []event{levels(creator, `{"users":{"@admin:a":100,"@mod:a":50},"redact":60}`)}
	checkRows(t, []row{
		{"level", nil, redact(mod, "$r:a", "$x:z"), "1-12=ok"},
		{"level too low", pl, redact(mod, "$r:a", "$x:z"), "1-2=11.3 3-12=ok"},
		{"same domain of the event ids", pl, redact(user, "$r:b", "$x:b"), "1-12=ok"},
		{"other domain", pl, redact(user, "$r:b", "$x:a"), "1-2=11.3 3-12=ok"},
		{"no target", pl, redact(user, "$r:b", ""), "1-2=11.3 3-12=ok"},
		{"not a member", nil, redact(nobody, "$r:b", "$x:b"), "1-5=6 6-11=5 12=6"},
	})
}

func TestMayRedact(t *testing.T) {
	for _, v := range pdu.Versions() {
		r := newRoom(t, v)
		target := func(sender, id string) *pdu.Event {
			e := message(sender)
			e.id = id
			return r.load(e)
		}
		redaction := func(sender string, of *pdu.Event) *pdu.Event {
			id := "$r" + sender[len(sender)-2:]
			return r.load(event{typ: "m.room.redaction", sender: sender, key: "-", id: id,
				content: `{"redacts":"` + of.EventID + `"}`, redacts: of.EventID})
		}
		ofUser, ofMod := target(user, "$x:b"), target(mod, "$y:a")
		for _, c := range []struct {
			name   string
			by     string
			target *pdu.Event
			want   bool
		}{
			{"own event", user, ofUser, true},
			{"event of the same server", "@other:b", ofUser, true},
			{"event of another server", user, ofMod, false},
			{"power", mod, ofUser, true},
			{"the create event", admin, r.create(), false},
		} {
			if got := auth.MayRedact(redaction(c.by, c.target), c.target, r.state); got != c.want {
				t.Errorf("v%s: %s: %v", v.ID, c.name, got)
			}
		}
		if auth.MayRedact(redaction(mod, ofUser), ofMod, r.state) {
			t.Errorf("v%s: redaction of another event", v.ID)
		}
		other := message(user)
		other.id, other.room = "$x:b", "!other:a"
		if auth.MayRedact(redaction(mod, ofUser), r.load(other), r.state) {
			t.Errorf("v%s: target of another room", v.ID)
		}
		if auth.MayRedact(ofMod, ofUser, r.state) {
			t.Errorf("v%s: a message redacts", v.ID)
		}
	}
}

func TestRejectionIsForbidden(t *testing.T) {
	r := newRoom(t, pdu.Versions()[9])
	err := auth.Check(r.load(message(nobody)), r.state)
	var m *merr.Error
	if !errors.As(err, &m) || m.Code != "M_FORBIDDEN" || m.Status != http.StatusForbidden {
		t.Errorf("got %v", err)
	}
	if got := err.Error(); got != "room version 10, rule 5: The sender is not in the room" {
		t.Errorf("text %q", got)
	}
}
