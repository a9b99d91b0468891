package auth_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"

	"hearth/internal/pdu"
	"hearth/roomserver/auth"
)

// world generates rooms and events of one version from what both implementations
// decide on: see each case for what is outside the shared domain.
type world struct {
	t *testing.T
	r *rand.Rand
	v *pdu.RoomVersion
	n int
}

var diffUsers = []string{"@c:a", "@d:a", "@e:b", "@f:b", "@g:c", "@h:c"}

func (w *world) oneOf(list ...string) string { return list[w.r.IntN(len(list))] }
func (w *world) user() string                { return w.oneOf(diffUsers...) }

// build makes a real event.
func (w *world) build(typ, sender string, key *string, content, redacts string, prev []string) *pdu.Event {
	w.t.Helper()
	var refs []pdu.Ref
	for _, id := range prev {
		refs = append(refs, pdu.Ref{EventID: id, SHA256: make([]byte, 32)})
	}
	w.n++
	server := sender[strings.IndexByte(sender, ':')+1:]
	ev, err := pdu.Build(w.v, pdu.Template{
		RoomID: "!r:a", Type: typ, Sender: sender, StateKey: key, Content: []byte(content), Redacts: redacts,
		PrevEvents: refs, Depth: 5, OriginServerTS: int64(w.n),
	}, pdu.Signer{ServerName: server, KeyID: "ed25519:1", Key: identityKey(1)})
	if err != nil {
		w.t.Fatalf("%s: %v", content, err)
	}
	return ev
}

func (w *world) state(typ, sender, key, content string) *pdu.Event {
	return w.build(typ, sender, &key, content, "", []string{"$x:a"})
}

func (w *world) joinRule() string {
	rules := []string{"invite", "public"} // rules that the version does not know are outside
	if w.v.KnockAllowed {
		rules = append(rules, "knock")
	}
	if w.v.RestrictedJoins {
		rules = append(rules, "restricted")
	}
	if w.v.KnockRestricted {
		rules = append(rules, "knock_restricted")
	}
	return w.oneOf(rules...)
}

func (w *world) membership() string {
	all := []string{"join", "join", "join", "join", "invite", "leave", "ban"}
	if w.v.KnockAllowed { // outside before
		all = append(all, "knock")
	}
	return w.oneOf(all...)
}

// powerLevels returns content. Those who appear have levels that are not the
// default; what defaults and absences mean when levels change is outside, so
// every level that may change is written.
func (w *world) powerLevels() string {
	level := func() string { return w.oneOf("10", "25", "50", "75", "100") }
	quote := func(s string) string {
		if !w.v.IntegerPowerLevels && w.r.IntN(6) == 0 {
			return w.oneOf(`"`+s+`"`, `" `+s+` "`)
		}
		return s
	}
	var users, events []string
	for _, u := range diffUsers {
		if w.r.IntN(2) == 0 {
			users = append(users, fmt.Sprintf("%q:%s", u, quote(level())))
		}
	}
	for _, t := range []string{"m.room.message", "m.room.topic", "m.room.power_levels", "m.room.redaction"} {
		if w.r.IntN(3) == 0 {
			events = append(events, fmt.Sprintf("%q:%s", t, quote(level())))
		}
	}
	out := fmt.Sprintf(`{"users":{%s},"events":{%s}`, strings.Join(users, ","), strings.Join(events, ","))
	for _, name := range []string{"ban", "kick", "invite", "redact", "state_default"} {
		out += fmt.Sprintf(`,%q:%s`, name, quote(level()))
	}
	return out + fmt.Sprintf(`,"notifications":{"room":%s}}`, w.oneOf("5", "15", "35", "65", "95"))
}

// room returns a random state.
func (w *world) room() auth.Events {
	federate := w.oneOf("", "", "", `,"m.federate":false`, `,"m.federate":true`)
	creator := ""
	if !w.v.CreatorIsSender {
		creator = `,"creator":"@c:a"`
	}
	none := ""
	list := []*pdu.Event{w.build("m.room.create", "@c:a", &none, fmt.Sprintf(`{"room_version":%q%s%s}`, w.v.ID, creator, federate), "", nil)}
	if w.r.IntN(10) > 0 {
		list = append(list, w.state("m.room.power_levels", "@c:a", "", w.powerLevels()))
	}
	if w.r.IntN(10) > 0 {
		list = append(list, w.state("m.room.join_rules", "@c:a", "", fmt.Sprintf(`{"join_rule":%q}`, w.joinRule())))
	}
	for _, u := range diffUsers {
		if w.r.IntN(8) > 0 {
			list = append(list, w.state("m.room.member", u, u, fmt.Sprintf(`{"membership":%q}`, w.membership())))
		}
	}
	for _, u := range diffUsers[:2] {
		list = append(list, w.state("m.room.third_party_invite", u, "tok"+u, `{"public_keys":[{"public_key":"`+public(identityKey(7))+`"}]}`))
	}
	return auth.NewEvents(list...)
}

