package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"hearth/test/harness"
)

// ghostToken is the token of the application service that makes people without
// passwords: hashing those would take longer than everything that is measured.
const ghostToken = "token-of-the-application-service"

// ghosts writes the registration of the application service.
func ghosts(t *shim) (path string) {
	dir, err := os.MkdirTemp("", "hearth-bench")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	text, err := json.Marshal(map[string]any{ // JSON is YAML
		"id": "bench", "url": nil, "as_token": ghostToken, "hs_token": "token-of-the-server",
		"sender_localpart": "bench", "rate_limited": false,
		"namespaces": map[string]any{"users": []map[string]any{{"exclusive": true, "regex": "@ghost.*"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, "registration.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// summon makes accounts with sessions, or more of them up to n.
func (b *bench) summon(n int) {
	have := len(b.users)
	if n <= have {
		return
	}
	b.t.say("making %d accounts", n-have)
	service := *b.server.Client()
	service.Token = ghostToken
	b.users = append(b.users, make([]*harness.Client, n-have)...)
	b.together(setupWorkers, n-have, func(i int) error {
		var session struct {
			UserID      string `json:"user_id"`
			AccessToken string `json:"access_token"`
		}
		_, err := service.Do(http.MethodPost, harness.Path("register"), map[string]any{
			"type": "m.login.application_service", "username": fmt.Sprintf("ghost%d-%d", b.generation, have+i),
		}, &session)
		if err != nil {
			return fmt.Errorf("register: %w", err)
		}
		user := service
		user.UserID, user.Token = session.UserID, session.AccessToken
		b.users[have+i] = &user
		return nil
	})
}
