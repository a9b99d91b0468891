package appservice

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const goodFile = `id: irc
url: http://127.0.0.1:1234/bridge/
as_token: token of the service
hs_token: token-of-the-server
sender_localpart: _irc_bot
namespaces:
  users:
    - {exclusive: true, regex: '@_irc_.*'}
    - {exclusive: false, regex: '@al'}
  aliases:
    - exclusive: true
      regex: '#_irc_.*:test'
  rooms: []
rate_limited: false
protocols: [irc, ircs]
receive_ephemeral: true
org.matrix.msc3202: true
colour: blue
`

func write(t *testing.T, files ...string) []string {
	t.Helper()
	dir := t.TempDir()
	var paths []string
	for i, text := range files {
		path := filepath.Join(dir, string(rune('a'+i))+".yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

func TestLoad(t *testing.T) {
	second := strings.NewReplacer("id: irc", "id: two", "token of the service", "another", "url: http://127.0.0.1:1234/bridge/", "url: null",
		"_irc_", "_two_", "receive_ephemeral: true", "de.sorunome.msc2409.push_ephemeral: true", "rate_limited: false\n", "").Replace(goodFile)
	rs, err := Load(write(t, goodFile, second), "test")
	if err != nil {
		t.Fatal(err)
	}
	one, two := rs.ByID("irc"), rs.ByID("two")
	if one == nil || two == nil || len(rs.All()) != 2 || rs.ByID("three") != nil {
		t.Fatal(rs.All())
	}
	if one.URL != "http://127.0.0.1:1234/bridge" || two.URL != "" || one.Sender != "@_irc_bot:test" || one.RateLimited || !two.RateLimited ||
		!one.Encryption || !one.Ephemeral || one.unstableEphemeral || !two.Ephemeral || !two.unstableEphemeral || two.stableEphemeral || strings.Join(one.Protocols, " ") != "irc ircs" ||
		one.hsToken != "token-of-the-server" {
		t.Errorf("%+v\n%+v", one, two)
	}
	if rs.ByToken(sha256.Sum256([]byte("token of the service"))) != one || rs.ByToken(sha256.Sum256([]byte("another"))) != two ||
		rs.ByToken(sha256.Sum256(nil)) != nil {
		t.Error("tokens")
	}
	if len(rs.Warnings) != 2 || !strings.Contains(rs.Warnings[0], "a.yaml:18: colour") {
		t.Errorf("%q", rs.Warnings)
	}
}

func TestNamespaces(t *testing.T) {
	rs, err := Load(write(t, goodFile), "test")
	if err != nil {
		t.Fatal(err)
	}
	r := rs.ByID("irc")
	for _, c := range []struct {
		user                  string
		has, taken, unlimited bool
	}{
		{"@_irc_bot:test", true, true, true},
		{"@_irc_x:test", true, true, true},
		{"@_irc_x:other", false, false, false},
		{"@_irc_x:test:8448", false, false, false},
		{"@x_irc_x:test", false, false, false},
		{"@alice:test", true, false, true},
		{"@bob:test", false, false, false},
	} {
		if r.HasUser(c.user) != c.has || rs.UserTaken(c.user, nil) != c.taken || rs.Unlimited(c.user) != c.unlimited || rs.UserTaken(c.user, r) {
			t.Errorf("%+v: %v %v %v", c, r.HasUser(c.user), rs.UserTaken(c.user, nil), rs.Unlimited(c.user))
		}
	}
	if !r.HasAlias("#_irc_a:test") || r.HasAlias("#irc:test") || !rs.AliasTaken("#_irc_a:test", nil) || rs.AliasTaken("#_irc_a:test", r) || r.HasRoom("!a:test") {
		t.Error("aliases and rooms")
	}
	var none *Registrations
	if none.All() != nil || none.ByID("x") != nil || none.UserTaken("@a:test", nil) || none.AliasTaken("#a:test", nil) || none.Unlimited("@a:test") {
		t.Error("no registrations")
	}
}

func TestLoadProblems(t *testing.T) {
	change := func(old, new string) string {
		if !strings.Contains(goodFile, old) {
			t.Fatalf("%q is not in the file", old)
		}
		return strings.Replace(goodFile, old, new, 1)
	}
	for name, c := range map[string]struct{ text, want string }{
		"empty":            {"", "a.yaml: this is not valid YAML: the file is empty"},
		"not YAML":         {"id: [", "a.yaml"},
		"a list":           {"- id", "a.yaml:1: must be keys"},
		"two documents":    {goodFile + "---\nid: x\n", "second YAML document"},
		"no id":            {change("id: irc\n", ""), "a.yaml:1: id: is missing"},
		"id number":        {change("id: irc", "id: 5"), "a.yaml:1: id: must be text"},
		"id with a bar":    {change("id: irc", "id: a|b"), "a.yaml:1: id: must have"},
		"no url":           {change("url: http://127.0.0.1:1234/bridge/\n", ""), "url: is missing"},
		"url of a file":    {change("http://127.0.0.1:1234/bridge/", "file:///x"), "a.yaml:2: url: must be null or"},
		"url with a query": {change("/bridge/", "/?a=b"), "a.yaml:2: url"},
		"url with a user":  {change("//127", "//me:secret@127"), "a.yaml:2: url"},
		"no as_token":      {change("as_token: token of the service\n", ""), "as_token: is missing"},
		"token number":     {change("token of the service", "12345"), "a.yaml:3: as_token: must be text"},
		"empty hs_token":   {change("token-of-the-server", "''"), "a.yaml:4: hs_token: must not be empty"},
		"hs_token spaces":  {change("token-of-the-server", "a b"), "a.yaml:4: hs_token: must be ASCII"},
		"sender":           {change("sender_localpart: _irc_bot", "sender_localpart: '@a:b'"), "a.yaml:5: sender_localpart"},
		"no namespaces":    {goodFile[:strings.Index(goodFile, "namespaces")], "namespaces: is missing"},
		"namespace kind":   {change("rooms: []", "spaces: []"), "a.yaml:13: namespaces.spaces: there is no such key"},
		"no list":          {change("rooms: []", "rooms: x"), "a.yaml:13: namespaces.rooms: must be a list"},
		"no regex":         {change(", regex: '@al'", ""), "a.yaml:9: namespaces.users.regex: is missing"},
		"no exclusive":     {change("exclusive: false, ", ""), "a.yaml:9: namespaces.users.exclusive: is missing"},
		"bad regex":        {change("'@_irc_.*'", "'@(_irc'"), "a.yaml:8: namespaces.users.regex: missing closing )"},
		"lookahead":        {change("'@_irc_.*'", "'@(?!x).*'"), "a.yaml:8: namespaces.users.regex"},
		"rate_limited":     {change("rate_limited: false", "rate_limited: maybe"), "a.yaml:14: rate_limited: must be true or false"},
		"protocols":        {change("[irc, ircs]", "[irc, irc]"), "a.yaml:15: protocols"},
		"twice":            {goodFile + "id: x\n", "a.yaml:19: id: is here twice; the first is in line 1"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load(write(t, c.text), "test")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v, want %s", err, c.want)
			}
			for _, secret := range []string{"token of the service", "token-of-the-server", "12345", "secret"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("tells a secret: %v", err)
				}
			}
		})
	}
	t.Run("two services", func(t *testing.T) {
		_, err := Load(append(write(t, goodFile, goodFile), "/does/not/exist"), "test")
		for _, want := range []string{"b.yaml:1: id: is also that of the service in", "b.yaml:3: as_token: is also", "/does/not/exist"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %s", err, want)
			}
		}
	})
}
