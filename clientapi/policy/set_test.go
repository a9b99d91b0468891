package policy

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"hearth/clientapi/userapi"
)

func deny(scope, entity string, ops ...string) userapi.Rule {
	return userapi.Rule{ID: scope + " " + entity, Scope: scope, Entity: entity, Action: userapi.ActionDeny, Ops: ops, Source: userapi.SourceAdmin}
}

func TestDecide(t *testing.T) {
	hash := sha256.Sum256([]byte("@hidden:x"))
	hashed := deny(userapi.ScopeUser, base64.StdEncoding.EncodeToString(hash[:]))
	hashed.Hashed = true
	hashedServer := deny(userapi.ScopeServer, func() string {
		h := sha256.Sum256([]byte("evil.example"))
		return base64.RawURLEncoding.EncodeToString(h[:])
	}())
	hashedServer.Hashed = true
	ended := deny(userapi.ScopeUser, "@ended:x")
	ended.Until = 1000
	dry := deny(userapi.ScopeUser, "@dry:x")
	dry.DryRun = true
	listed := deny(userapi.ScopeUser, "@friend:x")
	listed.Source = "!list:x"
	friend := userapi.Rule{ID: "f", Scope: userapi.ScopeUser, Entity: "@friend:x", Action: userapi.ActionAllow, Source: userapi.SourceAdmin}
	foreign := userapi.Rule{ID: "g", Scope: userapi.ScopeUser, Entity: "@bad:x", Action: userapi.ActionAllow, Source: "!list:x"}
	file := hex.EncodeToString(hash[:])
	s := NewSet([]userapi.Rule{
		deny(userapi.ScopeUser, "@bad:x"), deny(userapi.ScopeUser, "@spam*:y"), hashed, hashedServer, ended, dry, listed, friend, foreign,
		deny(userapi.ScopeServer, "Bad.example"), deny(userapi.ScopeServer, "*.bad.example", userapi.OpInvite),
		deny(userapi.ScopeRoom, "!r:x"), deny(userapi.ScopeMedia, strings.ToUpper(file)), deny(userapi.ScopeName, "admin*"),
		deny(userapi.ScopeEmail, "trash.example"), deny(userapi.ScopeEmail, "one@mail.example"), deny(userapi.ScopeNetwork, "192.0.2.0/24"),
		deny(userapi.ScopeNetwork, "2001:db8::1"),
	})
	type q = userapi.PolicyQuery
	for _, tc := range []struct {
		q    q
		want bool
	}{
		{q{Op: userapi.OpInvite, User: "@bad:x"}, true}, {q{Op: userapi.OpInvite, Target: "@bad:x"}, true}, {q{Op: userapi.OpInvite, User: "@good:x"}, false},
		{q{Op: userapi.OpJoin, User: "@spammer7:y"}, true}, {q{Op: userapi.OpJoin, User: "@hidden:x"}, true}, {q{Op: userapi.OpJoin, User: "@ended:x"}, false},
		{q{Op: userapi.OpJoin, User: "@dry:x"}, false}, {q{Op: userapi.OpJoin, User: "@friend:x"}, false},
		{q{Op: userapi.OpJoin, User: "@a:evil.example"}, true}, {q{Op: userapi.OpFederate, Server: "evil.example:8448"}, true},
		{q{Op: userapi.OpFederate, Server: "BAD.example"}, true}, {q{Op: userapi.OpFederate, Server: "bad.example:1"}, true}, {q{Op: userapi.OpFederate, Server: "a.bad.example"}, false},
		{q{Op: userapi.OpInvite, User: "@a:a.bad.example:8448"}, true}, {q{Op: userapi.OpJoin, Room: "!r:x", User: "@good:x"}, true},
		{q{Op: userapi.OpMedia, Media: file}, true}, {q{Op: userapi.OpRegister, Name: "Administrator"}, true}, {q{Op: userapi.OpRegister, Name: "bob"}, false},
		{q{Op: userapi.OpRegister, Email: "x@Trash.example"}, true}, {q{Op: userapi.OpRegister, Email: "one@mail.example"}, true}, {q{Op: userapi.OpRegister, Email: "two@mail.example"}, false},
		{q{Op: userapi.OpRegister, Address: "192.0.2.77"}, true}, {q{Op: userapi.OpRegister, Address: "::ffff:192.0.2.77"}, true},
		{q{Op: userapi.OpRegister, Address: "192.0.3.1"}, false}, {q{Op: userapi.OpLogin, Address: "2001:db8::1"}, true}, {q{Op: userapi.OpLogin, Address: "nonsense"}, false},
	} {
		v := s.Decide(&tc.q, 2000)
		if v.Denied != tc.want {
			t.Errorf("%+v: %s", tc.q, Explain(&v))
		}
	}
	v := s.Decide(&q{Op: userapi.OpJoin, User: "@dry:x"}, 0)
	if len(v.DryRun) != 1 || v.DryRun[0].Entity != "@dry:x" {
		t.Errorf("a rule on trial: %+v", v)
	}
	if v := s.Decide(&q{Op: userapi.OpJoin, User: "@bad:x"}, 0); !strings.Contains(Explain(&v), "denied by rule user @bad:x of admin") {
		t.Errorf("the explanation: %s", Explain(&v))
	}
	if v := s.Decide(&q{Op: userapi.OpJoin, User: "@ended:x"}, 999); !v.Denied {
		t.Error("a rule has ended before its time")
	}
}

func TestValidate(t *testing.T) {
	hashed := deny(userapi.ScopeUser, "abc")
	hashed.Hashed = true
	odd := deny(userapi.ScopeUser, "@a:x")
	odd.Action = "destroy"
	for name, r := range map[string]userapi.Rule{
		"scope": deny("planet", "x"), "entity": deny(userapi.ScopeUser, ""), "long": deny(userapi.ScopeUser, strings.Repeat("x", 2000)),
		"ops": deny(userapi.ScopeUser, "@a:x", "fly"), "network": deny(userapi.ScopeNetwork, "300.1.1.1"), "hash": hashed, "action": odd,
		"media": deny(userapi.ScopeMedia, "*"),
	} {
		if Validate(&r) == nil {
			t.Errorf("%s: %+v is taken", name, r)
		}
		if NewSet([]userapi.Rule{r}).Size() != 0 {
			t.Errorf("%s is in the set", name)
		}
	}
}

// BenchmarkDecide asks about an invite: 100,000 exact rules, without and with 1,000 globs.
func BenchmarkDecide(b *testing.B) {
	for _, globs := range []int{0, 1000} {
		rules := make([]userapi.Rule, 0, 100_000+globs)
		for i := range 50_000 {
			rules = append(rules, deny(userapi.ScopeUser, fmt.Sprintf("@spam%d:x%d.example", i, i%100)), deny(userapi.ScopeServer, fmt.Sprintf("s%d.example", i)))
		}
		for i := range globs {
			rules = append(rules, deny(userapi.ScopeUser, fmt.Sprintf("@*bad%d*:*.example", i)))
		}
		s := NewSet(rules)
		q := &userapi.PolicyQuery{Op: userapi.OpInvite, User: "@somebody:matrix.example", Target: "@local:here.example", Room: "!r:matrix.example"}
		b.Run(fmt.Sprint(globs, " globs"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if v := s.Decide(q, 1); v.Denied {
					b.Fatal("denied")
				}
			}
		})
	}
}
