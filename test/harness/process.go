package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// startTimeout is how long a process may take until it answers. A database whose
	// last holder was killed may have to wait for that holder's lease.
	startTimeout = 30 * time.Second
	// stopTimeout is how long a process may take after SIGTERM.
	stopTimeout = 10 * time.Second
)

// Process is one process of a server. Its methods may be called by several
// goroutines; each call that changes it waits for those before.
type Process struct {
	// Name is "hearth", the name of a component, or "nats".
	Name string
	// Log is the file that holds what the process wrote, through all its restarts.
	Log string

	t       testing.TB
	program *program
	args    []string
	env     []string
	prepare func() error // before each start
	healthy func() error // nil when the process answers

	mu     sync.Mutex // guards what follows
	cmd    *exec.Cmd  // nil while it does not run
	exited chan struct{}
	status error // how it ended; valid when exited is closed
}

// PID returns the id of the running process, 0 if it does not run.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Kill ends the process with SIGKILL and waits until it is gone. It fails the test if
// the process has ended by itself before: it panicked, or the race detector ended it.
func (p *Process) Kill() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mustRun()
	p.kill()
}

// kill ends the process; p.mu is held.
func (p *Process) kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill() // an error means that it has ended
	<-p.exited
	p.cmd = nil
}

// mustRun fails the test if the process has ended by itself; p.mu is held.
func (p *Process) mustRun() {
	p.t.Helper()
	if p.cmd == nil {
		return
	}
	select {
	case <-p.exited:
		p.t.Errorf("%s ended by itself: %v\n%s", p.Name, p.status, p.tail(40))
	default:
	}
}

// Stop ends the process with SIGTERM. It fails the test if the process takes longer
// than 10 s or reports an error.
func (p *Process) Stop() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return
	}
	p.mustRun()
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // an error means that it has ended
	select {
	case <-p.exited:
		if p.status != nil {
			p.t.Errorf("%s ended with %v after SIGTERM", p.Name, p.status)
		}
	case <-time.After(stopTimeout):
		p.t.Errorf("%s did not stop within %v", p.Name, stopTimeout)
	}
	p.kill()
}

// Restart kills the process if it runs, starts it with the same configuration and
// ports, and waits until it answers.
func (p *Process) Restart() {
	p.t.Helper()
	p.Begin()
	p.Await()
}

// Begin is Restart without the waiting.
func (p *Process) Begin() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mustRun()
	p.kill()
	if err := p.start(); err != nil {
		p.t.Fatalf("start %s: %v", p.Name, err)
	}
}

// Await waits until the process answers.
func (p *Process) Await() {
	p.t.Helper()
	if err := p.await(); err != nil {
		p.t.Fatal(err)
	}
}

// start runs the process; p.mu is held.
func (p *Process) start() error {
	if err := p.prepare(); err != nil {
		return err
	}
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(p.program.path(), p.args...)
	cmd.Env = p.env
	cmd.Dir = filepath.Dir(p.Log)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started, exited := make(chan error), make(chan struct{})
	go func() {
		// Pdeathsig is the death of the thread that started the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.status = cmd.Wait()
			close(exited)
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	p.cmd, p.exited = cmd, exited
	return nil
}

// errTaken says that another program has got a port that was free.
var errTaken = errors.New("a port is in use")

func (p *Process) await() error {
	p.mu.Lock()
	exited := p.exited
	p.mu.Unlock()
	var err error
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); {
		if err = p.healthy(); err == nil {
			return nil
		}
		select {
		case <-exited:
			if strings.Contains(p.tail(5), "in use") {
				return fmt.Errorf("%s: %w", p.Name, errTaken)
			}
			return fmt.Errorf("%s ended at once: %v\n%s", p.Name, p.status, p.tail(20))
		case <-time.After(5 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s does not answer: %w\n%s", p.Name, err, p.tail(20))
}

// tail returns the last lines of the log.
func (p *Process) tail(n int) string {
	text, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