// event returns a random event, nil if what came out is outside the shared domain.
func (w *world) event(st auth.Events) *pdu.Event {
	sender := w.user()
	switch w.r.IntN(10) {
	case 0:
		return w.build("m.room.message", sender, nil, `{}`, "", []string{"$x:a"})
	case 1:
		if w.r.IntN(2) == 0 {
			return w.state("m.room.third_party_invite", sender, w.oneOf("", "x"), `{}`)
		}
		return w.state("m.room.topic", sender, w.oneOf("", sender, w.user(), "@"), `{}`)
	case 2, 3:
		return w.state("m.room.power_levels", sender, "", w.powerLevels())
	case 4:
		return w.build("m.room.redaction", sender, nil, `{}`, w.oneOf("$x:a", "$x:b", "$x:c"), []string{"$x:a"})
	case 5:
		if !w.v.AliasAuthRule {
			return nil
		}
		return w.state("m.room.aliases", sender, w.oneOf("a", "b", "c"), `{}`)
	}
	return w.memberEvent(st, sender)
}

func (w *world) memberEvent(st auth.Events, sender string) *pdu.Event {
	target := sender
	if w.r.IntN(2) == 0 {
		target = w.user()
	}
	old := auth.Membership(st, target)
	membership := w.oneOf("join", "invite", "leave", "ban", "knock", "dance")
	joinRule := "invite"
	if ev := st.Event("m.room.join_rules", ""); ev != nil {
		joinRule, _ = pdu.GetString(ev.Content, "join_rule")
	}
	switch {
	case membership == "leave" && sender == target && (old == "leave" || old == ""),
		membership == "leave" && sender != target && old == "ban",
		membership == "join" && old == "knock" && joinRule == "public":
		return nil
	}
	content := fmt.Sprintf(`{"membership":%q`, membership)
	if w.v.RestrictedJoins && membership == "join" && w.r.IntN(2) == 0 {
		content += fmt.Sprintf(`,"join_authorised_via_users_server":%q`, w.user())
	}
	if membership == "invite" && w.r.IntN(3) == 0 && old != "ban" {
		sender = w.oneOf(diffUsers[:2]...)
		content += `,"third_party_invite":{"display_name":"x","signed":` +
			signed(w.t, fmt.Sprintf(`{"mxid":%q,"token":%q}`, w.oneOf(target, target, w.user()), "tok"+sender), identityKey(byte(7+w.r.IntN(2)))) + `}`
	}
	prev := []string{"$x:a"}
	if membership == "join" && sender == target && w.r.IntN(3) == 0 {
		prev = []string{st.Event("m.room.create", "").EventID}
	}
	return w.build("m.room.member", sender, &target, content+"}", "", prev)
}

// oracle is the library's answer; ok is false if it has none.
func oracle(t *testing.T, ev *pdu.Event, st auth.Events) (allowed, ok bool) {
	t.Helper()
	defer func() {
		if recover() != nil {
			allowed, ok = false, false
		}
	}()
	impl, err := gomatrixserverlib.GetRoomVersion(gomatrixserverlib.RoomVersion(ev.Version.ID))
	if err != nil {
		t.Fatal(err)
	}
	load := func(e *pdu.Event) gomatrixserverlib.PDU {
		out, err := impl.NewEventFromTrustedJSON(e.JSON, false)
		if err != nil {
			t.Fatalf("%s: %v", e.JSON, err)
		}
		return out
	}
	var list []gomatrixserverlib.PDU
	for _, e := range st {
		list = append(list, load(e))
	}
	provider, err := gomatrixserverlib.NewAuthEvents(list)
	if err != nil {
		t.Fatal(err)
	}
	err = gomatrixserverlib.Allowed(load(ev), provider, func(_ spec.RoomID, id spec.SenderID) (*spec.UserID, error) {
		return spec.NewUserID(string(id), true)
	})
	return err == nil, true
}

func TestDifferential(t *testing.T) {
	rooms, events := 60, 25
	if testing.Short() {
		rooms = 15
	}
	for i, v := range pdu.Versions()[:11] {
		t.Run("v"+v.ID, func(t *testing.T) {
			w := &world{t: t, r: rand.New(rand.NewPCG(1, uint64(i))), v: v}
			allowed, compared := 0, 0
			for range rooms {
				st := w.room()
				for range events {
					ev := w.event(st)
					if ev == nil {
						continue
					}
					want, ok := oracle(t, ev, st)
					if !ok {
						continue
					}
					err := auth.Check(ev, st)
					compared++
					if err == nil {
						allowed++
					}
					if got := err == nil; got != want {
						t.Errorf("allowed is %v (%v), want %v\nevent %s\n%s", got, err, want, ev.JSON, describe(st))
					}
				}
			}
			if compared < rooms*events/2 || allowed < compared/10 || allowed > compared*9/10 {
				t.Errorf("%d compared, %d allowed: the generator is lopsided", compared, allowed)
			}
			t.Logf("%d compared, %d allowed", compared, allowed)
		})
	}
}

func describe(st auth.Events) string {
	var b strings.Builder
	for key, ev := range st {
		fmt.Fprintf(&b, "%s|%s %s\n", key.Type, key.StateKey, ev.Content)
	}
	return b.String()
}
