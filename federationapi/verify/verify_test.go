package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hearth/federationapi/internal/peertest"
	"hearth/federationapi/keys"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

const now = 1_700_000_000_000 // milliseconds

// ring knows the keys that peertest makes, other than those called unknown. Keys called
// old are valid up to now.
type ring struct{ asked atomic.Int64 }

func (r *ring) Keys(_ context.Context, wants []keys.Want) []keys.Result {
	r.asked.Add(int64(len(wants)))
	out := make([]keys.Result, len(wants))
	for i, w := range wants {
		down := merr.New(401, "M_UNAUTHORIZED", "no key")
		down.Temporary = w.Server == "down.example"
		switch {
		case strings.HasSuffix(w.KeyID, "unknown") || down.Temporary:
			out[i].Err = down
		case strings.HasSuffix(w.KeyID, "old") && w.At.After(time.UnixMilli(now)):
			out[i].Err = down
		default:
			key := peertest.Signer(w.Server, w.KeyID).Key
			out[i].Key = []byte(key[32:])
		}
	}
	return out
}

func version(t testing.TB, id string) *pdu.RoomVersion {
	v, ok := pdu.Version(id)
	if !ok {
		t.Fatal(id)
	}
	return v
}

func template(room string) pdu.Template {
	return pdu.Template{RoomID: room, Type: "m.room.message", Sender: "@u:a.example", Content: []byte(`{"body":"x"}`),
		PrevEvents: []pdu.Ref{{EventID: "$" + strings.Repeat("p", 43), SHA256: make([]byte, 32)}}, Depth: 5, OriginServerTS: now}
}

func roomOf(v *pdu.RoomVersion) string {
	if v.DomainlessRoomIDs {
		return "!" + strings.Repeat("r", 43)
	}
	return "!r:a.example"
}

