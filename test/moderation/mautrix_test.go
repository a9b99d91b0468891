package moderation

import (
	"os/exec"
	"path/filepath"
	"testing"

	"hearth/test/harness"
)

// TestMautrix lets a program with maunium.net/go/mautrix make all calls of its package synapseadmin.
func TestMautrix(t *testing.T) {
	program := filepath.Join(t.TempDir(), "mautrix")
	build := exec.Command("go", "build", "-tags", "goolm", "-o", program, ".")
	build.Dir = "mautrix"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	both(t, func(t *testing.T, s *harness.Server) {
		boss := registerAdmin(t, s, "boss")
		out, err := exec.Command(program, s.AdminURL(), boss.Token, boss.UserID, s.SharedSecret()).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	})
}
