package natsserver

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Ready is what the command prints before its port when it listens.
const Ready = "listening on port "

// Port returns the port on which srv listens.
func Port(srv *server.Server) int {
	if addr, ok := srv.Addr().(*net.TCPAddr); ok {
		return addr.Port
	}
	return 0
}

// Process is a NATS server in a process of its own. One goroutine controls it; URL
// may be called by all.
type Process struct {
	t      testing.TB
	binary string
	port   int
	cmd    *exec.Cmd // nil while stopped
	exited chan error
}

// StartProcess builds the command, runs it on a free port and kills it when the
// test ends.
func StartProcess(t testing.TB) *Process {
	t.Helper()
	p := &Process{t: t, binary: filepath.Join(t.TempDir(), "natsserver")}
	build := exec.Command("go", "build", "-o", p.binary, "hearth/internal/testkit/natsserver/cmd")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the NATS server: %v\n%s", err, out)
	}
	p.start()
	t.Cleanup(p.Kill)
	return p
}

// URL is where clients connect, the same after a restart.
func (p *Process) URL() string { return fmt.Sprintf("nats://127.0.0.1:%d", p.port) }

// Kill ends the process as kill -9 does and waits until it is gone. A killed server
// stays so.
func (p *Process) Kill() {
	if p.cmd == nil {
		return
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Errorf("kill the NATS server: %v", err)
	}
	<-p.exited
	p.cmd = nil
}

// Restart kills the process if it runs and starts it on the same port.
func (p *Process) Restart() {
	p.t.Helper()
	p.Kill()
	p.start()
}

func (p *Process) start() {
	p.t.Helper()
	cmd := exec.Command(p.binary, "-port", strconv.Itoa(p.port))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatalf("start the NATS server: %v", err)
	}
	p.cmd, p.exited = cmd, make(chan error, 1)
	line := make(chan string, 1)
	go func() {
		text, _ := bufio.NewReader(out).ReadString('\n') // "" if it died: reported below
		line <- text
		p.exited <- cmd.Wait()
	}()
	select {
	case text := <-line:
		port, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(text, Ready)))
		if err != nil {
			p.t.Fatalf("the NATS server said %q", text)
		}
		if p.port == 0 { // never written again: URL may be called at any time
			p.port = port
		}
	case <-time.After(startTimeout):
		p.t.Fatal("the NATS server does not start")
	}
}
