package peers_test

import (
	"crypto/sha256"
	"encoding/base64"
	"testing"
	"time"

	"hearth/clientapi/userapi"
	"hearth/federationapi/peers"
)

func TestLive(t *testing.T) {
	now := time.UnixMilli(1000)
	live := peers.NewLive(func() time.Time { return now })
	list := peers.List{Deny: []string{"always.example"}, Live: live}
	if !list.Allows("bad.example") {
		t.Error("without rules")
	}
	hash := sha256.Sum256([]byte("hidden.example"))
	rule := func(action, entity string, more ...func(r *userapi.Rule)) userapi.Rule {
		r := userapi.Rule{Scope: userapi.ScopeServer, Action: action, Entity: entity, Source: userapi.SourceAdmin}
		for _, f := range more {
			f(&r)
		}
		return r
	}
	live.Set([]userapi.Rule{
		rule("deny", "Bad.example"), rule("deny", "*.evil.example"), rule("allow", "good.evil.example"),
		rule("deny", base64.StdEncoding.EncodeToString(hash[:]), func(r *userapi.Rule) { r.Hashed = true }),
		rule("deny", "trial.example", func(r *userapi.Rule) { r.DryRun = true }),
		rule("deny", "media.example", func(r *userapi.Rule) { r.Ops = []string{userapi.OpMedia} }),
		rule("deny", "short.example", func(r *userapi.Rule) { r.Until = 2000 }),
		rule("deny", "listed.example"), rule("allow", "listed.example", func(r *userapi.Rule) { r.Source = "!list:x" }),
		rule("allow", "always.example"),
		{Scope: userapi.ScopeUser, Action: "deny", Entity: "free.example"},
	})
	for server, want := range map[string]bool{
		"bad.example": false, "BAD.example:8448": false, "a.evil.example": false, "evil.example": true, "good.evil.example": true,
		"hidden.example": false, "hidden.example:1": false, "trial.example": true, "media.example": true, "short.example": false,
		"listed.example": false, "always.example": false, "free.example": true,
	} {
		if got := list.Allows(server); got != want {
			t.Errorf("%s is allowed: %v", server, got)
		}
	}
	now = time.UnixMilli(2000)
	if !list.Allows("short.example") {
		t.Error("the rule has ended")
	}
	live.Set(nil)
	if !list.Allows("bad.example") {
		t.Error("the rules are gone")
	}
}
