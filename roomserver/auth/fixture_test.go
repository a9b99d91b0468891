package auth_test

import (
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"

	"hearth/internal/pdu"
	"hearth/roomserver/auth"
)

// Users of the test room; the server of each is its last letter.
const (
	creator = "@creator:a"
	admin   = "@admin:a"   // level 100
	mod     = "@mod:a"     // level 50
	user    = "@user:b"    // level 0, joined
	invited = "@invited:b" // the rest is not joined
	left    = "@left:b"
	banned  = "@banned:b"
	knocker = "@knocker:b"
	nobody  = "@nobody:b"
)

// event describes an event of the test room.
type event struct {
	typ, sender, key, content string // key "-": no state key
	prev, authEvents          []string
	id, room, redacts         string
	roomIDField               bool // v12 create event with a room_id
}

func member(sender, target, membership string, more ...string) event {
	content := `{"membership":"` + membership + `"`
	for _, m := range more {
		content += "," + m
	}
	return event{typ: "m.room.member", sender: sender, key: target, content: content + "}"}
}

func state(typ, sender, content string) event {
	return event{typ: typ, sender: sender, content: content}
}

func message(sender string) event {
	return event{typ: "m.room.message", sender: sender, key: "-", content: `{"body":"x"}`}
}

func levels(sender, content string) event { return state("m.room.power_levels", sender, content) }

// room is a room of one version with some state.
type room struct {
	t     testing.TB
	v     *pdu.RoomVersion
	id    string
	state auth.Events
	n     int
}

func (r *room) number() int {
	n, err := strconv.Atoi(r.v.ID)
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

func (r *room) eventID() string {
	r.n++
	if r.v.EventFormat == 1 {
		return fmt.Sprintf("$e%d:a", r.n)
	}
	return fmt.Sprintf("$%043d", r.n)
}

func quote(s string) string { return string(pdu.AppendString(nil, s)) }

// load makes the event; it is not put into the state.
func (r *room) load(e event) *pdu.Event {
	r.t.Helper()
	if e.id == "" {
		e.id = r.eventID()
	}
	if e.room == "" {
		e.room = r.id
	}
	var b strings.Builder
	refs := func(ids []string) string {
		var out []string
		for _, id := range ids {
			if r.v.EventFormat == 1 {
				out = append(out, fmt.Sprintf(`[%q,{"sha256":""}]`, id))
			} else {
				out = append(out, strconv.Quote(id))
			}
		}
		return "[" + strings.Join(out, ",") + "]"
	}
	fmt.Fprintf(&b, `{"type":%s,"sender":%q,"content":%s,"depth":1,"origin_server_ts":1,"hashes":{},"signatures":{},"prev_events":%s,"auth_events":%s`,
		quote(e.typ), e.sender, e.content, refs(e.prev), refs(e.authEvents))
	if r.v.EventFormat == 1 {
		fmt.Fprintf(&b, `,"event_id":%q`, e.id)
	}
	if e.key != "-" {
		fmt.Fprintf(&b, `,"state_key":%s`, quote(e.key))
	}
	if e.redacts != "" {
		fmt.Fprintf(&b, `,"redacts":%q`, e.redacts)
	}
	if e.typ != "m.room.create" || !r.v.DomainlessRoomIDs || e.roomIDField {
		fmt.Fprintf(&b, `,"room_id":%q`, e.room)
	}
	b.WriteString("}")
	json, err := pdu.Canonical([]byte(b.String()), false)
	if err != nil {
		r.t.Fatalf("%s: %v", b.String(), err)
	}
	ev, err := pdu.Load(r.v, json, e.id)
	if err != nil {
		r.t.Fatalf("%s: %v", json, err)
	}
	return ev
}

// put makes events and puts them into the state.
func (r *room) put(events ...event) {
	r.t.Helper()
	for _, e := range events {
		ev := r.load(e)
		r.state[auth.StateKey{Type: ev.Type, StateKey: *ev.StateKey}] = ev
	}
}

// newRoom returns a room with the users above, join rule invite.
func newRoom(t testing.TB, v *pdu.RoomVersion) *room {
	t.Helper()
	r := &room{t: t, v: v, id: "!room:a", state: auth.Events{}}
	r.put(createOf(v))
	if v.DomainlessRoomIDs {
		r.id = r.create().RoomID
	}
	r.put(
		levels(creator, `{"users":{"@admin:a":100,"@mod:a":50}}`),
		state("m.room.join_rules", creator, `{"join_rule":"invite"}`),
		member(creator, creator, "join"), member(admin, admin, "join"), member(mod, mod, "join"),
		member(user, user, "join"), member(mod, invited, "invite"), member(left, left, "leave"),
		member(mod, banned, "ban"), member(knocker, knocker, "knock"),
	)
	return r
}

func (r *room) create() *pdu.Event { return r.state.Event("m.room.create", "") }

func (r *room) clone() *room {
	c := *r
	c.state = maps.Clone(r.state)
	return &c
}

func createOf(v *pdu.RoomVersion) event {
	content := `{"room_version":"` + v.ID + `"`
	if !v.CreatorIsSender {
		content += `,"creator":"` + creator + `"`
	}
	return state("m.room.create", creator, content+"}")
}

// ruleOf returns the number of the rule that err names, "ok" for nil.
func ruleOf(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return "ok"
	}
	var r *auth.Rejection
	if !errors.As(err, &r) {
		t.Fatalf("not a rejection: %v", err)
	}
	return r.Rule
}

// wanted reads "1-5=5.2.2 6-11=4.2.2 12=ok" and returns what it says of a
// version; "" if nothing.
func wanted(t *testing.T, spec string, version int) string {
	t.Helper()
	for _, part := range strings.Fields(spec) {
		versions, rule, ok := strings.Cut(part, "=")
		from, to, isRange := strings.Cut(versions, "-")
		if !isRange {
			to = from
		}
		low, err1 := strconv.Atoi(from)
		high, err2 := strconv.Atoi(to)
		if !ok || err1 != nil || err2 != nil {
			t.Fatalf("bad expectation %q", part)
		}
		if version >= low && version <= high {
			return rule
		}
	}
	return ""
}

// row is one line of a rule table.
type row struct {
	name  string
	state []event // on top of the test room
	ev    event
	want  string
}

// checkRows runs a table in each version that a row speaks of.
func checkRows(t *testing.T, rows []row) {
	t.Helper()
	for _, v := range pdu.Versions() {
		base := newRoom(t, v)
		for _, row := range rows {
			want := wanted(t, row.want, base.number())
			if want == "" {
				continue
			}
			t.Run("v"+v.ID+"/"+row.name, func(t *testing.T) {
				r := base.clone()
				r.t = t
				r.put(row.state...)
				if len(row.ev.prev) == 1 && row.ev.prev[0] == "create" {
					row.ev.prev = []string{r.create().EventID}
				}
				err := auth.Check(r.load(row.ev), r.state)
				if got := ruleOf(t, err); got != want {
					t.Errorf("got %s (%v), want %s", got, err, want)
				}
			})
		}
	}
}