func build(t testing.TB, v *pdu.RoomVersion, tmpl pdu.Template, first pdu.Signer, more ...pdu.Signer) *pdu.Event {
	t.Helper()
	e, err := pdu.Build(v, tmpl, first)
	for _, s := range more {
		if err == nil {
			e, err = e.Sign(s)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// forged replaces the signature of a server by one of another key under the same name.
func forged(t testing.TB, e *pdu.Event, server, keyID string) []byte {
	t.Helper()
	other := peertest.Signer(server, "ed25519:forged")
	other.KeyID = keyID
	e, err := e.Sign(other)
	if err != nil {
		t.Fatal(err)
	}
	return e.JSON
}

func TestSignatures(t *testing.T) {
	a, b := peertest.Signer("a.example", "ed25519:1"), peertest.Signer("b.example", "ed25519:1")
	a2, unknown := peertest.Signer("a.example", "ed25519:2"), peertest.Signer("a.example", "ed25519:unknown")
	old, down := peertest.Signer("a.example", "ed25519:old"), peertest.Signer("down.example", "ed25519:1")
	policy := peertest.Signer("a.example", policyKey)
	for _, id := range []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"} {
		v := version(t, id)
		message := template(roomOf(v))
		late := message
		late.OriginServerTS = now + 1
		key := "@x:b.example"
		invite := message
		invite.Type, invite.StateKey = "m.room.member", &key
		invite.Content = []byte(`{"membership":"invite","third_party_invite":{"signed":{"token":"t"}}}`)
		fake := invite
		fake.Content = []byte(`{"membership":"invite","third_party_invite":5}`)
		self := "@u:a.example"
		join := message
		join.Type, join.StateKey = "m.room.member", &self
		join.Content = []byte(`{"membership":"join","join_authorised_via_users_server":"@y:b.example"}`)
		restricted, formatOne := v.RestrictedJoins, v.EventFormat == 1
		for _, tc := range []struct {
			name string
			raw  []byte
			good bool
		}{
			{"the sender's server", build(t, v, message, a).JSON, true},
			{"another server", build(t, v, message, b).JSON, false},
			// The builder names the event in formats 1.
			{"the event id's server too", build(t, v, message, b, a).JSON, true},
			{"an unknown key", build(t, v, message, unknown).JSON, false},
			{"an unknown key beside a good one", build(t, v, message, a, unknown).JSON, true},
			{"two keys", build(t, v, message, a, a2).JSON, true},
			{"a bad one beside a good one", forged(t, build(t, v, message, a), "a.example", "ed25519:2"), false},
			{"a bad one", forged(t, build(t, v, message, a), "a.example", "ed25519:1"), false},
			{"a policy server's is nothing", build(t, v, message, policy).JSON, false},
			{"a policy server's does no harm", build(t, v, message, a, policy).JSON, true},
			{"a key in its time", build(t, v, message, old).JSON, true},
			{"a key after its time", build(t, v, late, old).JSON, !v.EnforceKeyValidity},
			{"a third-party invite", build(t, v, invite, b).JSON, true},
			{"a third-party invite that is badly signed", forged(t, build(t, v, invite, b), "b.example", "ed25519:1"), false},
			{"a third-party invite whose server is down", build(t, v, invite, down).JSON, false},
			{"what looks like a third-party invite", build(t, v, fake, b).JSON, false},
			{"a restricted join", build(t, v, join, a, b).JSON, true},
			{"a restricted join that nobody allowed", build(t, v, join, a).JSON, !restricted},
			{"a restricted join, badly signed", forged(t, build(t, v, join, a), "b.example", "ed25519:1"), !restricted},
		} {
			good, bad := PDUs(context.Background(), new(ring), v, []json.RawMessage{tc.raw})
			if len(good)+len(bad) != 1 || (len(good) == 1) != tc.good {
				t.Errorf("v%s, %s: %v, %v", id, tc.name, good, bad)
				continue
			}
			if tc.good {
				if string(good[0].JSON) != string(tc.raw) || good[0].Redacted {
					t.Errorf("v%s, %s: came back as %s", id, tc.name, good[0].JSON)
				}
				continue
			}
			var e *merr.Error
			if !errors.As(bad[0].Err, &e) || e.Status != 401 || bad[0].EventID == "" || e.Temporary != strings.Contains(tc.name, "down") {
				t.Errorf("v%s, %s: %+v", id, tc.name, bad[0])
			}
		}
		lonely := build(t, v, join, a).JSON
		if _, err := Submitted(context.Background(), new(ring), v, lonely, "b.example"); err != nil {
			t.Errorf("v%s: a restricted join that is ours to sign: %v", id, err)
		}
		if _, err := Submitted(context.Background(), new(ring), v, lonely, "c.example"); (err == nil) == restricted {
			t.Errorf("v%s: a restricted join that is not ours to sign: %v", id, err)
		}
		if _, err := Submitted(context.Background(), new(ring), v, build(t, v, message, b).JSON, "a.example"); err == nil {
			t.Errorf("v%s: the sender's signature may not be missing", id)
		}
		if formatOne {
			anonymous := strings.Replace(string(build(t, v, message, a).JSON), ":a.example\",\"hashes", "\",\"hashes", 1)
			if _, bad := PDUs(context.Background(), new(ring), v, []json.RawMessage{[]byte(anonymous)}); len(bad) != 1 {
				t.Errorf("v%s: an event id without a server passed", id)
			}
		}
	}
}

func TestBatch(t *testing.T) {
	v := version(t, "10")
	a := peertest.Signer("a.example", "ed25519:1")
	var raws []json.RawMessage
	for i := range 20 {
		tmpl := template(roomOf(v))
		tmpl.OriginServerTS -= int64(i)
		raws = append(raws, build(t, v, tmpl, a).JSON)
	}
	raws[3] = json.RawMessage(`{"type":`)
	raws[5] = raws[4]
	raws[7] = json.RawMessage(strings.Replace(string(raws[7]), `"body":"x"`, `"body":"changed"`, 1))
	raws[9] = json.RawMessage(strings.Replace(string(raws[9]), `"depth":5`, `"depth":6`, 1))
	r := new(ring)
	good, bad := PDUs(context.Background(), r, v, raws)
	if len(good) != 17 || len(bad) != 2 || bad[0].Index != 3 || bad[0].EventID != "" || bad[1].Index != 9 {
		t.Fatalf("%d good, bad: %v", len(good), bad)
	}
	for i, p := range good {
		if redacted := i == 5; p.Redacted != redacted || redacted && strings.Contains(string(p.JSON), "changed") {
			t.Errorf("%d: %s", i, p.JSON)
		}
	}
	if n := r.asked.Load(); n > 20 {
		t.Errorf("%d keys were asked for", n)
	}
	if good, bad := PDUs(context.Background(), r, v, nil); len(good)+len(bad) != 0 {
		t.Error("something came of nothing")
	}
	// The key does not depend on the event where any time will do.
	r = new(ring)
	old := version(t, "4")
	for i := range raws {
		tmpl := template(roomOf(old))
		tmpl.OriginServerTS -= int64(i)
		raws[i] = build(t, old, tmpl, a).JSON
	}
	if good, _ := PDUs(context.Background(), r, old, raws); len(good) != 20 || r.asked.Load() != 1 {
		t.Errorf("%d good, %d keys asked for", len(good), r.asked.Load())
	}
}

// hostile are 50 events of a kind that costs much, none of them valid.
func hostile(t testing.TB) map[string][]json.RawMessage {
	v := version(t, "11")
	a := peertest.Signer("a.example", "ed25519:1")
	out := map[string][]json.RawMessage{}
	add := func(kind string, raw func(i int) []byte) {
		for i := range 50 {
			out[kind] = append(out[kind], raw(i))
		}
	}
	event := func(content string, i int) []byte {
		tmpl := template(roomOf(v))
		tmpl.OriginServerTS, tmpl.Content = now-int64(i), []byte(content)
		return build(t, v, tmpl, a).JSON
	}
	add("nested", func(int) []byte {
		return []byte(`{"content":` + strings.Repeat(`{"a":`, 9900) + "1" + strings.Repeat("}", 9901))
	})
	add("keys", func(i int) []byte {
		var b strings.Builder
		for k := range 3500 {
			fmt.Fprintf(&b, `"%d":%d,`, k*7919, k)
		}
		return event("{"+strings.TrimSuffix(b.String(), ",")+"}", i)
	})
	add("escapes", func(i int) []byte {
		return []byte(strings.Replace(string(event(`{"a":"`+strings.Repeat("x", 60_000)+`"}`, i)),
			strings.Repeat("x", 60_000), strings.Repeat(`\u0078`, 60_000), 1))
	})
	add("signatures", func(i int) []byte {
		var b strings.Builder
		for k := range 400 {
			fmt.Fprintf(&b, `"ed25519:%d":"%s",`, k, strings.Repeat("A", 86))
		}
		return []byte(strings.Replace(string(event(`{}`, i)), `"signatures":{"a.example":{`, `"signatures":{"a.example":{`+b.String(), 1))
	})
	return out
}

// TestHostileCost: events that cost much are bounded. The limit leaves room for a slow
// machine and the race detector; the benchmark shows the truth.
func TestHostileCost(t *testing.T) {
	v := version(t, "11")
	for kind, raws := range hostile(t) {
		start := time.Now()
		PDUs(context.Background(), new(ring), v, raws)
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("%s: %v", kind, took)
		}
	}
}

func BenchmarkHostile(b *testing.B) {
	v := version(b, "11")
	for kind, raws := range hostile(b) {
		b.Run(kind, func(b *testing.B) {
			for b.Loop() {
				PDUs(context.Background(), new(ring), v, raws)
			}
		})
	}
}

func BenchmarkHonest(b *testing.B) {
	v := version(b, "11")
	var raws []json.RawMessage
	for i := range 50 {
		tmpl := template(roomOf(v))
		tmpl.OriginServerTS -= int64(i)
		raws = append(raws, build(b, v, tmpl, peertest.Signer("a.example", "ed25519:1")).JSON)
	}
	for b.Loop() {
		PDUs(context.Background(), new(ring), v, raws)
	}
}

func FuzzEvents(f *testing.F) {
	for i := 1; i <= 12; i++ {
		v := version(f, fmt.Sprint(i))
		f.Add(uint8(i), []byte(build(f, v, template(roomOf(v)), peertest.Signer("a.example", "ed25519:1")).JSON))
	}
	f.Fuzz(func(t *testing.T, n uint8, raw []byte) {
		v := version(t, fmt.Sprint(1+n%12))
		good, bad := PDUs(context.Background(), new(ring), v, []json.RawMessage{raw, raw})
		if len(good)+len(bad) == 0 || len(good) > 1 || len(good) == 1 && len(bad) > 0 {
			t.Fatalf("%v %v", good, bad)
		}
		for _, p := range good {
			again, bad := PDUs(context.Background(), new(ring), v, []json.RawMessage{p.JSON})
			if len(bad) != 0 || again[0].EventID != p.EventID {
				t.Fatalf("%s does not pass twice: %v", p.JSON, bad)
			}
		}
	})
}
