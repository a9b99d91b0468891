// Package synapse runs a Synapse homeserver for tests: the other side of federation, which
// was not written by us.
package synapse

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"hearth/internal/testkit/testca"
)

const (
	registrationSecret = "a secret of the tests"
	startTimeout       = 90 * time.Second
	stopTimeout        = 20 * time.Second
)

// Server is a Synapse in a process of its own, on SQLite. One goroutine controls it.
type Server struct {
	// Name is the server name: localhost and the port for federation.
	Name string
	// Dir holds its configuration, data and log.
	Dir string

	t      testing.TB
	python string
	client int // port
	port   int // for federation
	cmd    *exec.Cmd
	exited chan error
}

// Start starts a server whose certificate is signed by ca, which it also trusts, and waits
// until it answers. It ends with the test. config may change the configuration, server_name
// among it.
func Start(t testing.TB, ca *testca.CA, config func(m map[string]any)) *Server {
	t.Helper()
	federation, client := port(t), port(t)
	s := &Server{Name: fmt.Sprintf("localhost:%d", federation), Dir: t.TempDir(), t: t, python: python(t), client: client, port: federation}
	s.configure(ca, federation, config)
	s.start()
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() {
			s.showLog()
		}
	})
	return s
}

// python installs Synapse and returns the interpreter that can import it. The environment
// variable HEARTH_TEST_SYNAPSE names a virtual environment that has it already.
func python(t testing.TB) string {
	t.Helper()
	if venv := os.Getenv("HEARTH_TEST_SYNAPSE"); venv != "" {
		return filepath.Join(venv, "bin", "python")
	}
	_, file, _, _ := runtime.Caller(0)
	here := filepath.Dir(file)
	venv := filepath.Join(here, "..", "..", "..", "bin", "synapse")
	if out, err := exec.Command(filepath.Join(here, "install"), venv).CombinedOutput(); err != nil {
		t.Fatalf("install Synapse: %v\n%s", err, out)
	}
	return filepath.Join(venv, "bin", "python")
}

func port(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (s *Server) path(name string) string { return filepath.Join(s.Dir, name) }

func (s *Server) configure(ca *testca.CA, federation int, change func(m map[string]any)) {
	s.t.Helper()
	caFile, cert, key := ca.Files(s.Dir, "localhost", "127.0.0.1")
	listener := func(port int, tls bool, resource string) map[string]any {
		return map[string]any{
			"port": port, "tls": tls, "type": "http", "bind_addresses": []string{"127.0.0.1"},
			"resources": []any{map[string]any{"names": []string{resource}}},
		}
	}
	unlimited := map[string]any{"per_second": 100000, "burst_count": 100000}
	m := map[string]any{
		"server_name":                 s.Name,
		"pid_file":                    s.path("pid"),
		"public_baseurl":              s.URL(),
		"listeners":                   []any{listener(federation, true, "federation"), listener(s.client, false, "client")},
		"tls_certificate_path":        cert,
		"tls_private_key_path":        key,
		"federation_custom_ca_list":   []string{caFile},
		"database":                    map[string]any{"name": "sqlite3", "args": map[string]any{"database": s.path("homeserver.db")}},
		"log_config":                  s.path("log.yaml"),
		"media_store_path":            s.path("media"),
		"signing_key_path":            s.path("signing.key"),
		"registration_shared_secret":  registrationSecret,
		"macaroon_secret_key":         "another secret",
		"form_secret":                 "yet another",
		"report_stats":                false,
		"trusted_key_servers":         []any{},
		"suppress_key_server_warning": true,
		// The servers of the tests are on the loopback interface.
		"ip_range_blacklist":                 []any{},
		"federation_ip_range_blacklist":      []any{},
		"allow_public_rooms_over_federation": true,
		"allow_public_rooms_without_auth":    true,
		"enable_registration":                false,
		"rc_message":                         unlimited,
		"rc_registration":                    unlimited,
		"rc_login":                           map[string]any{"address": unlimited, "account": unlimited, "failed_attempts": unlimited},
		"rc_joins":                           map[string]any{"local": unlimited, "remote": unlimited},
		"rc_joins_per_room":                  unlimited,
		"rc_invites":                         map[string]any{"per_room": unlimited, "per_user": unlimited, "per_issuer": unlimited},
		"rc_federation":                      map[string]any{"window_size": 1000, "sleep_limit": 100000, "sleep_delay": 1, "reject_limit": 100000, "concurrent": 100},
		"federation": map[string]any{
			// A server that was away is tried again within the time of a test.
			"destination_min_retry_interval": "1s", "destination_max_retry_interval": "3s", "destination_retry_multiplier": 1,
			"client_timeout": "20s", "max_short_retries": 1, "max_long_retries": 1,
		},
		"presence": map[string]any{"enabled": true},
		// A first /sync says what is now, not what was when it was last asked for.
		"caches":                      map[string]any{"sync_response_cache_duration": "0s"},
		"room_list_publication_rules": []any{map[string]any{"action": "allow"}},
	}
	if change != nil {
		change(m)
	}
	s.Name = m["server_name"].(string)
	s.write("homeserver.yaml", m)
	s.write("log.yaml", map[string]any{
		"version": 1, "disable_existing_loggers": false,
		"formatters": map[string]any{"plain": map[string]any{"format": "%(asctime)s %(levelname)s %(name)s %(request)s %(message)s"}},
		"filters":    map[string]any{"context": map[string]any{"()": "synapse.logging.context.LoggingContextFilter", "request": ""}},
		"handlers": map[string]any{"file": map[string]any{
			"class": "logging.FileHandler", "formatter": "plain", "filename": s.path("synapse.log"), "filters": []string{"context"},
		}},
		"root": map[string]any{"level": "INFO", "handlers": []string{"file"}},
	})
}

func (s *Server) write(name string, v any) {
	s.t.Helper()
	text, err := yaml.Marshal(v)
	if err == nil {
		err = os.WriteFile(s.path(name), text, 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// URL is where clients connect, the same after a restart.
func (s *Server) URL() string { return fmt.Sprintf("http://127.0.0.1:%d", s.client) }

// FederationPort is where it listens for other servers.
func (s *Server) FederationPort() int { return s.port }

// Kill ends the process as kill -9 does.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill() // it may be gone already
	<-s.exited
	s.cmd = nil
}

// Stop asks the process to end and waits for it.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
		s.cmd = nil
	case <-time.After(stopTimeout):
		s.Kill()
	}
}

// Restart starts the process again, on the same ports and data.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	s.start()
}

