package postgres

import (
	"bufio"
	"context"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"hearth/internal/store"
)

const childVariable = "HEARTH_TESTKIT_POSTGRES_CHILD"

// TestMain lets this binary stand for a test binary that is killed.
func TestMain(m *testing.M) {
	if os.Getenv(childVariable) == "" {
		os.Exit(m.Run())
	}
	s, err := server()
	if err != nil {
		panic(err)
	}
	os.Stdout.WriteString(s.url + "\n")
	select {}
}

func answers(url string) bool { return exec1(url, "SELECT 1") == nil }

func TestDatabasesAreSeparateAndDropped(t *testing.T) {
	var urls []string
	t.Run("inner", func(t *testing.T) {
		for range 2 {
			u := URL(t)
			if err := exec1(u, "CREATE TABLE x (a INT)"); err != nil {
				t.Error(err)
			}
			urls = append(urls, u)
		}
	})
	for _, u := range urls {
		if answers(u) {
			t.Errorf("%s is still there", u)
		}
	}
	s, err := server()
	if err != nil {
		t.Fatal(err)
	}
	if !answers(s.url) {
		t.Error("the server is gone")
	}
}

func TestClusterIsDurableAndOrdersAsPeopleDo(t *testing.T) {
	u := URL(t)
	err := exec1(u, `DO $$ BEGIN
		IF current_setting('fsync') <> 'on' THEN RAISE EXCEPTION 'fsync is off'; END IF;
		IF NOT ('a' < 'B') THEN RAISE EXCEPTION 'text is ordered by bytes'; END IF;
	END $$`)
	if err != nil {
		t.Error(err)
	}
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 15 s", what)
		}
	}
}

// directory returns the data directory of the server at url.
func directory(t *testing.T, url string) string {
	t.Helper()
	err := exec1(url, "DO $$ BEGIN RAISE EXCEPTION 'dir=%=', current_setting('data_directory'); END $$")
	if err == nil {
		t.Fatal("no answer")
	}
	return filepath.Dir(strings.Split(err.Error(), "=")[1])
}

// start runs cmd, which prints a cluster's URL, with a private cluster.
func start(t *testing.T, cmd *exec.Cmd) (stdin io.WriteCloser, url string) {
	t.Helper()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "postgres://") {
		t.Fatalf("%q, %v", line, err)
	}
	return stdin, strings.TrimSpace(line)
}

func private(variable string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, urlVariable+"=") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, variable+"=1")
	return cmd
}

// TestNoOrphanIsLeft ends the owner of a cluster in every way.
func TestNoOrphanIsLeft(t *testing.T) {
	for name, end := range map[string]struct {
		variable string
		how      func(cmd *exec.Cmd, stdin io.Closer) error
	}{
		"the test binary is killed":        {childVariable, func(c *exec.Cmd, _ io.Closer) error { return c.Process.Kill() }},
		"the helper's input ends":          {helperVariable, func(_ *exec.Cmd, in io.Closer) error { return in.Close() }},
		"the helper is asked to terminate": {helperVariable, func(c *exec.Cmd, _ io.Closer) error { return c.Process.Signal(syscall.SIGTERM) }},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := private(end.variable)
			stdin, url := start(t, cmd)
			dir := directory(t, url)
			if err := end.how(cmd, stdin); err != nil {
				t.Fatal(err)
			}
			await(t, "the server ends", func() bool { return !answers(url) })
			await(t, "its directory is removed", func() bool {
				_, err := os.Stat(dir)
				return os.IsNotExist(err)
			})
		})
	}
}

func TestKilledHelperTakesTheServerWithIt(t *testing.T) {
	cmd := private(helperVariable)
	_, url := start(t, cmd)
	dir := directory(t, url)
	t.Cleanup(func() { os.RemoveAll(dir) }) // nobody is left to remove it
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	await(t, "the server ends", func() bool { return !answers(url) })
}

func TestAdminExecReportsErrors(t *testing.T) {
	if err := store.AdminExec(context.Background(), URL(t), "nonsense"); err == nil {
		t.Error("nonsense was executed")
	}
	u := url.URL{Scheme: "postgres", Host: "127.0.0.1:1", Path: "/x"}
	if answers(u.String()) {
		t.Error("nobody answered")
	}
}
