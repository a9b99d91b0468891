package pdu

import (
	"fmt"
	"strings"
	"testing"
)

// sample builds a valid event of a room version. edits are pairs of top-level key
// and new raw value; the value "" removes the key.
func sample(t testing.TB, v *RoomVersion, edits ...string) []byte {
	t.Helper()
	ref := func(n int) Ref {
		id := fmt.Sprintf("$%043d", n)
		if v.EventFormat == 1 {
			id = fmt.Sprintf("$%d:example.org", n)
		}
		return Ref{EventID: id, SHA256: make([]byte, 32)}
	}
	tmpl := Template{
		RoomID: "!room:example.org", Type: "m.room.message", Sender: "@alice:example.org",
		Content: []byte(`{"body":"hello","msgtype":"m.text"}`), Depth: 5, OriginServerTS: 1700000000000,
		PrevEvents: []Ref{ref(1)}, AuthEvents: []Ref{ref(2), ref(3)},
	}
	if v.DomainlessRoomIDs {
		tmpl.RoomID = "!" + strings.Repeat("a", 43)
	}
	e, err := Build(v, tmpl, testSigner())
	if err != nil {
		t.Fatal(err)
	}
	json := e.JSON
	for i := 0; i+1 < len(edits); i += 2 {
		var ok bool
		if edits[i+1] == "" {
			json, ok = Delete(json, edits[i])
		} else {
			json, ok = Set(json, edits[i], []byte(edits[i+1]))
		}
		if !ok {
			t.Fatalf("cannot edit %s", json)
		}
	}
	return json
}

func each(t *testing.T, f func(t *testing.T, v *RoomVersion)) {
	for _, v := range Versions() {
		t.Run("v"+v.ID, func(t *testing.T) { f(t, v) })
	}
}

func TestParseReadsEveryField(t *testing.T) {
	each(t, func(t *testing.T, v *RoomVersion) {
		src := sample(t, v)
		e, err := Parse(v, src)
		if err != nil {
			t.Fatal(err)
		}
		if e.Version != v || e.Type != "m.room.message" || e.Sender != "@alice:example.org" || e.StateKey != nil || e.Redacted ||
			e.Depth != 5 || e.OriginServerTS != 1700000000000 || string(e.JSON) != string(src) ||
			string(e.Content) != `{"body":"hello","msgtype":"m.text"}` || len(e.PrevEvents) != 1 || len(e.AuthEvents) != 2 {
			t.Errorf("%+v", e)
		}
		if v.EventFormat == 1 {
			if !strings.HasSuffix(e.EventID, ":example.org") || e.AuthEvents[1] != "$3:example.org" {
				t.Errorf("ids %s %v", e.EventID, e.AuthEvents)
			}
		} else if len(e.EventID) != hashIDLength || e.AuthEvents[1] != fmt.Sprintf("$%043d", 3) {
			t.Errorf("ids %s %v", e.EventID, e.AuthEvents)
		}
	})
}

