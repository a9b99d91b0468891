package policy

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"unicode/utf8"

	"hearth/clientapi/userapi"
	"hearth/internal/glob"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// listTypes are the types of events that hold rules ("Moderation policy lists"), with those from
// before the spec had them.
var listTypes = map[string]string{
	"m.policy.rule.user": userapi.ScopeUser, "m.room.rule.user": userapi.ScopeUser, "org.matrix.mjolnir.rule.user": userapi.ScopeUser,
	"m.policy.rule.server": userapi.ScopeServer, "m.room.rule.server": userapi.ScopeServer, "org.matrix.mjolnir.rule.server": userapi.ScopeServer,
	"m.policy.rule.room": userapi.ScopeRoom, "m.room.rule.room": userapi.ScopeRoom, "org.matrix.mjolnir.rule.room": userapi.ScopeRoom,
}

// maxListReason bounds the reason of a list's rule, in bytes.
const maxListReason = 500

// listRule reads a rule of a list; nil if the event holds none that this server enforces. A rule
// against everybody, or against this server as a whole, is a mistake or an attack, and is none.
func listRule(list *userapi.PolicyList, serverName string, e *roomapi.Event) *userapi.Rule {
	scope := listTypes[e.Type]
	if scope == "" || e.StateKey == nil || len(list.Ops) == 0 {
		return nil
	}
	content := e.Content()
	r := &userapi.Rule{
		Scope: scope, Action: userapi.ActionDeny, Ops: list.Ops, Source: list.RoomID, DryRun: list.DryRun, Author: e.Sender, CreatedTS: e.OriginServerTS,
	}
	switch recommendation, _ := pdu.GetString(content, "recommendation"); recommendation {
	case "m.ban", "org.matrix.mjolnir.ban":
	case "m.takedown", "org.matrix.msc4204.takedown":
		r.Takedown = true
	default:
		return nil
	}
	r.Entity, _ = pdu.GetString(content, "entity")
	if r.Entity == "" {
		r.Entity, r.Hashed = hashOf(content), true
	}
	r.Reason, _ = pdu.GetString(content, "reason")
	r.Reason = shorten(r.Reason)
	id := sha256.Sum256([]byte(list.RoomID + "\x00" + e.Type + "\x00" + *e.StateKey))
	r.ID = "l-" + base64.RawURLEncoding.EncodeToString(id[:18])
	if Validate(r) != nil || tooWide(r, serverName) {
		return nil
	}
	return r
}

// hashOf is the hashed entity of MSC4205.
func hashOf(content []byte) string {
	for _, key := range []string{"hashes", "org.matrix.msc4205.hashes"} {
		hashes, _ := pdu.Get(content, key)
		if hash, ok := pdu.GetString(hashes, "sha256"); ok {
			return hash
		}
	}
	return ""
}

func shorten(s string) string {
	if len(s) <= maxListReason {
		return s
	}
	s = s[:maxListReason]
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s
}

func tooWide(r *userapi.Rule, serverName string) bool {
	own := NewSet([]userapi.Rule{{
		Scope: r.Scope, Entity: r.Entity, Hashed: r.Hashed, Action: r.Action, Source: r.Source,
	}})
	if r.Scope == userapi.ScopeServer {
		v := own.Decide(&userapi.PolicyQuery{Server: serverName}, 0)
		return v.Denied
	}
	if r.Hashed {
		return false
	}
	// What is left besides wildcards must say something; and not all users of this server are meant.
	if strings.Trim(r.Entity, "*?@!:") == "" {
		return true
	}
	return r.Scope == userapi.ScopeUser && glob.New(r.Entity).Match("@\x01:"+serverName)
}
