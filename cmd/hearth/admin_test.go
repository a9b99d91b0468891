package main

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestAdminCommands: tables for people, JSON for programs, and exit codes.
func TestAdminCommands(t *testing.T) {
	broken := false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer secret":
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`{"errcode":"M_FORBIDDEN","error":"You are not a server admin"}`))
		case r.URL.Path == synapseV1+"/rooms" && r.URL.Query().Get("search_term") == "x":
			_, _ = w.Write([]byte(`{"rooms":[{"room_id":"!a:b","name":"evil\u001b[31m","joined_members":3}],"total_rooms":1}`))
		case r.URL.Path == hearthV1+"/audit/verify" && broken:
			_, _ = w.Write([]byte(`{"entries":2,"broken":3}`))
		case r.URL.Path == hearthV1+"/audit/verify":
			_, _ = w.Write([]byte(`{"entries":2,"head":"abc"}`))
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer server.Close()
	run := func(token string, args ...string) (code int, out string) {
		var stdout, stderr bytes.Buffer
		p := &program{name: "hearth", stdout: &stdout, stderr: &stderr, environ: []string{"HEARTH_TOKEN=" + token}}
		code = p.run(context.Background(), append(args, "--server", server.URL))
		return code, stdout.String() + stderr.String()
	}
	if code, out := run("secret", "admin", "rooms", "--search", "x"); code != exitOK || !strings.Contains(out, "!a:b") || strings.Contains(out, "\x1b") {
		t.Errorf("rooms: %d %q", code, out)
	}
	if code, out := run("secret", "admin", "rooms", "--search", "x", "--json"); code != exitOK || !strings.Contains(out, `"total_rooms": 1`) {
		t.Errorf("rooms as JSON: %d %q", code, out)
	}
	if code, out := run("other", "admin", "rooms"); code != exitFailed || !strings.Contains(out, "You are not a server admin") {
		t.Errorf("with another token: %d %q", code, out)
	}
	if code, _ := run("", "admin", "rooms"); code != exitUsage {
		t.Errorf("without a token: %d", code)
	}
	if code, out := run("secret", "audit", "verify"); code != exitOK || !strings.Contains(out, "2 entries") {
		t.Errorf("a whole log: %d %q", code, out)
	}
	broken = true
	if code, out := run("secret", "audit", "verify"); code != exitFailed || !strings.Contains(out, "entry 3") {
		t.Errorf("a broken log: %d %q", code, out)
	}
}
