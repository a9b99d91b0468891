package roomserver

import (
	"crypto/ed25519"
	"encoding/json"
	"hash/fnv"
	"slices"
	"testing"

	"hearth/internal/pdu"
	"hearth/internal/pduwire"
	"hearth/roomserver/auth"
)

// peer is another server as tests need it: it has a key, and it builds events on the
// part of a room that it is told of. It checks nothing.
type peer struct {
	t     testing.TB
	key   pdu.Signer
	v     *pdu.RoomVersion
	room  string
	state map[auth.StateKey]*pdu.Event
	heads []*pdu.Event
	known map[string]*pdu.Event
	ts    int64
}

func newPeer(t testing.TB, name, version string) *peer {
	t.Helper()
	v, ok := pdu.Version(version)
	if !ok {
		t.Fatalf("no room version %s", version)
	}
	h := fnv.New128()
	h.Write([]byte(name))
	seed := append(h.Sum(nil), h.Sum(nil)...)
	return &peer{
		t: t, v: v, state: make(map[auth.StateKey]*pdu.Event), known: make(map[string]*pdu.Event), ts: 1_700_000_000_000,
		key: pdu.Signer{ServerName: name, KeyID: "ed25519:p", Key: ed25519.NewKeyFromSeed(seed)},
	}
}

// user returns a user id of the peer's.
func (p *peer) user(localpart string) string { return "@" + localpart + ":" + p.key.ServerName }

// opt changes what an event is built from.
type opt func(*pdu.Template)

// after names the prev events.
func after(events ...*pdu.Event) opt {
	return func(t *pdu.Template) {
		t.PrevEvents, t.Depth = nil, 0
		for _, e := range events {
			t.PrevEvents = append(t.PrevEvents, e.Ref())
			t.Depth = max(t.Depth, e.Depth+1)
		}
	}
}

// authBy names the auth events.
func authBy(events ...*pdu.Event) opt {
	return func(t *pdu.Template) {
		t.AuthEvents = nil
		for _, e := range events {
			t.AuthEvents = append(t.AuthEvents, e.Ref())
		}
	}
}

// redacting names the target of a redaction.
func redacting(id string) opt {
	return func(t *pdu.Template) { t.Redacts = id }
}

// build makes an event on top of the heads without taking it in.
func (p *peer) build(sender, typ string, stateKey *string, content any, opts ...opt) *pdu.Event {
	p.t.Helper()
	body, err := json.Marshal(content)
	if err != nil {
		p.t.Fatal(err)
	}
	if body, err = pdu.Canonical(body, true); err != nil {
		p.t.Fatal(err)
	}
	p.ts++
	t := pdu.Template{RoomID: p.room, Type: typ, Sender: sender, StateKey: stateKey, Content: body, OriginServerTS: p.ts, Depth: 1}
	for _, key := range auth.Select(p.v, typ, sender, stateKey, body) {
		if e := p.state[key]; e != nil {
			t.AuthEvents = append(t.AuthEvents, e.Ref())
		}
	}
	after(p.heads...)(&t)
	t.Depth = max(t.Depth, 1)
	for _, o := range opts {
		o(&t)
	}
	if p.v.RedactsInContent && t.Redacts != "" {
		t.Content, _ = pdu.Set(t.Content, "redacts", pdu.AppendString(nil, t.Redacts))
		t.Redacts = ""
	}
	ev, err := pdu.Build(p.v, t, p.key)
	if err != nil {
		p.t.Fatal(err)
	}
	return ev
}

// take makes an event the newest of the room.
func (p *peer) take(ev *pdu.Event) *pdu.Event {
	p.known[ev.EventID] = ev
	p.heads = slices.DeleteFunc(p.heads, func(h *pdu.Event) bool { return slices.Contains(ev.PrevEvents, h.EventID) })
	p.heads = append(p.heads, ev)
	if ev.StateKey != nil {
		p.state[auth.StateKey{Type: ev.Type, StateKey: *ev.StateKey}] = ev
	}
	return ev
}

// send builds an event and takes it in.
func (p *peer) send(sender, typ string, stateKey *string, content any, opts ...opt) *pdu.Event {
	p.t.Helper()
	return p.take(p.build(sender, typ, stateKey, content, opts...))
}

func (p *peer) message(sender, body string, opts ...opt) *pdu.Event {
	p.t.Helper()
	return p.send(sender, "m.room.message", nil, map[string]any{"msgtype": "m.text", "body": body}, opts...)
}

func (p *peer) member(sender, target, membership string, opts ...opt) *pdu.Event {
	p.t.Helper()
	return p.send(sender, memberType, &target, map[string]any{"membership": membership}, opts...)
}

// create makes a public room of a creator with the power to do everything.
func (p *peer) create(creator string) {
	p.t.Helper()
	if !p.v.DomainlessRoomIDs {
		p.room = "!room:" + p.key.ServerName
	}
	content := map[string]any{"room_version": p.v.ID}
	if !p.v.CreatorIsSender {
		content["creator"] = creator
	}
	ev := p.build(creator, "m.room.create", ptr(""), content)
	p.room = ev.RoomID
	p.take(ev)
	p.member(creator, creator, "join")
	levels := map[string]any{"users": map[string]int{creator: 100}}
	if p.v.PrivilegedCreators {
		levels["users"] = map[string]int{}
	}
	p.send(creator, "m.room.power_levels", ptr(""), levels)
	p.send(creator, "m.room.join_rules", ptr(""), map[string]any{"join_rule": "public"})
}

// pdus is the wire form of events.
func pdus(events ...*pdu.Event) []pduwire.PDU {
	list := make([]pduwire.PDU, len(events))
	for i, ev := range events {
		list[i] = pduwire.Of(ev)
	}
	return list
}
