// Package postgres gives each test a PostgreSQL database of its own.
//
// The server is the one of HEARTH_TEST_POSTGRES, a postgres:// URL of a user that may
// create databases. Without it, the first test of a test binary starts a private
// cluster. A small helper process holds that cluster: it is the test binary itself,
// started again, and it ends the cluster when its standard input closes, which happens
// however the test binary ends.
package postgres

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hearth/internal/store"
)

const (
	urlVariable    = "HEARTH_TEST_POSTGRES"
	helperVariable = "HEARTH_TESTKIT_POSTGRES_HELPER"
)

// init turns the process into the helper if it was started as one.
func init() {
	if os.Getenv(helperVariable) == "" {
		return
	}
	if err := Serve(os.Stdin, os.Stdout); err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Serve starts a cluster, writes its URL and a newline to out, and stops the cluster
// when in ends or the process gets SIGTERM.
func Serve(in io.Reader, out io.Writer) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	// An interrupt from the terminal goes to the whole group; the end of in follows it.
	signal.Ignore(syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGPIPE)
	c, err := Start()
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, in) // any end of it is the end
	}()
	if _, err = fmt.Fprintln(out, c.URL); err == nil {
		select {
		case <-ended:
		case <-stop:
		case <-c.gone:
			err = fmt.Errorf("PostgreSQL ended by itself")
		}
	}
	if stopErr := c.Stop(); err == nil {
		err = stopErr
	}
	return err
}

// shared is the server that all tests of a binary use.
type shared struct {
	url string
	// stdin is the helper's. It stays open as long as this process lives; unreferenced
	// it would be closed by the garbage collector.
	stdin io.WriteCloser
	// spare is a private server's next database: making one takes the disk a while, so
	// it is made while the last test runs.
	spare chan made
}

// made is a new database or why there is none.
type made struct {
	name string
	err  error
}

func (s *shared) create() made {
	name := "hearth_test_" + strings.ToLower(rand.Text()[:12])
	return made{name, exec1(s.url, "CREATE DATABASE "+name)}
}

// database returns the name of an empty database.
func (s *shared) database() (string, error) {
	if s.spare == nil { // somebody else's server gets no databases that nobody drops
		m := s.create()
		return m.name, m.err
	}
	m := <-s.spare
	go func() { s.spare <- s.create() }()
	return m.name, m.err
}

var server = sync.OnceValues(func() (*shared, error) {
	if u := os.Getenv(urlVariable); u != "" {
		return &shared{url: u}, nil
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	// The helper gets none of our output: go test waits for everyone who holds it.
	helper := exec.Command(self)
	helper.Env = append(os.Environ(), helperVariable+"=1")
	stdin, err := helper.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := helper.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := helper.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	line = strings.TrimSpace(line)
	if !strings.HasPrefix(line, "postgres://") {
		return nil, fmt.Errorf("start PostgreSQL: %s (%v)", line, err)
	}
	private := &shared{url: line, stdin: stdin, spare: make(chan made, 1)}
	private.spare <- private.create()
	return private, nil
})

// URL returns the URL of a fresh, empty database that is dropped when the test ends.
// If there is no PostgreSQL the test fails.
func URL(t testing.TB) string {
	t.Helper()
	s, err := server()
	if err != nil {
		t.Fatal(err)
	}
	admin := s.url
	u, err := url.Parse(admin)
	if err != nil {
		t.Fatalf("%s: %v", urlVariable, err)
	}
	name, err := s.database()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := exec1(admin, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("drop the test's database: %v", err)
		}
	})
	u.Path = "/" + name
	return u.String()
}

// exec1 runs one statement.
func exec1(url, sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return store.AdminExec(ctx, url, sql)
}
