package pdu

import (
	"fmt"
	"testing"
)

func TestGet(t *testing.T) {
	obj, err := Canonical([]byte(`{"a":1,"A":2,"s":"x\ny\"\\\u0001ü","o":{"a":[1,"]",{"b":"}"}],"b":null},"t":true,"f":false,
		"a\\":"back","q\"r":"quote","l\n":"line","big":9223372036854775808,"frac":1.5,"neg":-5,"":"empty"}`), false)
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"a": "1", "A": "2", "s": `"x\ny\"\\\u0001ü"`, "o": `{"a":[1,"]",{"b":"}"}],"b":null}`, "t": "true",
		`a\`: `"back"`, `q"r`: `"quote"`, "l\n": `"line"`, "": `"empty"`,
	} {
		if got, ok := Get(obj, key); !ok || string(got) != want {
			t.Errorf("Get(%q) = %s %v", key, got, ok)
		}
	}
	for _, key := range []string{"x", "b", "S", `l\n`, `a\\`, "aa", `q\"r`} {
		if got, ok := Get(obj, key); ok {
			t.Errorf("Get(%q) = %s", key, got)
		}
	}
	if s, ok := GetString(obj, "s"); !ok || s != "x\ny\"\\\x01ü" {
		t.Errorf("%q %v", s, ok)
	}
	if _, ok := GetString(obj, "a"); ok {
		t.Error("a number is no string")
	}
	if n, ok := GetInt(obj, "neg"); !ok || n != -5 {
		t.Errorf("%d %v", n, ok)
	}
	for _, key := range []string{"big", "frac", "s", "t", "none"} {
		if n, ok := GetInt(obj, key); ok {
			t.Errorf("GetInt(%s) = %d", key, n)
		}
	}
	if b, ok := GetBool(obj, "t"); !b || !ok {
		t.Error("t")
	}
	if b, ok := GetBool(obj, "f"); b || !ok {
		t.Error("f")
	}
	if _, ok := GetBool(obj, "none"); ok {
		t.Error("none")
	}
}

func TestMembersAndElements(t *testing.T) {
	var seen []string
	ok := Members([]byte(`{"a":[1,2],"b\n":{"c":"}"}}`), func(key string, val []byte) bool {
		seen = append(seen, fmt.Sprintf("%q=%s", key, val))
		return true
	})
	if fmt.Sprint(seen) != `["a"=[1,2] "b\n"={"c":"}"}]` || !ok {
		t.Errorf("%v %v", seen, ok)
	}
	n := 0
	if !Members([]byte(`{"a":1,"b":2}`), func(string, []byte) bool { n++; return false }) || n != 1 {
		t.Errorf("stopped after %d", n)
	}
	seen = nil
	ok = Elements([]byte(`["a,]",[[]],{},-1,null]`), func(val []byte) bool {
		seen = append(seen, string(val))
		return true
	})
	if fmt.Sprint(seen) != `["a,]" [[]] {} -1 null]` || !ok {
		t.Errorf("%v %v", seen, ok)
	}
	if !Members([]byte(`{}`), nil) || !Elements([]byte(`[]`), nil) {
		t.Error("empty containers are containers")
	}
	for _, bad := range []string{``, `[`, `{`, `5`, `"a"`, `null`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{"a":1`, `{"a:1}`, `{"a":1}x`, `[1,]`, `[1`, `[,]`, `["a]`, `{]`, `[}`} {
		if Members([]byte(bad), func(string, []byte) bool { return true }) {
			t.Errorf("Members took %s", bad)
		}
		if Elements([]byte(bad), func([]byte) bool { return true }) {
			t.Errorf("Elements took %s", bad)
		}
	}
}

func TestSetAndDelete(t *testing.T) {
	tests := []struct{ obj, key, val, set, deleted string }{
		{`{}`, "a", "1", `{"a":1}`, `{}`},
		{`{"b":2}`, "a", "1", `{"a":1,"b":2}`, `{"b":2}`},
		{`{"b":2}`, "b", "1", `{"b":1}`, `{}`},
		{`{"b":2}`, "c", "1", `{"b":2,"c":1}`, `{"b":2}`},
		{`{"a":1,"b":2,"c":3}`, "b", `"x"`, `{"a":1,"b":"x","c":3}`, `{"a":1,"c":3}`},
		{`{"a":1,"c\"":3}`, `c"`, `0`, `{"a":1,"c\"":0}`, `{"a":1}`},
		{`{"!":1,"#":3}`, `"`, `0`, `{"!":1,"\"":0,"#":3}`, `{"!":1,"#":3}`},
	}
	for _, tt := range tests {
		if got, ok := Set([]byte(tt.obj), tt.key, []byte(tt.val)); !ok || string(got) != tt.set {
			t.Errorf("Set(%s, %s) = %s %v", tt.obj, tt.key, got, ok)
		}
		if got, ok := Delete([]byte(tt.obj), tt.key); !ok || string(got) != tt.deleted {
			t.Errorf("Delete(%s, %s) = %s %v", tt.obj, tt.key, got, ok)
		}
	}
	if _, ok := Set([]byte(`[]`), "a", []byte("1")); ok {
		t.Error("Set on an array")
	}
	if _, ok := Delete([]byte(``), "a"); ok {
		t.Error("Delete on nothing")
	}
}

func TestAppendString(t *testing.T) {
	for in, want := range map[string]string{
		"": `""`, "a": `"a"`, "a\"b\\c/": `"a\"b\\c/"`, "\b\t\n\f\r\x00\x1f\x7f": "\"\\b\\t\\n\\f\\r\\u0000\\u001f\x7f\"",
		"日本😀<&>": `"日本😀<&>"`, "a\xffb": "\"a\ufffdb\"", "\xe6\x97": "\"\ufffd\ufffd\"",
	} {
		got := AppendString(nil, in)
		if string(got) != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

func TestKind(t *testing.T) {
	for in, want := range map[string]byte{"{}": '{', "[]": '[', `""`: '"', "-1": '0', "7": '0', "true": 't', "false": 't', "null": 'n', "": 0, "x": 0} {
		if Kind([]byte(in)) != want {
			t.Errorf("Kind(%s) = %c", in, Kind([]byte(in)))
		}
	}
}
