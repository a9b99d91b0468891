//go:build hearth_clock

package main

import (
	"os"
	"strconv"
	"strings"
	"time"
)

// systemClock is the clock of all components in a program for tests: it is off by as many
// seconds as the file says that CLOCK_FILE names, and follows its changes.
func systemClock() func() time.Time {
	name := os.Getenv("CLOCK_FILE")
	return func() time.Time {
		text, err := os.ReadFile(name)
		if err != nil {
			return time.Now()
		}
		seconds, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err != nil {
			return time.Now() // it is being written
		}
		return time.Now().Add(time.Duration(seconds) * time.Second)
	}
}
