package browser

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"hearth/internal/testkit/oidcprovider"
	"hearth/test/harness"
)

// TestLoginPages: the pages that the server itself shows, in a browser.
func TestLoginPages(t *testing.T) {
	node := program(t, "node")
	program(t, "chromium")
	install(t)
	p := oidcprovider.Start(t, nil)
	p.User(map[string]any{"sub": "1", "preferred_username": "alice"}, nil)
	s := harness.Start(t, harness.Options{Config: func(m map[string]any) {
		m["public_base_url"] = "http://" + m["listeners"].(map[string]any)["client"].(map[string]any)["address"].(string)
		m["sso"] = map[string]any{"providers": []any{map[string]any{
			"id": "p", "name": "Provider", "issuer": p.URL, "client_id": p.ClientID, "client_secret": p.ClientSecret,
		}}}
	}})
	s.Register(t, "carol")
	ctx, cancel := context.WithTimeout(t.Context(), scenarioTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, "login.mjs")
	cmd.Dir = scripts
	cmd.Env = append(os.Environ(), "HEARTH_URL="+s.URL(), "TMPDIR="+t.TempDir())
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil || !strings.HasSuffix(string(out), "done\n") {
		t.Errorf("%v", err)
	}
}
