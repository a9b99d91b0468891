package pdu

import (
	"errors"
	"strings"
	"testing"
	"time"

	"hearth/internal/merr"
)

// The examples of the appendices, "Canonical JSON".
func TestCanonicalSpecExamples(t *testing.T) {
	tests := []struct{ in, want string }{
		{`{}`, `{}`},
		{"{\n    \"one\": 1,\n    \"two\": \"Two\"\n}", `{"one":1,"two":"Two"}`},
		{"{\n    \"b\": \"2\",\n    \"a\": \"1\"\n}", `{"a":"1","b":"2"}`},
		{`{"b":"2","a":"1"}`, `{"a":"1","b":"2"}`},
		{
			`{"auth": {"success": true, "mxid": "@john.doe:example.com", "profile": {"display_name": "John Doe",
			  "three_pids": [{"medium": "email", "address": "john.doe@example.org"}, {"medium": "msisdn", "address": "123456789"}]}}}`,
			`{"auth":{"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe","three_pids":[{"address":"john.doe@example.org","medium":"email"},{"address":"123456789","medium":"msisdn"}]},"success":true}}`,
		},
		{`{"a": "日本語"}`, `{"a":"日本語"}`},
		{`{"本": 2, "日": 1}`, `{"日":1,"本":2}`},
		{`{"a": "\u65E5"}`, `{"a":"日"}`},
		{`{"a": null}`, `{"a":null}`},
		{`{"a": -0, "b": 1e10}`, `{"a":0,"b":10000000000}`},
	}
	for _, tt := range tests {
		got, err := Canonical([]byte(tt.in), false)
		if err != nil || string(got) != tt.want {
			t.Errorf("Canonical(%s) = %s, %v; want %s", tt.in, got, err, tt.want)
		}
	}
}

