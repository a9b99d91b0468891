package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"hearth/test/harness"
)

// clockTick is the unit of CPU time in /proc, on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// cpu is the CPU time that the server has used so far, in all its processes.
func cpu(t *shim, s *harness.Server) time.Duration {
	var ticks int64
	for _, p := range s.Processes() {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
		if err != nil {
			t.Fatal(err)
		}
		// The second field is the name, in brackets; utime and stime are 14 and 15.
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		for _, f := range fields[11:13] {
			n, err := strconv.ParseInt(f, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			ticks += n
		}
	}
	return time.Duration(ticks) * clockTick
}

// ownCPU is the CPU time of the load.
func ownCPU(t *shim) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// loadAverage tells how many others wanted the machine in the last minute.
func loadAverage(t *shim) float64 {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), " ")
	load, err := strconv.ParseFloat(first, 64)
	if err != nil {
		t.Fatal(err)
	}
	return load
}

// memory is a line of /proc/PID/status, summed over the processes, in MB (10^6 bytes).
func memory(t *shim, s *harness.Server, key string) float64 {
	var kib int64
	for _, p := range s.Processes() {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, found := strings.Cut(string(text), "\n"+key+":")
		fields := strings.Fields(rest)
		if !found || len(fields) < 2 {
			t.Fatalf("%s is not in /proc/PID/status", key)
		}
		n, err := strconv.ParseInt(fields[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		kib += n
	}
	return float64(kib) * 1024 / 1e6
}

// counters are the sums of the server's metrics by name, over all labels.
type counters map[string]float64

func scrape(t *shim, s *harness.Server) counters {
	sums := counters{}
	for _, p := range s.Processes() {
		if p.Name == harness.NATS {
			continue
		}
		text, err := os.ReadFile(filepath.Join(s.Dir, p.Name+".listeners"))
		if err != nil {
			t.Fatal(err)
		}
		var addresses map[string]string
		if err := json.Unmarshal(text, &addresses); err != nil {
			t.Fatal(err)
		}
		if err := sums.add("http://" + addresses["metrics"] + "/metrics"); err != nil {
			t.Fatal(err)
		}
	}
	return sums
}

func (c counters) add(url string) error {
	resp, err := http.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if strings.HasPrefix(name, "#") {
			continue
		}
		if i := strings.IndexByte(name, '{'); i >= 0 {
			name = name[:i]
			value = lines.Text()[strings.LastIndexByte(lines.Text(), ' ')+1:]
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return fmt.Errorf("metric %q", lines.Text())
		}
		c[name] += n
	}
	return lines.Err()
}
