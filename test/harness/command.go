package harness

import (
	"os/exec"
	"syscall"
)

// Command returns a command of the program that the server runs, such as "backup", with the
// server's configuration. It ends with the test binary.
func (s *Server) Command(words ...string) *exec.Cmd {
	s.t.Helper()
	program, err := hearthProgram()
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(program.path(), words...)
	cmd.Env = environ()
	cmd.Dir = s.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// ConfigFile is the configuration of the server.
func (s *Server) ConfigFile() string { return s.layout.configFile() }

// As returns the log-in of a client of another server that holds the same data.
func (s *Server) As(c *Client) *Client {
	other := s.Client()
	other.UserID, other.DeviceID, other.Token = c.UserID, c.DeviceID, c.Token
	return other
}
