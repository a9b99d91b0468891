package roomserver

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"testing"

	"hearth/federationapi/remoteapi"
	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

// policyPeer is a peer that is a policy server, too.
type policyPeer struct {
	*peer
	f   *fixture
	key ed25519.PrivateKey

	mu     sync.Mutex
	asked  []string // types
	refuse bool
	before func() // is called before the answer
}

func (f *fixture) policyServer(p *peer) *policyPeer {
	f.t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		f.t.Fatal(err)
	}
	ps := &policyPeer{peer: p, f: f, key: key}
	if err := bus.Handle(f.bus, remoteapi.PolicySign, ps.answer); err != nil {
		f.t.Fatal(err)
	}
	return ps
}

func (ps *policyPeer) sign(ev *pdu.Event) *pdu.Event {
	ps.f.t.Helper()
	ev, err := ev.Sign(pdu.Signer{ServerName: ps.peer.key.ServerName, KeyID: policyKey, Key: ps.key})
	if err != nil {
		ps.f.t.Error(err)
	}
	return ev
}

func (ps *policyPeer) answer(_ context.Context, req *remoteapi.PolicySignRequest) (*remoteapi.Object, error) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	typ, _ := pdu.GetString(req.Event, "type")
	ps.asked = append(ps.asked, typ)
	if ps.before != nil {
		before := ps.before
		ps.before = nil
		before()
	}
	ev, err := pdu.Parse(ps.v, req.Event)
	switch {
	case err != nil:
		return nil, err
	case req.Destination != ps.peer.key.ServerName:
		return nil, merr.NotFound("no policy server")
	case ps.refuse:
		return nil, merr.New(400, "M_FORBIDDEN", "This is spam")
	}
	signatures, _ := pdu.Get(ps.sign(ev).JSON, "signatures")
	of, _ := pdu.Get(signatures, req.Destination)
	return &remoteapi.Object{JSON: json.RawMessage(`{"` + req.Destination + `":` + string(of) + `}`)}, nil
}

// said takes the types that the policy server was asked about.
func (ps *policyPeer) said() []string {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	asked := ps.asked
	ps.asked = nil
	return asked
}

func (ps *policyPeer) signed(room, id string) bool {
	ps.f.t.Helper()
	e := ps.f.event(room, id)
	return e != nil && e.ev.VerifySignature(ps.peer.key.ServerName, policyKey, ps.key.Public().(ed25519.PublicKey)) == nil
}

func (ps *policyPeer) setRefuse(refuse bool) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.refuse = refuse
}

// set makes the peer the policy server of its room, or with "" nobody.
func (ps *policyPeer) set(room, via string) {
	ps.f.t.Helper()
	content := `{}`
	if via != "" {
		key := base64.RawStdEncoding.EncodeToString(ps.key.Public().(ed25519.PublicKey))
		content = `{"via":"` + via + `","public_keys":{"ed25519":"` + key + `"}}`
	}
	empty := ""
	do(ps.f, roomapi.Send, roomapi.SendRequest{RoomID: room, Sender: alice, Type: policyType, StateKey: &empty, Content: []byte(content)})
	ps.f.newest(ps.peer)
}

func TestPolicyServer(t *testing.T) {
	for _, version := range []string{"2", "6", "10", "12"} {
		t.Run("v"+version, func(t *testing.T) { testPolicyServer(t, version) })
	}
}

func testPolicyServer(t *testing.T, version string) {
	f := newFixture(t, t.TempDir(), "", true)
	room, p, dora := f.shared(version)
	f.answers(p)
	ps := f.policyServer(p)
	ps.set(room, "nobody.example")
	f.send(room, alice, "1", "the server is not in the room")
	if asked := ps.said(); len(asked) > 0 {
		t.Errorf("asked about %q", asked)
	}
	f.newest(p)
	ps.set(room, p.key.ServerName)
	if id := f.send(room, alice, "2", "recommended"); !ps.signed(room, id) {
		t.Error("our event has no signature")
	}
	if asked := ps.said(); !slices.Equal(asked, []string{"m.room.message"}) {
		t.Errorf("asked about %q", asked)
	}
	f.newest(p)

	ps.setRefuse(true)
	head := f.s.store.DB.Head()
	_, err := roomapi.Send.Do(t.Context(), f.bus, &roomapi.SendRequest{RoomID: room, Sender: alice, Type: "m.room.message", Content: []byte(`{"body":"spam"}`)})
	var e *merr.Error
	if !errors.As(err, &e) || e.Status != 400 || e.Code != "M_FORBIDDEN" || e.Message != "This is spam" {
		t.Errorf("a refused event: %v", err)
	}
	if f.s.store.DB.Head() != head {
		t.Error("a refused event is stored")
	}
	spam := p.build(dora, "m.room.message", nil, map[string]string{"body": "spam of dora"})
	f.receive(p, spam)
	wantFlags(t, f, room, spam, storage.FlagSoftFailed)
	own := ps.sign(p.build(dora, "m.room.message", nil, map[string]string{"body": "brings its signature"}))
	ps.said()
	f.receive(p, p.take(own))
	wantFlags(t, f, room, own, 0)
	if asked := ps.said(); len(asked) > 0 {
		t.Errorf("asked about %q, which was signed", asked)
	}

	ps.setRefuse(false)
	bare := p.message(dora, "without a signature")
	f.receive(p, bare)
	wantFlags(t, f, room, bare, 0)
	if !ps.signed(room, bare.EventID) {
		t.Error("the signature is not kept")
	}
	ps.said()
	f.receive(p, bare)
	if asked := ps.said(); len(asked) > 0 {
		t.Errorf("asked about %q again", asked)
	}

	// The state can be changed without the policy server, whatever it says.
	ps.setRefuse(true)
	ps.set(room, "")
	f.send(room, alice, "3", "free again")
	f.newest(p)
	f.receive(p, p.message(dora, "so is dora"))
	if asked := ps.said(); len(asked) > 0 {
		t.Errorf("asked about %q", asked)
	}
	if got := f.texts(room, alice); !slices.Equal(got, []string{
		"the server is not in the room", "recommended", "brings its signature", "without a signature", "free again", "so is dora",
	}) {
		t.Errorf("the timeline: %q", got)
	}
}

// TestPolicyServerSlow: while the policy server thinks, the room goes on, and what it then
// signs follows what has come.
func TestPolicyServerSlow(t *testing.T) {
	f := newFixture(t, t.TempDir(), "", true)
	room, p, dora := f.shared("11")
	ps := f.policyServer(p)
	ps.set(room, p.key.ServerName)
	between := ps.sign(p.message(dora, "between"))
	ps.mu.Lock()
	ps.before = func() { f.receive(p, between) }
	ps.mu.Unlock()
	id := f.send(room, alice, "1", "slow")
	if !ps.signed(room, id) || !slices.Equal(f.event(room, id).ev.PrevEvents, []string{between.EventID}) {
		t.Errorf("the event follows %q", f.event(room, id).ev.PrevEvents)
	}
	if got := f.texts(room, alice); !slices.Equal(got, []string{"between", "slow"}) {
		t.Errorf("the timeline: %q", got)
	}
}
