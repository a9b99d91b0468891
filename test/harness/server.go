package harness

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hearth/internal/testkit/postgres"
)

// NATS is the name of the NATS server among the processes.
const NATS = "nats"

// components are the processes of FourProcesses.
var components = []string{"roomserver", "federationapi", "clientapi", "syncapi"}

// Server is a running Hearth.
type Server struct {
	// Name is the server name.
	Name string
	// Dir holds hearth.yaml, data/ and a log for each process.
	Dir string

	t         testing.TB
	options   Options
	layout    layout
	processes []*Process
}

// Start starts a server and waits until it answers. It ends with the test; if the
// test fails the logs are shown and Dir is kept.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	o.fill(t)
	s := &Server{Name: o.Name, Dir: o.Dir, t: t, options: o}
	if s.Dir == "" {
		s.Dir = temporaryDir(t)
	} else if dir, err := filepath.Abs(s.Dir); err != nil {
		t.Fatal(err)
	} else {
		s.Dir = dir
	}
	s.layout = layout{dir: s.Dir, database: databaseURL(t, s.Dir, o.Database)}
	t.Cleanup(s.end)
	var err error
	for range 5 { // a port may be taken between finding and using it
		if err = s.start(&o); !errors.Is(err, errTaken) {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// temporaryDir makes a directory that stays if the test fails.
func temporaryDir(t testing.TB) string {
	dir, err := os.MkdirTemp("", "hearth-"+strings.Map(plain, t.Name())+"-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("configuration, data and logs are in %s", dir)
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove the server's directory: %v", err)
		}
	})
	return dir
}

func plain(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
		return r
	}
	return '-'
}

// databaseURL returns the database of a directory, a fresh one the first time.
func databaseURL(t testing.TB, dir, kind string) string {
	if kind == SQLite {
		return ""
	}
	name := filepath.Join(dir, "database")
	if url, err := os.ReadFile(name); err == nil {
		return string(url)
	} else if !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	url := postgres.URL(t)
	if err := os.WriteFile(name, []byte(url), 0o600); err != nil {
		t.Fatal(err)
	}
	return url
}

// start makes the processes on new ports and starts them all at once.
func (s *Server) start(o *Options) error {
	for _, p := range s.processes { // an attempt that failed
		p.mu.Lock()
		p.kill()
		p.mu.Unlock()
	}
	s.processes = nil
	further := max(0, o.Syncs-1)
	ports, err := freePorts(4 + len(components) + further)
	if err != nil {
		return err
	}
	l := &s.layout
	l.client, l.federation, l.admin, l.nats = ports[0], ports[1], ports[2], ports[3]
	if err := l.writeConfig(o); err != nil {
		return err
	}
	if err := s.make(o.Wiring, ports[4:]); err != nil {
		return err
	}
	for _, p := range s.processes {
		p.mu.Lock()
		err := p.start()
		p.mu.Unlock()
		if err != nil {
			return fmt.Errorf("start %s: %w", p.Name, err)
		}
	}
	for _, p := range s.processes {
		if err := p.await(); err != nil {
			return err
		}
	}
	return nil
}

// make fills s.processes. The ports are those of the metrics listeners, through which
// every process tells its health.
func (s *Server) make(w Wiring, ports []int) error {
	if w == OneProcess {
		p, err := s.hearth("hearth", "", ports[0])
		if err != nil {
			return err
		}
		s.processes = []*Process{p}
		return nil
	}
	nats, err := s.nats()
	if err != nil {
		return err
	}
	s.processes = []*Process{nats}
	for i, c := range components {
		p, err := s.hearth(c, c, ports[i])
		if err != nil {
			return err
		}
		s.processes = append(s.processes, p)
	}
	for i, port := range ports[len(components):] {
		p, err := s.hearth(fmt.Sprintf("syncapi%d", i+2), "syncapi", port)
		if err != nil {
			return err
		}
		s.processes = append(s.processes, p)
	}
	return nil
}

func (s *Server) hearth(name, component string, metrics int) (*Process, error) {
	program, err := hearthWith(s.options.Tags)
	if err != nil {
		return nil, err
	}
	listeners := filepath.Join(s.Dir, name+".listeners")
	args := []string{"serve", "--config", s.layout.configFile(), "--listeners-file", listeners}
	if component != "" {
		args = append(args, "--components", component)
	}
	return &Process{
		Name: name, Log: filepath.Join(s.Dir, name+".log"), t: s.t, program: program, args: args,
		env: environ(append([]string{"HEARTH_LISTENERS_METRICS_ADDRESS=" + address(metrics), "GORACE=halt_on_error=1"}, s.options.Env...)...),
		prepare: func() error {
			if err := os.Remove(listeners); !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return nil
		},
		healthy: func() error { return healthy(listeners) },
	}, nil
}

// healthy reads the file that a process writes when all its listeners are open, and
// asks the one that all processes have.
func healthy(listenersFile string) error {
	text, err := os.ReadFile(listenersFile)
	if err != nil {
		return err
	}
	var addresses map[string]string
	if err := json.Unmarshal(text, &addresses); err != nil {
		return err
	}
	client := http.Client{Timeout: time.Second}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://" + addresses["metrics"] + "/health")
	if err != nil {
		return err
	}
	_ = resp.Body.Close() // only the status matters
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("its health is %s", resp.Status)
	}
	return nil
}

func (s *Server) nats() (*Process, error) {
	program, err := natsProgram()
	if err != nil {
		return nil, err
	}
	port := s.layout.nats
	return &Process{
		Name: NATS, Log: filepath.Join(s.Dir, NATS+".log"), t: s.t, program: program,
		args: []string{"-port", fmt.Sprint(port)}, env: environ(),
		prepare: func() error { return nil },
		healthy: func() error {
			conn, err := net.DialTimeout("tcp", address(port), time.Second)
			if err == nil {
				_ = conn.Close() // it was only to see that somebody listens
			}
			return err
		},
	}, nil
}

// end kills what runs and shows the logs of a failed test.
func (s *Server) end() {
	for _, p := range s.processes {
		p.Kill()
		if s.t.Failed() {
			s.t.Logf("the end of %s:\n%s", p.Log, p.tail(40))
		}
	}
}

// URL is the client listener, without a slash at the end.
func (s *Server) URL() string { return "http://" + address(s.layout.client) }

// AdminURL is the admin listener, without a slash at the end.
func (s *Server) AdminURL() string { return "http://" + address(s.layout.admin) }

// FederationAddress is host:port of the federation listener.
func (s *Server) FederationAddress() string { return address(s.layout.federation) }

// SharedSecret opens registration through the admin listener.
func (s *Server) SharedSecret() string { return sharedSecret }

// Processes returns the processes of the server.
func (s *Server) Processes() []*Process { return s.processes }

// Process returns the process of that name: "hearth" in OneProcess, else a component
// or NATS.
func (s *Server) Process(name string) *Process {
	for _, p := range s.processes {
		if p.Name == name {
			return p
		}
	}
	s.t.Fatalf("harness: there is no process %q", name)
	return nil
}

// Stop ends all processes with SIGTERM, so that Dir can be started again.
func (s *Server) Stop() {
	s.t.Helper()
	for i := range s.processes {
		p := s.processes[len(s.processes)-1-i]
		if p.Name == NATS {
			p.Kill()
			continue
		}
		p.Stop()
	}
}
