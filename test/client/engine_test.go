//go:build engine

package client

import (
	"context"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"hearth/test/harness"
)

// buildTimeout is for compiling the engine, which takes many minutes the first time.
const buildTimeout = time.Hour

// TestEngine has a client that is built on the engine of Element X, matrix-rust-sdk,
// do what a person does. It needs Rust, and so much time to compile that it is not among
// the other tests: `make test-engine`.
func TestEngine(t *testing.T) {
	cargo, err := exec.LookPath("cargo")
	if err != nil {
		t.Fatalf("this test needs Rust 1.93 or later: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), buildTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, cargo, "build", "--locked", "--quiet", "--target-dir", filepath.Join("..", "..", "..", "bin", "engine"))
	cmd.Dir = "rust"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cargo build: %v\n%s", err, out)
	}
	engine, err := filepath.Abs(filepath.Join("..", "..", "bin", "engine", "debug", "hearth-client-test"))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []harness.Wiring{harness.OneProcess, harness.FourProcesses} {
		t.Run(w.String(), func(t *testing.T) {
			s := harness.Start(t, harness.Options{Wiring: w})
			judge(t, play(t, s.URL(), engine))
		})
	}
}
