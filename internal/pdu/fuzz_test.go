package pdu

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"unicode/utf8"
)

func FuzzCanonical(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"b":[1,2.5,-0,1e10],"a":{"z":"\ud83d\ude00\/","":null}}`, `{"a\"b":1,"a\\":2,"\u0061":3}`, `{"a":1,"a":2}`, `[]`, `{"a":"\ud800"}`,
		`{"\u0000":0,"\b":1,"\t":2,"\n":3,"\u000b":4,"\f":5,"\r":6,"\u001f":7," ":8,"!":9,"\"":10,"#":11,"[":12,"\\":13,"]":14,"\u007f":15,"é":16}`,
		"{\"\xff\":1}", `{"a":[[[[{}]]]]}`, ` {"a" : true , "b":false } `, `{"a":1.0E+2,"b":0.1e-7,"c":9007199254740993}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		for _, strict := range []bool{false, true} {
			out, err := Canonical(src, strict)
			if err != nil {
				continue
			}
			if again, err := Canonical(out, strict); err != nil || !bytes.Equal(again, out) {
				t.Fatalf("%s becomes %s: %v", out, again, err)
			}
			if !utf8.Valid(out) {
				t.Fatalf("not UTF-8: %q", out)
			}
			var before, after any
			if decode(src, &before) != nil || decode(out, &after) != nil {
				t.Fatalf("not JSON: %q, %q", src, out)
			}
			if !reflect.DeepEqual(before, after) {
				t.Fatalf("%q became %q", src, out)
			}
			walk(t, out, after)
		}
	})
}

// decode reads numbers as they are written when they are integers of 53 bits, and
// as text otherwise, so that equal values compare equal.
func decode(src []byte, v *any) error {
	d := json.NewDecoder(bytes.NewReader(src))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return err
	}
	*v = plainNumbers(*v)
	return nil
}

func plainNumbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		n, err := v.Float64()
		if err != nil || n > maxInteger || n < -maxInteger || n != float64(int64(n)) {
			return string(v)
		}
		return n
	case []any:
		for i := range v {
			v[i] = plainNumbers(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = plainNumbers(v[k])
		}
	}
	return v
}

// walk compares the reader in this package with the decoded value.
func walk(t *testing.T, val []byte, want any) {
	switch want := want.(type) {
	case map[string]any:
		n, last := 0, ""
		if !Members(val, func(key string, member []byte) bool {
			if n > 0 && key <= last {
				t.Fatalf("%q comes before %q in %s", last, key, val)
			}
			last = key
			n++
			if w, ok := want[key]; ok {
				walk(t, member, w)
			} else {
				t.Fatalf("key %q of %s is not there", key, val)
			}
			if got, ok := Get(val, key); !ok || !bytes.Equal(got, member) {
				t.Fatalf("Get(%s, %q) = %s", val, key, got)
			}
			return true
		}) || n != len(want) {
			t.Fatalf("%d members in %s", n, val)
		}
	case []any:
		n := 0
		if !Elements(val, func(element []byte) bool {
			walk(t, element, want[n])
			n++
			return true
		}) || n != len(want) {
			t.Fatalf("%d elements in %s", n, val)
		}
	case string:
		if Kind(val) != '"' {
			return // a number that is compared as text
		}
		got, ok := String(val)
		if !ok || got != want {
			t.Fatalf("%s is %q, want %q", val, got, want)
		}
		if quoted := AppendString(nil, got); !bytes.Equal(quoted, val) {
			t.Fatalf("%s, quoted again %s", val, quoted)
		}
	}
}

func FuzzParse(f *testing.F) {
	for i, v := range Versions() {
		f.Add(uint8(i), sample(f, v))
		f.Add(uint8(i), rehash(f, sample(f, v, "type", `"m.room.power_levels"`, "state_key", `""`, "content", `{"users":{"@a:b":1}}`)))
		f.Add(uint8(i), sample(f, v, "type", `"m.room.create"`, "state_key", `""`, "room_id", ``, "content", `{}`))
		f.Add(uint8(i), sample(f, v, "type", `"m.room.redaction"`, "redacts", `"$x"`, "content", `{"redacts":"$y"}`))
		f.Add(uint8(i), sample(f, v, "unsigned", `{"age":1}`, "origin", `"b"`))
	}
	f.Fuzz(func(t *testing.T, version uint8, src []byte) {
		v := Versions()[int(version)%12]
		_, _ = Load(v, src, "$id")
		_ = Members(src, func(string, []byte) bool { return true })
		e, err := Parse(v, src)
		if err != nil {
			if e != nil {
				t.Fatalf("event beside the error: %+v", e)
			}
			return
		}
		if _, err := Canonical(e.JSON, v.StrictJSON); err != nil || len(e.JSON) > MaxEventSize {
			t.Fatalf("%d bytes: %v", len(e.JSON), err)
		}
		for _, id := range []string{e.EventID, ""} {
			loaded, err := Load(v, e.JSON, id)
			if err != nil {
				t.Fatal(err)
			}
			loaded.Redacted = e.Redacted
			if !reflect.DeepEqual(loaded, e) {
				t.Fatalf("loaded %+v, parsed %+v", loaded, e)
			}
		}
		again, err := Parse(v, e.JSON)
		if err != nil || !reflect.DeepEqual(again, e) {
			t.Fatalf("parsed again %+v, %v; before %+v", again, err, e)
		}
		once, err := e.Redact()
		if err != nil {
			t.Fatal(err)
		}
		twice, err := once.Redact()
		if err != nil || !bytes.Equal(twice.JSON, once.JSON) {
			t.Fatalf("redacted twice %+v, %v", twice, err)
		}
		if !bytes.Equal(once.ReferenceHash(), e.ReferenceHash()) || once.EventID != e.EventID {
			t.Fatal("redaction changed the id")
		}
		signer := testSigner()
		signed, err := e.Sign(signer)
		if err == nil {
			if err := signed.VerifySignature(signer.ServerName, signer.KeyID, signer.public()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzIDs(f *testing.F) {
	for _, seed := range []string{"@alice:example.org", "!r:[::1]:8448", "$abc", "#a:b", "!../../r:x", "@:1.2.3.4", "a:b:c", "\x00", "[::1]", "@a\xff:b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, p := range []struct {
			sigil string
			parse func(string) (string, string, error)
		}{
			{"@", ParseUserID}, {"@", ParseStrictUserID}, {"!", ParseRoomID}, {"$", ParseEventID}, {"#", ParseAlias},
		} {
			local, domain, err := p.parse(s)
			if err != nil {
				continue
			}
			whole := p.sigil + local
			if domain != "" {
				whole += ":" + domain
				if _, _, err := ParseServerName(domain); err != nil {
					t.Fatalf("%q has the domain %q: %v", s, domain, err)
				}
			}
			if whole != s || len(s) > MaxIDLength || !cleanText(s) {
				t.Fatalf("%q came apart as %q %q", s, local, domain)
			}
		}
		if host, port, err := ParseServerName(s); err == nil {
			whole := host
			if port != "" {
				whole += ":" + port
			}
			if whole != s || bytes.ContainsAny([]byte(s), "/\\ \x00@#?%") {
				t.Fatalf("%q came apart as %q %q", s, host, port)
			}
		}
	})
}
