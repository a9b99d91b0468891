package media

import (
	"mime"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestDisposition(t *testing.T) {
	for name, want := range map[string]string{
		"":                    "inline",
		"name.txt":            `inline; filename="name.txt"`,
		"with space; and.txt": `inline; filename="with space; and.txt"`,
		`quo"te`:              `inline; filename="quo\"te"`,
		"100%.txt":            `inline; filename*=utf-8''100%25.txt`,
		"☕.txt":               `inline; filename*=utf-8''%E2%98%95.txt`,
		"ünï codé.txt":        `inline; filename*=utf-8''%C3%BCn%C3%AF%20cod%C3%A9.txt`,
		"../../etc/passwd":    `inline; filename=".._.._etc_passwd"`,
		`C:\x.exe`:            `inline; filename="C:_x.exe"`,
		"a\r\nX-Evil: 1":      `inline; filename="aX-Evil: 1"`,
		"a\u202egpj.exe":      `inline; filename="agpj.exe"`,
		"..":                  "inline",
		". ":                  "inline",
		"a\xffb":              `inline; filename="ab"`,
	} {
		if got := disposition(true, name); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
	if got := disposition(false, "x"); got != `attachment; filename="x"` {
		t.Error(got)
	}
	if got := cleanName(strings.Repeat("ä", 200)); len(got) != 254 || !utf8.ValidString(got) {
		t.Errorf("%d bytes", len(got))
	}
}

func FuzzDisposition(f *testing.F) {
	for _, name := range []string{"name.txt", "☕", `a"b\c`, "a%b", "\r\n", "..", "\u202e", "\xff", strings.Repeat("x", 300)} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		clean := cleanName(name)
		if again := cleanName(clean); again != clean {
			t.Fatalf("%q is cleaned to %q, that to %q", name, clean, again)
		}
		if len(clean) > maxName || strings.ContainsAny(clean, "/\\") || !utf8.ValidString(clean) || clean == "." || clean == ".." {
			t.Fatalf("%q became %q", name, clean)
		}
		value := disposition(false, name)
		for _, r := range value {
			if r < ' ' || r > '~' || unicode.IsControl(r) {
				t.Fatalf("%q in the header %q", r, value)
			}
		}
		kind, params, err := mime.ParseMediaType(value)
		if err != nil || kind != "attachment" || len(params) > 1 || params["filename"] != clean {
			t.Fatalf("%q: header %q reads as %s %v, %v", name, value, kind, params, err)
		}
	})
}