func TestParseDropsUnsigned(t *testing.T) {
	each(t, func(t *testing.T, v *RoomVersion) {
		want, err := Parse(v, sample(t, v))
		if err != nil {
			t.Fatal(err)
		}
		with, _ := Set(want.JSON, "unsigned", []byte(`{"age":5,"replaces_state":"$x"}`))
		with, _ = Set(with, "zzz", []byte(`1`))
		with, _ = Delete(with, "zzz")
		if v.EventFormat != 1 {
			with, _ = Set(with, "event_id", []byte(`"$claimed:example.org"`))
		}
		got, err := Parse(v, with)
		if err != nil || got.EventID != want.EventID || got.Redacted || string(got.JSON) != string(want.JSON) {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func TestParseChecksUnsignedBeforeDroppingIt(t *testing.T) {
	v, _ := Version("10")
	for _, unsigned := range []string{`{"a":1,"a":2}`, `{"a":1.5}`, `{"a":"\ud800"}`} {
		src := string(sample(t, v))
		if _, err := Parse(v, []byte(src[:len(src)-1]+`,"unsigned":`+unsigned+`}`)); err == nil {
			t.Errorf("unsigned %s passed", unsigned)
		}
	}
}

func TestParseKeepsUnknownKeys(t *testing.T) {
	v, _ := Version("10")
	e, err := Parse(v, rehash(t, sample(t, v, "org.example.extra", `{"b":[1,2]}`)))
	if err != nil || e.Redacted {
		t.Fatalf("%+v, %v", e, err)
	}
	if val, _ := Get(e.JSON, "org.example.extra"); string(val) != `{"b":[1,2]}` {
		t.Errorf("%s", e.JSON)
	}
}

// rehash gives an event the content hash that fits it.
func rehash(t testing.TB, json []byte) []byte {
	t.Helper()
	f, ok := split(json)
	if !ok {
		t.Fatalf("not an object: %s", json)
	}
	sum := f.contentHash()
	d := draft{}
	d.hash = appendBase64Text(nil, sum[:])
	out, _ := Set(json, "hashes", []byte(`{"sha256":"`+string(d.hash)+`"}`))
	return out
}

func TestParseRefuses(t *testing.T) {
	long := func(n int) string { return `"` + strings.Repeat("x", n) + `"` }
	tests := []struct {
		name  string
		edits []string
		only  func(v *RoomVersion) bool
	}{
		{name: "no type", edits: []string{"type", ""}},
		{name: "type is a number", edits: []string{"type", "5"}},
		{name: "type of 256 bytes", edits: []string{"type", long(256)}},
		{name: "NUL in type", edits: []string{"type", `"a\u0000"`}},
		{name: "no sender", edits: []string{"sender", ""}},
		{name: "sender is null", edits: []string{"sender", "null"}},
		{name: "sender is no user id", edits: []string{"sender", `"alice"`}},
		{name: "sender of 256 bytes", edits: []string{"sender", `"@` + strings.Repeat("a", 243) + `:example.org"`}},
		{name: "sender without server", edits: []string{"sender", `"@alice:"`}},
		{name: "no room_id", edits: []string{"room_id", ""}},
		{name: "room_id is an object", edits: []string{"room_id", "{}"}},
		{name: "room_id without sigil", edits: []string{"room_id", `"room:example.org"`}},
		{name: "room_id without server", edits: []string{"room_id", `"!x"`}},
		{name: "room_id with a bad server", edits: []string{"room_id", `"!x:a b"`}},
		{name: "hash room_id", edits: []string{"room_id", `"!` + strings.Repeat("a", 43) + `"`},
			only: func(v *RoomVersion) bool { return !v.DomainlessRoomIDs }},
		{name: "room_id with domain", edits: []string{"room_id", `"!room:example.org"`},
			only: func(v *RoomVersion) bool { return v.DomainlessRoomIDs }},
		{name: "create event with room_id", edits: []string{"type", `"m.room.create"`, "state_key", `""`},
			only: func(v *RoomVersion) bool { return v.DomainlessRoomIDs }},
		{name: "create event with a state_key", edits: []string{"type", `"m.room.create"`, "room_id", "", "state_key", `"x"`}},
		{name: "create event without state_key", edits: []string{"type", `"m.room.create"`, "room_id", ""}},
		{name: "state_key is null", edits: []string{"state_key", "null"}},
		{name: "state_key is a number", edits: []string{"state_key", "1"}},
		{name: "state_key of 256 bytes", edits: []string{"state_key", long(256)}},
		{name: "NUL in state_key", edits: []string{"state_key", `"\u0000"`}},
		{name: "no content", edits: []string{"content", ""}},
		{name: "content is null", edits: []string{"content", "null"}},
		{name: "content is an array", edits: []string{"content", "[]"}},
		{name: "content is a string", edits: []string{"content", `"{}"`}},
		{name: "no origin_server_ts", edits: []string{"origin_server_ts", ""}},
		{name: "origin_server_ts is a string", edits: []string{"origin_server_ts", `"5"`}},
		{name: "origin_server_ts is a fraction", edits: []string{"origin_server_ts", "5.5"}},
		{name: "no prev_events", edits: []string{"prev_events", ""}},
		{name: "prev_events is an object", edits: []string{"prev_events", "{}"}},
		{name: "prev_events of numbers", edits: []string{"prev_events", "[5]"}},
		{name: "prev_events without sigil", edits: []string{"prev_events", `["abc"]`}},
		{name: "NUL in prev_events", edits: []string{"prev_events", `["$a\u0000b"]`}},
		{name: "no auth_events", edits: []string{"auth_events", ""}},
		{name: "auth_events is null", edits: []string{"auth_events", "null"}},
		{name: "auth_events of 256 bytes", edits: []string{"auth_events", `["$` + strings.Repeat("a", 255) + `"]`}},
		{name: "references of the other format", edits: []string{"auth_events", `["$abc:example.org"]`}, only: isFormatOne},
		{name: "pair with one element", edits: []string{"auth_events", `[["$abc:example.org"]]`}, only: isFormatOne},
		{name: "pair with three elements", edits: []string{"auth_events", `[["$abc:example.org",{"sha256":"AA"},1]]`}, only: isFormatOne},
		{name: "pair with a string", edits: []string{"auth_events", `[["$abc:example.org","AA"]]`}, only: isFormatOne},
		{name: "pair with a number as hash", edits: []string{"auth_events", `[["$abc:example.org",{"sha256":1}]]`}, only: isFormatOne},
		{name: "pairs in a later format", edits: []string{"auth_events", `[["$abc",{"sha256":"AA"}]]`},
			only: func(v *RoomVersion) bool { return !isFormatOne(v) }},
		{name: "no event_id", edits: []string{"event_id", ""}, only: isFormatOne},
		{name: "event_id is a number", edits: []string{"event_id", "1"}, only: isFormatOne},
		{name: "event_id without domain", edits: []string{"event_id", `"$abc"`}, only: isFormatOne},
		{name: "event_id of 256 bytes", edits: []string{"event_id", `"$` + strings.Repeat("a", 243) + `:example.org"`}, only: isFormatOne},
		{name: "no hashes", edits: []string{"hashes", ""}},
		{name: "hashes is a string", edits: []string{"hashes", `"AA"`}},
		{name: "no sha256", edits: []string{"hashes", `{"md5":"AA"}`}},
		{name: "sha256 is a number", edits: []string{"hashes", `{"sha256":5}`}},
		{name: "sha256 is not base64", edits: []string{"hashes", `{"sha256":"!!"}`}},
		{name: "no signatures", edits: []string{"signatures", ""}},
		{name: "signatures is an array", edits: []string{"signatures", "[]"}},
		{name: "signatures of a server is null", edits: []string{"signatures", `{"example.org":null}`}},
		{name: "signature is a number", edits: []string{"signatures", `{"example.org":{"ed25519:1":5}}`}},
		{name: "redacts is a number", edits: []string{"type", `"m.room.redaction"`, "redacts", "5"},
			only: func(v *RoomVersion) bool { return !v.RedactsInContent }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, v := range Versions() {
				if tt.only != nil && !tt.only(v) {
					continue
				}
				if _, err := Parse(v, sample(t, v)); err != nil {
					t.Fatalf("v%s: the event without the fault: %v", v.ID, err)
				}
				e, err := Parse(v, rehashUnless(t, tt.name, sample(t, v, tt.edits...)))
				if err == nil {
					t.Fatalf("v%s: passed as %s", v.ID, e.JSON)
				}
				wantCode(t, err, "M_BAD_JSON")
			}
		})
	}
}

// rehashUnless keeps the faults of hashes themselves.
func rehashUnless(t *testing.T, name string, json []byte) []byte {
	if strings.Contains(name, "hash") || strings.Contains(name, "sha256") {
		return json
	}
	return rehash(t, json)
}

func isFormatOne(v *RoomVersion) bool { return v.EventFormat == 1 }

func TestParseRedactsWhenContentHashDoesNotMatch(t *testing.T) {
	each(t, func(t *testing.T, v *RoomVersion) {
		whole, err := Parse(v, sample(t, v))
		if err != nil {
			t.Fatal(err)
		}
		changed, err := Parse(v, sample(t, v, "content", `{"body":"forged"}`, "org.example.extra", "1"))
		if v.EventFormat == 1 {
			// The id is in the PDU, and every sample has its own.
			whole.EventID = changed.EventID
		}
		if err != nil || !changed.Redacted || changed.EventID != whole.EventID || string(changed.Content) != "{}" {
			t.Fatalf("%+v, %v", changed, err)
		}
		if _, ok := Get(changed.JSON, "org.example.extra"); ok {
			t.Error("the redacted form has a key that is not kept")
		}
		if changed.ContentHashMatches() || !whole.ContentHashMatches() {
			t.Error("ContentHashMatches")
		}
		s := testSigner()
		if err := changed.VerifySignature(s.ServerName, s.KeyID, s.public()); err != nil {
			t.Errorf("the signature covers the redacted form: %v", err)
		}
	})
}

func TestParseReadsRedacts(t *testing.T) {
	each(t, func(t *testing.T, v *RoomVersion) {
		tmpl := Template{
			RoomID: "!room:example.org", Type: "m.room.redaction", Sender: "@alice:example.org", Redacts: "$target:example.org",
			Content: []byte(`{"reason":"spam"}`), Depth: 5, OriginServerTS: 1,
		}
		if v.DomainlessRoomIDs {
			tmpl.RoomID = "!" + strings.Repeat("a", 43)
		}
		e, err := Build(v, tmpl, testSigner())
		if err != nil {
			t.Fatal(err)
		}
		_, top := Get(e.JSON, "redacts")
		_, inside := Get(e.Content, "redacts")
		if top == v.RedactsInContent || inside != v.RedactsInContent {
			t.Errorf("redacts is in the wrong place: %s", e.JSON)
		}
		e, err = Parse(v, e.JSON)
		if err != nil || e.Redacts != "$target:example.org" || e.Redacted {
			t.Errorf("%+v, %v", e, err)
		}
	})
}

func TestCreateEventOfVersion12(t *testing.T) {
	v, _ := Version("12")
	empty := ""
	e, err := Build(v, Template{Type: "m.room.create", Sender: "@alice:example.org", StateKey: &empty,
		Content: []byte(`{"room_version":"12"}`), Depth: 1, OriginServerTS: 1}, testSigner())
	if err != nil {
		t.Fatal(err)
	}
	if len(e.RoomID) != hashIDLength || e.RoomID[1:] != e.EventID[1:] || e.RoomID[0] != '!' {
		t.Errorf("room %s, event %s", e.RoomID, e.EventID)
	}
	parsed, err := Parse(v, e.JSON)
	if err != nil || parsed.RoomID != e.RoomID || parsed.EventID != e.EventID {
		t.Errorf("%+v, %v", parsed, err)
	}
	if _, ok := Get(e.JSON, "room_id"); ok {
		t.Errorf("the create event has a room_id: %s", e.JSON)
	}
	loaded, err := Load(v, e.JSON, e.EventID)
	if err != nil || loaded.RoomID != e.RoomID {
		t.Errorf("%+v, %v", loaded, err)
	}
	next, err := Build(v, Template{RoomID: e.RoomID, Type: "m.room.member", Sender: "@alice:example.org", StateKey: &parsed.Sender,
		Content: []byte(`{"membership":"join"}`), Depth: 2, OriginServerTS: 2, PrevEvents: []Ref{e.Ref()}}, testSigner())
	if err != nil || next.RoomID != e.RoomID || next.PrevEvents[0] != e.EventID {
		t.Errorf("%+v, %v", next, err)
	}
}

func TestLoadNeverPanicsOnDamage(t *testing.T) {
	each(t, func(t *testing.T, v *RoomVersion) {
		json := sample(t, v)
		whole, err := Load(v, json, "")
		if err != nil {
			t.Fatal(err)
		}
		for i := range json {
			if e, err := Load(v, json[:i], whole.EventID); err == nil {
				t.Fatalf("%d bytes passed: %+v", i, e)
			}
			damaged := append([]byte(nil), json...)
			damaged[i] ^= 0x55
			if e, err := Load(v, damaged, ""); err == nil {
				if _, err := e.Redact(); err != nil {
					t.Fatal(err)
				}
				e.Signatures()
			}
		}
	})
}
