package pdu

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
)

// These tests compare with a second implementation on ordinary events of room
// versions 1 to 11.

const eventsPerVersion = 40

// guarded runs a call into the other implementation.
func guarded(t *testing.T, f func()) {
	t.Helper()
	defer func() {
		if r := recover(); r != nil {
			t.Fatalf("panic: %v", r)
		}
	}()
	f()
}

// ordinary makes random contents of the types that servers send.
type ordinary struct{ r *rand.Rand }

func (o ordinary) pick(s ...string) string { return s[o.r.IntN(len(s))] }

func (o ordinary) event(n int) (eventType string, stateKey *string, content map[string]any) {
	key := ""
	user := fmt.Sprintf("@user%d:example.org", o.r.IntN(50))
	text := o.pick("hello", "日本語 😀", "quote \" and \\ and / and <&>", "line\nbreak\ttab\u0001", "\u2028 separator", "")
	switch n % 10 {
	case 0:
		return "m.room.message", nil, map[string]any{"body": text, "msgtype": "m.text", "n": o.r.IntN(1000), "nested": map[string]any{"z": []any{1, true, nil, text}, "a": -5}}
	case 1:
		return "m.room.member", &user, map[string]any{"membership": o.pick("join", "leave", "ban"), "displayname": text, "reason": text, "join_authorised_via_users_server": user}
	case 2:
		return "m.room.power_levels", &key, map[string]any{"users": map[string]any{user: 100, "@b:example.org": -1}, "ban": 50, "invite": 7,
			"events": map[string]any{"m.room.name": 50}, "notifications": map[string]any{"room": 20}, "users_default": 0, "kick": 9007199254740991, "junk": text}
	case 3:
		return "m.room.create", &key, map[string]any{"creator": user, "m.federate": true, "room_version": "x", "predecessor": map[string]any{"room_id": "!a:b"}}
	case 4:
		return "m.room.join_rules", &key, map[string]any{"join_rule": o.pick("public", "invite", "restricted"), "allow": []any{map[string]any{"type": "m.room_membership", "room_id": "!a:b"}}, "x": text}
	case 5:
		return "m.room.history_visibility", &key, map[string]any{"history_visibility": "shared", "x": 1}
	case 6:
		domain := "example.org"
		return "m.room.aliases", &domain, map[string]any{"aliases": []any{"#a:example.org"}, "x": 1}
	case 7:
		return "m.room.encrypted", nil, map[string]any{"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "AwgAEnACgAkLmt6qF84IK", "device_id": "X"}
	case 8:
		return "m.reaction", nil, map[string]any{"m.relates_to": map[string]any{"event_id": "$abc", "key": "👍", "rel_type": "m.annotation"}}
	default:
		return "org.example.state", &user, map[string]any{"text": text, "": "empty key", "Z": 1, "a": 2}
	}
}

func TestDifferentialOursInTheirs(t *testing.T) {
	s := testSigner()
	for _, v := range Versions()[:11] {
		theirs, err := gomatrixserverlib.GetRoomVersion(gomatrixserverlib.RoomVersion(v.ID))
		if err != nil {
			t.Fatal(err)
		}
		o := ordinary{rand.New(rand.NewPCG(1, 2))}
		for n := range eventsPerVersion {
			eventType, key, content := o.event(n)
			raw, err := json.Marshal(content)
			if err != nil {
				t.Fatal(err)
			}
			ref := Ref{EventID: fmt.Sprintf("$%d:example.org", n), SHA256: make([]byte, 32)}
			ours, err := Build(v, Template{RoomID: "!room:example.org", Type: eventType, Sender: "@alice:example.org", StateKey: key, Content: raw,
				PrevEvents: []Ref{ref}, AuthEvents: []Ref{ref, ref}, Depth: int64(n), OriginServerTS: 1700000000000 + int64(n)}, s)
			if err != nil {
				t.Fatal(err)
			}
			guarded(t, func() {
				other, err := theirs.NewEventFromUntrustedJSON(ours.JSON)
				if err != nil {
					t.Fatalf("v%s %s: %v", v.ID, ours.JSON, err)
				}
				compare(t, ours, other)
				redacted, err := theirs.RedactEventJSON(ours.JSON)
				if err != nil {
					t.Fatal(err)
				}
				if err := gomatrixserverlib.VerifyJSON(s.ServerName, gomatrixserverlib.KeyID(s.KeyID), s.public(), redacted); err != nil {
					t.Errorf("v%s: signature: %v", v.ID, err)
				}
				wantRedacted(t, ours, redacted)
			})
		}
	}
}

func TestDifferentialTheirsInOurs(t *testing.T) {
	s := testSigner()
	for _, v := range Versions()[:11] {
		theirs, err := gomatrixserverlib.GetRoomVersion(gomatrixserverlib.RoomVersion(v.ID))
		if err != nil {
			t.Fatal(err)
		}
		o := ordinary{rand.New(rand.NewPCG(3, 4))}
		for n := range eventsPerVersion {
			eventType, key, content := o.event(n)
			guarded(t, func() {
				builder := theirs.NewEventBuilder()
				builder.SenderID, builder.RoomID, builder.Type, builder.StateKey = "@alice:example.org", "!room:example.org", eventType, key
				builder.Depth = int64(n)
				if v.EventFormat != 1 {
					builder.PrevEvents = []string{"$prev"}
					builder.AuthEvents = []string{"$auth", "$other"}
				}
				if err := builder.SetContent(content); err != nil {
					t.Fatal(err)
				}
				if err := builder.SetUnsigned(map[string]any{"age": 5}); err != nil {
					t.Fatal(err)
				}
				other, err := builder.Build(time.UnixMilli(1700000000000+int64(n)), spec.ServerName(s.ServerName), gomatrixserverlib.KeyID(s.KeyID), s.Key)
				if err != nil {
					t.Fatal(err)
				}
				ours, err := Parse(v, other.JSON())
				if err != nil {
					t.Fatalf("v%s %s: %v", v.ID, other.JSON(), err)
				}
				compare(t, ours, other)
				if err := ours.VerifySignature(s.ServerName, s.KeyID, s.public()); err != nil {
					t.Errorf("v%s: signature: %v", v.ID, err)
				}
				redacted, err := theirs.RedactEventJSON(ours.JSON)
				if err != nil {
					t.Fatal(err)
				}
				wantRedacted(t, ours, redacted)
			})
		}
	}
}

func compare(t *testing.T, ours *Event, other gomatrixserverlib.PDU) {
	t.Helper()
	if ours.EventID != other.EventID() || ours.Type != other.Type() || ours.Sender != string(other.SenderID()) || ours.Depth != other.Depth() ||
		ours.OriginServerTS != int64(other.OriginServerTS()) || ours.Redacted || other.Redacted() || ours.RoomID != other.RoomID().String() ||
		fmt.Sprint(ours.PrevEvents) != fmt.Sprint(other.PrevEventIDs()) || fmt.Sprint(ours.AuthEvents) != fmt.Sprint(other.AuthEventIDs()) ||
		(ours.StateKey == nil) != (other.StateKey() == nil) || ours.StateKey != nil && *ours.StateKey != *other.StateKey() {
		t.Errorf("v%s: %s and %s differ", ours.Version.ID, ours.JSON, other.JSON())
	}
}

// wantRedacted compares with what the other implementation made of the event.
func wantRedacted(t *testing.T, ours *Event, redacted []byte) {
	t.Helper()
	want, err := Canonical(redacted, true)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ours.Redact()
	if err != nil || string(got.JSON) != string(want) {
		t.Errorf("v%s: redacted %s, want %s (%v)", ours.Version.ID, got.JSON, want, err)
	}
}

func TestDifferentialSignJSON(t *testing.T) {
	s := testSigner()
	o := ordinary{rand.New(rand.NewPCG(5, 6))}
	for n := range 100 {
		_, _, content := o.event(n)
		raw, err := json.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		ours, err := SignJSON(raw, s)
		if err != nil {
			t.Fatal(err)
		}
		guarded(t, func() {
			if err := gomatrixserverlib.VerifyJSON(s.ServerName, gomatrixserverlib.KeyID(s.KeyID), s.public(), ours); err != nil {
				t.Errorf("%s: %v", ours, err)
			}
			theirs, err := gomatrixserverlib.SignJSON(s.ServerName, gomatrixserverlib.KeyID(s.KeyID), s.Key, raw)
			if err != nil {
				t.Fatal(err)
			}
			if err := VerifyJSON(theirs, s.ServerName, s.KeyID, s.public()); err != nil {
				t.Errorf("%s: %v", theirs, err)
			}
			if canonical, err := Canonical(theirs, true); err != nil || string(canonical) != string(ours) {
				t.Errorf("%s and %s differ: %v", ours, canonical, err)
			}
		})
	}
}