func TestCanonicalStrings(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"every short escape", `{"a":"\b\t\n\f\r\"\\\/"}`, `{"a":"\b\t\n\f\r\"\\/"}`},
		{"control characters", `{"a":"\u0000\u0001\u000b\u001F\u007f"}`, "{\"a\":\"\\u0000\\u0001\\u000b\\u001f\x7f\"}"},
		{"long escapes become short", `{"a":"\u0008\u0009\u000A\u000c\u000d\u0022\u005c\u0041"}`, `{"a":"\b\t\n\f\r\"\\A"}`},
		{"surrogate pair", `{"a":"\ud83d\uDE00"}`, `{"a":"😀"}`},
		{"separators stay raw", "{\"a\":\"\u2028<>&\"}", "{\"a\":\"\u2028<>&\"}"},
		{"noncharacter", `{"a":"\uffff"}`, "{\"a\":\"\uffff\"}"},
		{"honest keys with escapes", `{"a\\":1,"a\"b":2,"a\u000a":3}`, `{"a\n":3,"a\"b":2,"a\\":1}`},
		{"keys by code point, not UTF-16", `{"\ud83d\ude00":1,"\uff5e":2}`, "{\"\uff5e\":2,\"😀\":1}"},
		{"escaped key sorts as what it means", `{"\u0062":1,"a":2,"\"":3,"!":4,"#":5}`, `{"!":4,"\"":3,"#":5,"a":2,"b":1}`},
		{"prefix first", `{"ab":1,"a":2,"":3}`, `{"":3,"a":2,"ab":1}`},
		{"spaces", " \t\r\n{ \"a\" : [ 1 , 2 , [ ] , { } ] } \n", `{"a":[1,2,[],{}]}`},
		{"nested order", `{"b":{"d":1,"c":{"f":1,"e":2}},"a":[{"z":1,"y":2}]}`, `{"a":[{"y":2,"z":1}],"b":{"c":{"e":2,"f":1},"d":1}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Canonical([]byte(tt.in), true)
			if err != nil || string(got) != tt.want {
				t.Fatalf("Canonical(%s) = %s, %v; want %s", tt.in, got, err, tt.want)
			}
			again, err := Canonical(got, true)
			if err != nil || string(again) != tt.want {
				t.Fatalf("not idempotent: %s, %v", again, err)
			}
		})
	}
}

func TestCanonicalRefuses(t *testing.T) {
	tests := []struct{ name, in, code string }{
		{"empty", ``, "M_NOT_JSON"},
		{"only space", `  `, "M_NOT_JSON"},
		{"array", `[]`, "M_BAD_JSON"},
		{"string", `"a"`, "M_BAD_JSON"},
		{"null", `null`, "M_BAD_JSON"},
		{"trailing data", `{} {}`, "M_NOT_JSON"},
		{"trailing comma", `{"a":1,}`, "M_NOT_JSON"},
		{"trailing comma in array", `{"a":[1,]}`, "M_NOT_JSON"},
		{"no comma", `{"a":1 "b":2}`, "M_NOT_JSON"},
		{"no colon", `{"a" 1}`, "M_NOT_JSON"},
		{"no value", `{"a":}`, "M_NOT_JSON"},
		{"bare key", `{a:1}`, "M_NOT_JSON"},
		{"unterminated object", `{"a":1`, "M_NOT_JSON"},
		{"unterminated array", `{"a":[1`, "M_NOT_JSON"},
		{"unterminated string", `{"a":"b`, "M_NOT_JSON"},
		{"unterminated escape", `{"a":"\`, "M_NOT_JSON"},
		{"wrong bracket", `{"a":[1}}`, "M_NOT_JSON"},
		{"byte order mark", "\ufeff{}", "M_NOT_JSON"},
		{"raw control character", "{\"a\":\"\n\"}", "M_NOT_JSON"},
		{"raw NUL", "{\"a\":\"\x00\"}", "M_NOT_JSON"},
		{"unknown escape", `{"a":"\x41"}`, "M_NOT_JSON"},
		{"short escape", `{"a":"\u12"}`, "M_NOT_JSON"},
		{"no hex", `{"a":"\u12g4"}`, "M_NOT_JSON"},
		{"raw ff", "{\"a\":\"\xff\"}", "M_NOT_JSON"},
		{"raw ff in key", "{\"\xff\":1}", "M_NOT_JSON"},
		{"overlong", "{\"a\":\"\xc0\x80\"}", "M_NOT_JSON"},
		{"cut sequence", "{\"a\":\"\xe6\x97\"}", "M_NOT_JSON"},
		{"raw surrogate", "{\"a\":\"\xed\xa0\x80\"}", "M_NOT_JSON"},
		{"above U+10FFFF", "{\"a\":\"\xf4\x90\x80\x80\"}", "M_NOT_JSON"},
		{"lone high surrogate", `{"a":"\ud800"}`, "M_NOT_JSON"},
		{"lone low surrogate", `{"a":"\udc00"}`, "M_NOT_JSON"},
		{"two high surrogates", `{"a":"\ud800\ud800"}`, "M_NOT_JSON"},
		{"high surrogate and text", `{"a":"\ud800abcdefg"}`, "M_NOT_JSON"},
		{"high surrogate and short escape", `{"a":"\ud800\n"}`, "M_NOT_JSON"},
		{"lone surrogate in a key", `{"\ud800":1}`, "M_NOT_JSON"},
		{"NaN", `{"a":NaN}`, "M_NOT_JSON"},
		{"Infinity", `{"a":Infinity}`, "M_NOT_JSON"},
		{"minus Infinity", `{"a":-Infinity}`, "M_NOT_JSON"},
		{"cut word", `{"a":tru}`, "M_NOT_JSON"},
		{"long word", `{"a":nulll}`, "M_NOT_JSON"},
		{"leading zero", `{"a":01}`, "M_NOT_JSON"},
		{"plus", `{"a":+1}`, "M_NOT_JSON"},
		{"minus alone", `{"a":-}`, "M_NOT_JSON"},
		{"no fraction digits", `{"a":1.}`, "M_NOT_JSON"},
		{"no exponent digits", `{"a":1e}`, "M_NOT_JSON"},
		{"no exponent digits after sign", `{"a":1e+}`, "M_NOT_JSON"},
		{"hex", `{"a":0x10}`, "M_NOT_JSON"},
		{"comment", `{/**/}`, "M_NOT_JSON"},
		{"duplicate", `{"a":1,"a":2}`, "M_BAD_JSON"},
		{"duplicate far apart", `{"a":1,"c":3,"b":2,"a":2}`, "M_BAD_JSON"},
		{"duplicate after unescaping", `{"a":1,"\u0061":2}`, "M_BAD_JSON"},
		{"duplicate with escapes", `{"\n":1,"b":0,"\u000a":2}`, "M_BAD_JSON"},
		{"duplicate inside", `{"x":[{"k":{"a":1,"a":1}}]}`, "M_BAD_JSON"},
		{"101 arrays", `{"a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, "M_BAD_JSON"},
		{"101 objects", strings.Repeat(`{"a":`, 101) + `1` + strings.Repeat("}", 101), "M_BAD_JSON"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, strict := range []bool{true, false} {
				out, err := Canonical([]byte(tt.in), strict)
				wantCode(t, err, tt.code)
				if out != nil {
					t.Errorf("output %s beside the error", out)
				}
			}
		})
	}
}

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	var e *merr.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v, want %s", err, code)
	}
	if e.Code != code {
		t.Fatalf("error %v, want %s", e, code)
	}
	if e.Status != 400 && !(code == "M_TOO_LARGE" && e.Status == 413) {
		t.Fatalf("status %d", e.Status)
	}
}

func TestCanonicalNestingOf100Passes(t *testing.T) {
	for _, in := range []string{
		`{"a":` + strings.Repeat("[", 99) + strings.Repeat("]", 99) + `}`,
		strings.Repeat(`{"a":`, 100) + `1` + strings.Repeat("}", 100),
	} {
		got, err := Canonical([]byte(in), true)
		if err != nil || string(got) != in {
			t.Errorf("Canonical = %s, %v", got, err)
		}
	}
}

func TestCanonicalNumbers(t *testing.T) {
	const refused = ""
	tests := []struct{ in, strict, lenient string }{
		{"0", "0", "0"},
		{"-1", "-1", "-1"},
		{"9007199254740991", "9007199254740991", "9007199254740991"},
		{"-9007199254740991", "-9007199254740991", "-9007199254740991"},
		{"9007199254740992", refused, "9007199254740992"},
		{"-9007199254740992", refused, "-9007199254740992"},
		{"10000000000000000", refused, "10000000000000000"},
		{"123456789012345678901234567890", refused, "123456789012345678901234567890"},
		{"-0", refused, "0"},
		{"-0.0", refused, "-0.0"},
		{"0.0", refused, "0.0"},
		{"1.5", refused, "1.5"},
		{"50.570", refused, "50.570"},
		{"0e5", refused, "0"},
		{"-0e5", refused, "0"},
		{"0.00e-5", refused, "0"},
		{"1E2", refused, "100"},
		{"1e+2", refused, "100"},
		{"-1.25e2", refused, "-125"},
		{"1.25e1", refused, "1.25e1"},
		{"5.114698E4", refused, "5.114698E4"},
		{"1200e-2", refused, "12"},
		{"1250e-2", refused, "1250e-2"},
		{"0.0012e4", refused, "12"},
		{"9007199254740991e0", refused, "9007199254740991"},
		{"9007199254740992e0", refused, "9007199254740992e0"},
		{"1e16", refused, "1e16"},
		{"1e400", refused, "1e400"},
		{"1e-400", refused, "1e-400"},
		{"1e99999999999999999999", refused, "1e99999999999999999999"},
		{"0e99999999999999999999", refused, "0e99999999999999999999"},
	}
	for _, tt := range tests {
		for _, strict := range []bool{true, false} {
			want := tt.lenient
			if strict {
				want = tt.strict
			}
			got, err := Canonical([]byte(`{"a":`+tt.in+`}`), strict)
			if want == refused {
				wantCode(t, err, "M_BAD_JSON")
				continue
			}
			if err != nil || string(got) != `{"a":`+want+`}` {
				t.Errorf("%s strict=%v: %s, %v; want %s", tt.in, strict, got, err, want)
			}
			again, err := Canonical(got, strict)
			if err != nil || string(again) != string(got) {
				t.Errorf("%s strict=%v is not idempotent: %s, %v", tt.in, strict, again, err)
			}
		}
	}
}

func TestCanonicalSizeLimit(t *testing.T) {
	fits := `{"a":"` + strings.Repeat("x", MaxJSON-len(`{"a":""}`)) + `"}`
	if _, err := Canonical([]byte(fits), true); err != nil {
		t.Fatal(err)
	}
	_, err := Canonical([]byte(fits[:len(fits)-2]+`x"}`), true)
	wantCode(t, err, "M_TOO_LARGE")
	_, err = Canonical([]byte(`{"a":[`+strings.Repeat("1,", MaxJSON/2)+`1]}`), true)
	wantCode(t, err, "M_TOO_LARGE")
}

// Objects with many members in the worst order stay cheap.
func TestCanonicalManyMembers(t *testing.T) {
	var in strings.Builder
	in.WriteString("{")
	const n = 26 * 26 * 26
	for i := n - 1; i >= 0; i-- {
		in.WriteString(`"` + string([]byte{byte('a' + i/676), byte('a' + i/26%26), byte('a' + i%26)}) + `":0`)
		if i > 0 {
			in.WriteString(",")
		}
	}
	in.WriteString("}")
	got, err := Canonical([]byte(in.String()), true)
	if err != nil || len(got) != in.Len() || !strings.HasPrefix(string(got), `{"aaa":0,"aab":0`) {
		t.Fatalf("%.40s, %v", got, err)
	}
}

func TestEnvelope(t *testing.T) {
	nested := func(depth int) []byte {
		return []byte(`{"a":` + strings.Repeat("[", depth) + strings.Repeat("]", depth) + "}")
	}
	if out, _, err := Envelope(nested(maxEnvelopeNesting - 1)); err != nil || len(out) != 2*maxEnvelopeNesting+4 {
		t.Errorf("%d bytes: %v", len(out), err)
	}
	if _, err := Canonical(nested(maxEnvelopeNesting-1), false); err == nil {
		t.Error("the gate for events lets it through")
	}
	for _, src := range [][]byte{nested(maxEnvelopeNesting), []byte(`{"a":1,"a":2}`), []byte(`[]`), []byte(`{"a":"\ud800"}`), make([]byte, MaxJSON+1)} {
		if _, _, err := Envelope(src); err == nil {
			t.Errorf("%.40s passed", src)
		}
	}
	signed, body, err := Envelope([]byte(` {"b" : 1.50, "a" : -0, "c":[1E2] } `))
	if err != nil || string(signed) != `{"a":0,"b":1.50,"c":[100]}` || string(body) != `{"a":-0,"b":1.50,"c":[1E2]}` {
		t.Errorf("%s, %s: %v", signed, body, err)
	}
	// Each level is out of order, so that each byte would be moved once for each level.
	inner := strings.Repeat("x", 1<<20)
	start := time.Now()
	_, _, err = Envelope([]byte(strings.Repeat(`{"b":0,"a":`, 1500) + `"` + inner + `"` + strings.Repeat("}", 1500)))
	wantCode(t, err, "M_TOO_LARGE")
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
}
