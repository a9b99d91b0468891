//go:build !hearth_clock

package main

import "time"

// systemClock is the clock of all components.
func systemClock() func() time.Time { return time.Now }
