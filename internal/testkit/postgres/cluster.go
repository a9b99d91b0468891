package postgres

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Cluster is a running private PostgreSQL server on a loopback port.
type Cluster struct {
	// URL is that of its postgres database; its user may do anything.
	URL string

	dir  string
	cmd  *exec.Cmd
	gone chan struct{} // closed when the server has ended
}

// Start makes a new cluster in a temporary directory and waits until it answers.
func Start() (*Cluster, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "hearth-postgres-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir}
	if err := c.start(bin); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

// binaries returns the directory with the newest PostgreSQL.
func binaries() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		path, err := exec.LookPath("postgres")
		if err != nil {
			return "", errors.New("PostgreSQL is not installed: no /usr/lib/postgresql/*/bin/postgres and none in PATH; or set HEARTH_TEST_POSTGRES")
		}
		return filepath.Dir(path), nil
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(strings.Split(path, "/")[4]) // not a number: the oldest
		return n
	}
	sort.Slice(found, func(i, j int) bool { return version(found[i]) < version(found[j]) })
	return filepath.Dir(found[len(found)-1]), nil
}

// start needs a server account, because PostgreSQL refuses to run as root.
func (c *Cluster) start(bin string) error {
	var credential *syscall.Credential
	if os.Getuid() == 0 {
		var err error
		if credential, err = account(); err != nil {
			return err
		}
		if err := os.Chown(c.dir, int(credential.Uid), int(credential.Gid)); err != nil {
			return err
		}
	}
	data := filepath.Join(c.dir, "data")
	init := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "hearth", "-A", "trust", "-E", "UTF8", "--no-sync",
		// A collation that orders as people do: what depends on the order of bytes must
		// say so, and a test sees it if it does not.
		"--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US")
	init.Dir = c.dir
	init.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	if out, err := init.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	var err error
	for range 5 { // the port may be taken between finding and using it
		if err = c.serve(filepath.Join(bin, "postgres"), data, credential); err == nil {
			return nil
		}
	}
	return err
}

func account() (*syscall.Credential, error) {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("no account postgres or nobody to run PostgreSQL with")
}

func (c *Cluster) serve(postgres, data string, credential *syscall.Credential) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	c.cmd = exec.Command(postgres, "-D", data, "-p", strconv.Itoa(port),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
		"-c", "fsync=on", "-c", "shared_buffers=32MB", "-c", "max_connections=200",
		"-c", "max_wal_size=256MB", "-c", "log_min_messages=fatal")
	c.cmd.Dir = c.dir
	var log bytes.Buffer
	c.cmd.Stderr = &log
	// If this process is killed the server ends, too.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential, Pdeathsig: syscall.SIGQUIT, Setpgid: true}
	started := make(chan error)
	c.gone = make(chan struct{})
	go func(cmd *exec.Cmd, gone chan struct{}) {
		// Pdeathsig is the death of the thread that started the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(gone)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in its log
		}
	}(c.cmd, c.gone)
	if err := <-started; err != nil {
		return err
	}
	c.URL = fmt.Sprintf("postgres://hearth@127.0.0.1:%d/postgres?sslmode=disable", port)
	if err := c.wait(); err != nil {
		c.halt()
		return fmt.Errorf("%w: %s", err, log.String())
	}
	return nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func (c *Cluster) wait() error {
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := exec1(c.URL, "SELECT 1")
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("PostgreSQL does not answer: %w", err)
		}
		select {
		case <-c.gone:
			return errors.New("PostgreSQL ended at once")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// halt ends the server without a last checkpoint: its data is thrown away.
func (c *Cluster) halt() {
	if c.cmd == nil || c.cmd.Process == nil {
		return
	}
	_ = c.cmd.Process.Signal(syscall.SIGQUIT) // it may have ended already
	select {
	case <-c.gone:
	case <-time.After(10 * time.Second):
		_ = c.cmd.Process.Kill()
		<-c.gone
	}
}

// Stop ends the server and removes its directory.
func (c *Cluster) Stop() error {
	c.halt()
	return os.RemoveAll(c.dir)
}
