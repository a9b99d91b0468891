// Command bench measures a whole server from outside: the release binary as one
// process on SQLite, through HTTP, as clients see it. It prints a table of figures
// and what is aimed at.
//
//	go run ./test/bench [-seconds 10] [-json FILE]
//
// The load comes from the same machine, so the figures say what a server of this
// size does while half of it is busy with something else. Benchmarks of single
// parts are run with `go test -bench . ./internal/pdu` and the like.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// sizes is what the flags set.
type sizes struct {
	senders, rooms     int           // of the throughput test
	seconds            time.Duration // how long it sends
	members, deliver   int           // of the delivery test: members of its room, events
	pause              time.Duration // between two events of the delivery test
	idleRooms, polls   int           // of the memory test
	settle             time.Duration // how long memory may come to rest
	starts             int           // of the start-up test
	bodyBytes          int           // of a message
	dir, jsonFile      string
	fourProcesses, log bool
	syncs              bool   // measure sync instead
	only               string // the one measurement of sync that is made; empty: all
}

func main() {
	var s sizes
	flag.IntVar(&s.senders, "senders", 16, "how many clients send at the same time")
	flag.IntVar(&s.rooms, "rooms", 50, "in how many rooms they send; everybody is in all of them")
	flag.DurationVar(&s.seconds, "time", 10*time.Second, "how long they send")
	flag.IntVar(&s.members, "members", 10, "how many members of a room wait in /sync for what another one sends")
	flag.IntVar(&s.deliver, "deliveries", 400, "how many events these get")
	flag.DurationVar(&s.pause, "pause", 20*time.Millisecond, "the time between two of these events")
	flag.IntVar(&s.idleRooms, "idle-rooms", 300, "in how many rooms memory is measured")
	flag.IntVar(&s.polls, "polls", 200, "with how many long-polls memory is measured, each of a user of its own")
	flag.DurationVar(&s.settle, "settle", 5*time.Second, "how long the server is left alone before memory is measured")
	flag.IntVar(&s.starts, "starts", 5, "how often the server is started for the start-up time")
	flag.IntVar(&s.bodyBytes, "body", 100, "the length of a message in bytes")
	flag.StringVar(&s.dir, "dir", "", "where the server keeps its data (empty: a temporary directory); its disk decides how long an fsync takes")
	flag.StringVar(&s.jsonFile, "json", "", "write the figures to this file too")
	flag.BoolVar(&s.fourProcesses, "four", false, "measure four processes with an external NATS server and PostgreSQL instead; the aims are for one")
	flag.BoolVar(&s.syncs, "sync", false, "measure what syncing costs instead; it takes some minutes to make the rooms")
	flag.StringVar(&s.only, "only", "", "of -sync, make this measurement alone: "+strings.Join(syncParts(), ", "))
	flag.BoolVar(&s.log, "v", false, "say what is being done")
	flag.Usage = func() {
		out := flag.CommandLine.Output()
		fmt.Fprint(out, "Measures a whole server from outside and prints a table.\n\n")
		flag.PrintDefaults()
		fmt.Fprint(out, "\nBenchmarks of single parts: go test -run - -bench . ./internal/... ./roomserver/...\n")
	}
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "bench: unknown argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	if s.only != "" && !slices.Contains(syncParts(), s.only) {
		fmt.Fprintf(os.Stderr, "bench: there is no measurement %q\n", s.only)
		os.Exit(2)
	}
	if err := s.check(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	os.Exit(guarded(func(t *shim) {
		f := measure
		if s.syncs {
			f = measureSyncs
		}
		figures := f(t, &s)
		print(os.Stdout, figures)
		if s.jsonFile == "" {
			return
		}
		text, err := json.MarshalIndent(figures, "", "  ")
		if err == nil {
			err = os.WriteFile(s.jsonFile, append(text, '\n'), 0o644)
		}
		if err != nil {
			t.Fatalf("write the figures: %v", err)
		}
	}))
}

// check refuses sizes that measure nothing.
func (s *sizes) check() error {
	for _, n := range []int{s.senders, s.rooms, s.members, s.deliver, s.idleRooms, s.polls, s.starts, s.bodyBytes} {
		if n < 1 {
			return fmt.Errorf("all numbers must be at least 1")
		}
	}
	if s.bodyBytes > 40_000 {
		return fmt.Errorf("a message of %d bytes does not fit into an event", s.bodyBytes)
	}
	if s.seconds <= 0 || s.pause < 0 || s.settle < 0 {
		return fmt.Errorf("times must not be negative")
	}
	return nil
}

// users is how many accounts are needed.
func (s *sizes) users() int { return max(s.senders, s.members+1, s.polls, idleMembers) }

// figure is a line of the table.
type figure struct {
	Name     string  `json:"name"`
	Unit     string  `json:"unit"`
	Measured float64 `json:"measured"`
	Aim      *aim    `json:"aim,omitempty"`
}

// aim is what a figure is to keep: at least or below a value.
type aim struct {
	AtLeast *float64 `json:"at_least,omitempty"`
	Below   *float64 `json:"below,omitempty"`
	Met     bool     `json:"met"`
}

func plain(name, unit string, v float64) figure { return figure{Name: name, Unit: unit, Measured: v} }

func atLeast(name, unit string, v, want float64) figure {
	return figure{name, unit, v, &aim{AtLeast: &want, Met: v >= want}}
}

func below(name, unit string, v, want float64) figure {
	return figure{name, unit, v, &aim{Below: &want, Met: v < want}}
}

// print writes the table.
func print(w io.Writer, figures []figure) {
	width := 0
	for _, f := range figures {
		width = max(width, len(f.Name))
	}
	fmt.Fprintf(w, "%-*s  %12s  %s\n", width, "figure", "measured", "aim")
	for _, f := range figures {
		fmt.Fprintf(w, "%-*s  %12s  %s\n", width, f.Name, number(f.Measured, f.Unit), f.Aim)
	}
}

// String is empty without an aim.
func (a *aim) String() string {
	if a == nil {
		return ""
	}
	verdict := "missed"
	if a.Met {
		verdict = "met"
	}
	if a.AtLeast != nil {
		return fmt.Sprintf("≥ %-6g %s", *a.AtLeast, verdict)
	}
	return fmt.Sprintf("< %-6g %s", *a.Below, verdict)
}

func number(v float64, unit string) string {
	digits := 0
	switch {
	case v < 10:
		digits = 2
	case v < 1000:
		digits = 1
	}
	if unit == "" {
		return fmt.Sprintf("%.*f", digits, v)
	}
	return fmt.Sprintf("%.*f %s", digits, v, unit)
}
