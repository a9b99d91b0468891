package policy

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"hearth/clientapi/userapi"
	"hearth/roomserver/roomapi"
)

func listEvent(typ, key, content string) *roomapi.Event {
	return &roomapi.Event{Type: typ, StateKey: &key, Sender: "@mod:list.example", OriginServerTS: 7, JSON: json.RawMessage(`{"content":` + content + `}`)}
}

func TestListRule(t *testing.T) {
	hash := sha256.Sum256([]byte("@bad:x"))
	text := base64.StdEncoding.EncodeToString(hash[:])
	own := sha256.Sum256([]byte("here.example"))
	list := &userapi.PolicyList{RoomID: "!list:x", Ops: []string{userapi.OpInvite}}
	for _, tc := range []struct {
		typ, content string
		want         string // scope and entity; empty: no rule
	}{
		{"m.policy.rule.user", `{"entity":"@bad:x","recommendation":"m.ban","reason":"spam"}`, "user @bad:x"},
		{"org.matrix.mjolnir.rule.server", `{"entity":"*.bad","recommendation":"org.matrix.mjolnir.ban"}`, "server *.bad"},
		{"m.room.rule.room", `{"entity":"!r:x","recommendation":"m.takedown"}`, "room !r:x takedown"},
		{"m.policy.rule.user", `{"hashes":{"sha256":"` + text + `"},"recommendation":"m.ban"}`, "user " + text + " hashed"},
		{"m.policy.rule.user", `{"org.matrix.msc4205.hashes":{"sha256":"` + strings.TrimRight(text, "=") + `"},"recommendation":"org.matrix.msc4204.takedown"}`,
			"user " + strings.TrimRight(text, "=") + " hashed takedown"},
		{"m.policy.rule.user", `{"entity":"@bad:x","recommendation":"m.praise"}`, ""},
		{"m.policy.rule.user", `{}`, ""},
		{"m.policy.rule.user", `{"hashes":{"sha256":"short"},"recommendation":"m.ban"}`, ""},
		{"m.policy.rule.user", `{"hashes":7,"entity":5,"recommendation":"m.ban"}`, ""},
		{"m.room.topic", `{"entity":"@bad:x","recommendation":"m.ban"}`, ""},
		// Against everybody, or this server.
		{"m.policy.rule.server", `{"entity":"*","recommendation":"m.ban"}`, ""},
		{"m.policy.rule.server", `{"entity":"HERE.example","recommendation":"m.ban"}`, ""},
		{"m.policy.rule.server", `{"hashes":{"sha256":"` + base64.StdEncoding.EncodeToString(own[:]) + `"},"recommendation":"m.ban"}`, ""},
		{"m.policy.rule.user", `{"entity":"@*:*","recommendation":"m.ban"}`, ""},
		{"m.policy.rule.user", `{"entity":"@*:here.example","recommendation":"m.ban"}`, ""},
		{"m.policy.rule.user", `{"entity":"@spam*:here.example","recommendation":"m.ban"}`, "user @spam*:here.example"},
		{"m.policy.rule.room", `{"entity":"!*","recommendation":"m.ban"}`, ""},
	} {
		got := ""
		if r := listRule(list, "here.example", listEvent(tc.typ, "k", tc.content)); r != nil {
			got = r.Scope + " " + r.Entity
			if r.Hashed {
				got += " hashed"
			}
			if r.Takedown {
				got += " takedown"
			}
			if r.Source != list.RoomID || r.Author != "@mod:list.example" || len(r.Ops) != 1 || Validate(r) != nil {
				t.Errorf("%s: %+v", tc.content, r)
			}
		}
		if got != tc.want {
			t.Errorf("%s %s: %q, want %q", tc.typ, tc.content, got, tc.want)
		}
	}
	a := listRule(list, "x", listEvent("m.policy.rule.user", "a", `{"entity":"@bad:x","recommendation":"m.ban"}`))
	b := listRule(list, "x", listEvent("m.policy.rule.user", "b", `{"entity":"@bad:x","recommendation":"m.ban"}`))
	if a.ID == b.ID {
		t.Error("two state keys have one rule")
	}
	long := listRule(list, "x", listEvent("m.policy.rule.user", "a", `{"entity":"@bad:x","recommendation":"m.ban","reason":"`+strings.Repeat("é", 600)+`"}`))
	if len(long.Reason) > maxListReason || !strings.HasSuffix(long.Reason, "é") {
		t.Errorf("a reason of %d bytes", len(long.Reason))
	}
	if listRule(&userapi.PolicyList{RoomID: "!list:x"}, "x", listEvent("m.policy.rule.user", "a", `{"entity":"@bad:x","recommendation":"m.ban"}`)) != nil {
		t.Error("a list that may do nothing does something")
	}
}