func (s *Server) start() {
	s.t.Helper()
	if _, err := os.Stat(s.path("signing.key")); os.IsNotExist(err) {
		s.run("-m", "synapse.app.homeserver", "--config-path", s.path("homeserver.yaml"), "--generate-keys")
	}
	out, err := os.OpenFile(s.path("output.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(s.python, "-m", "synapse.app.homeserver", "--config-path", s.path("homeserver.yaml"))
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.Dir, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	exited := make(chan error, 1)
	started := make(chan error)
	go func() {
		// Pdeathsig is about the thread that starts the process, so this one stays.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			exited <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		s.t.Fatal(err)
	}
	s.cmd, s.exited = cmd, exited
	s.await()
}

func (s *Server) await() {
	s.t.Helper()
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		select {
		case err := <-s.exited:
			s.exited <- err
			s.showLog()
			s.t.Fatalf("Synapse ended: %v", err)
		default:
		}
		resp, err := http.Get(s.URL() + "/_matrix/client/versions")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
	}
	s.showLog()
	s.t.Fatalf("Synapse does not answer after %v", startTimeout)
}

func (s *Server) run(args ...string) {
	s.t.Helper()
	cmd := exec.Command(s.python, args...)
	cmd.Dir = s.Dir
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("Synapse: %v\n%s", err, out)
	}
}

// showLog writes the end of the logs into the test's.
func (s *Server) showLog() {
	for _, name := range []string{"output.log", "synapse.log"} {
		const most = 20 << 10
		text, err := os.ReadFile(s.path(name))
		if err != nil {
			continue
		}
		if len(text) > most {
			text = text[len(text)-most:]
		}
		s.t.Logf("%s of Synapse:\n%s", name, text)
	}
}

// Session is a log-in.
type Session struct {
	UserID      string `json:"user_id"`
	DeviceID    string `json:"device_id"`
	AccessToken string `json:"access_token"`
}

// Register makes an account with the password "password of <name>".
func (s *Server) Register(t testing.TB, name string, admin bool) Session {
	t.Helper()
	const path = "/_synapse/admin/v1/register"
	resp, err := http.Get(s.URL() + path)
	if err != nil {
		t.Fatal(err)
	}
	var nonce struct {
		Nonce string `json:"nonce"`
	}
	decode(t, resp, &nonce)
	password, role := "password of "+name, "notadmin"
	if admin {
		role = "admin"
	}
	mac := hmac.New(sha1.New, []byte(registrationSecret))
	fmt.Fprintf(mac, "%s\x00%s\x00%s\x00%s", nonce.Nonce, name, password, role)
	body, _ := json.Marshal(map[string]any{ // strings and a bool
		"nonce": nonce.Nonce, "username": name, "password": password, "admin": admin, "mac": hex.EncodeToString(mac.Sum(nil)),
	})
	resp, err = http.Post(s.URL()+path, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	var session Session
	decode(t, resp, &session)
	return session
}

func decode(t testing.TB, resp *http.Response, out any) {
	t.Helper()
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s", resp.Status)
	}
	if err == nil {
		err = json.Unmarshal(text, out)
	}
	if err != nil {
		t.Fatalf("Synapse answered %s: %v", text, err)
	}
}
