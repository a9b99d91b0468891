package pdu

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// The tests in this file are the hostile inputs that must bounce off the gate.

const powerKey = `a\":1,\"type\":\"m.room.power_levels\",\"state_key\":\"\",\"zz`

func TestHostileKeyThatLooksLikeOtherFields(t *testing.T) {
	each(t, func(t *testing.T, v *RoomVersion) {
		src := sample(t, v)
		forged := rehash(t, append([]byte(`{"`+powerKey+`":0,`), src[1:]...))
		e, err := Parse(v, forged)
		if err == nil {
			t.Fatalf("passed as %s", e.JSON)
		}
		wantCode(t, err, "M_BAD_JSON")
	})
	// What such a key stands for without its escapes has other hashes.
	honest, err := Canonical([]byte(`{"`+powerKey+`":0,"type":"m"}`), true)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"` + powerKey + `":0,"type":"m"}`; string(honest) != want {
		t.Fatalf("%s, want %s", honest, want)
	}
}

func TestHostileKeyInSignedRequestBody(t *testing.T) {
	s := testSigner()
	signed, err := SignJSON([]byte(`{"a":1,"content":{"x":0},"zz":0}`), s)
	if err != nil {
		t.Fatal(err)
	}
	// Without its escapes the one key of the forged body is the signed text.
	signatures, _ := Get(signed, "signatures")
	forged := `{"a\":1,\"content\":{\"x\":0},\"zz":0,"signatures":` + string(signatures) + `}`
	if plain := strings.ReplaceAll(forged, `\"`, `"`); !strings.HasPrefix(plain, `{"a":1,"content":{"x":0},"zz":0,`) {
		t.Fatalf("the forgery is not one: %s", plain)
	}
	if err := VerifyJSON([]byte(forged), s.ServerName, s.KeyID, s.public()); err == nil {
		t.Fatalf("%s was verified", forged)
	}
}

func TestHostileLookingButHonestContentKeys(t *testing.T) {
	each(t, func(t *testing.T, v *RoomVersion) {
		content := `{"` + powerKey + `":1,"a\"b":{"\\":2},"a\\":3,"\n":4}`
		want, err := Canonical([]byte(content), true)
		if err != nil {
			t.Fatal(err)
		}
		e, err := Parse(v, rehash(t, sample(t, v, "content", string(want))))
		if err != nil || e.Redacted || string(e.Content) != string(want) || e.Type != "m.room.message" {
			t.Fatalf("%+v, %v", e, err)
		}
		loaded, err := Load(v, e.JSON, e.EventID)
		if err != nil || string(loaded.Content) != string(want) {
			t.Fatalf("%+v, %v", loaded, err)
		}
	})
}

func TestHostileNesting(t *testing.T) {
	v, _ := Version("10")
	content := strings.Repeat(`{"a":`, 9900) + "1" + strings.Repeat("}", 9900)
	src := []byte(strings.Replace(string(sample(t, v)), `{"body":"hello","msgtype":"m.text"}`, content, 1))
	start := time.Now()
	for range 50 {
		_, err := Parse(v, src)
		wantCode(t, err, "M_BAD_JSON")
	}
	if d := time.Since(start); d > 50*time.Millisecond {
		t.Errorf("50 events took %v", d)
	}
	// The deepest nesting that passes, in the worst order at every level.
	deep := strings.Repeat(`{"b":`, 97) + `"` + strings.Repeat("x", 60000) + `"` + strings.Repeat(`,"a":1}`, 97)
	src = []byte(strings.Replace(string(sample(t, v)), `{"body":"hello","msgtype":"m.text"}`, deep, 1))
	start = time.Now()
	if _, err := Parse(v, src); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d > 50*time.Millisecond {
		t.Errorf("deep event took %v", d)
	}
}

func TestHostileBrackets(t *testing.T) {
	v, _ := Version("10")
	src := []byte(strings.Repeat("[", 40<<20))
	_, err := Parse(v, src)
	wantCode(t, err, "M_TOO_LARGE")
	_, err = Canonical(src, true)
	wantCode(t, err, "M_TOO_LARGE")
	_, err = Canonical(src[:1<<20], true)
	wantCode(t, err, "M_BAD_JSON")
	if Elements(src, func([]byte) bool { return true }) {
		t.Error("brackets are not an array")
	}
}

func TestHostileNumbers(t *testing.T) {
	numbers := []string{"1E2", "0.0", "0e5", "-0.0", "-0", "1.5", "9007199254740992", "-9007199254740992", "9007199254740991.0", "1e-1"}
	each(t, func(t *testing.T, v *RoomVersion) {
		for _, n := range numbers {
			// In place of a canonical number of the same event.
			src := strings.Replace(string(sample(t, v, "content", `{"n":424242}`)), "424242", n, 1)
			e, err := Parse(v, []byte(src))
			if v.StrictJSON {
				if err == nil {
					t.Errorf("%s passed as %s", n, e.JSON)
					continue
				}
				wantCode(t, err, "M_BAD_JSON")
			} else if err != nil {
				t.Errorf("%s: %v", n, err)
			}
		}
	})
}

func TestHostileText(t *testing.T) {
	each(t, func(t *testing.T, v *RoomVersion) {
		for _, bad := range []string{`"\ud800"`, `"\udfff\ud800"`, "\"\xff\"", "\"\xc3\"", "NaN", "Infinity", "-Infinity", "nan", "\"\x00\"", "undefined"} {
			src := strings.Replace(string(sample(t, v)), `"hello"`, bad, 1)
			_, err := Parse(v, []byte(src))
			if err == nil {
				t.Errorf("%q passed", bad)
				continue
			}
			wantCode(t, err, "M_NOT_JSON")
		}
	})
}

func TestHostileDuplicateKeys(t *testing.T) {
	each(t, func(t *testing.T, v *RoomVersion) {
		for _, extra := range []string{`"sender":"@mallory:example.org"`, `"sende\u0072":"@mallory:example.org"`, `"type":"m.room.create"`,
			`"content":{}`, `"x":1,"x":2`, `"unsigned":{},"unsigned":{}`} {
			src := append([]byte("{"+extra+","), sample(t, v)[1:]...)
			_, err := Parse(v, src)
			if err == nil {
				t.Errorf("%s passed", extra)
				continue
			}
			wantCode(t, err, "M_BAD_JSON")
		}
	})
}

func TestHostileCaseOfKeys(t *testing.T) {
	each(t, func(t *testing.T, v *RoomVersion) {
		src := rehash(t, sample(t, v, "SENDER", `"@mallory:example.org"`, "STATE_KEY", `""`, "Type", `"m.room.create"`, "DEPTH", "-1"))
		e, err := Parse(v, src)
		if err != nil || e.Redacted || e.Sender != "@alice:example.org" || e.StateKey != nil || e.Type != "m.room.message" || e.Depth != 5 {
			t.Fatalf("%+v, %v", e, err)
		}
		redacted, err := e.Redact()
		if err != nil || string(redacted.Content) != "{}" || strings.Contains(string(redacted.JSON), "SENDER") {
			t.Fatalf("%s, %v", redacted.JSON, err)
		}
		if _, err := Parse(v, sample(t, v, "sender", "", "SENDER", `"@alice:example.org"`)); err == nil {
			t.Error("SENDER stood in for sender")
		}
		levels := rehash(t, sample(t, v, "type", `"m.room.power_levels"`, "state_key", `""`,
			"content", `{"USERS_DEFAULT":100,"Users":{"@mallory:example.org":100},"users_default":0}`))
		e, err = Parse(v, levels)
		if err != nil {
			t.Fatal(err)
		}
		if n, ok := GetInt(e.Content, "users_default"); !ok || n != 0 {
			t.Errorf("users_default = %d", n)
		}
		if _, ok := Get(e.Content, "users"); ok {
			t.Error("Users stood in for users")
		}
		redacted, err = e.Redact()
		if err != nil || string(redacted.Content) != `{"users_default":0}` {
			t.Errorf("%s, %v", redacted.Content, err)
		}
	})
}

func TestHostileDepth(t *testing.T) {
	each(t, func(t *testing.T, v *RoomVersion) {
		for _, depth := range []string{"1152921504606846976", "9007199254740992", "-1", "", `"5"`, "null", "5.5", "99999999999999999999999", "[]"} {
			_, err := Parse(v, sample(t, v, "depth", depth))
			if err == nil {
				t.Errorf("depth %q passed", depth)
				continue
			}
			wantCode(t, err, "M_BAD_JSON")
		}
		for _, depth := range []string{"0", "9007199254740991"} {
			if _, err := Parse(v, sample(t, v, "depth", depth)); err != nil {
				t.Errorf("depth %s: %v", depth, err)
			}
		}
	})
}

func TestHostileReferenceCounts(t *testing.T) {
	each(t, func(t *testing.T, v *RoomVersion) {
		list := func(n int) string {
			var refs []string
			for i := range n {
				ref := fmt.Sprintf(`"$%043d"`, i)
				if v.EventFormat == 1 {
					ref = fmt.Sprintf(`["$%d:example.org",{"sha256":"AA"}]`, i)
				}
				refs = append(refs, ref)
			}
			return "[" + strings.Join(refs, ",") + "]"
		}
		for _, tt := range []struct {
			key    string
			n      int
			passes bool
		}{
			{"prev_events", 0, true}, {"prev_events", 20, true}, {"prev_events", 21, false},
			{"auth_events", 0, true}, {"auth_events", 10, true}, {"auth_events", 11, false},
		} {
			_, err := Parse(v, sample(t, v, tt.key, list(tt.n)))
			if (err == nil) != tt.passes {
				t.Errorf("%d %s: %v", tt.n, tt.key, err)
			}
		}
	})
}

func TestHostileSizes(t *testing.T) {
	each(t, func(t *testing.T, v *RoomVersion) {
		pad := MaxEventSize - len(sample(t, v, "content", `{"b":""}`))
		fits := rehash(t, sample(t, v, "content", `{"b":"`+strings.Repeat("x", pad)+`"}`))
		if e, err := Parse(v, fits); err != nil || len(e.JSON) != MaxEventSize || e.Redacted {
			t.Fatalf("65,536 bytes: %v", err)
		}
		// White space, escapes and unsigned do not count.
		loose := strings.Replace(string(fits), "xxxx", `\u0078x\u0078x`, 1)
		loose = " " + loose[:len(loose)-1] + `, "unsigned": {"a":"` + strings.Repeat("y", 1000) + `"} }`
		if e, err := Parse(v, []byte(loose)); err != nil || string(e.JSON) != string(fits) {
			t.Fatalf("loosely written: %v", err)
		}
		_, err := Parse(v, rehash(t, sample(t, v, "content", `{"b":"`+strings.Repeat("x", pad+1)+`"}`)))
		wantCode(t, err, "M_TOO_LARGE")

		bytes255 := strings.Repeat("é", 127) + "x"
		if _, err := Parse(v, rehash(t, sample(t, v, "type", `"`+bytes255+`"`, "state_key", `"`+bytes255+`"`))); err != nil {
			t.Errorf("255 bytes: %v", err)
		}
		for _, key := range []string{"type", "state_key"} {
			_, err := Parse(v, rehash(t, sample(t, v, key, `"`+strings.Repeat("é", 128)+`"`)))
			wantCode(t, err, "M_BAD_JSON")
		}
	})
}

func TestHostileIdentifiers(t *testing.T) {
	each(t, func(t *testing.T, v *RoomVersion) {
		for _, tt := range [][2]string{
			{"sender", `"@a\u0000b:example.org"`}, {"sender", `"@a:example.org\u0000"`}, {"sender", `"@a:../.."`},
			{"room_id", `"!../../r:x"`}, {"room_id", `"!..:x"`}, {"room_id", `"!a\u0000b:x"`}, {"room_id", `"!r:x/../y"`},
			{"room_id", `"!../../../../../../../../../../../../../../../"`},
			{"prev_events", `["$\u0000"]`}, {"type", `"\u0000"`}, {"state_key", `"a\u0000"`},
		} {
			_, err := Parse(v, rehash(t, sample(t, v, tt[0], tt[1])))
			if err == nil {
				t.Errorf("%s %s passed", tt[0], tt[1])
				continue
			}
			wantCode(t, err, "M_BAD_JSON")
		}
	})
}
