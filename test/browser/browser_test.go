package browser

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"hearth/test/harness"
)

const (
	scripts = "js"
	wasm    = "matrix_sdk_crypto_wasm_bg.wasm"
	// installTimeout is for fetching the client library and the driver.
	installTimeout = 5 * time.Minute
	// scenarioTimeout is for everything that the people do; each thing that they wait
	// for has a shorter one of its own, and its name is in the error.
	scenarioTimeout = 3 * time.Minute
)

func TestBrowser(t *testing.T) {
	node := program(t, "node")
	program(t, "chromium")
	install(t)
	s := harness.Start(t, harness.Options{})
	r := play(t, node, s.URL(), servePage(t))
	for _, step := range r.plan {
		t.Run(step, func(t *testing.T) {
			result, ok := r.results[step]
			t.Logf("%d ms; waited for %s", result.MS, strings.Join(result.Waits, ", "))
			switch {
			case !ok:
				t.Error("was not run, because a step before it failed")
			case result.Error != "":
				t.Error(result.Error)
			}
		})
	}
	if r.err != nil || !r.done {
		t.Errorf("the driver ended with %v; it wrote\n%s", r.err, r.noise)
	}
}

// TestNobodyThere shows that a scenario without a server is a failed one.
func TestNobodyThere(t *testing.T) {
	node := program(t, "node")
	install(t)
	r := play(t, node, "http://127.0.0.1:1", servePage(t))
	if r.err == nil || r.done || len(r.plan) < 20 || len(r.results) != 1 || r.results[r.plan[0]].Error == "" {
		t.Errorf("exit %v, done %v, %d steps planned, results %v", r.err, r.done, len(r.plan), r.results)
	}
}

// program finds a program that the test cannot do without.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("this test needs Node 20 or later with npm, and Chromium: %v", err)
	}
	return path
}

// install fetches what package-lock.json names, unless it is there.
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

// servePage bundles the page, serves it on this machine and returns its URL.
func servePage(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	modules := filepath.Join(scripts, "node_modules")
	bundle := exec.CommandContext(t.Context(), filepath.Join(modules, ".bin", "esbuild"), filepath.Join(scripts, "page", "app.mjs"),
		"--bundle", "--format=esm", "--target=chrome120", "--log-level=error", "--outfile="+filepath.Join(dir, "app.js"))
	if out, err := bundle.CombinedOutput(); err != nil {
		t.Fatalf("esbuild: %v\n%s", err, out)
	}
	mux := http.NewServeMux()
	file := func(path, name string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, name) })
	}
	file("/{$}", filepath.Join(scripts, "page", "index.html"))
	file("/app.js", filepath.Join(dir, "app.js"))
	// The encryption library looks for it beside the script.
	file("/pkg/"+wasm, filepath.Join(modules, "@matrix-org", "matrix-sdk-crypto-wasm", "pkg", wasm))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL + "/"
}

// play runs the driver against a server.
func play(t *testing.T, node, url, page string) *report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), scenarioTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, "drive.mjs")
	cmd.Dir = scripts
	cmd.Env = append(os.Environ(), "HEARTH_URL="+url, "HEARTH_PAGE="+page, "TMPDIR="+t.TempDir())
	cmd.WaitDelay = 5 * time.Second
	// A driver that is told to end closes its browsers first. If it dies they end by
	// themselves, since they listen to a pipe from it.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
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
