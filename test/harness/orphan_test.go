package harness_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"hearth/test/harness"
)

// doomed is set in a test binary that is to be killed while its server runs.
const doomed = "HEARTH_TEST_HARNESS_DOOMED"

// TestDoomed starts a server, tells the ids of its processes, and waits for the end.
// It is the second half of the next test and does nothing by itself.
func TestDoomed(t *testing.T) {
	if os.Getenv(doomed) == "" {
		return
	}
	s := harness.Start(t, harness.Options{Wiring: harness.FourProcesses, Dir: os.Getenv(doomed)})
	for _, p := range s.Processes() {
		fmt.Println("pid", p.PID())
	}
	fmt.Println("pid 0")
	time.Sleep(time.Minute)
}

func TestNothingSurvivesTheTestBinary(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run", "^TestDoomed$")
	cmd.Env = append(os.Environ(), doomed+"="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pids []int
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		text, ok := strings.CutPrefix(lines.Text(), "pid ")
		pid, err := strconv.Atoi(text)
		if ok && err == nil && pid == 0 {
			break
		}
		if ok && err == nil {
			pids = append(pids, pid)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	if len(pids) != 5 {
		t.Fatalf("the server had processes %v", pids)
	}
	for _, pid := range pids {
		for deadline := time.Now().Add(10 * time.Second); runs(pid); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("process %d survived the test binary", pid)
			}
		}
	}
}

// runs reports whether a process is there and no zombie that nobody waits for.
func runs(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return syscall.Kill(pid, 0) == nil && !strings.HasPrefix(after, "Z")
}
