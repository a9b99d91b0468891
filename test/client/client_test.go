// Package client has real clients spend a day with Hearth: matrix-js-sdk under
// Node, whose scripts are in js/. It shows that what clients are written for is
// what Hearth does, in one process and in four.
package client

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hearth/test/harness"
)

const (
	scripts = "js"
	// installTimeout is for fetching the client library.
	installTimeout = 5 * time.Minute
	// dayTimeout is for everything that the clients do; each thing that they wait for
	// has a shorter one of its own, and its name is in the error.
	dayTimeout = 4 * time.Minute
)

func TestDay(t *testing.T) {
	node := program(t, "node")
	install(t)
	for _, w := range []harness.Wiring{harness.OneProcess, harness.FourProcesses} {
		t.Run(w.String(), func(t *testing.T) {
			s := harness.Start(t, harness.Options{Wiring: w})
			day(t, node, "day.mjs", s.URL())
		})
	}
}

// TestSlidingSync is the same with a client that uses simplified sliding sync.
func TestSlidingSync(t *testing.T) {
	node := program(t, "node")
	install(t)
	for _, w := range []harness.Wiring{harness.OneProcess, harness.FourProcesses} {
		t.Run(w.String(), func(t *testing.T) {
			s := harness.Start(t, harness.Options{Wiring: w})
			day(t, node, "sliding.mjs", s.URL())
		})
	}
}

// TestNobodyThere shows that a day without a server is a failed one.
func TestNobodyThere(t *testing.T) {
	node := program(t, "node")
	install(t)
	r := play(t, "http://127.0.0.1:1", node, "day.mjs")
	if r.err == nil || r.done || len(r.plan) < 20 || len(r.results) != 1 || r.results[r.plan[0]].Error == "" {
		t.Errorf("exit %v, done %v, %d steps planned, results %v", r.err, r.done, len(r.plan), r.results)
	}
}

// program finds a program that the test cannot do without.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("this test needs Node 20 or later with npm: %v", err)
	}
	return path
}

// install fetches the client library unless the one that package-lock.json names is there.
func install(t *testing.T) {
	t.Helper()
	want := modified(t, filepath.Join(scripts, "package-lock.json"))
	if !modified(t, filepath.Join(scripts, "node_modules", ".package-lock.json")).Before(want) {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), installTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program(t, "npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = scripts
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
}

// modified is when a file was written, long ago if there is none.
func modified(t *testing.T, path string) time.Time {
	t.Helper()
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}
	} else if err != nil {
		t.Fatal(err)
	}
	return info.ModTime()
}

// day plays a script and judges how it went.
func day(t *testing.T, node, script, url string) { judge(t, play(t, url, node, script)) }

// judge makes a subtest of each step.
func judge(t *testing.T, r *report) {
	for _, step := range r.plan {
		t.Run(step, func(t *testing.T) {
			switch result, ok := r.results[step]; {
			case !ok:
				t.Error("was not run, because a step before it failed")
			case result.Error != "":
				t.Error(result.Error)
			}
		})
	}
	if r.err != nil || !r.done {
		t.Errorf("the clients ended with %v; they wrote\n%s", r.err, r.noise)
	}
}

// play runs a program against a server.
func play(t *testing.T, url, program string, args ...string) *report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), dayTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = scripts
	cmd.Env = append(os.Environ(), "HEARTH_URL="+url)
	cmd.WaitDelay = time.Second
	var out, noise strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &noise
	err := cmd.Run()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	r := parse(out.String())
	r.err, r.noise = err, r.noise+noise.String()
	return r
}
