package pdu

import (
	"strings"
	"testing"
)

func TestParseServerName(t *testing.T) {
	good := map[string][2]string{
		"matrix.org":                  {"matrix.org", ""},
		"matrix.org:8888":             {"matrix.org", "8888"},
		"1.2.3.4":                     {"1.2.3.4", ""},
		"1.2.3.4:1234":                {"1.2.3.4", "1234"},
		"[1234:5678::abcd]":           {"[1234:5678::abcd]", ""},
		"[1234:5678::abcd]:5678":      {"[1234:5678::abcd]", "5678"},
		"[::ffff:1.2.3.4]":            {"[::ffff:1.2.3.4]", ""},
		"localhost":                   {"localhost", ""},
		"MATRIX.org":                  {"MATRIX.org", ""},
		"a-b.example.":                {"a-b.example.", ""},
		strings.Repeat("a", 255):      {strings.Repeat("a", 255), ""},
		"example.org:1":               {"example.org", "1"},
		"xn--bcher-kva.example:00443": {"xn--bcher-kva.example", "00443"},
	}
	for in, want := range good {
		host, port, err := ParseServerName(in)
		if err != nil || host != want[0] || port != want[1] {
			t.Errorf("%s: %q %q %v", in, host, port, err)
		}
	}
	for _, in := range []string{
		"", ":", ":80", "a:", "a:b", "a:123456", "a:65536", "a:-1", "a:1:2", "a b", "a/b", "matrix.org/..", "..", ".", ".a", "a..b",
		"a_b", "ü.example", "[", "[]", "[::1", "[::1]x", "[::1]:", "[1.2.3.4]", "[::1%eth0]", "[zz::1]", "::1", "a@b", "a\x00", "a\n",
		"a%2f", "a?b", "a#b", `a\b`, strings.Repeat("a", 256),
	} {
		if host, port, err := ParseServerName(in); err == nil {
			t.Errorf("%q passed: %q %q", in, host, port)
		} else {
			wantCode(t, err, "M_INVALID_PARAM")
		}
	}
}

func TestParseUserID(t *testing.T) {
	tests := []struct {
		in                 string
		historical, strict bool
		local              string
	}{
		{"@alice:example.org", true, true, "alice"},
		{"@a._=-/+9:example.org:8448", true, true, "a._=-/+9"},
		{"@Alice:example.org", true, false, "Alice"},
		{"@al ice:example.org", true, false, "al ice"},
		{"@:example.org", true, false, ""},
		{"@日本:example.org", true, false, "日本"},
		{"@a\x01b:example.org", true, false, "a\x01b"},
		{"@a*b:[::1]", true, false, "a*b"},
		{"@a\x00b:example.org", false, false, ""},
		{"@a\xff:example.org", false, false, ""},
		{"alice:example.org", false, false, ""},
		{"@alice", false, false, ""},
		{"@alice:", false, false, ""},
		{"@alice:a b", false, false, ""},
		{"@alice:b:c", false, false, ""},
		{"", false, false, ""},
		{"@", false, false, ""},
		{"@" + strings.Repeat("a", 252) + ":b", true, true, strings.Repeat("a", 252)},
		{"@" + strings.Repeat("a", 253) + ":b", false, false, ""},
	}
	for _, tt := range tests {
		local, domain, err := ParseUserID(tt.in)
		if (err == nil) != tt.historical || local != tt.local {
			t.Errorf("ParseUserID(%q) = %q %q %v", tt.in, local, domain, err)
		}
		if err == nil && "@"+local+":"+domain != tt.in {
			t.Errorf("%q came apart as %q %q", tt.in, local, domain)
		}
		if _, _, err := ParseStrictUserID(tt.in); (err == nil) != tt.strict {
			t.Errorf("ParseStrictUserID(%q): %v", tt.in, err)
		}
	}
	for local, want := range map[string]bool{"alice": true, "Al*ce": true, "": false, "a b": false, "ü": false, "\x7f": false} {
		if Compliant(local) != want {
			t.Errorf("Compliant(%q) = %v", local, !want)
		}
	}
}

func TestParseRoomID(t *testing.T) {
	hash := strings.Repeat("aB3_-", 9)[:43]
	good := map[string][2]string{
		"!abc:example.org":     {"abc", "example.org"},
		"!a b/c:example.org:1": {"a b/c", "example.org:1"},
		"!" + hash:             {hash, ""},
	}
	for in, want := range good {
		opaque, domain, err := ParseRoomID(in)
		if err != nil || opaque != want[0] || domain != want[1] {
			t.Errorf("%s: %q %q %v", in, opaque, domain, err)
		}
	}
	for _, in := range []string{
		"", "!", "!x", "!x:a b", "!:example.org", "!../../r:x", "!..:x", "!.:x", `!..\r:x`, "!a/..:x", "!a/./b:x", "!a\x00:x",
		"#abc:example.org", "!" + hash + "A", "!" + hash[1:], "!" + hash[1:] + "+", "!abc:", "!" + strings.Repeat("a", 253) + ":b",
	} {
		if opaque, domain, err := ParseRoomID(in); err == nil {
			t.Errorf("%q passed: %q %q", in, opaque, domain)
		}
	}
}

func TestParseEventIDAndAlias(t *testing.T) {
	for in, domain := range map[string]string{
		"$abc:example.org": "example.org", "$abc": "", "$a/b+c": "", "$abc:not a server": "",
		"$CD66HAED5npg6074c6pDtLKalHjVfYb2q4Q3LZgrW6o": "", "$" + strings.Repeat("a", 254): "",
	} {
		_, got, err := ParseEventID(in)
		if err != nil || got != domain {
			t.Errorf("%s: %q %v", in, got, err)
		}
	}
	for _, in := range []string{"", "$", "abc", "!abc:x", "$a\x00b", "$\xff", "$" + strings.Repeat("a", 255)} {
		if _, _, err := ParseEventID(in); err == nil {
			t.Errorf("%q passed", in)
		}
	}
	if local, domain, err := ParseAlias("#a ü:example.org"); err != nil || local != "a ü" || domain != "example.org" {
		t.Errorf("%q %q %v", local, domain, err)
	}
	for _, in := range []string{"", "#", "#a", "#:x", "#a:", "@a:x", "#a\x00:x", "#a:b c"} {
		if _, _, err := ParseAlias(in); err == nil {
			t.Errorf("%q passed", in)
		}
	}
}

func TestDomain(t *testing.T) {
	for id, want := range map[string]string{"@a:b": "b", "@a:[::1]:80": "[::1]:80", "!hash": "", "": "", "$x:y:1": "y:1"} {
		if got := Domain(id); got != want {
			t.Errorf("Domain(%q) = %q, want %q", id, got, want)
		}
	}
}
